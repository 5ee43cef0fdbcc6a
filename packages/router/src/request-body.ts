/** A request body on its way to a service: absent where there is none, bounded in size and in the client's silence. */
import type { Clock } from './clock.ts'
import type { ExchangeRequest } from './exchange.ts'
import { Watchdog } from './watchdog.ts'

const bodilessMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE'])

/** Null when the request has no body; methods that seldom have one are asked for their first chunk. */
export async function requestBody(request: ExchangeRequest): Promise<AsyncIterable<Uint8Array> | null> {
  const length = request.headers.find(([name]) => name === 'content-length')?.[1]
  if (length === '0') return null
  if (!bodilessMethods.has(request.method)) return request.body
  if (length !== undefined) return request.body
  const iterator = request.body[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done === true) return null
  return resumed(first.value, iterator)
}

async function* resumed(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    yield first
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}

export interface BodyGuard {
  readonly clock: Clock
  /** 0 = no limit. */
  readonly bytesMax: number
  /** 0 = no limit. */
  readonly silenceMs: number
  readonly onBytes: (bytes: number) => void
  readonly onTooLarge: () => void
  readonly onSilent: () => void
}

/** Counts and watches. After a violation it ends without a further chunk: the caller has aborted the exchange then. */
export async function* guarded(body: AsyncIterable<Uint8Array>, guard: BodyGuard): AsyncIterable<Uint8Array> {
  let total = 0
  const watch = new Watchdog(guard.clock, guard.onSilent)
  const wait = (): void => {
    if (guard.silenceMs > 0) watch.feed(guard.silenceMs)
  }
  try {
    wait()
    for await (const chunk of body) {
      // While the service takes the chunk the client is not waited for.
      watch.pause()
      total += chunk.byteLength
      if (guard.bytesMax > 0 && total > guard.bytesMax) {
        guard.onTooLarge()
        throw new Error('the body is larger than the service takes')
      }
      guard.onBytes(chunk.byteLength)
      yield chunk
      wait()
    }
  } finally {
    watch.stop()
  }
}
