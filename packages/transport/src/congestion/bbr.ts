/** BBR version 3 (draft-ietf-ccwg-bbr): sends at the rate the path delivers instead of filling its queue. */
import type { Micros } from '../ports/datagrams.ts'
import { DeliveryRate } from '../recovery/delivery-rate.ts'
import type { RttEstimator } from '../recovery/rtt.ts'
import { BbrControls, type BbrState, pacingGains } from './bbr-controls.ts'
import { BBR_BETA, BbrModel, inFlightAtLoss, isLossTooHigh } from './bbr-model.ts'
import type { CongestionSignal, CongestionState, ModelController } from './controller.ts'

const PROBE_RTT_US = 200_000
const DRAIN_ROUNDS_MAX = 3
/** BBRStartupFullLossCnt. */
const STARTUP_LOSS_RANGES = 6
const PROBE_WAIT_US = 2_000_000
const PROBE_WAIT_SPREAD_US = 1_000_000
/** Rounds between two probes that leave Reno and CUBIC flows their share. */
const RENO_ROUNDS_MAX = 63
const PROBE_UP_DOUBLINGS_MAX = 30

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
  readonly #controls: BbrControls
  #model: BbrModel
  #random: number
  #state: BbrState = 'startup'
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
    this.#random = seed >>> 0 || 1
    this.#model = new BbrModel(this.delivery)
    this.#controls = new BbrControls(this.#model, mtuBytes, initialPackets)
  }

  get windowBytes(): number {
    return Math.floor(this.#controls.windowBytes)
  }

  pacingRate(rtt: RttEstimator): number {
    return this.#controls.currentPacingRate(rtt)
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
    if (inFlightBytes + this.#controls.mtuBytes > this.#controls.windowBytes) this.#isWindowFull = true
  }

  onPacketAcked(): void {}

  onLimited(inFlightBytes: number): void {
    if (inFlightBytes + this.#controls.mtuBytes <= this.#controls.windowBytes) this.delivery.markLimited(inFlightBytes)
  }

  onAckFinished(inFlightBytes: number, rtt: RttEstimator, nowUs: Micros): void {
    const { delivery } = this
    const model = this.#model
    delivery.finishAck(rtt.minUs)
    if (delivery.hasSample) this.#sampleInFlightBytes = delivery.inFlightBytes
    model.update(this.#isProbing(), pacingGains[this.#state], this.#controls.windowBytes, nowUs)
    if (this.#state === 'startup') this.#checkStartup()
    if (this.#state === 'drain') this.#checkDrain(inFlightBytes, nowUs)
    if (model.isFullReached) this.#updateCycle(inFlightBytes, nowUs)
    model.updateMinRtt(rtt, nowUs)
    this.#checkProbeRtt(inFlightBytes, nowUs)
    model.finish()
    this.#controls.update(this.#state, rtt)
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
    model.longTermBytes = Math.max(
      bdpBytes === Infinity ? 0 : bdpBytes,
      model.latestBytes,
      this.#controls.minimumBytes(),
    )
  }

  #enterDrain(): void {
    this.#state = 'drain'
    this.#drainBeganRound = this.#model.roundCount
  }

  #checkDrain(inFlightBytes: number, nowUs: Micros): void {
    const model = this.#model
    const isDrained = inFlightBytes <= this.#controls.inFlightTarget(model.rate, this.#state)
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
    const rounds = Math.min(this.#controls.targetBytes() / this.#controls.mtuBytes, RENO_ROUNDS_MAX)
    return this.#model.roundsSinceProbe >= rounds
  }

  #isTimeToCruise(inFlightBytes: number): boolean {
    const model = this.#model
    if (inFlightBytes > model.withHeadroomBytes(this.#controls.mtuBytes, this.#controls.minimumBytes())) return false
    return inFlightBytes <= this.#controls.inFlightTarget(model.maxRate, this.#state)
  }

  #isTimeToGoDown(inFlightBytes: number): boolean {
    const model = this.#model
    if (this.#wasProbeTooHigh && inFlightBytes >= model.longTermBytes) {
      this.#wasProbeCautious = true
      return true
    }
    if (this.#isWindowLimited() && this.#controls.windowBytes >= model.longTermBytes) {
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
    if (!this.#isWindowLimited() || this.#controls.windowBytes < model.longTermBytes) return
    this.#probeUpAckedBytes += this.delivery.ackedBytes
    if (this.#probeUpAckedBytes >= this.#probeUpBytesPerStep) {
      const steps = Math.floor(this.#probeUpAckedBytes / this.#probeUpBytesPerStep)
      this.#probeUpAckedBytes -= steps * this.#probeUpBytesPerStep
      model.longTermBytes += steps * this.#controls.mtuBytes
    }
    if (model.isRoundStart) this.#steepenProbe()
  }

  /** One packet more in the first round of a probe, then two, four, … */
  #steepenProbe(): void {
    const steps = 2 ** this.#probeUpRounds
    this.#probeUpRounds = Math.min(this.#probeUpRounds + 1, PROBE_UP_DOUBLINGS_MAX)
    this.#probeUpBytesPerStep = Math.max(this.#controls.windowBytes / steps, this.#controls.mtuBytes)
  }

  // ---- the shortest round trip

  #checkProbeRtt(inFlightBytes: number, nowUs: Micros): void {
    const model = this.#model
    if (this.#state !== 'probe_rtt' && model.isProbeRttDue && !this.#isIdleRestart) {
      this.#controls.saveWindow(this.#state)
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
      if (inFlightBytes > this.#controls.probeRttWindowBytes()) return
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
    this.#controls.restoreWindow()
    model.resetShortTerm()
    if (model.isFullReached) {
      this.#startDown(nowUs)
      this.#state = 'probe_bw_cruise'
    } else this.#state = 'startup'
  }

  #restartFromIdle(nowUs: Micros): void {
    this.#isIdleRestart = true
    this.#model.onIdleRestart(nowUs)
    if (this.#isInCycle()) this.#controls.paceAtRate()
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
    const floorBytes = Math.max(this.#controls.targetBytes() * BBR_BETA, this.#controls.minimumBytes())
    if (!isAppLimited) this.#model.longTermBytes = Math.max(inFlightBytes, floorBytes)
    if (this.#state !== 'probe_bw_up') return
    this.#undoState = 'probe_bw_up'
    this.#startDown(nowUs)
  }

  onPersistentCongestion(_nowUs: Micros): void {
    this.#undoLostBytes = -1
    this.#controls.onPersistentCongestion(this.#state)
  }

  #saveForUndo(sentAtUs: Micros): void {
    const model = this.#model
    this.#controls.saveWindow(this.#state)
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
    this.#controls.restoreWindow()
    model.isLossInRound = false
    model.lossRanges = 0
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
    this.#controls.onMtuChanged(mtuBytes)
  }

  reset(mtuBytes: number): void {
    this.delivery.reset()
    this.#model = new BbrModel(this.delivery)
    this.#controls.reset(this.#model, mtuBytes)
    this.#state = 'startup'
    this.#hasBegun = false
    this.#ackPhase = 'init'
    this.#isProbeSample = false
    this.#wasProbeTooHigh = false
    this.#wasProbeCautious = false
    this.#isIdleRestart = false
    this.#probeRttEndUs = -1
    this.#isWindowFull = false
    this.#wasWindowFull = false
    this.#undoLostBytes = -1
    this.#undoState = 'none'
  }

  // ---- what state it is in

  #isProbing(): boolean {
    return this.#state === 'startup' || this.#state === 'probe_bw_refill' || this.#state === 'probe_bw_up'
  }

  #isInCycle(): boolean {
    return this.#state !== 'startup' && this.#state !== 'drain' && this.#state !== 'probe_rtt'
  }

  #isWindowLimited(): boolean {
    return this.#isWindowFull || this.#wasWindowFull
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
