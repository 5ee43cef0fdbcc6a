/** The window-based controller behind NewReno and CUBIC: slow start, recovery periods, undo; a law supplies the rest. */
import type { Micros } from '../ports/datagrams.ts'
import type { RttEstimator } from '../recovery/rtt.ts'
import {
  type CongestionController,
  type CongestionSignal,
  type CongestionState,
  initialWindowBytes,
  minimumWindowBytes,
  WINDOW_BYTES_MAX,
} from './controller.ts'
import { HyStart } from './hystart.ts'
import { LossJudge } from './loss-judge.ts'
import { Utilisation } from './utilisation.ts'

/** RFC 9002 §7.7: N in rate = N * window / smoothed_rtt. The window doubles per round trip in slow start, hence 2. */
const PACING_GAIN = 1.25
const PACING_GAIN_SLOW_START = 2
/** For so much of a round trip packets behind a lost one meet the queue that it met. */
const DOUBT_SHARE = 0.25

/** How a window grows in congestion avoidance and shrinks upon congestion. Window sizes are bytes with fractions. */
export interface AvoidanceLaw {
  readonly name: string
  /** Whether `undo` restores what `reduce` changed. */
  readonly canUndo: boolean
  /** Losses that no queue is to blame for are repaired, but not answered. Left out = all are. */
  readonly isTolerant?: boolean
  /** The window after `ackedBytes` more were acknowledged; never smaller than `windowBytes`. */
  grow(windowBytes: number, ackedBytes: number, mtuBytes: number, rtt: RttEstimator, nowUs: Micros): number
  /** The window was not used up to `nowUs`: time of which growth must not take notice. */
  skipTime(nowUs: Micros): void
  /** The window after congestion, before the minimum is applied. */
  reduce(windowBytes: number): number
  /** HyStart++ ended slow start without congestion. */
  onSlowStartExit(windowBytes: number): void
  onPersistentCongestion(): void
  /** The last `reduce` was unwarranted. */
  undo(): void
  reset(): void
}

export class WindowController implements CongestionController {
  readonly name: string
  readonly #law: AvoidanceLaw
  readonly #initialPackets: number | undefined
  readonly #hystart: HyStart
  readonly #utilisation: Utilisation
  /** Absent where all losses are answered. */
  readonly #judge: LossJudge | undefined
  /** Of the acknowledgment being processed. */
  #rtt: RttEstimator | undefined
  #mtuBytes: number
  #windowBytes: number
  #thresholdBytes: number
  /** Packets sent up to here belong to the congestion already answered; -1 = none. */
  #recoveryBeganUs: Micros
  #isRecovering: boolean
  #isUnderused: boolean
  #ackedBytes: number
  #hasAcks: boolean
  #lastSentAtUs: Micros
  /** Bytes reported lost since the last reduction and not found spurious; -1 = that reduction cannot be undone. */
  #undoLostBytes: number
  /** Lost since the last reduction and not answered; if one of these packets comes late, it is not one of those behind the next. */
  #ignoredBytes: number
  /** Acknowledgments of packets sent until then may still show that the last reduction answered no queue; -1 = none may. */
  #doubtUntilUs: Micros
  #undoWindowBytes: number
  #undoThresholdBytes: number
  #undoRecoveryBeganUs: Micros

  /**
   * `mtuBytes`: the path's current maximum datagram size. The law must not be shared between controllers.
   * `initialPackets`: datagrams of the first window.
   */
  constructor(law: AvoidanceLaw, mtuBytes: number, initialPackets?: number) {
    this.name = law.name
    this.#law = law
    this.#initialPackets = initialPackets
    this.#hystart = new HyStart()
    this.#utilisation = new Utilisation()
    this.#judge = law.isTolerant === true ? new LossJudge() : undefined
    this.#rtt = undefined
    this.#mtuBytes = mtuBytes
    this.#windowBytes = initialWindowBytes(mtuBytes, this.#initialPackets)
    this.#thresholdBytes = Infinity
    this.#recoveryBeganUs = -1
    this.#isRecovering = false
    this.#isUnderused = false
    this.#ackedBytes = 0
    this.#hasAcks = false
    this.#lastSentAtUs = -1
    this.#undoLostBytes = -1
    this.#ignoredBytes = 0
    this.#doubtUntilUs = -1
    this.#undoWindowBytes = 0
    this.#undoThresholdBytes = Infinity
    this.#undoRecoveryBeganUs = -1
  }

