/** What can go wrong between the router and a service, as the status and sentence the client gets. */
import { codeOf, messageOf } from '../user-error.ts'

/**
 * Whether a request that failed this way may be sent once more: `elsewhere` = it was not sent, and this address will not take
 * it; `anywhere` = it was certainly not processed; `if-safe` = it may have been processed.
 */
export type Repetition = 'elsewhere' | 'anywhere' | 'if-safe' | 'never'

export interface FailureDetails {
  readonly repetition?: Repetition
  /** The service is not to blame: it was not asked, or the client was the cause. */
  readonly isOurs?: boolean
  /** What the client is told to wait, in seconds (RFC 9110 §10.2.3). */
  readonly retryAfterSeconds?: number
  readonly cause?: unknown
}

/** Why a service gave no usable response. */
export class UpstreamFailure extends Error {
  readonly status: 408 | 413 | 429 | 502 | 503 | 504
  /** Stable short name for metrics and the `x-quicether-error` field. */
  readonly kind: string
  readonly repetition: Repetition
  readonly isOurs: boolean
  readonly retryAfterSeconds: number | undefined

  constructor(status: UpstreamFailure['status'], kind: string, message: string, details: FailureDetails = {}) {
    super(message, { cause: details.cause })
    this.name = 'UpstreamFailure'
    this.status = status
    this.kind = kind
    this.repetition = details.repetition ?? 'never'
    this.isOurs = details.isOurs ?? false
    this.retryAfterSeconds = details.retryAfterSeconds
  }
}

/** Translates an error of undici, a socket, HTTP/2 or HTTP/3. `service` is the configured name, `origin` its address. */
export function toUpstreamFailure(error: unknown, service: string, origin: string): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error
  const who = `service "${service}" at ${origin}`
  const code = codeOf(error) || codeOf(error instanceof Error ? error.cause : undefined)
  const fail = (status: 502 | 504, kind: string, what: string, repetition: Repetition = 'never'): UpstreamFailure =>
    new UpstreamFailure(status, kind, `${who}${what}`, { cause: error, repetition })
  switch (code) {
    case 'ECONNREFUSED':
    case 'ERR_NOT_LISTENING':
    case 'ERR_CONNECTION_REFUSED':
      return fail(502, 'upstream-refused', ' refuses connections: is it running?', 'elsewhere')
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'ERR_RESOLVE':
      return fail(502, 'upstream-unknown-host', ': the host name does not resolve', 'elsewhere')
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return fail(502, 'upstream-unreachable', ' is unreachable', 'elsewhere')
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
    case 'ERR_HANDSHAKE_TIMEOUT':
      return fail(504, 'upstream-connect-timeout', ' did not accept a connection in time', 'elsewhere')
    case 'REFUSED_STREAM':
    case 'ERR_HTTP2_STREAM_CANCEL':
    case 'ERR_HTTP2_GOAWAY_SESSION':
    case 'ERR_HTTP2_INVALID_SESSION':
    case 'ERR_HTTP3_GOING_AWAY':
      return fail(502, 'upstream-closed', ' is shutting its connection down', 'anywhere')
    case 'UND_ERR_SOCKET':
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ERR_HTTP3_CONNECTION_CLOSED':
    case 'ERR_HTTP3_STREAM_RESET':
      return fail(502, 'upstream-closed', ' closed the connection before it had answered', 'if-safe')
  }
  if (isTlsCode(code))
    return fail(502, 'upstream-tls', `: its certificate is not trusted: ${messageOf(error)}`, 'elsewhere')
  return fail(502, 'upstream-protocol', ` did not answer in valid HTTP: ${messageOf(error)}`)
}

/** Codes of Node's TLS errors and ours. */
function isTlsCode(code: string): boolean {
  return (
    code === 'ERR_TLS' ||
    code === 'ERR_TLS_REFUSED' ||
    code.startsWith('ERR_TLS_') ||
    code.startsWith('ERR_SSL_') ||
    /CERT|SELF_SIGNED|UNABLE_TO_/u.test(code)
  )
}
