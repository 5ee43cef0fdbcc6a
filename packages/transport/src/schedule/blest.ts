/** Blocking estimation (Ferlin et al., IFIP Networking 2016): spares a slow path that would fill the send window. */
import { type Lane, type PacketScheduler, type Schedule, WAIT, fastest, fastestSendable } from './packet-scheduler.ts'

/** The correction factor grows by this when the window did block, and shrinks by a tenth of it when it did not. */
const LAMBDA_STEP = 0.1
const LAMBDA_MIN = 1
const LAMBDA_MAX = 1.5

/**
 * While a burst travels the slow path, the fast one could send `windowBytes` per own round trip. If that, together
 * with what is on the slow path, exceeds the window of connection flow control, data on the slow path would stall the
 * fast one (head-of-line blocking): then waiting is better.
 */
export class Blest implements PacketScheduler {
  readonly name: string = 'blest'
  #lambda: number = LAMBDA_MIN
  #stallsSeen = 0
  #adjustAtUs = 0

  pick(schedule: Schedule): number {
    const { lanes } = schedule
    const fast = lanes[fastest(lanes)] as Lane
    const index = fastestSendable(lanes)
    const slow = lanes[index]
    // A path that was never tried must be: otherwise its assumed RTT would hold it back for ever.
    if (slow === undefined || slow.id === fast.id || !slow.hasRttSample) return index
    this.#adjust(schedule, slow)
    const rounds = slow.smoothedRttUs / fast.smoothedRttUs
    // In slow start and avoidance alike the fast window grows by about one datagram per round trip at least.
    const onFastBytes = rounds * (fast.windowBytes + ((rounds - 1) / 2) * fast.mtuBytes)
    const roomBytes = schedule.sendWindowBytes - slow.inFlightBytes - slow.mtuBytes
    return onFastBytes * this.#lambda > roomBytes ? WAIT : index
  }

  /** Once per round trip of the slow path. */
  #adjust(schedule: Schedule, slow: Lane): void {
    if (schedule.nowUs < this.#adjustAtUs) return
    this.#adjustAtUs = schedule.nowUs + slow.smoothedRttUs
    const hasStalled = schedule.stalls > this.#stallsSeen
    this.#stallsSeen = schedule.stalls
    const lambda = this.#lambda + (hasStalled ? LAMBDA_STEP : -LAMBDA_STEP / 10)
    this.#lambda = Math.min(Math.max(lambda, LAMBDA_MIN), LAMBDA_MAX)
  }
}
