/** The proxy that takes new exchanges, and earlier ones that finish what they began before a reload. */
import type { ExchangeRequest, ExchangeResponse } from '../exchange.ts'
import type { ExchangeOrigin, StreamProxy } from '../proxy.ts'

interface Generation {
  readonly proxy: StreamProxy
  running: number
}

/** `replace` never cuts an exchange: a replaced proxy is closed when its last one has ended. */
export class Generations {
  #current: Generation
  readonly #retired = new Set<Generation>()

  constructor(first: StreamProxy) {
    this.#current = { proxy: first, running: 0 }
  }

  /** Proxies of earlier configurations that still carry exchanges. */
  get retiredCount(): number {
    return this.#retired.size
  }

  /** Answers one request; never rejects. */
  async handle(request: ExchangeRequest, response: ExchangeResponse, origin: ExchangeOrigin): Promise<void> {
    const generation = this.#current
    generation.running++
    try {
      await generation.proxy.handle(request, response, origin)
    } finally {
      generation.running--
      if (generation.running === 0 && this.#retired.delete(generation)) void generation.proxy.close()
    }
  }

  /** New exchanges go to `next` from now on. */
  replace(next: StreamProxy): void {
    const old = this.#current
    this.#current = { proxy: next, running: 0 }
    if (old.running > 0) this.#retired.add(old)
    else void old.proxy.close()
  }

  upstreamStats(): ReturnType<StreamProxy['upstreamStats']> {
    return this.#current.proxy.upstreamStats()
  }

  async close(): Promise<void> {
    await Promise.all([this.#current, ...this.#retired].map((generation) => generation.proxy.close()))
  }
}
