/** Interarrival jitter of chunks in the manner of RFC 3550 §6.4.1. */

/**
 * Running estimate J += (|D| - J) / 16. With send times, D is the change of transit time between successive chunks;
 * without them the sender is taken to be steady and D is the change of the gap between arrivals.
 */
export class JitterEstimator {
  #jitterMs = 0
  #samples = 0
  #lastArrivalMs = Number.NaN
  #lastSentMs = Number.NaN
  #lastGapMs = Number.NaN
  #maxGapMs = 0

  /** `sentMs` is the sender's time of the chunk on any clock of its own, when the chunk carries one. */
  onArrival(arrivalMs: number, sentMs?: number): void {
    const gapMs = arrivalMs - this.#lastArrivalMs
    if (!Number.isNaN(gapMs)) {
      this.#maxGapMs = Math.max(this.#maxGapMs, gapMs)
      const reference = sentMs === undefined ? this.#lastGapMs : sentMs - this.#lastSentMs
      if (!Number.isNaN(reference)) {
        // RFC 3550 §6.4.1: J(i) = J(i-1) + (|D(i-1,i)| - J(i-1))/16
        this.#jitterMs += (Math.abs(gapMs - reference) - this.#jitterMs) / 16
        this.#samples++
      }
      this.#lastGapMs = gapMs
    }
    this.#lastArrivalMs = arrivalMs
    this.#lastSentMs = sentMs ?? Number.NaN
  }

  /** Milliseconds; undefined until two gaps (or two stamped chunks) have been seen. */
  jitterMs(): number | undefined {
    return this.#samples === 0 ? undefined : this.#jitterMs
  }

  /** Longest silence between two chunks, in milliseconds. */
  maxGapMs(): number {
    return this.#maxGapMs
  }
}
