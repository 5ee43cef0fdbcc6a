/** One address of a pool with what is known about its state: running requests, health, ejection. */
import type { HealthConfig, OutlierConfig } from '../config/service-schema.ts'
import type { UpstreamClient } from './client.ts'

/** Ejections in a row make the next ones longer, up to so many times. */
const ejectionFactorMax = 10

export interface TargetState {
  readonly url: string
  readonly weight: number
  readonly active: number
  readonly isHealthy: boolean
  readonly isEjected: boolean
  /** Why it is out, when it is. */
  readonly problem: string | undefined
}

export class Target {
  readonly url: string
  readonly weight: number
  readonly client: UpstreamClient
  /** Requests that run there. */
  active = 0
  /** Of smooth weighted round-robin. */
  currentWeight = 0
  #isHealthy = true
  #goodInARow = 0
  #badInARow = 0
  #failuresInARow = 0
  #ejections = 0
  #ejectedUntilMs = Number.NEGATIVE_INFINITY
  #problem: string | undefined

  constructor(url: string, weight: number, client: UpstreamClient) {
    this.url = url
    this.weight = weight
    this.client = client
  }

  /** Whether requests should go there now. */
  isUsable(nowMs: number): boolean {
    return this.#isHealthy && nowMs >= this.#ejectedUntilMs
  }

  get isHealthy(): boolean {
    return this.#isHealthy
  }

  isEjected(nowMs: number): boolean {
    return nowMs < this.#ejectedUntilMs
  }

  /** An active check has an answer; `problem` says what was wrong with it. True = the state changed. */
  onChecked(problem: string | undefined, config: HealthConfig): boolean {
    const wasHealthy = this.#isHealthy
    if (problem === undefined) {
      this.#goodInARow++
      this.#badInARow = 0
      if (!wasHealthy && this.#goodInARow >= config.healthy_after) this.#isHealthy = true
    } else {
      this.#badInARow++
      this.#goodInARow = 0
      this.#problem = problem
      if (wasHealthy && this.#badInARow >= config.unhealthy_after) this.#isHealthy = false
    }
    return this.#isHealthy !== wasHealthy
  }

  onSuccess(): void {
    this.#failuresInARow = 0
    this.#ejections = 0
  }

  /** A request failed there. True = that is enough for an ejection, if `mayEject`. */
  onFailure(problem: string, config: OutlierConfig, nowMs: number, mayEject: boolean): boolean {
    this.#failuresInARow++
    if (this.#failuresInARow < config.failures || !mayEject || this.isEjected(nowMs)) return false
    this.#ejections = Math.min(this.#ejections + 1, ejectionFactorMax)
    this.#ejectedUntilMs = nowMs + config.ejection_ms * this.#ejections
    this.#failuresInARow = 0
    this.#problem = problem
    return true
  }

  state(nowMs: number): TargetState {
    const isUsable = this.isUsable(nowMs)
    return {
      url: this.url,
      weight: this.weight,
      active: this.active,
      isHealthy: this.#isHealthy,
      isEjected: this.isEjected(nowMs),
      problem: isUsable ? undefined : this.#problem,
    }
  }
}
