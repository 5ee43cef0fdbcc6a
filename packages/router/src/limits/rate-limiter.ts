/** Token buckets by key: requests per second with a burst, for a bounded number of keys. */
import type { RateLimitConfig } from '../config/values.ts'

interface Bucket {
  tokens: number
  atMs: number
}

export class RateLimiter {
  readonly #config: RateLimitConfig
  /** In order of last use: a Map keeps the order of insertion. */
  readonly #buckets = new Map<string, Bucket>()

  constructor(config: RateLimitConfig) {
    this.#config = config
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#buckets.size
  }

  /** Takes one token. 0 = the request may go; else the milliseconds until the key has one again. */
  take(key: string, nowMs: number): number {
    const { requests_per_second: rate, burst, keys } = this.#config
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      if (this.#buckets.size >= keys) this.#forgetOldest()
      bucket = { tokens: burst, atMs: nowMs }
    } else {
      this.#buckets.delete(key)
      bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * rate) / 1000)
      bucket.atMs = nowMs
    }
    this.#buckets.set(key, bucket)
    if (bucket.tokens >= 1) {
      bucket.tokens--
      return 0
    }
    return ((1 - bucket.tokens) * 1000) / rate
  }

  #forgetOldest(): void {
    const [oldest] = this.#buckets.keys()
    if (oldest !== undefined) this.#buckets.delete(oldest)
  }
}
