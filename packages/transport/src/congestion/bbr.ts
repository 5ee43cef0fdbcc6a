/** BBR version 3 (draft-ietf-ccwg-bbr): sends at the rate the path delivers instead of filling its queue. */
import type { Micros } from '../ports/datagrams.ts'
import { DeliveryRate } from '../recovery/delivery-rate.ts'
import type { RttEstimator } from '../recovery/rtt.ts'
import { BBR_BETA, BbrModel, inFlightAtLoss, isLossTooHigh } from './bbr-model.ts'
import {
  type CongestionSignal,
  type CongestionState,
  initialWindowBytes,
  type ModelController,
  minimumWindowBytes,
  WINDOW_BYTES_MAX,
} from './controller.ts'

type BbrState = Exclude<CongestionState, 'slow_start' | 'congestion_avoidance' | 'recovery' | 'application_limited'>

const pacingGains: Readonly<Record<BbrState, number>> = {
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
const PROBE_RTT_US = 200_000
const DRAIN_ROUNDS_MAX = 3
/** BBRStartupFullLossCnt. */
const STARTUP_LOSS_RANGES = 6
const PROBE_WAIT_US = 2_000_000
const PROBE_WAIT_SPREAD_US = 1_000_000
/** Rounds between two probes that leave Reno and CUBIC flows their share. */
const RENO_ROUNDS_MAX = 63
const PROBE_UP_DOUBLINGS_MAX = 30
const QUANTUM_US = 1_000
const QUANTUM_BYTES_MAX = 65_536
/** The rate assumed before the first round trip is the initial window in one millisecond. */
const FIRST_RTT_US = 1_000

/** Where acknowledgments stand with respect to the last bandwidth probe. */
type AckPhase = 'init' | 'refilling' | 'starting' | 'feedback' | 'stopping'

/**
 * A BBR controller. `mtuBytes`: maximum datagram size of the path; `initialPackets`: datagrams of the first window;
 * `seed`: mixes the times of probes, so that flows do not probe in step.
 */
export class Bbr implements ModelController {
  readonly name = 'bbr'
  readonly delivery: DeliveryRate = new DeliveryRate()
  readonly slowStartThresholdBytes: number = Infinity
  readonly #initialPackets: number | undefined
  #model: BbrModel
  #mtuBytes: number
  #random: number
  #state: BbrState = 'startup'
  #windowBytes: number
  #priorWindowBytes = 0
  /** Bytes per second; 0 before the first round trip. */
  #pacingRate = 0
  #hasBegun = false
  #ackPhase: AckPhase = 'init'
  /** Samples are of packets sent while probing: losses among them bound what may be in flight. */
  #isProbeSample = false
  #wasProbeTooHigh = false
  #wasProbeCautious = false
  #cycleBeganUs: Micros = 0
  #probeWaitUs: Micros = 0
  #probeUpRounds = 0
  #probeUpAckedBytes = 0
  #probeUpBytesPerStep = Infinity
  #drainBeganRound = 0
  #isIdleRestart = false
  #probeRttEndUs: Micros = -1
  #isProbeRttRoundDone = false
  /** The window was filled in this round, and in the one before. */
  #isWindowFull = false
  #wasWindowFull = false
  /** Round from which the window of before a persistent congestion counts again; -1 = none. */
  #restoreRound = -1
  /** In flight when the newest acknowledged packet was sent. */
  #sampleInFlightBytes = 0
  /** Bytes of this round's losses not found spurious; -1 = nothing to undo. */
  #undoLostBytes = -1
  #undoFromUs: Micros = 0
  #undoState: 'none' | 'startup' | 'probe_bw_up' = 'none'
  #undoRate = Infinity
  #undoBytes = Infinity
  #undoLongTermBytes = Infinity

  constructor(mtuBytes: number, initialPackets?: number, seed: number = 1) {
    this.#initialPackets = initialPackets
    this.#mtuBytes = mtuBytes
    this.#random = seed >>> 0 || 1
    this.#model = new BbrModel(this.delivery)
    this.#windowBytes = initialWindowBytes(mtuBytes, initialPackets)
  }

  get windowBytes(): number {
    return Math.floor(this.#windowBytes)
  }

  pacingRate(rtt: RttEstimator): number {
    if (this.#pacingRate > 0) return this.#pacingRate
    const initialBytes = initialWindowBytes(this.#mtuBytes, this.#initialPackets)
    return (pacingGains.startup * initialBytes * 1e6) / (rtt.hasSample ? rtt.smoothedUs : FIRST_RTT_US)
  }

  state(): CongestionState {
    return this.#state
  }

  onPacketSent(bytes: number, inFlightBytes: number, _packetNumber: number, nowUs: Micros): void {
    if (!this.#hasBegun) {
      this.#hasBegun = true
      this.#cycleBeganUs = nowUs
      this.#model.begin(nowUs)
    } else if (inFlightBytes <= bytes && this.delivery.isLimited) this.#restartFromIdle(nowUs)
    if (inFlightBytes + this.#mtuBytes > this.#windowBytes) this.#isWindowFull = true
  }

  onPacketAcked(): void {}

  onLimited(inFlightBytes: number): void {
    if (inFlightBytes + this.#mtuBytes <= this.#windowBytes) this.delivery.markLimited(inFlightBytes)
  }

  onAckFinished(inFlightBytes: number, rtt: RttEstimator, nowUs: Micros): void {
    const { delivery } = this
    const model = this.#model
    delivery.finishAck(rtt.minUs)
    if (delivery.hasSample) this.#sampleInFlightBytes = delivery.inFlightBytes
    model.update(this.#isProbing(), this.#windowBytes, nowUs)
    if (this.#state === 'startup') this.#checkStartup()
    if (this.#state === 'drain') this.#checkDrain(inFlightBytes, nowUs)
    if (model.isFullReached) this.#updateCycle(inFlightBytes, nowUs)
    model.updateMinRtt(rtt, nowUs)
    this.#checkProbeRtt(inFlightBytes, nowUs)
    model.finish()
    this.#setPacingRate(pacingGains[this.#state], rtt)
    this.#setWindow()
    if (model.isRoundStart) {
      this.#wasWindowFull = this.#isWindowFull
      this.#isWindowFull = false
    }
    delivery.clearSample()
  }

  // ---- startup and drain

  #checkStartup(): void {
    const model = this.#model
    const { sampleLostBytes, inFlightBytes } = this.delivery
    const isLossy = model.lossRanges >= STARTUP_LOSS_RANGES && isLossTooHigh(sampleLostBytes, inFlightBytes)
    if (model.isLossRoundStart && isLossy) this.#leaveStartupUponLoss()
    if (model.isFullReached) this.#enterDrain()
  }

  #leaveStartupUponLoss(): void {
    const model = this.#model
    this.#undoState = 'startup'
    model.isFullReached = true
    const bdpBytes = model.bdpBytes(model.maxRate)
    model.longTermBytes = Math.max(bdpBytes === Infinity ? 0 : bdpBytes, model.latestBytes, this.#minimumBytes())
  }

  #enterDrain(): void {
    this.#state = 'drain'
    this.#drainBeganRound = this.#model.roundCount
  }

  #checkDrain(inFlightBytes: number, nowUs: Micros): void {
    const model = this.#model
    const isDrained = inFlightBytes <= this.#inFlightTarget(model.rate, 1)
    if (isDrained || model.roundCount > this.#drainBeganRound + DRAIN_ROUNDS_MAX) this.#startDown(nowUs)
  }

  // ---- the cycle of bandwidth probes

  #startDown(nowUs: Micros): void {
    const model = this.#model
    model.resetCongestionSignals()
    this.#probeUpBytesPerStep = Infinity
    model.roundsSinceProbe = this.#draw() < 0.5 ? 0 : 1
    this.#probeWaitUs = PROBE_WAIT_US + this.#draw() * PROBE_WAIT_SPREAD_US
    this.#cycleBeganUs = nowUs
    this.#ackPhase = 'stopping'
    model.startRound()
    this.#state = 'probe_bw_down'
  }

  #startRefill(): void {
    const model = this.#model
    model.resetShortTerm()
    this.#probeUpRounds = 0
    this.#probeUpAckedBytes = 0
    this.#wasProbeCautious = false
    this.#ackPhase = 'refilling'
    model.startRound()
    this.#state = 'probe_bw_refill'
  }

  #startUp(): void {
    const model = this.#model
    this.#ackPhase = 'starting'
    model.startRound()
    model.restartFull(this.delivery.bytesPerSecond)
    this.#state = 'probe_bw_up'
    this.#steepenProbe()
  }

  #updateCycle(inFlightBytes: number, nowUs: Micros): void {
    if (this.#adaptLongTerm()) return
    const model = this.#model
    switch (this.#state) {
      case 'probe_bw_down':
        if (this.#isTimeToProbe(nowUs)) this.#startRefill()
        else if (this.#isTimeToCruise(inFlightBytes)) this.#state = 'probe_bw_cruise'
        return
      case 'probe_bw_cruise':
        if (this.#isTimeToProbe(nowUs)) this.#startRefill()
        return
      case 'probe_bw_refill':
        if (!model.isRoundStart) return
        this.#isProbeSample = true
        this.#startUp()
        return
      case 'probe_bw_up':
        if (!this.#isTimeToGoDown(inFlightBytes)) return
        this.#wasProbeTooHigh = false
        this.#startDown(nowUs)
    }
  }

  #isTimeToProbe(nowUs: Micros): boolean {
    if (nowUs > this.#cycleBeganUs + this.#probeWaitUs) return true
    const rounds = Math.min(this.#targetBytes() / this.#mtuBytes, RENO_ROUNDS_MAX)
    return this.#model.roundsSinceProbe >= rounds
  }

  #isTimeToCruise(inFlightBytes: number): boolean {
    const model = this.#model
    if (inFlightBytes > model.withHeadroomBytes(this.#mtuBytes, this.#minimumBytes())) return false
    return inFlightBytes <= this.#inFlightTarget(model.maxRate, 1)
  }

  #isTimeToGoDown(inFlightBytes: number): boolean {
    const model = this.#model
    if (this.#wasProbeTooHigh && inFlightBytes >= model.longTermBytes) {
      this.#wasProbeCautious = true
      return true
    }
    if (this.#isWindowLimited() && this.#windowBytes >= model.longTermBytes) {
      model.restartFull(this.delivery.bytesPerSecond)
      return false
    }
    return model.isFullNow
  }

  /** Follows the samples of the last probe and moves the long-term bound. True when it changed the state. */
  #adaptLongTerm(): boolean {
    const model = this.#model
    const { delivery } = this
    if (this.#ackPhase === 'starting' && model.isRoundStart) this.#ackPhase = 'feedback'
    if (this.#ackPhase === 'stopping' && model.isRoundStart) {
      this.#isProbeSample = false
      this.#ackPhase = 'init'
      if (this.#isInCycle() && !delivery.isAppLimited) model.advanceMaxRate()
      if (this.#isInCycle() && this.#wasProbeCautious && !this.#wasProbeTooHigh) {
        this.#startRefill()
        return true
      }
    }
    if (!delivery.hasSample || isLossTooHigh(delivery.sampleLostBytes, delivery.inFlightBytes)) return false
    if (model.longTermBytes === Infinity) return false
    if (delivery.inFlightBytes > model.longTermBytes) model.longTermBytes = delivery.inFlightBytes
    if (this.#state === 'probe_bw_up') this.#raiseLongTerm()
    return false
  }

  #raiseLongTerm(): void {
    const model = this.#model
    if (!this.#isWindowLimited() || this.#windowBytes < model.longTermBytes) return
    this.#probeUpAckedBytes += this.delivery.ackedBytes
    if (this.#probeUpAckedBytes >= this.#probeUpBytesPerStep) {
      const steps = Math.floor(this.#probeUpAckedBytes / this.#probeUpBytesPerStep)
      this.#probeUpAckedBytes -= steps * this.#probeUpBytesPerStep
      model.longTermBytes += steps * this.#mtuBytes
    }
    if (model.isRoundStart) this.#steepenProbe()
  }

  /** One packet more in the first round of a probe, then two, four, … */
  #steepenProbe(): void {
    const steps = 2 ** this.#probeUpRounds
    this.#probeUpRounds = Math.min(this.#probeUpRounds + 1, PROBE_UP_DOUBLINGS_MAX)
    this.#probeUpBytesPerStep = Math.max(this.#windowBytes / steps, this.#mtuBytes)
  }

  // ---- the shortest round trip

  #checkProbeRtt(inFlightBytes: number, nowUs: Micros): void {
    const model = this.#model
    if (this.#state !== 'probe_rtt' && model.isProbeRttDue && !this.#isIdleRestart) {
      this.#saveWindow()
      this.#state = 'probe_rtt'
      this.#probeRttEndUs = -1
      this.#ackPhase = 'stopping'
      model.startRound()
    }
    if (this.#state === 'probe_rtt') this.#handleProbeRtt(inFlightBytes, nowUs)
    if (this.delivery.sampleBytes > 0) this.#isIdleRestart = false
  }

  #handleProbeRtt(inFlightBytes: number, nowUs: Micros): void {
    const model = this.#model
    // Rates of this pause are no measure of the path.
    this.delivery.markLimited(inFlightBytes)
    if (this.#probeRttEndUs < 0) {
      if (inFlightBytes > this.#probeRttWindowBytes()) return
      this.#probeRttEndUs = nowUs + PROBE_RTT_US
      this.#isProbeRttRoundDone = false
      model.startRound()
      return
    }
    if (model.isRoundStart) this.#isProbeRttRoundDone = true
    if (this.#isProbeRttRoundDone) this.#checkProbeRttDone(nowUs)
  }

  #checkProbeRttDone(nowUs: Micros): void {
    if (this.#probeRttEndUs < 0 || nowUs <= this.#probeRttEndUs) return
    const model = this.#model
    model.onProbeRttDone(nowUs)
    this.#restoreWindow()
    model.resetShortTerm()
    if (model.isFullReached) {
      this.#startDown(nowUs)
      this.#state = 'probe_bw_cruise'
    } else this.#state = 'startup'
  }

  #restartFromIdle(nowUs: Micros): void {
    this.#isIdleRestart = true
    this.#model.onIdleRestart(nowUs)
    if (this.#isInCycle()) this.#pacingRate = Math.max(this.#model.rate * PACING_MARGIN, 1)
    else if (this.#state === 'probe_rtt') this.#checkProbeRttDone(nowUs)
  }

  // ---- losses

  onPacketLost(bytes: number, sentAtUs: Micros, nowUs: Micros): void {
    const { delivery } = this
    if (this.#model.noteLoss()) {
      this.#saveForUndo(sentAtUs)
      this.#undoLostBytes = 0
    }
    if (this.#undoLostBytes >= 0) this.#undoLostBytes += bytes
    if (!this.#isProbeSample || !isLossTooHigh(delivery.lossLostBytes, delivery.lossInFlightBytes)) return
    const inFlightBytes = inFlightAtLoss(delivery.lossLostBytes, delivery.lossInFlightBytes, bytes)
    this.#onInFlightTooHigh(inFlightBytes, delivery.isLossAppLimited, nowUs)
  }

  onCongestion(
    _sentAtUs: Micros,
    _lostBytes: number,
    kind: CongestionSignal,
    _inFlightBytes: number,
    nowUs: Micros,
  ): void {
    if (kind === 'loss') return
    // draft-ietf-ccwg-bbr, "ECN": the "response MUST treat any CE marks as congestion": here like too many losses.
    this.#model.noteCongestion()
    this.#undoLostBytes = -1
    if (this.#state === 'startup') {
      this.#leaveStartupUponLoss()
      this.#enterDrain()
    } else if (this.#isProbeSample) this.#onInFlightTooHigh(this.#sampleInFlightBytes, false, nowUs)
  }

  #onInFlightTooHigh(inFlightBytes: number, isAppLimited: boolean, nowUs: Micros): void {
    this.#wasProbeTooHigh = true
    this.#isProbeSample = false
    const floorBytes = Math.max(this.#targetBytes() * BBR_BETA, this.#minimumBytes())
    if (!isAppLimited) this.#model.longTermBytes = Math.max(inFlightBytes, floorBytes)
    if (this.#state !== 'probe_bw_up') return
    this.#undoState = 'probe_bw_up'
    this.#startDown(nowUs)
  }

  // RFC 9002 §7.6.2: "the sender's congestion window MUST be reduced to the minimum congestion window"
  onPersistentCongestion(_nowUs: Micros): void {
    this.#saveWindow()
    this.#undoLostBytes = -1
    this.#windowBytes = minimumWindowBytes(this.#mtuBytes)
    // Once a round has gone well the model decides again.
    this.#restoreRound = this.#model.roundCount + 2
  }

  #saveForUndo(sentAtUs: Micros): void {
    const model = this.#model
    this.#saveWindow()
    this.#undoFromUs = sentAtUs
    this.#undoState = 'none'
    this.#undoRate = model.shortTermRate
    this.#undoBytes = model.shortTermBytes
    this.#undoLongTermBytes = model.longTermBytes
  }

  /** All losses of the last round of losses arrived after all: back to what was believed before them. */
  onSpuriousLoss(bytes: number, sentAtUs: Micros, _nowUs: Micros): void {
    if (this.#undoLostBytes < 0 || sentAtUs < this.#undoFromUs) return
    this.#undoLostBytes -= bytes
    if (this.#undoLostBytes > 0) return
    this.#undoLostBytes = -1
    const model = this.#model
    this.#restoreWindow()
    model.isLossInRound = false
    model.restartFull(0)
    model.shortTermRate = Math.max(model.shortTermRate, this.#undoRate)
    model.shortTermBytes = Math.max(model.shortTermBytes, this.#undoBytes)
    model.longTermBytes = Math.max(model.longTermBytes, this.#undoLongTermBytes)
    const undone = this.#undoState
    this.#undoState = 'none'
    if (undone === 'startup') model.isFullReached = false
    if (this.#state === 'probe_rtt' || undone === 'none' || this.#state === undone) return
    if (undone === 'startup') this.#state = 'startup'
    else this.#startRefill()
  }

  onPacketDiscarded(_bytes: number): void {
    // RFC 9002 §6.4: discarded packets leave the flight, which the caller counts; nothing is learnt from them.
  }

  onMtuChanged(mtuBytes: number): void {
    this.#mtuBytes = mtuBytes
    // RFC 9002 §7.2: "If the maximum datagram size changes during the connection, the initial congestion window SHOULD be recalculated"
    if (this.delivery.deliveredBytes === 0) this.#windowBytes = initialWindowBytes(mtuBytes, this.#initialPackets)
    else this.#windowBytes = Math.max(this.#windowBytes, minimumWindowBytes(mtuBytes))
  }

  reset(mtuBytes: number): void {
    this.delivery.reset()
    this.#model = new BbrModel(this.delivery)
    this.#model.startRound()
    this.#mtuBytes = mtuBytes
    this.#state = 'startup'
    this.#windowBytes = initialWindowBytes(mtuBytes, this.#initialPackets)
    this.#priorWindowBytes = 0
    this.#pacingRate = 0
    this.#hasBegun = false
    this.#ackPhase = 'init'
    this.#isProbeSample = false
    this.#wasProbeTooHigh = false
    this.#wasProbeCautious = false
    this.#isIdleRestart = false
    this.#probeRttEndUs = -1
    this.#isWindowFull = false
    this.#wasWindowFull = false
    this.#restoreRound = -1
    this.#undoLostBytes = -1
    this.#undoState = 'none'
  }

  // ---- outputs

  #setPacingRate(gain: number, rtt: RttEstimator): void {
    const model = this.#model
    if (this.#pacingRate === 0 && rtt.hasSample) this.#pacingRate = this.pacingRate(rtt)
    const rate = gain * model.rate * PACING_MARGIN
    if (rate > 0 && (model.isFullReached || rate > this.#pacingRate)) this.#pacingRate = rate
  }

  #setWindow(): void {
    const model = this.#model
    const { ackedBytes, deliveredBytes } = this.delivery
    const gain = this.#windowGain()
    const maxBytes = this.#quantised(this.#bdpMultiple(model.rate, gain) + model.extraAckedBytes)
    if (this.#restoreRound >= 0 && model.roundCount >= this.#restoreRound && !model.isLossInRound) {
      this.#restoreRound = -1
      this.#restoreWindow()
    }
    if (model.isFullReached) this.#windowBytes = Math.min(this.#windowBytes + ackedBytes, maxBytes)
    else if (
      this.#windowBytes < maxBytes ||
      deliveredBytes < initialWindowBytes(this.#mtuBytes, this.#initialPackets)
    ) {
      this.#windowBytes += ackedBytes
    }
    this.#windowBytes = Math.max(this.#windowBytes, this.#minimumBytes())
    if (this.#state === 'probe_rtt') this.#windowBytes = Math.min(this.#windowBytes, this.#probeRttWindowBytes())
    this.#windowBytes = Math.min(this.#windowBytes, this.#boundBytes(), WINDOW_BYTES_MAX)
  }

  /** Volume cap of the state. */
  #boundBytes(): number {
    const model = this.#model
    let bound = Infinity
    if (this.#state === 'probe_rtt' || this.#state === 'probe_bw_cruise') {
      bound = model.withHeadroomBytes(this.#mtuBytes, this.#minimumBytes())
    } else if (this.#isInCycle()) bound = model.longTermBytes
    return Math.max(Math.min(bound, model.shortTermBytes), this.#minimumBytes())
  }

  #windowGain(): number {
    if (this.#state === 'probe_rtt') return WINDOW_GAIN_PROBE_RTT
    return this.#state === 'probe_bw_up' ? WINDOW_GAIN_UP : WINDOW_GAIN
  }

  #bdpMultiple(rate: number, gain: number): number {
    const bdpBytes = this.#model.bdpBytes(rate)
    return bdpBytes === Infinity ? initialWindowBytes(this.#mtuBytes, this.#initialPackets) : gain * bdpBytes
  }

  #quantised(bytes: number): number {
    const quantumBytes = Math.min((this.#pacingRate * QUANTUM_US) / 1e6, QUANTUM_BYTES_MAX)
    const least = Math.max(bytes, quantumBytes, this.#minimumBytes())
    return this.#state === 'probe_bw_up' ? least + 2 * this.#mtuBytes : least
  }

  #inFlightTarget(rate: number, gain: number): number {
    return this.#quantised(this.#bdpMultiple(rate, gain))
  }

  #probeRttWindowBytes(): number {
    return Math.max(this.#bdpMultiple(this.#model.rate, WINDOW_GAIN_PROBE_RTT), this.#minimumBytes())
  }

  /** What should be in flight: the product of rate and delay unless losses have cut the window below. */
  #targetBytes(): number {
    return Math.min(this.#bdpMultiple(this.#model.rate, 1), this.#windowBytes)
  }

  #minimumBytes(): number {
    return PIPE_PACKETS_MIN * this.#mtuBytes
  }

  #isProbing(): boolean {
    return this.#state === 'startup' || this.#state === 'probe_bw_refill' || this.#state === 'probe_bw_up'
  }

  #isInCycle(): boolean {
    return this.#state !== 'startup' && this.#state !== 'drain' && this.#state !== 'probe_rtt'
  }

  #isWindowLimited(): boolean {
    return this.#isWindowFull || this.#wasWindowFull
  }

  #saveWindow(): void {
    const isLowered = this.#restoreRound >= 0 || this.#state === 'probe_rtt'
    this.#priorWindowBytes = isLowered ? Math.max(this.#priorWindowBytes, this.#windowBytes) : this.#windowBytes
  }

  #restoreWindow(): void {
    this.#windowBytes = Math.max(this.#windowBytes, this.#priorWindowBytes)
  }

  /** Uniform in [0, 1): xorshift. */
  #draw(): number {
    let x = this.#random
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#random = x >>> 0
    return this.#random / 2 ** 32
  }
}
