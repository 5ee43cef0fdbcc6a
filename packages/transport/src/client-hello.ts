/** Finds the QUIC transport parameters in a ClientHello before TLS reads it: compatible version negotiation needs them. */

const HANDSHAKE_CLIENT_HELLO = 1
const EXTENSION_TRANSPORT_PARAMETERS = 0x39

/** Bytes of the first handshake message including its 4-byte header, or undefined while the header is incomplete. */
export function firstMessageLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 4) return undefined
  return 4 + (((bytes[1] as number) << 16) | ((bytes[2] as number) << 8) | (bytes[3] as number))
}

/**
 * Value of the quic_transport_parameters extension (RFC 9001 §8.2) of a complete ClientHello; undefined when the
 * message is something else, is malformed or has no such extension. Judging it is left to TLS.
 */
export function transportParametersOf(message: Uint8Array): Uint8Array | undefined {
  if (message[0] !== HANDSHAKE_CLIENT_HELLO) return undefined
  // legacy_version (2), random (32), then session ID, cipher suites, compression methods, extensions (RFC 8446 §4.1.2)
  let at = 4 + 2 + 32
  at += 1 + (message[at] ?? 0)
  at += 2 + u16(message, at)
  at += 1 + (message[at] ?? 0)
  const end = at + 2 + u16(message, at)
  at += 2
  while (at + 4 <= end && end <= message.length) {
    const type = u16(message, at)
    const length = u16(message, at + 2)
    if (type === EXTENSION_TRANSPORT_PARAMETERS) {
      return at + 4 + length <= end ? message.subarray(at + 4, at + 4 + length) : undefined
    }
    at += 4 + length
  }
  return undefined
}

function u16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)
}
