/** Chooses the stream that fills the next packet. */
import type { Stream } from './stream.ts'

/** Orders streams that have something to send. A stream is added once and stays until it is removed. */
export interface StreamScheduler {
  readonly size: number
  add(stream: Stream): void
  /** The stream to write now, undefined when none is queued. Does not change the order. */
  peek(): Stream | undefined
  /** The stream from `peek` has filled its share of a packet; it stays queued. */
  rotate(): void
  /** The stream from `peek` has nothing more to send. */
  remove(): void
}

const COMPACT_AT = 64

/** Every stream in turn, one packet each. */
export class RoundRobinScheduler implements StreamScheduler {
  readonly #queue: Stream[] = []
  #head = 0

  get size(): number {
    return this.#queue.length - this.#head
  }

  add(stream: Stream): void {
    this.#queue.push(stream)
  }

  peek(): Stream | undefined {
    return this.#queue[this.#head]
  }

  rotate(): void {
    if (this.size < 2) return
    this.#queue.push(this.#queue[this.#head] as Stream)
    this.remove()
  }

  remove(): void {
    this.#head++
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0
      this.#head = 0
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#queue.length) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
  }
}
