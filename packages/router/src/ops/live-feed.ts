/** Server-sent events: one document a second for all who watch, made only while somebody does. */
import type { ServerResponse } from 'node:http'

const watchersMax = 16
const intervalMs = 1_000

/** `add` watchers; `stop()` ends the timer, closing the server ends the streams. */
export class LiveFeed {
  readonly #snapshot: () => unknown
  readonly #watchers = new Set<ServerResponse>()
  #timer: NodeJS.Timeout | undefined

  constructor(snapshot: () => unknown) {
    this.#snapshot = snapshot
  }

  /** Begins a stream with the present state. False = too many watch. */
  add(response: ServerResponse): boolean {
    if (this.#watchers.size >= watchersMax) return false
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', connection: 'close' })
    this.#watchers.add(response)
    response.once('close', () => {
      this.#watchers.delete(response)
      if (this.#watchers.size === 0) this.stop()
    })
    response.write(this.#event())
    this.#timer ??= setInterval(() => this.#tell(), intervalMs).unref()
    return true
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tell(): void {
    const event = this.#event()
    // A watcher that does not read misses documents instead of piling them up here.
    for (const response of this.#watchers) if (!response.writableNeedDrain) response.write(event)
  }

  #event(): string {
    return `data: ${JSON.stringify(this.#snapshot())}\n\n`
  }
}
