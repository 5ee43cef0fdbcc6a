/** The contract between loss recovery and congestion control of one path, and the constants they share. */
import type { Micros } from '../ports/datagrams.ts'
import type { DeliveryRate } from '../recovery/delivery-rate.ts'
import type { RttEstimator } from '../recovery/rtt.ts'

export type CongestionState =
  | 'slow_start'
  | 'congestion_avoidance'
  | 'recovery'
  | 'application_limited'
  // BBR has states of its own.
  | 'startup'
  | 'drain'
  | 'probe_bw_down'
  | 'probe_bw_cruise'
  | 'probe_bw_refill'
  | 'probe_bw_up'
  | 'probe_rtt'

export type CongestionSignal = 'loss' | 'ecn'

/** A window never grows beyond this: 1 GiB, the product of 100 Gbit/s and 85 ms. A peer's flow control limits it earlier. */
export const WINDOW_BYTES_MAX = 2 ** 30

/**
 * Decides how many bytes may be in flight on one path. The caller keeps the bytes in flight; whenever they are given,
 * they include (sent) or exclude (acknowledged, lost) the packets the call is about.
 *
 * Order within one received ACK frame: `onPacketAcked` for each newly acknowledged packet that was in flight, then
 * `onSpuriousLoss` for late ones, then `onCongestion` at most once per kind, `onPersistentCongestion` if established,
 * and last `onAckFinished`. The RTT estimator has taken its sample before. MTU probes that were lost are not reported
 * (RFC 9000 §14.4); acknowledged ones are. Nothing is allocated per packet. `now` never goes back.
 */
export interface CongestionController {
  readonly name: string
  readonly windowBytes: number
  /** Infinity before the first congestion signal or before HyStart++ has ended slow start. */
  readonly slowStartThresholdBytes: number
  /** Bytes per second the pacer should use now; 0 = unpaced. */
  pacingRate(rtt: RttEstimator): number
  /**
   * A packet that counts as in flight was sent. `packetNumber` grows within one packet number space only; controllers
   * that must order packets of several spaces use the time.
   */
  onPacketSent(bytes: number, inFlightBytes: number, packetNumber: number, nowUs: Micros): void
  onPacketAcked(bytes: number, packetNumber: number, sentAtUs: Micros, rtt: RttEstimator, nowUs: Micros): void
  /** After all packets of one ACK frame were reported: here the window grows. */
  onAckFinished(inFlightBytes: number, rtt: RttEstimator, nowUs: Micros): void
  /** Packets were lost or ECN-CE counts grew. `sentAtUs` is when the newest of these packets was sent. */
  onCongestion(sentAtUs: Micros, lostBytes: number, kind: CongestionSignal, inFlightBytes: number, nowUs: Micros): void
  /** RFC 9002 §7.6.2. Call after `onCongestion` for the same losses. */
  onPersistentCongestion(nowUs: Micros): void
  /** A packet reported as lost was acknowledged after all. Controllers without undo do not have this. */
  onSpuriousLoss?(bytes: number, sentAtUs: Micros, nowUs: Micros): void
  /** A packet left the flight without a signal: its keys were discarded (RFC 9002 §6.4). */
  onPacketDiscarded(bytes: number): void
  onMtuChanged(mtuBytes: number): void
  state(): CongestionState
  /** Starts anew: the path leads elsewhere now (RFC 9000 §9.4). */
  reset(mtuBytes: number): void
}

/**
 * A controller that models its path. Loss recovery keeps `delivery` up to date before it calls, so that `onAckFinished`
 * finds what the acknowledgment tells; the controller completes and clears the sample there.
 */
export interface ModelController extends CongestionController {
  readonly delivery: DeliveryRate
  /** One packet was lost; `delivery` holds what was known when it was sent. Before `onCongestion` for the same losses. */
  onPacketLost(bytes: number, sentAtUs: Micros, nowUs: Micros): void
  /** Nothing more to send although window and pacing allow it. */
  onLimited(inFlightBytes: number): void
}

/** Whether loss recovery has to keep rate samples for it. */
export function isModelController(controller: CongestionController): controller is ModelController {
  return 'delivery' in controller
}

/** Datagrams of the initial window that RFC 9002 recommends. */
export const INITIAL_WINDOW_PACKETS = 10

/** RFC 9002 §7.2: ten datagrams, at most 14,720 bytes unless two datagrams are more; `packets` scales both bounds. */
export function initialWindowBytes(mtuBytes: number, packets = INITIAL_WINDOW_PACKETS): number {
  return Math.min(packets * mtuBytes, Math.max(packets * 1_472, 2 * mtuBytes))
}

/** RFC 9002 §7.2: "The RECOMMENDED value is 2 * max_datagram_size" */
export function minimumWindowBytes(mtuBytes: number): number {
  return 2 * mtuBytes
}
