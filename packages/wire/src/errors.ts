/** Transport error codes (RFC 9000 §20.1, RFC 9368 §10, RFC 10069 §5) and the exception for a peer's violation. */

export const transportErrorCodes = {
  NO_ERROR: 0x00,
  INTERNAL_ERROR: 0x01,
  CONNECTION_REFUSED: 0x02,
  FLOW_CONTROL_ERROR: 0x03,
  STREAM_LIMIT_ERROR: 0x04,
  STREAM_STATE_ERROR: 0x05,
  FINAL_SIZE_ERROR: 0x06,
  FRAME_ENCODING_ERROR: 0x07,
  TRANSPORT_PARAMETER_ERROR: 0x08,
  CONNECTION_ID_LIMIT_ERROR: 0x09,
  PROTOCOL_VIOLATION: 0x0a,
  INVALID_TOKEN: 0x0b,
  APPLICATION_ERROR: 0x0c,
  CRYPTO_BUFFER_EXCEEDED: 0x0d,
  KEY_UPDATE_ERROR: 0x0e,
  AEAD_LIMIT_REACHED: 0x0f,
  NO_VIABLE_PATH: 0x10,
  VERSION_NEGOTIATION_ERROR: 0x11,
  APPLICATION_ABANDON_PATH: 0x3e,
  PATH_RESOURCE_LIMIT_REACHED: 0x3e75,
  PATH_UNSTABLE_OR_POOR: 0x3e76,
  NO_CID_AVAILABLE_FOR_PATH: 0x3e77,
} as const

export type TransportErrorName = keyof typeof transportErrorCodes

/** First code of the CRYPTO_ERROR range: 0x0100 + TLS alert (RFC 9000 §20.1). */
export const CRYPTO_ERROR_BASE = 0x0100

/** Name of a transport error code for operators, e.g. `FLOW_CONTROL_ERROR`, `CRYPTO_ERROR(42)`, `0x1234`. */
export function transportErrorName(code: number): string {
  for (const [name, value] of Object.entries(transportErrorCodes)) if (value === code) return name
  if (code >= CRYPTO_ERROR_BASE && code <= CRYPTO_ERROR_BASE + 0xff) return `CRYPTO_ERROR(${code - CRYPTO_ERROR_BASE})`
  return `0x${code.toString(16)}`
}

/** The peer broke a rule: the connection closes with this code. Caught once, where packets are received. */
export class TransportError extends Error {
  readonly code: number
  readonly codeName: string
  /** Frame type that caused the error, 0 when none did (RFC 9000 §19.19). */
  readonly frameType: number

  constructor(name: TransportErrorName, frameType: number, reason: string) {
    super(reason)
    this.name = 'TransportError'
    this.code = transportErrorCodes[name]
    this.codeName = name
    this.frameType = frameType
  }
}
