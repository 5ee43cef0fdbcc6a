/** Paths share the bytes in proportion to weights: given ones, or each path's estimated rate. Never waits. */
import type { Lane, PacketScheduler, Schedule } from './packet-scheduler.ts'

/** What a path may catch up after a pause; without a bound it would silence the others until it is level again. */
const CATCH_UP_BYTES = 131_072
/** Estimated rates of a path with next to no window must not divide by zero. */
const WEIGHT_MIN = 1e-6

/**
 * Start-time fair queueing: `account` of a lane is its virtual time, bytes sent over weight; the smallest goes next.
 * A lane that could not send for a while does not gather credit beyond `CATCH_UP_BYTES`.
 */
export class WeightedPaths implements PacketScheduler {
  readonly name: string = 'weighted'
  readonly #weights: readonly number[]
  #virtualTime = 0

  /** `weights` by path ID, all positive; paths beyond the list weigh 1. Empty = each weighs its window per round trip. */
  constructor(weights: readonly number[] = []) {
    this.#weights = weights
  }

  pick({ lanes }: Schedule): number {
    let best = -1
    let bestStart = Infinity
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[i] as Lane
      if (lane.budgetBytes <= 0) continue
      const start = this.#startOf(lane)
      if (start >= bestStart) continue
      best = i
      bestStart = start
    }
    return best
  }

  onSent(lane: Lane, bytes: number): void {
    const start = this.#startOf(lane)
    this.#virtualTime = Math.max(this.#virtualTime, start)
    lane.account = start + bytes / this.#weightOf(lane)
  }

  #startOf(lane: Lane): number {
    return Math.max(lane.account, this.#virtualTime - CATCH_UP_BYTES / this.#weightOf(lane))
  }

  #weightOf(lane: Lane): number {
    if (this.#weights.length > 0) return this.#weights[lane.id] ?? 1
    return Math.max(lane.windowBytes / lane.smoothedRttUs, WEIGHT_MIN)
  }
}
