/** What BBR believes of its path: rate, round trip, safe volumes in flight (draft-ietf-ccwg-bbr, "Updating Network Path Model Parameters"). */
import type { Micros } from '../ports/datagrams.ts'
import type { DeliveryRate } from '../recovery/delivery-rate.ts'
import { GRANULARITY_US, type RttEstimator } from '../recovery/rtt.ts'

/** Beta: no single round of losses takes more than CUBIC would give up. */
export const BBR_BETA = 0.7
/** LossThresh: share of a round's packets that may be lost while probing. */
const LOSS_THRESHOLD = 0.02
/** Headroom: share of the long-term bound left to others. */
const HEADROOM = 0.15
const MIN_RTT_FILTER_US = 10_000_000
const PROBE_RTT_INTERVAL_US = 5_000_000
/** ExtraAckedFilterLen is 10 round trips, here two halves. */
const EXTRA_ACKED_HALF_ROUNDS = 5
/** A plateau: three rounds in which the rate grew by less than a quarter. */
const FULL_GROWTH = 1.25
const FULL_ROUNDS = 3

/** Rates are bytes per second, volumes bytes. Read-only for others but where a method says so. */
export class BbrModel {
  readonly delivery: DeliveryRate
  /** Windowed maximum over this probing cycle and the one before. */
  maxRate = 0
  /** What the path delivered lately under losses; Infinity = no losses lately. */
  shortTermRate = Infinity
  shortTermBytes = Infinity
  /** Largest volume in flight that did not cost too many packets; Infinity = never found. */
  longTermBytes = Infinity
  /** The smaller of `maxRate` and `shortTermRate`. */
  rate = 0
  minRttUs: Micros = Infinity
  isProbeRttDue = false
  /** Acknowledged beyond what the rate explains: how much acknowledgments come in clusters. */
  extraAckedBytes = 0
  roundCount = 0
  isRoundStart = false
  roundsSinceProbe = 0
  isLossInRound = false
  isLossRoundStart = false
  /** Separate ranges of packets lost in this round. */
  lossRanges = 0
  latestBytes = 0
  isFullNow = false
  /** The path's rate has been reached once: startup is over. */
  isFullReached = false
  #fullRate = 0
  #fullRounds = 0
  #olderRate = 0
  #newerRate = 0
  #latestRate = 0
  #roundEndBytes = 0
  #lossRoundEndBytes = 0
  #minRttAtUs: Micros = 0
  #probeRttMinUs: Micros = Infinity
  #probeRttMinAtUs: Micros = 0
  #rttSamples = 0
  #extraSinceUs: Micros = 0
  #extraDeliveredBytes = 0
  #extraOlderBytes = 0
  #extraNewerBytes = 0
  #extraRounds = 0

  readonly #beganBytes: number

  constructor(delivery: DeliveryRate) {
    this.delivery = delivery
    this.#beganBytes = delivery.deliveredBytes
    this.startRound()
  }

  /** Delivered since this model began. */
  get deliveredBytes(): number {
    return this.delivery.deliveredBytes - this.#beganBytes
  }

  /** The first packet leaves. */
  begin(nowUs: Micros): void {
    this.#minRttAtUs = nowUs
    this.#probeRttMinAtUs = nowUs
    this.#extraSinceUs = nowUs
  }

  // ---- each acknowledgment, in this order

  /**
   * Round trips, rate samples and congestion signals. `pacingGain`: at which packets leave; `windowBytes`: the congestion
   * window before this acknowledgment.
   */
  update(isProbing: boolean, pacingGain: number, windowBytes: number, nowUs: Micros): void {
    const { delivery } = this
    this.isLossRoundStart = false
    this.#latestRate = Math.max(this.#latestRate, delivery.bytesPerSecond)
    this.latestBytes = Math.max(this.latestBytes, delivery.sampleBytes)
    if (delivery.hasSample && delivery.priorDeliveredBytes >= this.#lossRoundEndBytes) {
      this.#lossRoundEndBytes = delivery.deliveredBytes
      this.isLossRoundStart = true
    }
    this.#updateRound()
    this.#updateMaxRate()
    if (this.isLossRoundStart) {
      if (this.isLossInRound && !isProbing) this.#adaptShortTerm(pacingGain, windowBytes)
      this.isLossInRound = false
    }
    this.#updateExtraAcked(windowBytes, nowUs)
    this.#checkFull()
  }

