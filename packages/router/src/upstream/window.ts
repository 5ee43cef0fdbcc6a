/** Counts over the last stretch of time, in slices: memory does not grow with the number of events. */

const sliceCount = 10

/** Two counters, `total` and `marked`, over the last `windowMs`. */
export class CountWindow {
  readonly #sliceMs: number
  readonly #totals = new Float64Array(sliceCount)
  readonly #marked = new Float64Array(sliceCount)
  #newest = 0

  constructor(windowMs: number) {
    this.#sliceMs = windowMs / sliceCount
  }

  add(nowMs: number, isMarked: boolean): void {
    this.#turn(nowMs)
    const at = this.#newest % sliceCount
    this.#totals[at] = (this.#totals[at] ?? 0) + 1
    if (isMarked) this.#marked[at] = (this.#marked[at] ?? 0) + 1
  }

  total(nowMs: number): number {
    this.#turn(nowMs)
    return this.#totals.reduce((sum, value) => sum + value, 0)
  }

  marked(nowMs: number): number {
    this.#turn(nowMs)
    return this.#marked.reduce((sum, value) => sum + value, 0)
  }

  clear(): void {
    this.#totals.fill(0)
    this.#marked.fill(0)
  }

  /** Empties the slices that time has left behind. */
  #turn(nowMs: number): void {
    const slice = Math.floor(nowMs / this.#sliceMs)
    const passed = Math.min(slice - this.#newest, sliceCount)
    for (let at = 0; at < passed; at++) {
      const cleared = (slice - at) % sliceCount
      this.#totals[cleared] = 0
      this.#marked[cleared] = 0
    }
    if (slice > this.#newest) this.#newest = slice
  }
}
