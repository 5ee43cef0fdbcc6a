/** Numbers of WebTransport over HTTP/3 (draft-ietf-webtrans-http3), and its error codes inside those of HTTP/3. */

/** Unidirectional streams start with this type, then the session ID. */
export const WT_UNI_STREAM_TYPE = 0x54
/** Bidirectional streams start with this, then the session ID: a frame without a length. */
export const WT_STREAM_SIGNAL = 0x41

export const WtCapsule = { CloseSession: 0x2843, DrainSession: 0x78ae } as const

export const wtErrorCodes = {
  /** More streams came before their session than are kept. */
  WT_BUFFERED_STREAM_REJECTED: 0x3994bd84,
  /** The session of the stream is over. */
  WT_SESSION_GONE: 0x170d7b68,
} as const

const FIRST = 0x52e4a40fa8db
const LAST = 0x52e5ac983162

/** HTTP/3 error code of an application's 32-bit code for streams (§4.4: reserved codepoints are jumped over). */
export function toHttp3Code(code: number): number {
  return FIRST + code + Math.floor(code / 0x1e)
}

/** Reverse of `toHttp3Code`; undefined for codes that are none of the application's. */
export function fromHttp3Code(code: number): number | undefined {
  if (code < FIRST || code > LAST || (code - 0x21) % 0x1f === 0) return undefined
  const shifted = code - FIRST
  return shifted - Math.floor(shifted / 0x1f)
}
