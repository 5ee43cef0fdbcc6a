/** Round-trip time of one path: the estimator of RFC 9002 §5 and the durations that follow from it. */
import type { Micros } from '../ports/datagrams.ts'

/** RFC 9002 §6.2.2: the RTT assumed before the first sample, 333 ms. */
export const INITIAL_RTT_US = 333_000
/** RFC 9002 §6.1.2: timer granularity, 1 ms. */
export const GRANULARITY_US = 1_000
/** A smallest RTT this old is forgotten after as long again: the way may have become longer. */
const LEAST_FOR_US = 30_000_000
/** RFC 9002 §7.6.1: kPersistentCongestionThreshold. */
const PERSISTENT_CONGESTION_THRESHOLD = 3

/** What limits the acknowledgment delay that a peer may claim. Kept by the connection, read at each sample. */
export interface AckDelayPolicy {
  readonly handshakeConfirmed: boolean
  /** The peer's transport parameter `max_ack_delay`. */
  readonly maxAckDelayUs: number
}

/**
 * Estimates the RTT of one path. All values are microseconds and may have fractions. `now` is only remembered, never
 * compared, so samples of several packet number spaces may be mixed.
 */
export class RttEstimator {
  readonly #initialRttUs: number
  #latestUs: number
  #minUs: number
  #smoothedUs: number
  #varUs: number
  #leastUs: number
  #leastBeforeUs: number
  #leastSinceUs: Micros
  #samples: number
  #isAssumed: boolean
  #firstSampleAtUs: Micros

  /** `initialRttUs`: assumed before the first sample; a remembered value of the same network may be used. */
  constructor(initialRttUs: number = INITIAL_RTT_US) {
    this.#initialRttUs = initialRttUs
    this.#latestUs = 0
    this.#minUs = 0
    this.#smoothedUs = initialRttUs
    this.#varUs = initialRttUs / 2
    this.#leastUs = Infinity
    this.#leastBeforeUs = Infinity
    this.#leastSinceUs = 0
    this.#samples = 0
    this.#isAssumed = false
    this.#firstSampleAtUs = -1
  }

  get latestUs(): number {
    return this.#latestUs
  }

  /** Smallest RTT seen; 0 before the first sample. */
  get minUs(): number {
    return this.#minUs
  }

