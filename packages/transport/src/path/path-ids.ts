/** Path IDs that are over: never used again (RFC 10069 §3.4), remembered in as many ranges as there are live paths. */
import { RangeSet } from '../ranges.ts'

export class PathIds {
  readonly #over: RangeSet = new RangeSet()

  end(id: number): void {
    this.#over.add(id, id + 1)
  }

  isOver(id: number): boolean {
    return this.#over.contains(id)
  }

  /** Smallest path ID from `id` on that is not over. */
  firstFrom(id: number): number {
    const { starts, ends } = this.#over
    let first = id
    for (let i = 0; i < starts.length; i++) {
      if (first >= (starts[i] as number) && first < (ends[i] as number)) first = ends[i] as number
    }
    return first
  }
}
