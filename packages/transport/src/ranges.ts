/** A sorted set of half-open integer ranges, merged on insertion. Fast where protocols are: at the upper end. */

export class RangeSet {
  /** Ascending and disjoint; `starts[i] < ends[i] < starts[i + 1]`. */
  readonly starts: number[] = []
  readonly ends: number[] = []

  get count(): number {
    return this.starts.length
  }

  isEmpty(): boolean {
    return this.starts.length === 0
  }

  clear(): void {
    this.starts.length = 0
    this.ends.length = 0
  }

  /** Adds `[start, end)`; returns how many integers were new. */
  add(start: number, end: number): number {
    if (start >= end) return 0
    const { starts, ends } = this
    const last = starts.length - 1
    if (last < 0 || start > (ends[last] as number)) {
      starts.push(start)
      ends.push(end)
      return end - start
    }
    if (start === ends[last]) {
      ends[last] = end
      return end - start
    }
    return this.#merge(start, end)
  }

  #merge(start: number, end: number): number {
    const { starts, ends } = this
    const from = this.#firstEndingAtOrAfter(start)
    let to = from
    let added = end - start
    let mergedStart = start
    let mergedEnd = end
    while (to < starts.length && (starts[to] as number) <= end) {
      const s = starts[to] as number
      const e = ends[to] as number
      added -= Math.max(0, Math.min(e, end) - Math.max(s, start))
      mergedStart = Math.min(mergedStart, s)
      mergedEnd = Math.max(mergedEnd, e)
      to++
    }
    starts.splice(from, to - from, mergedStart)
    ends.splice(from, to - from, mergedEnd)
    return added
  }

  /** Removes `[start, end)` from the set. */
  remove(start: number, end: number): void {
    if (start >= end) return
    const { starts, ends } = this
    let i = this.#firstEndingAtOrAfter(start + 1)
    while (i < starts.length && (starts[i] as number) < end) {
      const s = starts[i] as number
      const e = ends[i] as number
      if (s < start && e > end) {
        ends[i] = start
        starts.splice(i + 1, 0, end)
        ends.splice(i + 1, 0, e)
        return
      }
      if (s < start) {
        ends[i] = start
        i++
      } else if (e > end) {
        starts[i] = end
        return
      } else {
        starts.splice(i, 1)
        ends.splice(i, 1)
      }
    }
  }

  contains(value: number): boolean {
    const i = this.#firstEndingAtOrAfter(value + 1)
    return i < this.starts.length && (this.starts[i] as number) <= value
  }

  /** Index of the first range whose end is >= `value`. */
  #firstEndingAtOrAfter(value: number): number {
    const { ends } = this
    let low = 0
    let high = ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((ends[middle] as number) < value) low = middle + 1
      else high = middle
    }
    return low
  }

  /** End of the range that starts at or before `from` and reaches beyond it; `from` itself when there is none. */
  contiguousEnd(from: number): number {
    const i = this.#firstEndingAtOrAfter(from + 1)
    if (i < this.starts.length && (this.starts[i] as number) <= from) return this.ends[i] as number
    return from
  }
}
