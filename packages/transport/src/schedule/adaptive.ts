/** The default: fast paths first, slow ones as long as what they add outweighs the wait for them; never worse than one. */
import type { Micros } from '../ports/datagrams.ts'
import { type Lane, type PacketScheduler, type Schedule, WAIT } from './packet-scheduler.ts'

/** A pause this long ends a transfer: the next one is judged anew. */
const PAUSE_US = 1_000_000
/** Shorter transfers are judged as if they had lasted this long already. */
const EXPECTED_MIN_US = 1_000_000
/** A path joins when it adds what the wait for it costs, and leaves when it adds less than this share of it: no flapping. */
const LEAVE_SHARE = 0.5
/** Round trips of a path that a loss on it delays what the application reads, on top of the way itself. */
const LOSS_ROUNDS = 1.5
/** A path that loses packets counts as if it were slower: an order by delay alone fills the worst path first. */
const LOSS_PENALTY = 10

/**
 * Data on a slow path holds up, at the receiver, what the fast one brings meanwhile; the stream as a whole comes that
 * much later, once. In exchange the path adds its rate for as long as the transfer lasts, and nobody knows how long that
 * is: a transfer is expected to go on for as long as it has gone on already, or as the best path alone would need for what
 * waits now. So
 * - short transfers use the fast paths, and slow ones join as the transfer lasts, the slower the later;
 * - a slow path with little rate, by losses for example, is left alone while its wait costs more than it adds;
 * - when the rest of all streams is known, a path is used only if what it takes arrives before the best one is done.
 * The path with the highest rate is always used.
 */
export class Adaptive implements PacketScheduler {
  readonly name: string = 'adaptive'
  #beganUs = 0
  #lastUs = -Infinity

  pick(schedule: Schedule): number {
    const { lanes, nowUs } = schedule
    if (nowUs - this.#lastUs > PAUSE_US) this.#beganUs = nowUs
    this.#lastUs = nowUs
    const main = mainOf(lanes)
    let best = WAIT
    let bestUs = Infinity
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[i] as Lane
      if (lane.budgetBytes <= 0) continue
      const us = costUs(lane)
      if (us >= bestUs) continue
      if (lane !== main && !this.#isWorth(lane, main, schedule)) continue
      best = i
      bestUs = us
    }
    // When the main path has room, it is among those above: nothing waits then.
    return best
  }

  #isWorth(lane: Lane, main: Lane, schedule: Schedule): boolean {
    // A path that was never tried must be: otherwise its assumed RTT would hold it back for ever.
    if (!lane.hasRttSample || lane.smoothedRttUs <= main.smoothedRttUs) return true
    const detourUs = (lane.smoothedRttUs - main.smoothedRttUs) / 2
    if (schedule.isEnding && isLate(lane, main, schedule.queuedBytes)) return false
    const lastedUs = schedule.nowUs - this.#beganUs
    const expectedUs = Math.max(lastedUs, schedule.queuedBytes / rateOf(main), EXPECTED_MIN_US)
    const packetsPerRound = lane.windowBytes / lane.mtuBytes
    const waitUs = detourUs + Math.min(1, lane.lossRatio * packetsPerRound) * LOSS_ROUNDS * lane.smoothedRttUs
    const costBytes = waitUs * rateOf(main)
    const isWorth = bytesWithin(expectedUs, lane) >= costBytes * (lane.account > 0 ? LEAVE_SHARE : 1)
    lane.account = isWorth ? 1 : 0
    return isWorth
  }
}

/** What the path may carry in the time: its window per round trip, doubling while it is still finding its rate. */
function bytesWithin(us: Micros, lane: Lane): number {
  const rounds = us / lane.smoothedRttUs
  if (!lane.isStartingUp) return rounds * lane.windowBytes
  return lane.windowBytes * (2 ** Math.min(rounds, 30) - 1)
}

/** Bytes per microsecond that the path carries. */
function rateOf(lane: Lane): number {
  return lane.windowBytes / lane.smoothedRttUs
}

/** The lane with the highest rate. */
function mainOf(lanes: readonly Lane[]): Lane {
  let main = lanes[0] as Lane
  for (const lane of lanes) if (rateOf(lane) > rateOf(main)) main = lane
  return main
}

/** Round trip, lossy paths stretched. */
function costUs(lane: Lane): number {
  return lane.smoothedRttUs * (1 + LOSS_PENALTY * lane.lossRatio)
}

/** Whether a burst on `lane` would arrive after `main` alone had delivered all `queuedBytes`. */
function isLate(lane: Lane, main: Lane, queuedBytes: number): boolean {
  const onMainUs = main.smoothedRttUs / 2 + queuedBytes / rateOf(main)
  return lane.smoothedRttUs / 2 + lane.rttVarUs > onMainUs
}
