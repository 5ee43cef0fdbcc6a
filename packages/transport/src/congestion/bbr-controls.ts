/** BBR's outputs: pacing rate and congestion window from the model and the state (draft-ietf-ccwg-bbr, "Updating Control Parameters"). */
import type { RttEstimator } from '../recovery/rtt.ts'
import type { BbrModel } from './bbr-model.ts'
import { type CongestionState, initialWindowBytes, minimumWindowBytes, WINDOW_BYTES_MAX } from './controller.ts'

export type BbrState = Exclude<
  CongestionState,
  'slow_start' | 'congestion_avoidance' | 'recovery' | 'application_limited'
>

export const pacingGains: Readonly<Record<BbrState, number>> = {
  startup: 2.77,
  drain: 0.5,
  probe_bw_down: 0.9,
  probe_bw_cruise: 1,
  probe_bw_refill: 1,
  probe_bw_up: 1.25,
  probe_rtt: 1,
}
const WINDOW_GAIN = 2
const WINDOW_GAIN_UP = 2.25
const WINDOW_GAIN_PROBE_RTT = 0.5
/** PacingMarginPercent: one percent below the rate, so that queues drain. */
const PACING_MARGIN = 0.99
/** MinPipeCwnd: enough packets for a peer that acknowledges every other one. */
const PIPE_PACKETS_MIN = 4
/** Jitter that the window makes room for: this many deviations, at most another shortest round trip. */
const JITTER_DEVIATIONS = 4
const JITTER_RATIO_MAX = 2
const QUANTUM_US = 1_000
const QUANTUM_BYTES_MAX = 65_536
/** The rate assumed before the first round trip is the initial window in one millisecond. */
const FIRST_RTT_US = 1_000

/** Rates are bytes per second, volumes bytes. */
export class BbrControls {
  /** With fractions. */
  windowBytes: number
  mtuBytes: number
  #model: BbrModel
  readonly #initialPackets: number | undefined
  /** 0 before the first round trip. */
  #pacingRate = 0
  #priorWindowBytes = 0
  /** Round from which the window of before a persistent congestion counts again; -1 = none. */
  #restoreRound = -1

  constructor(model: BbrModel, mtuBytes: number, initialPackets: number | undefined) {
    this.#model = model
    this.mtuBytes = mtuBytes
    this.#initialPackets = initialPackets
    this.windowBytes = this.#initialBytes()
  }

