/** The contract of stream schedulers, which choose the stream that fills the next packet, and the plainest of them. */
import type { Stream } from './stream.ts'
import { DEFAULT_PRIORITY } from './stream-priority.ts'

/**
 * Orders streams that have something to send. A stream is added once and stays until it is removed or taken out; its
 * priority, weight and incremental flag do not change meanwhile.
 */
export interface StreamScheduler {
  readonly size: number
  add(stream: Stream): void
  /** The stream to write now, undefined when none is queued. Does not change the order. */
  peek(): Stream | undefined
  /** The stream from `peek` has filled its share of a packet; it stays queued. */
  rotate(): void
  /** The stream from `peek` has nothing more to send. */
  remove(): void
  /** Takes `stream`, which is queued, out wherever it stands; may take time in proportion to `size`. */
  take(stream: Stream): void
  /** Priority of the stream from `peek`, the same for all where priorities do not count; compares queues with each other. */
  readonly urgency: number
}

const COMPACT_AT = 64

/** Every stream in turn, one packet each; priorities do not count. */
export class RoundRobinScheduler implements StreamScheduler {
  readonly #queue: Stream[] = []
  #head = 0

  get size(): number {
    return this.#queue.length - this.#head
  }

  get urgency(): number {
    return DEFAULT_PRIORITY
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

  /** Takes a stream out wherever it stands; its place in time is linear in the length of the queue. */
  take(stream: Stream): void {
    const index = this.#queue.indexOf(stream, this.#head)
    if (index === this.#head) this.remove()
    else if (index > 0) this.#queue.splice(index, 1)
  }
}
