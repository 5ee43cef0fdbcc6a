/** The contract of packet schedulers: which path the next burst of application data goes on. */
import type { PathId } from '../events.ts'
import type { Micros } from '../ports/datagrams.ts'

/** Answer of `pick`: rather wait for a lane that has no budget now than use one that has. */
export const WAIT = -1

/** What a scheduler may know of one path. Valid during the call; the object of a path stays the same for its life. */
export interface Lane {
  readonly id: PathId
  /** Bytes that may leave now: congestion window, pacing and packet records allow them. 0 = nothing. */
  readonly budgetBytes: number
  readonly smoothedRttUs: Micros
  readonly rttVarUs: Micros
  /** False until the first round trip, that of the path's validation included: the RTT values are assumptions. */
  readonly hasRttSample: boolean
  readonly windowBytes: number
  readonly inFlightBytes: number
  readonly mtuBytes: number
  /** Share of packets lost lately, 0 to 1. */
  readonly lossRatio: number
  /** In slow start, also after an outage: the window says little about the path yet. */
  readonly isStartingUp: boolean
  /** Free for the scheduler; 0 when the path is new. */
  account: number
}

/** The moment of a decision. */
export interface Schedule {
  /**
   * Open, validated paths of the best rank that any path has, by path ID: silent ones and backups are only here when
   * nothing better is (RFC 10069 §3.3).
   */
  readonly lanes: readonly Lane[]
  /** Bytes of streams written by the application and never sent. */
  readonly queuedBytes: number
  /** Bytes that the peer's connection flow control lets be under way at once, those in flight included. */
  readonly sendWindowBytes: number
  /** Interactive streams or datagrams wait; only for schedulers that set them apart with `isInteractive`. */
  readonly hasInteractive: boolean
  /** Anything else waits. */
  readonly hasBulk: boolean
  /** The application has said the end of every stream that waits: `queuedBytes` is all there will be of them. */
  readonly isEnding: boolean
  /** How often the connection's flow control has stopped us so far. */
  readonly stalls: number
  readonly nowUs: Micros
}

/**
 * One scheduler serves one connection. `pick` is called once per burst (up to a train of datagrams), not per packet,
 * and only when something waits to be sent. It must be deterministic and must not allocate, keep a lane, or look at a
 * clock. ACKs, probes and control frames are no business of it.
 */
export interface PacketScheduler {
  readonly name: string
  /**
   * Index into `schedule.lanes` of a lane whose `budgetBytes` is positive, or WAIT. At least one lane has a budget.
   * WAIT is only honoured while some lane has none: its next acknowledgment or pacing timer asks again.
   */
  pick(schedule: Schedule): number
  /** A burst of `bytes` has left on the lane picked last. */
  onSent?(lane: Lane, bytes: number): void
  /**
   * Sets streams apart that should not wait behind bulk: `priority` 0 (first) to 7, and bytes written and not yet sent.
   * Datagrams count as interactive then. Left out = all are treated alike.
   */
  isInteractive?(priority: number, unsentBytes: number): boolean
  /** Whether interactive data may go on the lane picked last; asked only with `isInteractive`. Default: yes. */
  admitsInteractive?(lane: Lane): boolean
  /** Everything goes on every path: what one has carried is repeated on the others. */
  readonly isRedundant?: boolean
}

export type PacketSchedulerFactory = () => PacketScheduler

/** Index of the lane with a budget and the smallest smoothed RTT; WAIT when none has a budget. */
export function fastestSendable(lanes: readonly Lane[]): number {
  let best = WAIT
  let bestUs = Infinity
  for (let i = 0; i < lanes.length; i++) {
    const lane = lanes[i] as Lane
    if (lane.budgetBytes <= 0 || lane.smoothedRttUs >= bestUs) continue
    best = i
    bestUs = lane.smoothedRttUs
  }
  return best
}

/** Index of the lane with the smallest smoothed RTT, with or without a budget. */
export function fastest(lanes: readonly Lane[]): number {
  let best = 0
  for (let i = 1; i < lanes.length; i++) {
    if ((lanes[i] as Lane).smoothedRttUs < (lanes[best] as Lane).smoothedRttUs) best = i
  }
  return best
}
