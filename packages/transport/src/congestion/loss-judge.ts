/** Tells losses of a lossy link from those of a full queue, for controllers that answer only the latter. */
import type { RttEstimator } from '../recovery/rtt.ts'

/** RFC 9406 §4.3: HyStart++ takes an eighth of the round trip for the beginning of a queue. */
const QUEUE_DIVISOR = 8
/** On long ways less of it: queues of ten milliseconds are all that some routers have. */
const QUEUE_MAX_US = 10_000
/** On shorter ways an eighth is lost in the noise of timers. They are hardly ever lossy. */
const RTT_MIN_US = 8_000
/** draft-ietf-ccwg-bbr, LossThresh: more than this is congestion whatever the delay says. */
const LOSS_RATIO_MAX = 0.02
/** So many losses are no measure yet. */
const LOSSES_FREE = 3
/** Counters are halved at this volume, counted in datagrams. */
const HORIZON_PACKETS = 1_024

/**
 * A loss is taken for the link's own when the packets behind it met no queue and few are lost. In a queue that overflows
 * they would have met it full. Where round trips vary more than an eighth nothing is, and all losses are congestion.
 */
export class LossJudge {
  #seenBytes = 0
  #lostBytes = 0

  /** After each acknowledgment, before losses are judged. */
  onAcked(bytes: number, mtuBytes: number): void {
    this.#seenBytes += bytes
    this.#age(mtuBytes)
  }

  /** `lostBytes` are lost by what was acknowledged now. True when no queue is to blame. */
  isRandom(lostBytes: number, mtuBytes: number, rtt: RttEstimator): boolean {
    this.#seenBytes += lostBytes
    this.#lostBytes += lostBytes
    this.#age(mtuBytes)
    const { minUs, latestUs } = rtt
    if (minUs < RTT_MIN_US || latestUs > minUs + Math.min(minUs / QUEUE_DIVISOR, QUEUE_MAX_US)) return false
    return this.#lostBytes <= this.#seenBytes * LOSS_RATIO_MAX + LOSSES_FREE * mtuBytes
  }

  #age(mtuBytes: number): void {
    if (this.#seenBytes < HORIZON_PACKETS * mtuBytes) return
    this.#seenBytes /= 2
    this.#lostBytes /= 2
  }

  reset(): void {
    this.#seenBytes = 0
    this.#lostBytes = 0
  }
}
