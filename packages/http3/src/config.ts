/** Limits of an HTTP/3 session: the one constant of defaults is their documentation. */

export interface Http3Config {
  /** Largest header or trailer section taken, as RFC 9114 §4.2.2 counts it. Larger requests are answered with 431. */
  readonly maxHeaderBytes: number
  /** Memory for the table of field lines that the peer may fill, and for the one we fill at the peer's permission. */
  readonly qpackTableBytes: number
  /** Streams whose headers may wait for the peer's table; each can hold `maxHeaderBytes`. */
  readonly qpackBlockedStreams: number
  /** Requests that a client may reset in a burst before the connection is closed with H3_EXCESSIVE_LOAD. */
  readonly resetBurst: number
  /** Resets forgiven per second (needs a clock) beside one for each request that ran to its end. */
  readonly resetRefillPerSecond: number
  /** Server: announce and take CONNECT with `:protocol` (RFC 9220), for WebSocket, WebTransport and the like. */
  readonly extendedConnect: boolean
  /** Announce and take HTTP Datagrams in QUIC DATAGRAM frames (RFC 9297). */
  readonly datagrams: boolean
  /** WebTransport sessions at once; above 0 it turns `extendedConnect` and `datagrams` on. 0 = none. */
  readonly webTransportSessions: number
}

export const http3Defaults: Http3Config = {
  maxHeaderBytes: 65_536,
  qpackTableBytes: 4_096,
  qpackBlockedStreams: 16,
  resetBurst: 200,
  resetRefillPerSecond: 20,
  extendedConnect: false,
  datagrams: false,
  webTransportSessions: 0,
}

/** Fills in defaults and checks every bound. Throws RangeError naming the option. */
export function resolveHttp3Config(config: Partial<Http3Config> = {}): Http3Config {
  const resolved = { ...http3Defaults, ...config }
  check('maxHeaderBytes', resolved.maxHeaderBytes, 1_024, 16_777_216)
  check('qpackTableBytes', resolved.qpackTableBytes, 0, 1_048_576)
  check('qpackBlockedStreams', resolved.qpackBlockedStreams, 0, 1_000)
  check('resetBurst', resolved.resetBurst, 1, 1_000_000)
  check('resetRefillPerSecond', resolved.resetRefillPerSecond, 0, 1_000_000)
  check('webTransportSessions', resolved.webTransportSessions, 0, 65_535)
  if (resolved.webTransportSessions === 0) return resolved
  return { ...resolved, extendedConnect: true, datagrams: true }
}

function check(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return
  throw new RangeError(`http3 option ${name} is ${value}; it must be a whole number from ${min} to ${max}`)
}
