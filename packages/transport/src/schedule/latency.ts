/** Interactive streams and datagrams on the path with the lowest delay, bulk by the rates of all; they share no queue. */
import { DEFAULT_PRIORITY } from '../stream/stream-priority.ts'
import { type Lane, type PacketScheduler, type Schedule, WAIT } from './packet-scheduler.ts'
import { WeightedPaths } from './weighted.ts'

/** A stream with at most so many bytes to send is interactive, whatever its priority. */
const INTERACTIVE_BYTES = 16_384
/** Another path takes over only when it is faster by this share: no flapping between alike paths. */
const HYSTERESIS = 0.1

/**
 * Streams are interactive when the application has made them more urgent than the default, or when they have little to
 * send. They go first, and only on the path with the lowest RTT; bulk fills what is left there, and all other paths, in
 * proportion to their rates.
 */
export class LatencyPaths implements PacketScheduler {
  readonly name: string = 'latency'
  readonly #bulk: WeightedPaths = new WeightedPaths()
  #fastId = -1

  pick(schedule: Schedule): number {
    const { lanes } = schedule
    const fast = this.#fastIndex(lanes)
    const lane = lanes[fast] as Lane
    this.#fastId = lane.id
    if (schedule.hasInteractive && lane.budgetBytes > 0) return fast
    if (schedule.hasBulk) return this.#bulk.pick(schedule)
    return lane.budgetBytes > 0 ? fast : WAIT
  }

  onSent(lane: Lane, bytes: number): void {
    this.#bulk.onSent(lane, bytes)
  }

  isInteractive(priority: number, unsentBytes: number): boolean {
    return priority < DEFAULT_PRIORITY || unsentBytes <= INTERACTIVE_BYTES
  }

  admitsInteractive(lane: Lane): boolean {
    return lane.id === this.#fastId
  }

  #fastIndex(lanes: readonly Lane[]): number {
    let best = 0
    for (let i = 1; i < lanes.length; i++)
      if (this.#delayUs(lanes[i] as Lane) < this.#delayUs(lanes[best] as Lane)) best = i
    return best
  }

  #delayUs({ id, smoothedRttUs }: Lane): number {
    return id === this.#fastId ? smoothedRttUs * (1 - HYSTERESIS) : smoothedRttUs
  }
}