  /**
   * Smallest RTT of the last half minute to a minute without the delay that the peer says it added; Infinity before the
   * first sample. What the way itself takes, for purposes where a peer that lies harms itself.
   */
  get leastUs(): number {
    return Math.min(this.#leastUs, this.#leastBeforeUs)
  }

  get smoothedUs(): number {
    return this.#smoothedUs
  }

  get varUs(): number {
    return this.#varUs
  }

  /** Samples, or at least an assumption from the path itself. */
  get isKnown(): boolean {
    return this.#samples > 0 || this.#isAssumed
  }

  // RFC 9002 §6.2.2: "A connection MAY use the delay between sending a PATH_CHALLENGE and receiving a PATH_RESPONSE to set the initial RTT … for a new path, but the delay SHOULD NOT be considered an RTT sample."
  /** Starts from `initialRttUs` until there are samples. */
  assume(initialRttUs: number): void {
    if (this.#samples > 0) return
    this.#isAssumed = true
    this.#smoothedUs = Math.max(initialRttUs, 1)
    this.#varUs = this.#smoothedUs / 2
  }

  get hasSample(): boolean {
    return this.#samples > 0
  }

  /** Samples since the last reset; tells whether an ACK brought a new one. */
  get sampleCount(): number {
    return this.#samples
  }

  /** When the first sample was taken, -1 before. RFC 9002 §7.6.2: persistent congestion needs packets sent after it. */
  get firstSampleAtUs(): Micros {
    return this.#firstSampleAtUs
  }

  /**
   * Takes one sample: `latestUs` from sending the largest newly acknowledged packet to receiving its ACK (RFC 9002
   * §5.1: only if that packet is newly acknowledged and at least one newly acknowledged packet elicits ACKs).
   * `ackDelayUs` is what the peer reported; give 0 for Initial packets. Samples under 1 us count as 1 us.
   */
  onSample(latestUs: number, ackDelayUs: number, policy: AckDelayPolicy, nowUs: Micros): void {
    const latest = Math.max(latestUs, 1)
    this.#latestUs = latest
    this.#samples += 1
    this.#noteLeast(Math.max(latest - ackDelayUs, 1), nowUs)
    if (this.#samples === 1) {
      // RFC 9002 §5.3: "On the first RTT sample after initialization, smoothed_rtt and rttvar are set as follows"
      this.#firstSampleAtUs = nowUs
      this.#minUs = latest
      this.#smoothedUs = latest
      this.#varUs = latest / 2
      return
    }
    // RFC 9002 §5.2: min_rtt ignores the acknowledgment delay.
    if (latest < this.#minUs) this.#minUs = latest
    // RFC 9002 §5.3: "MUST use the lesser of the acknowledgment delay and the peer's max_ack_delay after the handshake is confirmed"
    const delay = policy.handshakeConfirmed ? Math.min(ackDelayUs, policy.maxAckDelayUs) : ackDelayUs
    // RFC 9002 §5.3: "MUST NOT subtract the acknowledgment delay from the RTT sample if the resulting value is smaller than the min_rtt"
    const adjusted = latest >= this.#minUs + delay ? latest - delay : latest
    // RFC 9002 §A.7 updates rttvar with the old smoothed_rtt, as RFC 6298 does; the order in §5.3 is erratum 7539.
    this.#varUs += (Math.abs(this.#smoothedUs - adjusted) - this.#varUs) / 4
    this.#smoothedUs += (adjusted - this.#smoothedUs) / 8
  }

  #noteLeast(sampleUs: number, nowUs: Micros): void {
    if (nowUs - this.#leastSinceUs > LEAST_FOR_US) {
      this.#leastBeforeUs = this.#leastUs
      this.#leastUs = Infinity
      this.#leastSinceUs = nowUs
    }
    if (sampleUs < this.#leastUs) this.#leastUs = sampleUs
  }

  /**
   * Probe timeout before backoff (RFC 9002 §6.2.1). Give 0 for the Initial and Handshake spaces, whose ACKs the peer
   * does not delay.
   */
  ptoUs(maxAckDelayUs: number): number {
    // RFC 9002 §6.2.1: PTO = smoothed_rtt + max(4*rttvar, kGranularity) + max_ack_delay
    return this.#smoothedUs + Math.max(4 * this.#varUs, GRANULARITY_US) + maxAckDelayUs
  }

  /** How long a packet older than an acknowledged one may stay missing before it is lost (RFC 9002 §6.1.2). */
  lossDelayUs(): number {
    // RFC 9002 §6.1.2: max(kTimeThreshold * max(smoothed_rtt, latest_rtt), kGranularity), kTimeThreshold = 9/8
    return Math.max((Math.max(this.#smoothedUs, this.#latestUs) * 9) / 8, GRANULARITY_US)
  }

  /** Span of losses that establishes persistent congestion (RFC 9002 §7.6.1); `maxAckDelayUs` counts in every space. */
  persistentCongestionUs(maxAckDelayUs: number): number {
    return this.ptoUs(maxAckDelayUs) * PERSISTENT_CONGESTION_THRESHOLD
  }

  /** RFC 9002 §5.2: "Endpoints SHOULD set the min_rtt to the newest RTT sample after persistent congestion is established" */
  onPersistentCongestion(): void {
    if (this.#samples > 0) this.#minUs = this.#latestUs
  }

  // RFC 10069 §5.4: "restart the minimum RTT computation if that acknowledgment path changes or is abandoned"
  /** Acknowledgments come another way from the sample `latestUs` on. */
  restartMin(latestUs: number): void {
    if (this.#samples > 0) this.#minUs = Math.max(latestUs, 1)
  }

  /** Forgets everything: the path leads elsewhere now (RFC 9000 §9.4). */
  reset(): void {
    this.#latestUs = 0
    this.#minUs = 0
    this.#smoothedUs = this.#initialRttUs
    this.#varUs = this.#initialRttUs / 2
    this.#leastUs = Infinity
    this.#leastBeforeUs = Infinity
    this.#samples = 0
    this.#isAssumed = false
    this.#firstSampleAtUs = -1
  }
}
