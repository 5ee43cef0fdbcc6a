/** CUBIC congestion control (RFC 9438). */
import type { Micros } from '../ports/datagrams.ts'
import type { RttEstimator } from '../recovery/rtt.ts'
import type { CongestionController } from './controller.ts'
import { type AvoidanceLaw, WindowController } from './window-controller.ts'

/** RFC 9438 §4.6: beta_cubic, the multiplicative decrease factor. */
export const CUBIC_BETA = 0.7
/** RFC 9438 §5.1: C, in segments per cubic second. */
export const CUBIC_C = 0.4
/** RFC 9438 §4.3: alpha_cubic = 3 * (1 - beta) / (1 + beta). */
export const CUBIC_ALPHA = (3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA)

/** A CUBIC controller with HyStart++ in its initial slow start. `mtuBytes`: maximum datagram size of the path. */
export function createCubic(mtuBytes: number, initialPackets?: number): CongestionController {
  return new WindowController(new CubicLaw(), mtuBytes, initialPackets)
}

/** The same, but losses that no queue is to blame for are repaired without an answer (see `LossJudge`). */
export function createTolerantCubic(mtuBytes: number, initialPackets?: number): CongestionController {
  return new WindowController(new CubicLaw('tolerant', true), mtuBytes, initialPackets)
}

/** Windows are bytes with fractions, K is seconds; times are microseconds with -1 for "not begun". */
class CubicLaw implements AvoidanceLaw {
  readonly name: string
  readonly canUndo = true
  readonly isTolerant: boolean
  /** W_max in bytes; -1 = undefined, then the stage begins with K = 0 at its own window. */
  #wMaxBytes: number
  #wEstBytes: number
  /** cwnd_prior: the window when the slow start threshold was last set; -1 = never. */
  #priorBytes: number
  #kSeconds: number
  /** Beginning of this congestion avoidance stage, moved forward by time in which the window was not used. */
  #epochUs: Micros
  /** Up to where time has been either counted or skipped. */
  #countedUs: Micros
  /** The segment size the stage began with: a new MTU must not bend a curve that is under way. */
  #segmentBytes: number
  #undoWMaxBytes: number
  #undoWEstBytes: number
  #undoPriorBytes: number
  #undoKSeconds: number
  #undoEpochUs: Micros

  constructor(name = 'cubic', isTolerant = false) {
    this.name = name
    this.isTolerant = isTolerant
    this.#wMaxBytes = -1
    this.#wEstBytes = 0
    this.#priorBytes = -1
    this.#kSeconds = 0
    this.#epochUs = -1
    this.#countedUs = -1
    this.#segmentBytes = 0
    this.#undoWMaxBytes = -1
    this.#undoWEstBytes = 0
    this.#undoPriorBytes = -1
    this.#undoKSeconds = 0
    this.#undoEpochUs = -1
  }

  grow(windowBytes: number, ackedBytes: number, mtuBytes: number, rtt: RttEstimator, nowUs: Micros): number {
    if (this.#epochUs < 0) this.#beginStage(windowBytes, mtuBytes, nowUs)
    this.#countedUs = nowUs
    // RFC 9438 §4.3: "the sender SHOULD set alpha_cubic to 1" once W_est has reached cwnd_prior
    const alpha = this.#wEstBytes >= this.#priorBytes ? 1 : CUBIC_ALPHA
    // RFC 9438 §4.3: W_est = W_est + alpha_cubic * segments_acked / cwnd, here in bytes
    this.#wEstBytes += (alpha * mtuBytes * ackedBytes) / windowBytes
    const elapsedSeconds = (nowUs - this.#epochUs) / 1e6
    // RFC 9438 §4.3: where W_cubic(t) < W_est, "cwnd SHOULD be set to W_est"; it does not shrink for that.
    if (this.#wCubic(elapsedSeconds) < this.#wEstBytes) return Math.max(windowBytes, this.#wEstBytes)
    // RFC 9438 §4.2: target is W_cubic(t + RTT) kept between cwnd and 1.5 * cwnd
    const wCubicBytes = this.#wCubic(elapsedSeconds + rtt.smoothedUs / 1e6)
    const targetBytes = Math.max(windowBytes, Math.min(wCubicBytes, 1.5 * windowBytes))
    // RFC 9438 §4.4, §4.5: "cwnd MUST be incremented by (target - cwnd) / cwnd for each received new ACK" of a segment
    return windowBytes + ((targetBytes - windowBytes) * ackedBytes) / windowBytes
  }

  skipTime(nowUs: Micros): void {
    if (this.#epochUs < 0) return
    // RFC 9438 §4.2: t "MUST NOT include periods during which cwnd has not been updated due to application-limited behavior"
    this.#epochUs += nowUs - this.#countedUs
    this.#countedUs = nowUs
  }

  reduce(windowBytes: number): number {
    this.#undoWMaxBytes = this.#wMaxBytes
    this.#undoWEstBytes = this.#wEstBytes
    this.#undoPriorBytes = this.#priorBytes
    this.#undoKSeconds = this.#kSeconds
    this.#undoEpochUs = this.#epochUs
    // RFC 9438 §4.7: fast convergence gives up room when the saturation point falls
    const isFalling = windowBytes < this.#wMaxBytes
    this.#wMaxBytes = isFalling ? (windowBytes * (1 + CUBIC_BETA)) / 2 : windowBytes
    this.#priorBytes = windowBytes
    this.#epochUs = -1
    // RFC 9438 §4.6 with cwnd for flight_size: growth is withheld while the window is not used (RFC 9002 §7.8).
    return windowBytes * CUBIC_BETA
  }

  onSlowStartExit(windowBytes: number): void {
    // RFC 9438 §4.10: without loss W_max is undefined; "CUBIC sets cwnd_prior = cwnd", K to 0, W_max to the window
    this.#wMaxBytes = -1
    this.#priorBytes = windowBytes
    this.#epochUs = -1
  }

  onPersistentCongestion(): void {
    // RFC 9438 §4.8: in the first stage after a timeout K is 0 and W_max is the window at its beginning
    this.#wMaxBytes = -1
    this.#epochUs = -1
  }

  undo(): void {
    this.#wMaxBytes = this.#undoWMaxBytes
    this.#wEstBytes = this.#undoWEstBytes
    this.#priorBytes = this.#undoPriorBytes
    this.#kSeconds = this.#undoKSeconds
    this.#epochUs = this.#undoEpochUs
  }

  reset(): void {
    this.#wMaxBytes = -1
    this.#wEstBytes = 0
    this.#priorBytes = -1
    this.#kSeconds = 0
    this.#epochUs = -1
    this.#countedUs = -1
    this.#undoEpochUs = -1
  }

  #beginStage(windowBytes: number, mtuBytes: number, nowUs: Micros): void {
    this.#epochUs = nowUs
    this.#segmentBytes = mtuBytes
    this.#wEstBytes = windowBytes
    if (this.#wMaxBytes < windowBytes) {
      this.#wMaxBytes = windowBytes
      this.#kSeconds = 0
      return
    }
    // RFC 9438 §4.2: K = cubic_root((W_max - cwnd_epoch) / C), in segments
    this.#kSeconds = Math.cbrt((this.#wMaxBytes - windowBytes) / mtuBytes / CUBIC_C)
  }

  /** RFC 9438 §4.2: W_cubic(t) = C * (t - K)^3 + W_max */
  #wCubic(seconds: number): number {
    const distance = seconds - this.#kSeconds
    return CUBIC_C * this.#segmentBytes * distance * distance * distance + this.#wMaxBytes
  }
}
