/** Strict priority: the most urgent streams in turn; the others wait until those have nothing to send. */
import type { Stream } from './stream.ts'
import { PRIORITIES } from './stream-priority.ts'
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'

/** Within a priority nobody starves; across priorities the less urgent wait as long as it takes, by design. */
export class StrictPriorityScheduler implements StreamScheduler {
  readonly #queues: readonly RoundRobinScheduler[] = Array.from({ length: PRIORITIES }, () => new RoundRobinScheduler())
  #size = 0

  get size(): number {
    return this.#size
  }

  get urgency(): number {
    return this.peek()?.priority ?? PRIORITIES
  }

  add(stream: Stream): void {
    this.#queueOf(stream).add(stream)
    this.#size++
  }

  peek(): Stream | undefined {
    return this.#first()?.peek()
  }

  rotate(): void {
    this.#first()?.rotate()
  }

  remove(): void {
    const queue = this.#first()
    if (queue === undefined) return
    queue.remove()
    this.#size--
  }

  take(stream: Stream): void {
    this.#queueOf(stream).take(stream)
    this.#size--
  }

  #queueOf(stream: Stream): RoundRobinScheduler {
    return this.#queues[stream.priority] as RoundRobinScheduler
  }

  #first(): RoundRobinScheduler | undefined {
    if (this.#size === 0) return undefined
    for (let i = 0; i < PRIORITIES; i++) {
      const queue = this.#queues[i] as RoundRobinScheduler
      if (queue.size > 0) return queue
    }
    return undefined
  }
}