  currentPacingRate(rtt: RttEstimator): number {
    if (this.#pacingRate > 0) return this.#pacingRate
    return (pacingGains.startup * this.#initialBytes() * 1e6) / (rtt.hasSample ? rtt.smoothedUs : FIRST_RTT_US)
  }

  /** After each acknowledgment, when the model and the state are up to date. */
  update(state: BbrState, rtt: RttEstimator): void {
    this.#setPacingRate(state, rtt)
    this.#setWindow(state, rtt)
  }

  /** Restarting from idle: exactly the rate of the path, no probing into an empty pipe. */
  paceAtRate(): void {
    const { rate } = this.#model
    if (rate > 0) this.#pacingRate = rate * PACING_MARGIN
  }

  #setPacingRate(state: BbrState, rtt: RttEstimator): void {
    const { rate, isFullReached } = this.#model
    if (this.#pacingRate === 0 && rtt.hasSample) this.#pacingRate = this.currentPacingRate(rtt)
    // One datagram per round trip at least: a rate measured through an outage must not keep the path from being measured.
    const wanted = Math.max(pacingGains[state] * rate * PACING_MARGIN, (this.mtuBytes * 1e6) / rtt.smoothedUs)
    // In startup only upwards: samples of a slow application must not slow the search down.
    if (isFullReached || wanted > this.#pacingRate) this.#pacingRate = wanted
  }

  #setWindow(state: BbrState, rtt: RttEstimator): void {
    const model = this.#model
    const { deliveredBytes } = model
    const { ackedBytes } = model.delivery
    const gain = state === 'probe_rtt' ? WINDOW_GAIN_PROBE_RTT : state === 'probe_bw_up' ? WINDOW_GAIN_UP : WINDOW_GAIN
    const pipeBytes = Math.max(this.#bdpMultiple(model.rate, gain), gain * this.#usualPipeBytes(rtt))
    const wanted = this.#quantised(pipeBytes + model.extraAckedBytes, state)
    if (this.#restoreRound >= 0 && model.roundCount >= this.#restoreRound && !model.isLossInRound) {
      this.#restoreRound = -1
      this.restoreWindow()
    }
    if (model.isFullReached) this.windowBytes = Math.min(this.windowBytes + ackedBytes, wanted)
    else if (this.windowBytes < wanted || deliveredBytes < this.#initialBytes()) this.windowBytes += ackedBytes
    this.windowBytes = Math.max(this.windowBytes, this.minimumBytes())
    if (state === 'probe_rtt') this.windowBytes = Math.min(this.windowBytes, this.probeRttWindowBytes())
    this.windowBytes = Math.min(this.windowBytes, this.#boundBytes(state), WINDOW_BYTES_MAX)
  }

  /** Volume cap of the state. */
  #boundBytes(state: BbrState): number {
    const model = this.#model
    let bound = Infinity
    if (state === 'probe_rtt' || state === 'probe_bw_cruise') {
      bound = model.withHeadroomBytes(this.mtuBytes, this.minimumBytes())
    } else if (state !== 'startup' && state !== 'drain') bound = model.longTermBytes
    return Math.max(Math.min(bound, model.shortTermBytes), this.minimumBytes())
  }

  /** What fills the path at `rate` without a queue. */
  inFlightTarget(rate: number, state: BbrState): number {
    return this.#quantised(this.#bdpMultiple(rate, 1), state)
  }

  /** What should be in flight: the product of rate and delay unless losses have cut the window below. */
  targetBytes(): number {
    return Math.min(this.#bdpMultiple(this.#model.rate, 1), this.windowBytes)
  }

  probeRttWindowBytes(): number {
    return Math.max(this.#bdpMultiple(this.#model.rate, WINDOW_GAIN_PROBE_RTT), this.minimumBytes())
  }

  minimumBytes(): number {
    return PIPE_PACKETS_MIN * this.mtuBytes
  }

  /** Remembers the window before something lowers it that is no measure of the path. */
  saveWindow(state: BbrState): void {
    const isLowered = this.#restoreRound >= 0 || state === 'probe_rtt'
    this.#priorWindowBytes = isLowered ? Math.max(this.#priorWindowBytes, this.windowBytes) : this.windowBytes
  }

  restoreWindow(): void {
    this.windowBytes = Math.max(this.windowBytes, this.#priorWindowBytes)
  }

  // RFC 9002 §7.6.2: "the sender's congestion window MUST be reduced to the minimum congestion window"
  onPersistentCongestion(state: BbrState): void {
    this.saveWindow(state)
    this.windowBytes = this.minimumBytes()
    // Once a round has gone well the model decides again.
    this.#restoreRound = this.#model.roundCount + 2
  }

  onMtuChanged(mtuBytes: number): void {
    this.mtuBytes = mtuBytes
    // RFC 9002 §7.2: "If the maximum datagram size changes during the connection, the initial congestion window SHOULD be recalculated"
    if (this.#model.deliveredBytes === 0) this.windowBytes = this.#initialBytes()
    else this.windowBytes = Math.max(this.windowBytes, minimumWindowBytes(mtuBytes))
  }

  reset(model: BbrModel, mtuBytes: number): void {
    this.#model = model
    this.mtuBytes = mtuBytes
    this.windowBytes = this.#initialBytes()
    this.#pacingRate = 0
    this.#priorWindowBytes = 0
    this.#restoreRound = -1
  }

  #initialBytes(): number {
    return initialWindowBytes(this.mtuBytes, this.#initialPackets)
  }

  #bdpMultiple(rate: number, gain: number): number {
    const bdpBytes = this.#model.bdpBytes(rate)
    return bdpBytes === Infinity ? this.#initialBytes() : gain * bdpBytes
  }

  /**
   * What is under way where the round trip varies much. The draft counts on the shortest one only; on links with jitter
   * most packets take longer without any queue of ours, the window then holds the rate down, and with it the estimate.
   */
  #usualPipeBytes(rtt: RttEstimator): number {
    const { rate, minRttUs } = this.#model
    if (minRttUs === Infinity) return 0
    const usualUs = Math.min(rtt.smoothedUs, minRttUs + JITTER_DEVIATIONS * rtt.varUs, JITTER_RATIO_MAX * minRttUs)
    return (rate * usualUs) / 1e6
  }

  /** Not less than one train of packets, nor than what keeps acknowledgments coming. */
  #quantised(bytes: number, state: BbrState): number {
    const quantumBytes = Math.min((this.#pacingRate * QUANTUM_US) / 1e6, QUANTUM_BYTES_MAX)
    const least = Math.max(bytes, quantumBytes, this.minimumBytes())
    return state === 'probe_bw_up' ? least + 2 * this.mtuBytes : least
  }
}
