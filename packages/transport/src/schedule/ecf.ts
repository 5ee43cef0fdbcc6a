/** Earliest completion first (Lim et al., CoNEXT 2017): waits for the fast path when that ends the transfer sooner. */
import { type Lane, type PacketScheduler, type Schedule, WAIT, fastest, fastestSendable } from './packet-scheduler.ts'

/** Having waited once, keep waiting until the slow path is better by this much: no flapping. */
const HYSTERESIS = 0.25

export class EarliestCompletionFirst implements PacketScheduler {
  readonly name: string = 'ecf'
  #isWaiting = false

  pick({ lanes, queuedBytes }: Schedule): number {
    const fast = lanes[fastest(lanes)] as Lane
    const index = fastestSendable(lanes)
    const slow = lanes[index]
    // A path that was never tried must be: otherwise its assumed RTT would hold it back for ever.
    if (slow === undefined || slow.id === fast.id || !slow.hasRttSample) return index
    const marginUs = Math.max(fast.rttVarUs, slow.rttVarUs)
    // All on the fast path: one round trip until its window opens, then one per window of what is queued.
    const onFastUs = (1 + queuedBytes / fast.windowBytes) * fast.smoothedRttUs
    const limitUs = (1 + (this.#isWaiting ? HYSTERESIS : 0)) * (slow.smoothedRttUs + marginUs)
    if (onFastUs >= limitUs) {
      this.#isWaiting = false
      return index
    }
    // The queue leaves the slow path later than two round trips of the fast one would take: wait.
    const onSlowUs = Math.max(queuedBytes / slow.windowBytes, 1) * slow.smoothedRttUs
    if (onSlowUs < 2 * fast.smoothedRttUs + marginUs) return index
    this.#isWaiting = true
    return WAIT
  }
}
