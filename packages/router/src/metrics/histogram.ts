/** A histogram with fixed bounds: exact counts in constant memory, as Prometheus wants them. */

/** Upper bounds in seconds for durations of requests. */
export const durationBoundsSeconds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const

export interface HistogramSnapshot {
  readonly bounds: readonly number[]
  /** Values at or below each bound, all smaller ones included; the last one, for +Inf, is `count`. */
  readonly cumulative: readonly number[]
  readonly sum: number
  readonly count: number
}

/** Counts values by ascending upper bounds. */
export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = new Array<number>(bounds.length + 1).fill(0)
  }

  add(value: number): void {
    let at = 0
    while (at < this.#bounds.length && value > (this.#bounds[at] ?? 0)) at++
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    this.#sum += value
  }

  snapshot(): HistogramSnapshot {
    const cumulative: number[] = []
    let count = 0
    for (const bucket of this.#counts) {
      count += bucket
      cumulative.push(count)
    }
    return { bounds: this.#bounds, cumulative, sum: this.#sum, count }
  }
}
