/** Over which path the acknowledgments of one path arrive, and which of them may measure its round trip (RFC 10069 §5.4). */
import type { Micros } from '../ports/datagrams.ts'

/** Acknowledgments in a row over one foreign path that show a peer's choice rather than an accident. */
const CONSISTENT = 3

/** What an acknowledgment is good for: nothing, a sample, or a sample that begins the smallest round trip anew. */
export const SampleUse = { None: 0, Take: 1, Restart: 2 } as const

export class AckArrivals {
  /** Path of the samples taken last, -1 = none yet. */
  #sampledOver = -1
  #ownAtUs: Micros = -Infinity
  /** Foreign path that the latest acknowledgments came over, and how many in a row. */
  #foreign = -1
  #streak = 0

  /**
   * An acknowledgment of path `own` that could give a sample came over path `via`. `patienceUs`: how long after one over
   * the own path others are not trusted.
   */
  // RFC 10069 §5.4: "If acknowledgments are not sent consistently over one path, the acknowledgment receiver can … only use samples for acknowledgments received on the same path on which the data was sent"
  onArrival(own: number, via: number, patienceUs: Micros, nowUs: Micros): number {
    if (via === own) {
      this.#ownAtUs = nowUs
      this.#streak = 0
      return this.#take(via)
    }
    this.#streak = via === this.#foreign ? this.#streak + 1 : 1
    this.#foreign = via
    if (this.#sampledOver >= 0 && (this.#streak < CONSISTENT || nowUs - this.#ownAtUs < patienceUs))
      return SampleUse.None
    return this.#take(via)
  }

  // RFC 10069 §5.4: "An acknowledgment receiver can … remember the path over which the PATH_ACK that produced the minimum RTT was received, and restart the minimum RTT computation if that acknowledgment path changes"
  #take(via: number): number {
    const isNew = this.#sampledOver >= 0 && this.#sampledOver !== via
    this.#sampledOver = via
    return isNew ? SampleUse.Restart : SampleUse.Take
  }

  /** The path leads elsewhere. */
  reset(): void {
    this.#sampledOver = -1
    this.#ownAtUs = -Infinity
    this.#foreign = -1
    this.#streak = 0
  }
}
