/** A service as a pool of addresses: admission, choice, repetition, and what each outcome says about an address. */
import type { Clock } from '../clock.ts'
import type { ServiceConfig } from '../config/schema.ts'
import { upstreamsOf } from '../config/service-schema.ts'
import { attempt } from './attempt.ts'
import { pickTarget } from './balancer.ts'
import { type Admission, type BreakerState, CircuitBreaker } from './breaker.ts'
import type { UpstreamClient, UpstreamRequest, UpstreamResponse, UpstreamStats } from './client.ts'
import { createClient } from './create-client.ts'
import { toUpstreamFailure, UpstreamFailure } from './failure.ts'
import { HealthChecker } from './health-checker.ts'
import { RetryBudget } from './retry-budget.ts'
import { Target, type TargetState } from './target.ts'

export interface PoolRequest extends UpstreamRequest {
  /** What `balance = "hash"` goes by. */
  readonly hashKey: string
  readonly onRequestEnded: () => void
}

export interface PoolOptions {
  readonly clock: Clock
  /** An address went out or came back. */
  readonly onTargetChange?: ((service: string, target: TargetState) => void) | undefined
  /** For tests: the client of an address. */
  readonly createClient?: (config: ServiceConfig, url: string) => UpstreamClient
  readonly random?: () => number
}

export interface PoolStats extends UpstreamStats {
  readonly targets: readonly (TargetState & UpstreamStats)[]
  readonly breaker: BreakerState
  /** Requests repeated, refused because too many ran or the circuit was open, refused because no address was well. */
  readonly retries: number
  readonly refused: number
}

/** RFC 9110 §9.2.1 */
const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
/** Answers of proxies and overloaded services: the address did not do its work. */
const failureStatuses: ReadonlySet<number> = new Set([502, 503, 504])

export class UpstreamPool {
  readonly config: ServiceConfig
  readonly #options: PoolOptions
  readonly #targets: readonly Target[]
  readonly #basePath: string
  readonly #breaker: CircuitBreaker | undefined
  readonly #budget: RetryBudget
  readonly #health: HealthChecker | undefined
  #running = 0
  #retries = 0
  #refused = 0

  /** Throws `UserError` when a file that the service names cannot be read. */
  constructor(config: ServiceConfig, options: PoolOptions) {
    this.config = config
    this.#options = options
    const make = options.createClient ?? createClient
    this.#targets = upstreamsOf(config).map(({ url, weight }) => new Target(url, weight, make(config, url)))
    this.#basePath = new URL(this.#targets[0]?.url ?? 'http://h').pathname.replace(/\/+$/u, '')
    this.#breaker = config.breaker === undefined ? undefined : new CircuitBreaker(config.breaker)
    this.#budget = new RetryBudget(config.retry)
    this.#health =
      config.health === undefined
        ? undefined
        : new HealthChecker({
            targets: this.#targets,
            config: config.health,
            clock: options.clock,
            basePath: this.#basePath,
            onChange: (target) => this.#tellChange(target),
          })
  }

  /** Starts the health checks. */
  start(): void {
    this.#health?.start()
  }

  /** Throws `UpstreamFailure`; an abort by `signal` throws the signal's reason. */
  async exchange(request: PoolRequest): Promise<UpstreamResponse> {
    const { clock } = this.#options
    const admission = this.#admit(clock.nowMs())
    this.#running++
    this.#budget.onRequest(clock.nowMs())
    let isReleased = false
    const release = (outcome: 'success' | 'failure' | undefined): void => {
      if (isReleased) return
      isReleased = true
      this.#running--
      this.#breaker?.onResult(admission, outcome, clock.nowMs())
    }
    try {
      return await this.#exchangeRepeatedly(request, release)
    } catch (error) {
      release(error instanceof UpstreamFailure && !error.isOurs ? 'failure' : undefined)
      throw error
    }
  }

  stats(): PoolStats {
    const nowMs = this.#options.clock.nowMs()
    const targets = this.#targets.map((target) => ({ ...target.state(nowMs), ...target.client.stats() }))
    const sum = (pick: (stats: UpstreamStats) => number): number =>
      targets.reduce((total, target) => total + pick(target), 0)
    return {
      connected: sum((stats) => stats.connected),
      running: sum((stats) => stats.running),
      queued: sum((stats) => stats.queued),
      targets,
      breaker: this.#breaker?.state(nowMs) ?? 'closed',
      retries: this.#retries,
      refused: this.#refused,
    }
  }

