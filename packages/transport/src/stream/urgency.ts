/** RFC 9218 order: by urgency; within one, streams that are not incremental one after the other, the rest in turn. */
import type { Stream } from './stream.ts'
import { PRIORITIES } from './stream-priority.ts'
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'

/** One urgency: incremental streams share by packets; all others together take one share, which the oldest of them gets. */
class Urgency {
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

/** Within an urgency nobody starves but behind an older non-incremental stream; less urgent ones wait, by design. */
export class UrgencyScheduler implements StreamScheduler {
  readonly #levels: readonly Urgency[] = Array.from({ length: PRIORITIES }, () => new Urgency())
  #size = 0

  get size(): number {
    return this.#size
  }

  get urgency(): number {
    return this.peek()?.priority ?? PRIORITIES
  }

  add(stream: Stream): void {
    this.#levelOf(stream).add(stream)
    this.#size++
  }

  peek(): Stream | undefined {
    return this.#first()?.peek()
  }

  rotate(): void {
    this.#first()?.rotate()
  }

  remove(): void {
    const level = this.#first()
    if (level === undefined) return
    level.remove()
    this.#size--
  }

  take(stream: Stream): void {
    this.#levelOf(stream).take(stream)
    this.#size--
  }

  #levelOf(stream: Stream): Urgency {
    return this.#levels[stream.priority] as Urgency
  }

  #first(): Urgency | undefined {
    if (this.#size === 0) return undefined
    for (let i = 0; i < PRIORITIES; i++) {
      const level = this.#levels[i] as Urgency
      if (level.size > 0) return level
    }
    return undefined
  }
}
