/** First in, first out, with a bound: what does not fit is counted, never kept. */

/** `push` is constant time, `take` linear in what it takes. */
export class BoundedQueue<T> {
  readonly #max: number
  #items: T[] = []
  #dropped = 0

  constructor(max: number) {
    this.#max = max
  }

  get length(): number {
    return this.#items.length
  }

  /** Items that found no room. */
  get dropped(): number {
    return this.#dropped
  }

  /** False = no room. */
  push(item: T): boolean {
    if (this.#items.length >= this.#max) {
      this.#dropped++
      return false
    }
    this.#items.push(item)
    return true
  }

  /** Removes and returns at most `max` of the oldest items. */
  take(max: number): T[] {
    if (this.#items.length <= max) {
      const all = this.#items
      this.#items = []
      return all
    }
    return this.#items.splice(0, max)
  }

  /** Counts items as dropped that were taken and could not be delivered. */
  giveUp(count: number): void {
    this.#dropped += count
  }
}
