/** Strict priority: the most urgent streams first; the others wait until those have nothing to send. */
import type { Stream } from './stream.ts'
import { PRIORITIES } from './stream-priority.ts'
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'

/** The streams of one priority, in an order of their own. */
export type PriorityLevel = Omit<StreamScheduler, 'urgency'>

/** Across priorities the less urgent wait as long as it takes, by design; within one, `createLevel` makes the order. */
export class StrictPriorityScheduler implements StreamScheduler {
  readonly #levels: readonly PriorityLevel[]
  #size = 0

  /** By default the streams of one priority take turns. */
  constructor(createLevel: () => PriorityLevel = () => new RoundRobinScheduler()) {
    this.#levels = Array.from({ length: PRIORITIES }, createLevel)
  }

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

  #levelOf(stream: Stream): PriorityLevel {
    return this.#levels[stream.priority] as PriorityLevel
  }

  #first(): PriorityLevel | undefined {
    if (this.#size === 0) return undefined
    for (let i = 0; i < PRIORITIES; i++) {
      const level = this.#levels[i] as PriorityLevel
      if (level.size > 0) return level
    }
    return undefined
  }
}
