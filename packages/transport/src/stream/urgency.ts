/** RFC 9218 order within one urgency: streams that are not incremental one after the other, the rest in turn. */
import type { Stream } from './stream.ts'
import { RoundRobinScheduler } from './stream-scheduler.ts'
import type { PriorityLevel } from './strict-priority.ts'

/**
 * Incremental streams share by packets; all others together take one share, which the oldest of them gets. Nobody starves
 * but behind an older stream that is not incremental.
 */
export class Urgency implements PriorityLevel {
  readonly #incremental = new RoundRobinScheduler()
  /** By stream ID. RFC 9218 §10: "in the order of request generation", which stream IDs follow. */
  readonly #sequential: Stream[] = []
  #isSequentialNext = true

  get size(): number {
    return this.#incremental.size + this.#sequential.length
  }

  add(stream: Stream): void {
    if (stream.isIncremental) return this.#incremental.add(stream)
    let at = this.#sequential.length
    while (at > 0 && (this.#sequential[at - 1] as Stream).id > stream.id) at--
    this.#sequential.splice(at, 0, stream)
  }

  peek(): Stream | undefined {
    return this.#servesSequential() ? this.#sequential[0] : this.#incremental.peek()
  }

  rotate(): void {
    if (!this.#servesSequential()) this.#incremental.rotate()
    this.#isSequentialNext = !this.#isSequentialNext
  }

  remove(): void {
    if (this.#servesSequential()) this.#sequential.shift()
    else this.#incremental.remove()
  }

  take(stream: Stream): void {
    const index = this.#sequential.indexOf(stream)
    if (index >= 0) this.#sequential.splice(index, 1)
    else this.#incremental.take(stream)
  }

  #servesSequential(): boolean {
    return this.#sequential.length > 0 && (this.#isSequentialNext || this.#incremental.size === 0)
  }
}
