/** A clock that stands still until a test moves it. */
import type { Clock } from '../clock.ts'

interface Entry {
  readonly atMs: number
  readonly action: () => void
}

export class ManualClock implements Clock {
  #nowMs = 1_000
  readonly #entries = new Set<Entry>()

  nowMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, action: () => void): () => void {
    const entry: Entry = { atMs: this.#nowMs + delayMs, action }
    this.#entries.add(entry)
    return () => this.#entries.delete(entry)
  }

  /** Timers that have not run and were not called off. */
  get pending(): number {
    return this.#entries.size
  }

  /** Moves on by `ms`, running what falls due in order, with a turn of the event loop after each. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    while (true) {
      const due = [...this.#entries].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (due === undefined) break
      this.#entries.delete(due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.action()
      await new Promise((resolve) => setImmediate(resolve))
    }
    this.#nowMs = endMs
    await new Promise((resolve) => setImmediate(resolve))
  }
}
