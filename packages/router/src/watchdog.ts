/** A deadline that moves often: one timer for all its moves. */
import type { Clock } from './clock.ts'

export class Watchdog {
  readonly #clock: Clock
  readonly #onExpired: () => void
  #deadlineMs = Number.POSITIVE_INFINITY
  #timerAtMs = Number.POSITIVE_INFINITY
  #cancel: (() => void) | undefined
  #isStopped = false

  constructor(clock: Clock, onExpired: () => void) {
    this.#clock = clock
    this.#onExpired = onExpired
  }

  /** Expires `delayMs` from now unless fed again, paused or stopped. */
  feed(delayMs: number): void {
    if (this.#isStopped) return
    this.#deadlineMs = this.#clock.nowMs() + delayMs
    if (this.#deadlineMs < this.#timerAtMs) this.#arm(delayMs)
  }

  pause(): void {
    this.#deadlineMs = Number.POSITIVE_INFINITY
  }

  stop(): void {
    this.#isStopped = true
    this.pause()
    this.#cancel?.()
    this.#cancel = undefined
  }

  #arm(delayMs: number): void {
    this.#cancel?.()
    this.#timerAtMs = this.#clock.nowMs() + delayMs
    this.#cancel = this.#clock.after(delayMs, () => this.#onTimer())
  }

  #onTimer(): void {
    this.#cancel = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
    if (this.#deadlineMs === Number.POSITIVE_INFINITY) return
    // Timers may come a fraction early.
    const leftMs = this.#deadlineMs - this.#clock.nowMs()
    if (leftMs > 1) return this.#arm(leftMs)
    this.stop()
    this.#onExpired()
  }
}
