/** HyStart++ (RFC 9406): leaves slow start when the delay rises, before packets are lost. */
import type { Micros } from '../ports/datagrams.ts'
import type { RttEstimator } from '../recovery/rtt.ts'

// RFC 9406 §4.3: tuning constants.
const MIN_RTT_THRESHOLD_US = 4_000
const MAX_RTT_THRESHOLD_US = 16_000
const MIN_RTT_DIVISOR = 8
const RTT_SAMPLES_NEEDED = 8
const CSS_GROWTH_DIVISOR = 4
const CSS_ROUNDS = 5

/** `conservative` is the RFC's Conservative Slow Start (CSS). */
export type HyStartPhase = 'slow_start' | 'conservative' | 'finished'

/**
 * Observes RTTs of the initial slow start. A round lasts until a packet is acknowledged that was sent after the round
 * began: the same as the RFC's `windowEnd`, but independent of packet number spaces.
 */
export class HyStart {
  #phase: HyStartPhase
  #roundBeganUs: Micros
  #lastRoundMinUs: number
  #currentRoundMinUs: number
  #samplesInRound: number
  #samplesSeen: number
  #baselineMinUs: number
  #cssRounds: number

  constructor() {
    this.#phase = 'slow_start'
    this.#roundBeganUs = -1
    this.#lastRoundMinUs = Infinity
    this.#currentRoundMinUs = Infinity
    this.#samplesInRound = 0
    this.#samplesSeen = 0
    this.#baselineMinUs = Infinity
    this.#cssRounds = 0
  }

  get phase(): HyStartPhase {
    return this.#phase
  }

  /**
   * Bytes by which the window may grow for `ackedBytes`.
   * RFC 9406 §4.3 recommends L = infinity for paced senders, so growth is not capped per ACK.
   */
  growth(ackedBytes: number): number {
    // RFC 9406 §4.2: cwnd = cwnd + (min(N, L * SMSS) / CSS_GROWTH_DIVISOR)
    return this.#phase === 'conservative' ? ackedBytes / CSS_GROWTH_DIVISOR : ackedBytes
  }

  /**
   * One ACK frame was processed in slow start. `newestAckedSentAtUs`: when the newest acknowledged packet was sent;
   * `lastSentAtUs`: when the newest packet of all was sent. Returns true when slow start should end now.
   */
  onAck(newestAckedSentAtUs: Micros, lastSentAtUs: Micros, rtt: RttEstimator): boolean {
    if (this.#phase === 'finished') return false
    if (newestAckedSentAtUs > this.#roundBeganUs && this.#endRound(lastSentAtUs)) return true
    if (rtt.sampleCount !== this.#samplesSeen) {
      this.#samplesSeen = rtt.sampleCount
      this.#samplesInRound += 1
      if (rtt.latestUs < this.#currentRoundMinUs) this.#currentRoundMinUs = rtt.latestUs
      if (this.#phase === 'slow_start') this.#judgeSlowStart()
      else this.#judgeConservative()
    }
    return false
  }

  /** RFC 9406 §4.3: HyStart++ serves the initial slow start only; congestion or an exit ends it until `reset`. */
  finish(): void {
    this.#phase = 'finished'
  }

  reset(): void {
    this.#phase = 'slow_start'
    this.#roundBeganUs = -1
    this.#lastRoundMinUs = Infinity
    this.#currentRoundMinUs = Infinity
    this.#samplesInRound = 0
    this.#samplesSeen = 0
    this.#baselineMinUs = Infinity
    this.#cssRounds = 0
  }

  #endRound(lastSentAtUs: Micros): boolean {
    this.#roundBeganUs = lastSentAtUs
    this.#lastRoundMinUs = this.#currentRoundMinUs
    this.#currentRoundMinUs = Infinity
    this.#samplesInRound = 0
    if (this.#phase !== 'conservative') return false
    // RFC 9406 §4.2: "If CSS_ROUNDS rounds are complete, enter congestion avoidance"; a partial first round counts.
    this.#cssRounds += 1
    if (this.#cssRounds < CSS_ROUNDS) return false
    this.#phase = 'finished'
    return true
  }

  #judgeSlowStart(): void {
    if (this.#samplesInRound < RTT_SAMPLES_NEEDED || this.#lastRoundMinUs === Infinity) return
    // RFC 9406 §4.2: RttThresh = max(MIN_RTT_THRESH, min(lastRoundMinRTT / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
    const thresholdUs = Math.max(
      MIN_RTT_THRESHOLD_US,
      Math.min(this.#lastRoundMinUs / MIN_RTT_DIVISOR, MAX_RTT_THRESHOLD_US),
    )
    if (this.#currentRoundMinUs < this.#lastRoundMinUs + thresholdUs) return
    this.#baselineMinUs = this.#currentRoundMinUs
    this.#cssRounds = 0
    this.#phase = 'conservative'
  }

  #judgeConservative(): void {
    if (this.#samplesInRound < RTT_SAMPLES_NEEDED) return
    if (this.#currentRoundMinUs >= this.#baselineMinUs) return
    // RFC 9406 §4.2: the delay fell below the baseline, so the exit was spurious: resume slow start.
    this.#baselineMinUs = Infinity
    this.#phase = 'slow_start'
  }
}
