/** Count, extremes, mean and quantiles of a series of any length, in bounded memory. */

export interface DistributionSummary {
  readonly count: number
  readonly min: number
  readonly mean: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** Values kept for the quantiles; beyond that a uniform random sample of all values stands for them. */
const reservoirMax = 2_048

/** Count, minimum, maximum and mean are exact; quantiles are exact up to 2,048 values and sampled beyond. */
export class Distribution {
  readonly #reservoir: number[] = []
  #count = 0
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  add(value: number): void {
    this.#count++
    this.#sum += value
    this.#min = Math.min(this.#min, value)
    this.#max = Math.max(this.#max, value)
    if (this.#reservoir.length < reservoirMax) {
      this.#reservoir.push(value)
      return
    }
    const slot = Math.floor(Math.random() * this.#count)
    if (slot < reservoirMax) this.#reservoir[slot] = value
  }

  /** Undefined when nothing was added. Quantiles are nearest-rank. */
  summary(): DistributionSummary | undefined {
    if (this.#count === 0) return undefined
    const sorted = [...this.#reservoir].sort((a, b) => a - b)
    const quantile = (q: number): number => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0
    return {
      count: this.#count,
      min: round(this.#min),
      mean: round(this.#sum / this.#count),
      p50: round(quantile(0.5)),
      p95: round(quantile(0.95)),
      p99: round(quantile(0.99)),
      max: round(this.#max),
    }
  }
}

/** Three decimals: microseconds when the unit is milliseconds. */
export function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
