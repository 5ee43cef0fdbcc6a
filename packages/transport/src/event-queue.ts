/** First-in, first-out queue of connection events; tells its owner when it stops being empty. */
import type { ConnectionEvent } from './events.ts'

export class EventQueue {
  readonly #events: ConnectionEvent[] = []
  #head = 0
  /** `closed` is the last event: what a packet brings after its CONNECTION_CLOSE interests nobody. */
  #isEnded = false
  #onFirst: (() => void) | undefined

  /** `onFirst` is called whenever an event enters an empty queue. */
  onFirst(callback: () => void): void {
    this.#onFirst = callback
  }

  get size(): number {
    return this.#events.length - this.#head
  }

  push(event: ConnectionEvent): void {
    if (this.#isEnded) return
    this.#isEnded = event.kind === 'closed'
    this.#events.push(event)
    if (this.size === 1) this.#onFirst?.()
  }

  shift(): ConnectionEvent | undefined {
    const event = this.#events[this.#head]
    if (event === undefined) return undefined
    this.#head++
    if (this.#head === this.#events.length) {
      this.#events.length = 0
      this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#events.length) {
      this.#events.splice(0, this.#head)
      this.#head = 0
    }
    return event
  }
}
