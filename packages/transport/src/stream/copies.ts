/** Stream data sent on one path that is to be repeated on others: what redundant sending and reinjection owe each path. */
import type { PathId } from '../events.ts'

/** Ranges owed to one path; the oldest go when it lags behind by more: by then they have arrived elsewhere. */
export const COPIES_MAX = 1_024
const WORDS = 3

/** First in, first out: stream, offset, length and FIN of each range, in a ring of numbers. */
export class Copies {
  readonly pathId: PathId
  readonly #words: Float64Array = new Float64Array(COPIES_MAX * WORDS)
  #first = 0
  #next = 0

  constructor(pathId: PathId) {
    this.pathId = pathId
  }

  get size(): number {
    return this.#next - this.#first
  }

  /** `lengthAndFin` as in receipts: length * 2 + fin. */
  push(streamId: number, offset: number, lengthAndFin: number): void {
    if (this.size === COPIES_MAX) this.#first++
    const at = (this.#next % COPIES_MAX) * WORDS
    this.#words[at] = streamId
    this.#words[at + 1] = offset
    this.#words[at + 2] = lengthAndFin
    this.#next++
  }

  get streamId(): number {
    return this.#words[(this.#first % COPIES_MAX) * WORDS] as number
  }

  get offset(): number {
    return this.#words[(this.#first % COPIES_MAX) * WORDS + 1] as number
  }

  get lengthAndFin(): number {
    return this.#words[(this.#first % COPIES_MAX) * WORDS + 2] as number
  }

  /** The first `bytes` of the oldest range are done. */
  trim(bytes: number): void {
    const at = (this.#first % COPIES_MAX) * WORDS
    this.#words[at + 1] = this.offset + bytes
    this.#words[at + 2] = this.lengthAndFin - bytes * 2
  }

  shift(): void {
    this.#first++
  }
}