  /** `rtt` has taken the sample of this acknowledgment, if it brought one. */
  updateMinRtt(rtt: RttEstimator, nowUs: Micros): void {
    this.isProbeRttDue = nowUs > this.#probeRttMinAtUs + PROBE_RTT_INTERVAL_US
    if (rtt.sampleCount !== this.#rttSamples) {
      this.#rttSamples = rtt.sampleCount
      if (rtt.latestUs < this.#probeRttMinUs || this.isProbeRttDue) {
        this.#probeRttMinUs = rtt.latestUs
        this.#probeRttMinAtUs = nowUs
      } else if (rtt.latestUs <= this.#probeRttMinUs + GRANULARITY_US) {
        // As short as the shortest but for our own trains: no queue stands there, a pause would measure nothing else.
        this.#probeRttMinAtUs = nowUs
      }
    }
    if (this.#probeRttMinUs > this.minRttUs && nowUs <= this.#minRttAtUs + MIN_RTT_FILTER_US) return
    this.minRttUs = this.#probeRttMinUs
    this.#minRttAtUs = this.#probeRttMinAtUs
  }

  /** Last: what was seen in this acknowledgment begins the next round of signals. */
  finish(): void {
    if (this.isLossRoundStart) {
      this.#latestRate = this.delivery.bytesPerSecond
      this.latestBytes = this.delivery.sampleBytes
      this.lossRanges = 0
    }
    this.rate = Math.min(this.maxRate, this.shortTermRate)
  }

  #updateRound(): void {
    const { delivery } = this
    this.isRoundStart = delivery.hasSample && delivery.priorDeliveredBytes >= this.#roundEndBytes
    if (!this.isRoundStart) return
    this.startRound()
    this.roundCount++
    this.roundsSinceProbe++
  }

