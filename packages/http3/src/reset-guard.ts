/** Notices a peer that opens requests only to reset them ("rapid reset"): cheap for it, work for us. */
import type { Micros } from '@quicether/transport'

export interface ResetGuardOptions {
  /** Resets in a burst before the connection counts as hostile. */
  readonly burst: number
  /** Resets that are forgiven per second, when a clock is given. */
  readonly refillPerSecond: number
}

export class ResetGuard {
  readonly #options: ResetGuardOptions
  readonly #clock: (() => Micros) | null
  #credit: number
  #refilledAtUs: Micros

  constructor(options: ResetGuardOptions, clock: (() => Micros) | null) {
    this.#options = options
    this.#clock = clock
    this.#credit = options.burst
    this.#refilledAtUs = clock === null ? 0 : clock()
  }

  /** A request ran to its end: one reset more is forgiven. */
  onCompleted(): void {
    this.#credit = Math.min(this.#options.burst, this.#credit + 1)
  }

  /** The peer gave up a request. False = too many: close with H3_EXCESSIVE_LOAD. */
  onReset(): boolean {
    if (this.#clock !== null) {
      const nowUs = this.#clock()
      const earned = ((nowUs - this.#refilledAtUs) / 1_000_000) * this.#options.refillPerSecond
      this.#credit = Math.min(this.#options.burst, this.#credit + earned)
      this.#refilledAtUs = nowUs
    }
    this.#credit--
    return this.#credit >= 0
  }
}
