/** A clock that tests move by hand. */
import type { Clock } from '../clock.ts'

export class ManualClock implements Clock {
  #nowMs = 1_000
  #timers: { readonly atMs: number; readonly callback: () => void }[] = []

  nowMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.#timers.length
  }

  /** Fires what is due on the way, in order. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const [next] = this.#timers.toSorted((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > untilMs) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#nowMs = next.atMs
      next.callback()
    }
    this.#nowMs = untilMs
  }

  /** As `advance`, in steps, with time for promises to settle in between. */
  async pass(ms: number, stepMs = 50): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.advance(Math.min(stepMs, left))
      for (let turn = 0; turn < 5; turn++) await Promise.resolve()
    }
  }
}
