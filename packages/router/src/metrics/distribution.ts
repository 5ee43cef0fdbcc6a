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

/** Where a summary came from, so that summaries of several threads can be put together. */
const sources = new WeakMap<DistributionSummary, Distribution>()

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
    const summary = {
      count: this.#count,
      min: round(this.#min),
      mean: round(this.#sum / this.#count),
      p50: round(quantile(0.5)),
      p95: round(quantile(0.95)),
      p99: round(quantile(0.99)),
      max: round(this.#max),
    }
    sources.set(summary, this)
    return summary
  }

  /** What the quantiles of a summary were taken from; undefined for one that was not made here. */
  static sampleOf(summary: DistributionSummary): readonly number[] | undefined {
    const source = sources.get(summary)
    return source === undefined ? undefined : source.#reservoir.slice()
  }
}

/** A summary with the values that its quantiles come from. */
export interface SampledSummary {
  readonly summary: DistributionSummary
  readonly sample: readonly number[]
}

/**
 * The summary of several series together. Each value of a sample stands for as many values as its series has for each of
 * its sample. Undefined when there is nothing.
 */
export function mergeSummaries(parts: readonly SampledSummary[]): DistributionSummary | undefined {
  const counted = parts.filter(({ summary, sample }) => summary.count > 0 && sample.length > 0)
  const count = counted.reduce((sum, { summary }) => sum + summary.count, 0)
  if (count === 0) return undefined
  const weighted = counted.flatMap(({ summary, sample }) =>
    sample.map((value) => ({ value, weight: summary.count / sample.length })),
  )
  weighted.sort((a, b) => a.value - b.value)
  const quantile = (q: number): number => {
    // Weights are fractions: a sum that should be whole may miss it by a hair.
    const rank = q * count - 1e-6
    let below = 0
    for (const { value, weight } of weighted) {
      below += weight
      if (below >= rank) return value
    }
    return weighted.at(-1)?.value ?? 0
  }
  const summaries = counted.map(({ summary }) => summary)
  return {
    count,
    min: Math.min(...summaries.map(({ min }) => min)),
    mean: round(summaries.reduce((sum, { count: each, mean }) => sum + each * mean, 0) / count),
    p50: round(quantile(0.5)),
    p95: round(quantile(0.95)),
    p99: round(quantile(0.99)),
    max: Math.max(...summaries.map(({ max }) => max)),
  }
}

/** Three decimals: microseconds when the unit is milliseconds. */
export function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
