/** What can go wrong between the router and a service, as the status and sentence the client gets. */
import { codeOf, messageOf } from '../user-error.ts'

/** Why a service gave no usable response. */
export class UpstreamFailure extends Error {
  /** 502 or 504. */
  readonly status: 502 | 504
  /** Stable short name for metrics and the `x-quicether-error` field. */
  readonly kind: string

  constructor(status: 502 | 504, kind: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'UpstreamFailure'
    this.status = status
    this.kind = kind
  }
}

/** Translates an error of undici or a socket. `service` is the configured name, `origin` its address. */
export function toUpstreamFailure(error: unknown, service: string, origin: string): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error
  const who = `service "${service}" at ${origin}`
  const code = codeOf(error) || codeOf(error instanceof Error ? error.cause : undefined)
  switch (code) {
    case 'ECONNREFUSED':
      return new UpstreamFailure(502, 'upstream-refused', `${who} refuses connections: is it running?`, error)
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new UpstreamFailure(502, 'upstream-unknown-host', `${who}: the host name does not resolve`, error)
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return new UpstreamFailure(502, 'upstream-unreachable', `${who} is unreachable`, error)
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      return new UpstreamFailure(504, 'upstream-connect-timeout', `${who} did not accept a connection in time`, error)
    case 'UND_ERR_HEADERS_TIMEOUT':
      return new UpstreamFailure(504, 'upstream-timeout', `${who} did not answer in time`, error)
    case 'UND_ERR_BODY_TIMEOUT':
      return new UpstreamFailure(504, 'upstream-body-timeout', `${who} stopped in the middle of its response`, error)
    case 'UND_ERR_SOCKET':
    case 'ECONNRESET':
    case 'EPIPE':
      return new UpstreamFailure(502, 'upstream-closed', `${who} closed the connection before it had answered`, error)
    default:
      return new UpstreamFailure(
        502,
        'upstream-protocol',
        `${who} did not answer in valid HTTP: ${messageOf(error)}`,
        error,
      )
  }
}

/** Whether a request that failed this way, unanswered, may be sent once more on a fresh connection. */
export function isStaleConnection(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
}