  #updateMaxRate(): void {
    const { bytesPerSecond, isAppLimited } = this.delivery
    if (bytesPerSecond <= 0 || (isAppLimited && bytesPerSecond < this.maxRate)) return
    if (bytesPerSecond > this.#newerRate) this.#newerRate = bytesPerSecond
    this.maxRate = Math.max(this.#olderRate, this.#newerRate)
  }

  #adaptShortTerm(pacingGain: number, windowBytes: number): void {
    if (this.shortTermRate === Infinity) this.shortTermRate = this.maxRate
    if (this.shortTermBytes === Infinity) this.shortTermBytes = windowBytes
    // A rate that we held down ourselves is not what the path delivers: scaled up, as long as the path has shown more.
    const shownRate = Math.min(this.#latestRate / Math.min(pacingGain, 1), this.shortTermRate)
    this.shortTermRate = Math.max(this.#latestRate, shownRate, BBR_BETA * this.shortTermRate)
    this.shortTermBytes = Math.max(this.latestBytes, BBR_BETA * this.shortTermBytes)
  }

  #updateExtraAcked(windowBytes: number, nowUs: Micros): void {
    let expectedBytes = (this.rate * (nowUs - this.#extraSinceUs)) / 1e6
    if (this.#extraDeliveredBytes <= expectedBytes) {
      this.#extraDeliveredBytes = 0
      this.#extraSinceUs = nowUs
      expectedBytes = 0
    }
    this.#extraDeliveredBytes += this.delivery.ackedBytes
    const extraBytes = Math.min(this.#extraDeliveredBytes - expectedBytes, windowBytes)
    if (this.isRoundStart) {
      const rounds = this.isFullReached ? EXTRA_ACKED_HALF_ROUNDS : 1
      this.#extraRounds++
      if (this.#extraRounds >= rounds) {
        this.#extraOlderBytes = this.isFullReached ? this.#extraNewerBytes : 0
        this.#extraNewerBytes = 0
        this.#extraRounds = 0
      }
    }
    if (extraBytes > this.#extraNewerBytes) this.#extraNewerBytes = extraBytes
    this.extraAckedBytes = Math.max(this.#extraOlderBytes, this.#extraNewerBytes)
  }

  #checkFull(): void {
    const { bytesPerSecond, isAppLimited } = this.delivery
    if (this.isFullNow || !this.isRoundStart || isAppLimited) return
    if (bytesPerSecond >= this.#fullRate * FULL_GROWTH) {
      this.restartFull(bytesPerSecond)
      return
    }
    this.#fullRounds++
    this.isFullNow = this.#fullRounds >= FULL_ROUNDS
    if (this.isFullNow) this.isFullReached = true
  }

  // ---- losses

  /** A packet is lost. True when it is the first of its round: the moment to remember what an undo would restore. */
  noteLoss(): boolean {
    if (this.delivery.isNewLossRange) this.lossRanges++
    return this.noteCongestion()
  }

  noteCongestion(): boolean {
    if (this.isLossInRound) return false
    this.isLossInRound = true
    this.#lossRoundEndBytes = this.delivery.deliveredBytes
    return true
  }

  // ---- what the state machine asks and tells

  startRound(): void {
    this.#roundEndBytes = this.delivery.deliveredBytes
  }

  /** Looks for a plateau from `rate` on. */
  restartFull(rate: number): void {
    this.#fullRate = rate
    this.#fullRounds = 0
    this.isFullNow = false
  }

  /** A probing cycle is over: its samples become the older half of the filter. */
  advanceMaxRate(): void {
    if (this.#newerRate === 0) return
    this.#olderRate = this.#newerRate
    this.#newerRate = 0
    this.maxRate = this.#olderRate
  }

  resetCongestionSignals(): void {
    this.isLossInRound = false
    this.#latestRate = 0
    this.latestBytes = 0
  }

  resetShortTerm(): void {
    this.shortTermRate = Infinity
    this.shortTermBytes = Infinity
  }

  onIdleRestart(nowUs: Micros): void {
    this.#extraSinceUs = nowUs
    this.#extraDeliveredBytes = 0
  }

  /** The round trip was measured with little in flight: the next such pause is due in five seconds. */
  onProbeRttDone(nowUs: Micros): void {
    this.#probeRttMinAtUs = nowUs
  }

  /** Bandwidth-delay product; Infinity before the first round trip. */
  bdpBytes(rate: number): number {
    return this.minRttUs === Infinity ? Infinity : (rate * this.minRttUs) / 1e6
  }

  /** The long-term bound less the room left to others. */
  withHeadroomBytes(mtuBytes: number, minimumBytes: number): number {
    const bound = this.longTermBytes
    return bound === Infinity ? Infinity : Math.max(bound - Math.max(mtuBytes, HEADROOM * bound), minimumBytes)
  }
}

/** Whether `lostBytes` of `inFlightBytes` are more than probing may cost. */
export function isLossTooHigh(lostBytes: number, inFlightBytes: number): boolean {
  return lostBytes > inFlightBytes * LOSS_THRESHOLD
}

/** How much of what was in flight with a lost packet of `bytes` was there when losses crossed the threshold. */
export function inFlightAtLoss(lostBytes: number, inFlightBytes: number, bytes: number): number {
  const before = inFlightBytes - bytes
  return before + (LOSS_THRESHOLD * before - (lostBytes - bytes)) / (1 - LOSS_THRESHOLD)
}
