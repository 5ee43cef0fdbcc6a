/** How much reordering one path shows, learnt from packets that were declared lost and arrived after all. */
import type { RttEstimator } from './rtt.ts'

// RFC 9002 §6.1.1: "The RECOMMENDED initial value for the packet reordering threshold (kPacketThreshold) is 3"
export const PACKET_THRESHOLD = 3
/** Each ACK looks at this many packets below the largest acknowledged: more would make ACKs dear. */
const PACKET_THRESHOLD_MAX = 1_024
/** A packet missing for this many round trips is lost whatever was learnt. */
const RTTS_MAX = 2
/** Congestion events without a spurious loss after which the path is considered to keep its order again, as in RFC 8985. */
const EVENTS_TO_FORGET = 16

/**
 * Raises the thresholds of loss detection for paths that reorder (RFC 9002 §6.1.1, §6.1.2 leave that to
 * implementations). A peer that acknowledges late on purpose only delays its own retransmissions.
 */
export class Reordering {
  #packets: number
  #lateUs: number
  #eventsInOrder: number

  constructor() {
    this.#packets = PACKET_THRESHOLD
    this.#lateUs = 0
    this.#eventsInOrder = 0
  }

  /** A packet is lost once one is acknowledged whose number is larger by this much. */
  get packetThreshold(): number {
    return this.#packets
  }

  /** A packet older than an acknowledged one is lost once it is missing for this long since it was sent. */
  lossDelayUs(rtt: RttEstimator): number {
    return Math.max(rtt.lossDelayUs(), Math.min(this.#lateUs, RTTS_MAX * rtt.smoothedUs))
  }

  /** A packet declared lost was acknowledged `ageUs` after it was sent, `distance` numbers below the largest one. */
  onSpuriousLoss(distance: number, ageUs: number): void {
    this.#eventsInOrder = 0
    this.#packets = Math.min(Math.max(this.#packets, distance + 1), PACKET_THRESHOLD_MAX)
    if (ageUs > this.#lateUs) this.#lateUs = ageUs
  }

  /** Packets were declared lost. */
  onLosses(): void {
    this.#eventsInOrder += 1
    if (this.#eventsInOrder > EVENTS_TO_FORGET) this.reset()
  }

  reset(): void {
    this.#packets = PACKET_THRESHOLD
    this.#lateUs = 0
    this.#eventsInOrder = 0
  }
}