  get windowBytes(): number {
    return Math.floor(this.#windowBytes)
  }

  get slowStartThresholdBytes(): number {
    return this.#thresholdBytes === Infinity ? Infinity : Math.floor(this.#thresholdBytes)
  }

  pacingRate(rtt: RttEstimator): number {
    // RFC 9002 §7.7: rate = N * congestion_window / smoothed_rtt
    const isDoubling = this.#isSlowStart() && this.#hystart.phase !== 'conservative'
    return ((isDoubling ? PACING_GAIN_SLOW_START : PACING_GAIN) * this.#windowBytes * 1e6) / rtt.smoothedUs
  }

  onPacketSent(bytes: number, inFlightBytes: number, _packetNumber: number, nowUs: Micros): void {
    if (inFlightBytes <= bytes) this.#law.skipTime(nowUs)
    this.#lastSentAtUs = nowUs
    this.#utilisation.onSent(inFlightBytes, nowUs)
  }

  onPacketAcked(bytes: number, _packetNumber: number, sentAtUs: Micros, rtt: RttEstimator, _nowUs: Micros): void {
    this.#utilisation.onAcked(sentAtUs)
    this.#rtt = rtt
    this.#judge?.onAcked(bytes, this.#mtuBytes)
    this.#hasAcks = true
    // RFC 9002 §7.3.2: "a recovery period ends … when a packet sent during the recovery period is acknowledged"
    if (sentAtUs <= this.#recoveryBeganUs) return
    this.#isRecovering = false
    this.#ackedBytes += bytes
  }

  onAckFinished(_inFlightBytes: number, rtt: RttEstimator, nowUs: Micros): void {
    let ackedBytes = this.#ackedBytes
    this.#ackedBytes = 0
    if (this.#isRecovering && !this.#isDoubtful(rtt)) return
    this.#isUnderused = !this.#utilisation.isFull(this.#windowBytes, this.#mtuBytes, this.#isSlowStart())
    if (this.#isSlowStart()) ackedBytes = this.#growInSlowStart(ackedBytes, rtt)
    if (this.#isUnderused) this.#law.skipTime(nowUs)
    else if (ackedBytes > 0) {
      const grown = this.#law.grow(this.#windowBytes, ackedBytes, this.#mtuBytes, rtt, nowUs)
      this.#windowBytes = Math.min(grown, WINDOW_BYTES_MAX)
    }
  }

  onCongestion(
    sentAtUs: Micros,
    lostBytes: number,
    kind: CongestionSignal,
    _inFlightBytes: number,
    nowUs: Micros,
  ): void {
    const isRandom = kind === 'loss' && this.#isRandom(lostBytes)
    // RFC 9002 §7.3.2: "during a recovery period, the congestion window does not change in response to new losses"
    if (sentAtUs <= this.#recoveryBeganUs) {
      if (kind === 'ecn') {
        this.#undoLostBytes = -1
        this.#doubtUntilUs = -1
      } else if (this.#undoLostBytes >= 0) this.#undoLostBytes += lostBytes
      return
    }
    if (isRandom) {
      this.#ignoredBytes += lostBytes
      return
    }
    this.#undoLostBytes = kind === 'loss' && this.#law.canUndo ? lostBytes + this.#ignoredBytes : -1
    this.#ignoredBytes = 0
    const doubtUs = (this.#rtt?.smoothedUs ?? 0) * DOUBT_SHARE
    this.#doubtUntilUs = kind === 'loss' && this.#judge !== undefined ? sentAtUs + doubtUs : -1
    this.#undoWindowBytes = this.#windowBytes
    this.#undoThresholdBytes = this.#thresholdBytes
    this.#undoRecoveryBeganUs = this.#recoveryBeganUs
    this.#recoveryBeganUs = nowUs
    this.#isRecovering = true
    // Acknowledgments of this frame arrived with the signal, so they must not grow the window it has just cut.
    this.#ackedBytes = 0
    // RFC 9002 §7.2: the minimum window bounds every reduction.
    this.#thresholdBytes = Math.max(this.#law.reduce(this.#windowBytes), minimumWindowBytes(this.#mtuBytes))
    this.#windowBytes = this.#thresholdBytes
  }

  onPersistentCongestion(_nowUs: Micros): void {
    // RFC 9002 §7.6.2: "the sender's congestion window MUST be reduced to the minimum congestion window"
    this.#windowBytes = minimumWindowBytes(this.#mtuBytes)
    // RFC 9002 §B.8: the recovery period ends with it, so that slow start may begin.
    this.#recoveryBeganUs = -1
    this.#isRecovering = false
    this.#undoLostBytes = -1
    this.#doubtUntilUs = -1
    this.#ackedBytes = 0
    // RFC 9406 §4.3: HyStart++ is for the initial slow start; an undone reduction resumes that one, this does not.
    this.#hystart.finish()
    this.#law.onPersistentCongestion()
  }

  /** RFC 9438 §4.9.2: once all losses behind the last reduction prove spurious, the reduction is undone. */
  onSpuriousLoss(bytes: number, sentAtUs: Micros, _nowUs: Micros): void {
    if (this.#undoLostBytes < 0) return
    const isOfLastReduction = sentAtUs > this.#undoRecoveryBeganUs && sentAtUs <= this.#recoveryBeganUs
    if (!isOfLastReduction) return
    this.#undoLostBytes -= bytes
    if (this.#undoLostBytes <= 0) this.#undo()
  }

  #undo(): void {
    this.#undoLostBytes = -1
    this.#doubtUntilUs = -1
    // RFC 9438 §4.9.2: a window that has outgrown the old one meanwhile stays.
    if (this.#windowBytes >= this.#undoWindowBytes) return
    this.#windowBytes = this.#undoWindowBytes
    this.#thresholdBytes = this.#undoThresholdBytes
    this.#recoveryBeganUs = this.#undoRecoveryBeganUs
    this.#isRecovering = false
    this.#law.undo()
  }

  onPacketDiscarded(_bytes: number): void {
    // RFC 9002 §6.4: discarded packets leave the flight, which the caller counts; the window does not change.
  }

  onMtuChanged(mtuBytes: number): void {
    this.#mtuBytes = mtuBytes
    // RFC 9002 §7.2: "If the maximum datagram size changes during the connection, the initial congestion window SHOULD be recalculated"
    const isFresh = !this.#hasAcks && this.#thresholdBytes === Infinity
    if (isFresh) this.#windowBytes = initialWindowBytes(mtuBytes, this.#initialPackets)
    else this.#windowBytes = Math.max(this.#windowBytes, minimumWindowBytes(mtuBytes))
    this.#thresholdBytes = Math.max(this.#thresholdBytes, minimumWindowBytes(mtuBytes))
  }

  state(): CongestionState {
    if (this.#isRecovering) return 'recovery'
    if (this.#isUnderused) return 'application_limited'
    return this.#isSlowStart() ? 'slow_start' : 'congestion_avoidance'
  }

  reset(mtuBytes: number): void {
    this.#law.reset()
    this.#hystart.reset()
    this.#utilisation.reset()
    this.#judge?.reset()
    this.#ignoredBytes = 0
    this.#doubtUntilUs = -1
    this.#mtuBytes = mtuBytes
    this.#windowBytes = initialWindowBytes(mtuBytes, this.#initialPackets)
    this.#thresholdBytes = Infinity
    this.#recoveryBeganUs = -1
    this.#isRecovering = false
    this.#isUnderused = false
    this.#ackedBytes = 0
    this.#hasAcks = false
    this.#lastSentAtUs = -1
    this.#undoLostBytes = -1
  }

  /**
   * The round trip at the loss may have been long because we, or the peer, were late. Packets sent right behind it were
   * under way before the reduction: one of them without a queue shows that there was none, and the reduction is undone.
   */
  #isDoubtful(rtt: RttEstimator): boolean {
    if (this.#doubtUntilUs < 0) return false
    if (this.#utilisation.newestAckedSentAtUs > this.#doubtUntilUs) this.#doubtUntilUs = -1
    else if (this.#judge?.isRandom(0, this.#mtuBytes, rtt) === true) {
      this.#undo()
      return !this.#isRecovering
    }
    return false
  }

  #isRandom(lostBytes: number): boolean {
    return this.#rtt !== undefined && this.#judge?.isRandom(lostBytes, this.#mtuBytes, this.#rtt) === true
  }

  #isSlowStart(): boolean {
    // RFC 9002 §7.3.1: "in slow start any time the congestion window is below the slow start threshold"
    return this.#windowBytes < this.#thresholdBytes
  }

  /** Returns the acknowledged bytes that congestion avoidance may still use. */
  #growInSlowStart(ackedBytes: number, rtt: RttEstimator): number {
    const shouldExit = this.#hystart.onAck(this.#utilisation.newestAckedSentAtUs, this.#lastSentAtUs, rtt)
    if (shouldExit) {
      this.#thresholdBytes = this.#windowBytes
      this.#law.onSlowStartExit(this.#windowBytes)
      return ackedBytes
    }
    if (this.#isUnderused) return 0
    const roomBytes = this.#thresholdBytes - this.#windowBytes
    const growthBytes = this.#hystart.growth(ackedBytes)
    if (growthBytes <= roomBytes) {
      this.#windowBytes = Math.min(this.#windowBytes + growthBytes, WINDOW_BYTES_MAX)
      return 0
    }
    this.#windowBytes = this.#thresholdBytes
    return ackedBytes - roomBytes
  }
}
