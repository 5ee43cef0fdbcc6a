/** What logs and traces want to know of a request besides its figures; dropped when the stream has ended. */
import type { ExchangeRequest, HeaderList } from '../exchange.ts'
import type { RequestTrace } from '../ops/trace-context.ts'

export interface RequestFacts {
  /** Address of the client, without port. */
  readonly client: string
  readonly host: string
  /** Path and query, cut at 2,048 characters. */
  readonly target: string
  readonly userAgent: string | undefined
  readonly referer: string | undefined
  /** Came as 0-RTT, and the handshake was not complete when it was sent on. */
  readonly isEarly: boolean
  readonly trace: RequestTrace | undefined
}

const targetCharactersMax = 2_048
const fieldCharactersMax = 512

/** Reads the facts off a request. */
export function requestFacts(request: ExchangeRequest, client: string): RequestFacts {
  return {
    client,
    host: request.authority.slice(0, fieldCharactersMax),
    target: request.path.slice(0, targetCharactersMax),
    userAgent: headerOf(request.headers, 'user-agent')?.slice(0, fieldCharactersMax),
    referer: headerOf(request.headers, 'referer')?.slice(0, fieldCharactersMax),
    isEarly: request.confirmed !== undefined || headerOf(request.headers, 'early-data') === '1',
    trace: request.trace,
  }
}

function headerOf(headers: HeaderList, name: string): string | undefined {
  return headers.find(([key]) => key === name)?.[1]
}
