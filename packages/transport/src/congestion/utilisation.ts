/** Tells whether the congestion window was really used, so that an idle or slow application does not inflate it. */
import type { Micros } from '../ports/datagrams.ts'

/** RFC 9002 §7.8: a sender "SHOULD NOT consider itself application limited" for what only pacing holds back. */
const PACING_SLACK = 8

/**
 * Remembers the largest flight until a packet sent after it is acknowledged, i.e. for about one round trip. Looking
 * back that far keeps pacing from being taken for a slow application (RFC 9002 §7.8).
 */
export class Utilisation {
  #flightBytesMax: number
  #reachedAtUs: Micros
  #newestAckedSentAtUs: Micros

  constructor() {
    this.#flightBytesMax = 0
    this.#reachedAtUs = -1
    this.#newestAckedSentAtUs = -1
  }

  /** When the newest packet acknowledged so far was sent; -1 before. */
  get newestAckedSentAtUs(): Micros {
    return this.#newestAckedSentAtUs
  }

  onSent(inFlightBytes: number, nowUs: Micros): void {
    if (inFlightBytes < this.#flightBytesMax && this.#newestAckedSentAtUs <= this.#reachedAtUs) return
    this.#flightBytesMax = inFlightBytes
    this.#reachedAtUs = nowUs
  }

  onAcked(sentAtUs: Micros): void {
    if (sentAtUs > this.#newestAckedSentAtUs) this.#newestAckedSentAtUs = sentAtUs
  }

  /**
   * Whether the flight filled the window. In slow start half a window is enough, since the window doubles per round
   * trip and a paced sender that uses all it gets is always behind it; afterwards an eighth may be missing.
   */
  isFull(windowBytes: number, mtuBytes: number, isSlowStart: boolean): boolean {
    // RFC 9002 §7.8: "the congestion window SHOULD NOT be increased in either slow start or congestion avoidance"
    const unusedBytes = windowBytes - this.#flightBytesMax
    return unusedBytes <= Math.max(mtuBytes, isSlowStart ? windowBytes / 2 : windowBytes / PACING_SLACK)
  }

  reset(): void {
    this.#flightBytesMax = 0
    this.#reachedAtUs = -1
    this.#newestAckedSentAtUs = -1
  }
}
