/** The router's own answers: short problem documents (RFC 9457). */
import type { ExchangeRequest, ExchangeResponse } from './exchange.ts'

export interface OwnAnswer {
  readonly status: number
  /** Stable short name. */
  readonly kind: string
  /** What is wrong, in one sentence. */
  readonly message: string
  readonly allow?: string | undefined
  readonly retryAfterSeconds?: number | undefined
}

/** Sends it; a client that does not take it is left. */
export async function sendOwnAnswer(
  request: ExchangeRequest,
  response: ExchangeResponse,
  answer: OwnAnswer,
): Promise<void> {
  const { status, kind, message, allow, retryAfterSeconds } = answer
  const body = Buffer.from(`${JSON.stringify({ status, title: kind, detail: message })}\n`)
  const headers: [string, string][] = [
    ['content-type', 'application/problem+json'],
    ['content-length', String(body.byteLength)],
    ['x-quicether-error', kind],
    ['via', `${request.version ?? '3'} quicether`],
  ]
  if (allow !== undefined) headers.push(['allow', allow])
  if (retryAfterSeconds !== undefined) headers.push(['retry-after', String(retryAfterSeconds)])
  try {
    await response.head(status, headers)
    if (request.method !== 'HEAD') await response.write(body)
    await response.end()
  } catch {
    response.abort(message)
  }
}
