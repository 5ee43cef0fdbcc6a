/** Sharing by weight: streams with something to send get bytes in proportion to their weights (deficit round robin). */
import type { Stream } from './stream.ts'
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'

/** Bytes per round for each unit of weight; small rounds keep shares exact over short spans. */
const QUANTUM_BYTES = 128

/**
 * Each round gives a stream `weight` quanta; it is served while it has some left and may overdraw by one packet, which
 * the next rounds take back. A stream that runs dry loses what it saved, not what it owes.
 */
export class WeightedShareScheduler implements StreamScheduler {
  readonly #ring: RoundRobinScheduler = new RoundRobinScheduler()

  get size(): number {
    return this.#ring.size
  }

  get urgency(): number {
    return this.#ring.urgency
  }

  add(stream: Stream): void {
    stream.chargedBytes = stream.bytesSent
    this.#ring.add(stream)
    if (this.#ring.size === 1) this.#settle()
  }

  peek(): Stream | undefined {
    return this.#ring.peek()
  }

  rotate(): void {
    const stream = this.#ring.peek()
    if (stream === undefined) return
    charge(stream)
    if (stream.deficitBytes > 0) return
    this.#ring.rotate()
    this.#settle()
  }

  remove(): void {
    const stream = this.#ring.peek()
    if (stream === undefined) return
    charge(stream)
    stream.deficitBytes = Math.min(stream.deficitBytes, 0)
    this.#ring.remove()
    this.#settle()
  }

  take(stream: Stream): void {
    charge(stream)
    stream.deficitBytes = Math.min(stream.deficitBytes, 0)
    this.#ring.take(stream)
    this.#settle()
  }

  /** Lets rounds pass until the stream at the head may send. Each one pays off a part of what is owed: it ends. */
  #settle(): void {
    for (let head = this.#ring.peek(); head !== undefined; head = this.#ring.peek()) {
      if (head.deficitBytes > 0) return
      head.deficitBytes += head.weight * QUANTUM_BYTES
      if (head.deficitBytes > 0) return
      this.#ring.rotate()
    }
  }
}

function charge(stream: Stream): void {
  stream.deficitBytes -= stream.bytesSent - stream.chargedBytes
  stream.chargedBytes = stream.bytesSent
}
