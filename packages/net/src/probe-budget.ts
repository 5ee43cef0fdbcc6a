/** A token bucket for attempts to open paths: a link that flaps must not make us probe without end. */

const MINUTE_MS = 60_000
/** Attempts that may be made at once. */
const BURST = 8

export class ProbeBudget {
  readonly #everyMs: number
  readonly #burst: number
  #tokens: number
  #filledAtMs: number

  constructor(perMinute: number, nowMs: number) {
    this.#everyMs = MINUTE_MS / perMinute
    this.#burst = Math.min(BURST, Math.max(1, Math.floor(perMinute)))
    this.#tokens = this.#burst
    this.#filledAtMs = nowMs
  }

  /** Takes an attempt; false when none is left now. */
  take(nowMs: number): boolean {
    this.#fill(nowMs)
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** When the next attempt is allowed. */
  nextAtMs(nowMs: number): number {
    this.#fill(nowMs)
    return this.#tokens >= 1 ? nowMs : this.#filledAtMs + this.#everyMs
  }

  #fill(nowMs: number): void {
    const fresh = Math.floor((nowMs - this.#filledAtMs) / this.#everyMs)
    if (fresh <= 0) return
    this.#tokens = Math.min(this.#burst, this.#tokens + fresh)
    this.#filledAtMs = this.#tokens === this.#burst ? nowMs : this.#filledAtMs + fresh * this.#everyMs
  }
}
