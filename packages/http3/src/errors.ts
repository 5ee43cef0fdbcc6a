/** HTTP/3 and QPACK error codes (RFC 9114 §8.1, RFC 9204 §6) and the errors applications see. */

export const h3ErrorCodes = {
  /** RFC 9297 §5.2. */
  H3_DATAGRAM_ERROR: 0x33,
  H3_NO_ERROR: 0x100,
  H3_GENERAL_PROTOCOL_ERROR: 0x101,
  H3_INTERNAL_ERROR: 0x102,
  H3_STREAM_CREATION_ERROR: 0x103,
  H3_CLOSED_CRITICAL_STREAM: 0x104,
  H3_FRAME_UNEXPECTED: 0x105,
  H3_FRAME_ERROR: 0x106,
  H3_EXCESSIVE_LOAD: 0x107,
  H3_ID_ERROR: 0x108,
  H3_SETTINGS_ERROR: 0x109,
  H3_MISSING_SETTINGS: 0x10a,
  H3_REQUEST_REJECTED: 0x10b,
  H3_REQUEST_CANCELLED: 0x10c,
  H3_REQUEST_INCOMPLETE: 0x10d,
  H3_MESSAGE_ERROR: 0x10e,
  H3_CONNECT_ERROR: 0x10f,
  H3_VERSION_FALLBACK: 0x110,
  QPACK_DECOMPRESSION_FAILED: 0x200,
  QPACK_ENCODER_STREAM_ERROR: 0x201,
  QPACK_DECODER_STREAM_ERROR: 0x202,
} as const

export type H3ErrorName = keyof typeof h3ErrorCodes

const namesByCode: ReadonlyMap<number, string> = new Map(
  Object.entries(h3ErrorCodes).map(([name, code]) => [code, name] as const),
)

/** Name of an HTTP/3 error code, or its hexadecimal form when unknown (reserved codes count as H3_NO_ERROR, §8.1). */
export function h3ErrorName(code: number): string {
  return namesByCode.get(code) ?? `0x${code.toString(16)}`
}

/** Stable codes of `Http3Error`; messages may change, these do not. */
export type Http3ErrorCode =
  /** The peer or we closed the connection, or it was lost. */
  | 'ERR_HTTP3_CONNECTION_CLOSED'
  /** One side reset or stopped the stream. */
  | 'ERR_HTTP3_STREAM_RESET'
  /** The peer's message broke RFC 9114 §4; only its stream is affected. */
  | 'ERR_HTTP3_MESSAGE'
  /** A header or trailer section is over the limit. */
  | 'ERR_HTTP3_HEADERS_TOO_LARGE'
  /** A body is longer than allowed: by `bodyBytesMax`, or by the argument of `bytes` or `text`. */
  | 'ERR_HTTP3_BODY_TOO_LARGE'
  /** The caller gave headers, a method or a status that HTTP/3 cannot carry. */
  | 'ERR_HTTP3_INVALID_ARGUMENT'
  /** The call does not fit the state of the stream, e.g. a body after the end. */
  | 'ERR_HTTP3_INVALID_STATE'
  /** The server is shutting down and has not processed the request: it can be retried elsewhere. */
  | 'ERR_HTTP3_GOING_AWAY'
  /** The caller's AbortSignal fired. */
  | 'ERR_HTTP3_ABORTED'
  /** The peer has not announced the extension that the call needs, e.g. extended CONNECT. */
  | 'ERR_HTTP3_UNSUPPORTED'
  /** The server answered CONNECT with another status than 2xx; `Http3ConnectError.response` is its answer. */
  | 'ERR_HTTP3_CONNECT_REFUSED'

export interface Http3ErrorDetails {
  /** Who sent or raised it: `peer` = it came in (reset, stop, close); `local` = this endpoint, the message says why. */
  readonly by: 'local' | 'peer'
  readonly streamId?: number
  /** HTTP/3 error code on the wire, when there is one. */
  readonly h3Code?: number
  readonly cause?: unknown
}

/** What an application gets when a request or a connection fails: who, what, why. */
export class Http3Error extends Error {
  readonly code: Http3ErrorCode
  readonly by: 'local' | 'peer'
  readonly streamId: number | undefined
  readonly h3Code: number | undefined
  /** E.g. `H3_REQUEST_CANCELLED`; undefined when no code went over the wire. */
  readonly h3Name: string | undefined

  constructor(code: Http3ErrorCode, message: string, details: Http3ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'Http3Error'
    this.code = code
    this.by = details.by
    this.streamId = details.streamId
    this.h3Code = details.h3Code
    this.h3Name = details.h3Code === undefined ? undefined : h3ErrorName(details.h3Code)
  }
}

/** The peer broke a rule that ends the whole connection (RFC 9114 §8). Caught once, in the session. */
export class H3ConnectionError extends Error {
  readonly h3Code: number
  readonly h3Name: H3ErrorName

  constructor(name: H3ErrorName, reason: string) {
    super(reason)
    this.name = 'H3ConnectionError'
    this.h3Code = h3ErrorCodes[name]
    this.h3Name = name
  }
}

/** The peer broke a rule that ends one stream only. Caught once, in the session. */
export class H3StreamError extends Error {
  readonly h3Code: number
  readonly h3Name: H3ErrorName

  constructor(name: H3ErrorName, reason: string) {
    super(reason)
    this.name = 'H3StreamError'
    this.h3Code = h3ErrorCodes[name]
    this.h3Name = name
  }
}

/** A field section is larger than we accept. Ends one stream; a server answers 431. */
export class FieldSectionTooLarge extends Error {
  readonly limitBytes: number

  constructor(limitBytes: number) {
    super(`header section is larger than the limit of ${limitBytes} bytes (RFC 9114 §4.2.2)`)
    this.name = 'FieldSectionTooLarge'
    this.limitBytes = limitBytes
  }
}
