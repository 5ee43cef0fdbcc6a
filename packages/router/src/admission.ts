/** What a request must pass before it is sent on: rate limits of the router and of its service, size, early data. */
import type { RouterConfig, ServiceConfig } from './config/schema.ts'
import type { ExchangeRequest } from './exchange.ts'
import { keyOf, type KeyedRequest } from './limits/request-key.ts'
import { RateLimiter } from './limits/rate-limiter.ts'
import { UpstreamFailure } from './upstream/failure.ts'

type RateLimits = Pick<RouterConfig['router'], 'rate_limit'>

/** Rate limits of one configuration. */
export class Admission {
  readonly #router: RateLimits
  readonly #limiter: RateLimiter | undefined
  readonly #perService = new Map<string, RateLimiter>()

  constructor(router: RateLimits, services: readonly ServiceConfig[]) {
    this.#router = router
    this.#limiter = router.rate_limit === undefined ? undefined : new RateLimiter(router.rate_limit)
    for (const { name, rate_limit: limit } of services) {
      if (limit !== undefined) this.#perService.set(name, new RateLimiter(limit))
    }
  }

  /** Throws `UpstreamFailure` (429) when the client has used up its rate. */
  checkRouter(request: KeyedRequest, nowMs: number): void {
    const limit = this.#router.rate_limit
    if (this.#limiter !== undefined && limit !== undefined) {
      refuseIf(this.#limiter.take(keyOf(limit.key, request), nowMs), limit.requests_per_second, 'here')
    }
  }

  /** The same for one service. */
  checkService(service: ServiceConfig, request: KeyedRequest, nowMs: number): void {
    const limiter = this.#perService.get(service.name)
    const limit = service.rate_limit
    if (limiter === undefined || limit === undefined) return
    refuseIf(limiter.take(keyOf(limit.key, request), nowMs), limit.requests_per_second, `to service "${service.name}"`)
  }
}

function refuseIf(waitMs: number, perSecond: number, where: string): void {
  if (waitMs <= 0) return
  const text = `more than ${perSecond} requests per second ${where}`
  // RFC 6585 §4: the answer may say how long to wait.
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000))
  throw new UpstreamFailure(429, 'rate-limited', text, { isOurs: true, retryAfterSeconds })
}

/** Throws `UpstreamFailure` (413) when the announced length is above the service's limit. */
export function checkLength(request: ExchangeRequest, service: ServiceConfig): void {
  const length = request.headers.find(([name]) => name === 'content-length')?.[1]
  if (service.max_body_bytes === 0 || length === undefined) return
  if (Number(length) > service.max_body_bytes) throw tooLarge(service)
}

/** The body went over the service's limit while it came. */
export function tooLarge(service: ServiceConfig): UpstreamFailure {
  const text = `service "${service.name}" takes request bodies of at most ${service.max_body_bytes} bytes`
  return new UpstreamFailure(413, 'body-too-large', text, { isOurs: true })
}

/** The client left its request body unfinished, or does not take its response. */
export function clientSilent(silenceMs: number): UpstreamFailure {
  const text = `the client neither sent nor took anything for ${silenceMs} ms`
  return new UpstreamFailure(408, 'client-timeout', text, { isOurs: true })
}
