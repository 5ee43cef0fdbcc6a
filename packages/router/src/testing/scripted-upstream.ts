/** Addresses that answer as a test says, for tests of pools without sockets. */
import type { UpstreamClient, UpstreamRequest, UpstreamResponse, UpstreamStats } from '../upstream/client.ts'

/** What an address does with a request: answers with a status, fails, or stays silent until it is aborted. */
export type Behaviour = number | Error | 'silent' | ((request: UpstreamRequest) => Promise<UpstreamResponse>)

export class ScriptedUpstream implements UpstreamClient {
  behaviour: Behaviour
  readonly seen: UpstreamRequest[] = []
  isClosed = false

  constructor(behaviour: Behaviour = 200) {
    this.behaviour = behaviour
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamResponse> {
    this.seen.push(request)
    const { behaviour } = this
    if (behaviour === 'silent') return await untilAborted(request.signal)
    if (behaviour instanceof Error) throw behaviour
    if (typeof behaviour === 'function') return await behaviour(request)
    return answer(behaviour)
  }

  stats(): UpstreamStats {
    return { connected: 0, running: 0, queued: 0 }
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

/** A whole response. */
export function answer(status: number, body: AsyncIterable<Uint8Array> = emptyBody()): UpstreamResponse {
  return { status, headers: [], body, trailers: () => [], discard: () => {} }
}

/** An error as sockets raise them. */
export function failure(code: string): Error {
  return Object.assign(new Error(`scripted ${code}`), { code })
}

/** Never settles but by an abort. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  if (signal.aborted) reject(signal.reason)
  signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  return promise
}

async function* emptyBody(): AsyncIterable<Uint8Array> {}