  /** Breaks off what still runs. */
  async close(): Promise<void> {
    this.#health?.stop()
    await Promise.all(this.#targets.map(({ client }) => client.close()))
  }

  #admit(nowMs: number): Admission {
    const { name, max_requests: requestsMax } = this.config
    if (this.#running >= requestsMax) {
      this.#refused++
      const text = `service "${name}" has ${requestsMax} requests already, the most it is given at once`
      throw new UpstreamFailure(503, 'overloaded', text, { isOurs: true, retryAfterSeconds: 1 })
    }
    const admission = this.#breaker?.admit(nowMs) ?? 'normal'
    if (admission !== 'refused') return admission
    this.#refused++
    const retryAfterSeconds = Math.max(1, Math.ceil((this.#breaker?.retryAfterMs(nowMs) ?? 0) / 1000))
    const text = `service "${name}" has failed too often; it is asked again in a while`
    throw new UpstreamFailure(503, 'circuit-open', text, { isOurs: true, retryAfterSeconds })
  }

  async #exchangeRepeatedly(
    request: PoolRequest,
    release: (outcome: 'success' | 'failure' | undefined) => void,
  ): Promise<UpstreamResponse> {
    const tried = new Set<Target>()
    const isSafe = safeMethods.has(request.method) && request.body === null && request.protocol === undefined
    let isTouched = false
    for (let repetition = 0; ; repetition++) {
      const target = this.#pick(request.hashKey, tried)
      tried.add(target)
      const isLast = repetition >= this.config.retry.attempts
      try {
        const response = await this.#attemptOn(target, request, release, () => {
          isTouched = true
        })
        const mayRepeat = !isLast && isSafe && this.config.retry.statuses.includes(response.status)
        if (!mayRepeat || !this.#budget.take(this.#options.clock.nowMs())) return response.keep()
        response.drop()
      } catch (error) {
        if (request.signal.aborted) throw request.signal.reason
        const failure = toUpstreamFailure(error, this.config.name, target.url)
        if (isLast || isTouched || !this.#mayRepeat(failure, isSafe, tried)) throw failure
        if (!this.#budget.take(this.#options.clock.nowMs())) throw failure
      }
      this.#retries++
    }
  }

  #mayRepeat(failure: UpstreamFailure, isSafe: boolean, tried: ReadonlySet<Target>): boolean {
    switch (failure.repetition) {
      case 'anywhere':
        return true
      case 'elsewhere':
        return this.#usable(this.#options.clock.nowMs()).some((target) => !tried.has(target))
      case 'if-safe':
        return isSafe
      case 'never':
        return false
    }
  }

  #pick(hashKey: string, tried: ReadonlySet<Target>): Target {
    const nowMs = this.#options.clock.nowMs()
    const usable = this.#usable(nowMs)
    const fresh = tried.size === 0 ? usable : usable.filter((target) => !tried.has(target))
    const from = fresh.length > 0 ? fresh : usable
    const random = this.#options.random ?? Math.random
    const target = from.length > 1 ? pickTarget(this.config.balance, from, hashKey, random) : from[0]
    if (target !== undefined) return target
    this.#refused++
    const problem = this.#targets.map((each) => each.state(nowMs).problem).find((text) => text !== undefined)
    const text = `no address of service "${this.config.name}" is well: ${problem ?? 'unknown'}`
    throw new UpstreamFailure(503, 'no-healthy-upstream', text, { retryAfterSeconds: 1 })
  }

  #usable(nowMs: number): readonly Target[] {
    return this.#targets.filter((target) => target.isUsable(nowMs))
  }

  async #attemptOn(
    target: Target,
    request: PoolRequest,
    release: (outcome: 'success' | 'failure' | undefined) => void,
    onBodyTouched: () => void,
  ): Promise<KeptResponse> {
    let isKept = false
    let status: number | undefined
    target.active++
    const response = await attempt(
      { ...request, target: `${this.#basePath}${request.target}` },
      {
        client: target.client,
        config: this.config,
        url: target.url,
        clock: this.#options.clock,
        onBodyTouched,
        onRequestEnded: request.onRequestEnded,
        onOver: (error) => {
          target.active--
          const outcome = this.#judge(target, error, status, request.signal)
          if (isKept) release(outcome)
        },
      },
    )
    status = response.status
    return {
      status,
      keep: () => {
        isKept = true
        return response
      },
      drop: () => response.discard(),
    }
  }

  /** What the end of a request says about the address. */
  #judge(
    target: Target,
    error: unknown,
    status: number | undefined,
    signal: AbortSignal,
  ): 'success' | 'failure' | undefined {
    if (error !== undefined) {
      if (signal.aborted || (error instanceof UpstreamFailure && error.isOurs)) return undefined
      this.#onFailure(target, toUpstreamFailure(error, this.config.name, target.url).message)
      return 'failure'
    }
    if (status !== undefined && failureStatuses.has(status)) {
      this.#onFailure(target, `status ${status}`)
      return 'failure'
    }
    target.onSuccess()
    return 'success'
  }

  #onFailure(target: Target, problem: string): void {
    const nowMs = this.#options.clock.nowMs()
    const { outlier } = this.config
    const ejected = this.#targets.filter((each) => each.isEjected(nowMs)).length
    const mayEject = (ejected + 1) * 100 <= this.#targets.length * outlier.max_ejected_percent
    if (target.onFailure(problem, outlier, nowMs, mayEject)) this.#tellChange(target)
  }

  #tellChange(target: Target): void {
    this.#options.onTargetChange?.(this.config.name, target.state(this.#options.clock.nowMs()))
  }
}

interface KeptResponse {
  readonly status: number
  /** Goes to the client: its end is the end of the request. */
  keep(): UpstreamResponse
  /** Is thrown away in favour of a repetition. */
  drop(): void
}
