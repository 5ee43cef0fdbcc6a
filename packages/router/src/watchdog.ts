/** A deadline that moves often: one timer for all its moves. */
import type { Clock } from './clock.ts'

/** A timer that comes later than this was held up by this process, and so perhaps was what it waited for. */
const lateMs = 20
/** Time to take in what has arrived meanwhile. */
const excuseMs = 20

export class Watchdog {
  readonly #clock: Clock
  readonly #onExpired: () => void
  #deadlineMs = Number.POSITIVE_INFINITY
  #timerAtMs = Number.POSITIVE_INFINITY
  #cancel: (() => void) | undefined
  #isStopped = false
  #isExcused = false

  constructor(clock: Clock, onExpired: () => void) {
    this.#clock = clock
    this.#onExpired = onExpired
  }

  /** Expires `delayMs` from now unless fed again, paused or stopped. */
  feed(delayMs: number): void {
    if (this.#isStopped) return
    this.#deadlineMs = this.#clock.nowMs() + delayMs
    this.#isExcused = false
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
    const nowMs = this.#clock.nowMs()
    const byMs = nowMs - this.#timerAtMs
    this.#cancel = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
    if (this.#deadlineMs === Number.POSITIVE_INFINITY) return
    // Timers may come a fraction early.
    const leftMs = this.#deadlineMs - nowMs
    if (leftMs > 1) return this.#arm(leftMs)
    if (byMs > lateMs && !this.#isExcused) {
      this.#isExcused = true
      return this.#arm(excuseMs)
    }
    this.stop()
    this.#onExpired()
  }
}
