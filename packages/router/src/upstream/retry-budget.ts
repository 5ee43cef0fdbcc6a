/** How many requests may be repeated: a share of what comes in, so that repetitions cannot bury a service that is down. */
import type { RetryConfig } from '../config/service-schema.ts'
import { CountWindow } from './window.ts'

const windowMs = 10_000

export class RetryBudget {
  readonly #config: RetryConfig
  readonly #requests = new CountWindow(windowMs)
  readonly #repetitions = new CountWindow(windowMs)

  constructor(config: RetryConfig) {
    this.#config = config
  }

  onRequest(nowMs: number): void {
    this.#requests.add(nowMs, false)
  }

  /** Takes one repetition out of the budget, if there is one. */
  take(nowMs: number): boolean {
    const allowed = Math.max(this.#config.budget_min, (this.#requests.total(nowMs) * this.#config.budget_percent) / 100)
    if (this.#repetitions.total(nowMs) + 1 > allowed) return false
    this.#repetitions.add(nowMs, false)
    return true
  }
}
