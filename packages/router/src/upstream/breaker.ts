/** Circuit breaker of a service: closed while it works, open for a while when too much fails, then one request at a time. */
import type { BreakerConfig } from '../config/service-schema.ts'
import { CountWindow } from './window.ts'

export type BreakerState = 'closed' | 'open' | 'half-open'

/** `trial` = the one request that finds out whether the service is back. */
export type Admission = 'normal' | 'trial' | 'refused'

export class CircuitBreaker {
  readonly #config: BreakerConfig
  readonly #window: CountWindow
  #state: BreakerState = 'closed'
  #openUntilMs = 0
  #isTrying = false

  constructor(config: BreakerConfig) {
    this.#config = config
    this.#window = new CountWindow(config.window_ms)
  }

  state(nowMs: number): BreakerState {
    if (this.#state === 'open' && nowMs >= this.#openUntilMs) return 'half-open'
    return this.#state
  }

  /** Milliseconds until the next request may try; 0 = now. */
  retryAfterMs(nowMs: number): number {
    return this.#state === 'closed' ? 0 : Math.max(0, this.#openUntilMs - nowMs)
  }

  /** Whether a request may go. Each one that may is followed by one `onResult`. */
  admit(nowMs: number): Admission {
    const state = this.state(nowMs)
    if (state === 'closed') return 'normal'
    if (state === 'open' || this.#isTrying) return 'refused'
    this.#state = 'half-open'
    this.#isTrying = true
    return 'trial'
  }

  /** `outcome` undefined = the request said nothing about the service, e.g. because the client left. */
  onResult(admission: Admission, outcome: 'success' | 'failure' | undefined, nowMs: number): void {
    if (admission === 'trial') {
      this.#isTrying = false
      if (outcome === 'success') this.#close()
      else if (outcome === 'failure') this.#open(nowMs)
      return
    }
    // Late results of requests from before the circuit opened change nothing.
    if (outcome === undefined || this.#state !== 'closed') return
    this.#window.add(nowMs, outcome === 'failure')
    const total = this.#window.total(nowMs)
    const isEnough = total >= this.#config.min_requests
    if (isEnough && this.#window.marked(nowMs) * 100 >= total * this.#config.failure_percent) this.#open(nowMs)
  }

  #open(nowMs: number): void {
    this.#state = 'open'
    this.#openUntilMs = nowMs + this.#config.open_ms
  }

  #close(): void {
    this.#state = 'closed'
    this.#window.clear()
  }
}
