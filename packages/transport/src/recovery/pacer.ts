/** Spreads packets over time (RFC 9002 §7.7): a token bucket that releases whole trains instead of single packets. */
import type { Micros } from '../ports/datagrams.ts'

/** Timers of the drivers tick in milliseconds; what one tick may carry must fit into the bucket. */
const TICK_US = 1_000
/** Ticks that come late are made up for: a rate without margin above what the path delivers would otherwise shrink with each. */
const BURST_TICKS = 4
/** One train of the datagram port is at most this long; larger bursts are for rates that need them in one tick. */
const TRAIN_BYTES_MAX = 65_536
/** RFC 9002 §7.7: "Senders SHOULD limit bursts to the initial congestion window", i.e. ten datagrams. */
const BURST_PACKETS = 10
/**
 * A driver that was late by more than that (a pause of the collector, another process, another connection) owes the path
 * up to this much time. It is paid back at twice the rate, not in one burst.
 */
const MAKE_UP_US = 50_000
/** Of a small window, so much at once: the queue in front of a thin link holds two or three packets. */
const BURST_SHARE = 0.25

/**
 * Over any span the bytes released are at most one burst plus rate x span. Packets that must not wait (probes, ACK-only
 * packets) are sent without asking; if they count as in flight they are reported too and paid for later.
 *
 * Rates are bytes per second; 0 = unpaced. `now` never goes back.
 */
export class Pacer {
  #mtuBytes: number
  #tokenBytes: number
  #refilledAtUs: Micros
  /** A train has been released and may go on until the bucket is empty. */
  #isReleasing: boolean
  /** The driver was told when to come back: time lost from then on is its own, neither the application's nor the window's. */
  #isAwaited: boolean
  /** What would have been released if it had come in time. */
  #owedBytes: number
  readonly #makesUp: boolean

  /**
   * `makesUp`: the rate has no margin above what the path delivers, so that time lost is lost for good unless the pacer
   * makes it up.
   */
  constructor(mtuBytes: number, makesUp = false) {
    this.#mtuBytes = mtuBytes
    this.#makesUp = makesUp
    this.#isAwaited = false
    this.#owedBytes = 0
    this.#tokenBytes = BURST_PACKETS * mtuBytes
    this.#refilledAtUs = -1
    this.#isReleasing = true
  }

  /** A packet that counts as in flight was sent. */
  onSent(bytes: number, _nowUs: Micros): void {
    // Debt is bounded, so that a series of probes does not silence the path.
    this.#tokenBytes = Math.max(this.#tokenBytes - bytes, -TRAIN_BYTES_MAX)
    if (this.#tokenBytes < this.#mtuBytes) this.#isReleasing = false
  }

  /**
   * Bytes that may leave now; 0 = wait until `nextSendUs`. May be asked once per train or before each packet: a train
   * once begun may use the bucket up.
   */
  budgetBytes(nowUs: Micros, rateBytesPerSecond: number, windowBytes: number): number {
    if (rateBytesPerSecond <= 0) return windowBytes
    this.#refill(nowUs, rateBytesPerSecond, windowBytes)
    if (!this.#isReleasing) {
      if (this.#tokenBytes < this.#trainBytes(rateBytesPerSecond, windowBytes)) return 0
      this.#isReleasing = true
    }
    return Math.floor(Math.min(this.#tokenBytes, windowBytes))
  }

  /** When `budgetBytes` will be positive: `nowUs` if it is already. Never infinite for a positive rate. */
  nextSendUs(nowUs: Micros, rateBytesPerSecond: number, windowBytes: number): Micros {
    if (rateBytesPerSecond <= 0 || this.#isReleasing) return nowUs
    this.#refill(nowUs, rateBytesPerSecond, windowBytes)
    const missingBytes = this.#trainBytes(rateBytesPerSecond, windowBytes) - this.#tokenBytes
    if (missingBytes <= 0) return nowUs
    this.#isAwaited = true
    // A missing fraction of a byte must not round to "now": `budgetBytes` would still say 0, and the driver would spin.
    return Math.max(nowUs + 1, Math.ceil(nowUs + (missingBytes * 1e6) / rateBytesPerSecond))
  }

  onMtuChanged(mtuBytes: number): void {
    this.#mtuBytes = mtuBytes
    if (this.#tokenBytes < mtuBytes) this.#isReleasing = false
  }

  /** Starts anew with a full bucket: the path leads elsewhere now (RFC 9000 §9.4). */
  reset(mtuBytes: number): void {
    this.#mtuBytes = mtuBytes
    this.#tokenBytes = BURST_PACKETS * mtuBytes
    this.#refilledAtUs = -1
    this.#isReleasing = true
    this.#isAwaited = false
    this.#owedBytes = 0
  }

  /**
   * What the bucket holds: ten packets, less while the window is small, or four ticks' worth, but beyond one train only what
   * a single tick needs.
   */
  #capacityBytes(rate: number, windowBytes: number): number {
    const tickBytes = (rate * TICK_US) / 1e6
    const burstBytes = Math.max(
      Math.min(BURST_PACKETS * this.#mtuBytes, BURST_SHARE * windowBytes),
      Math.min(BURST_TICKS * tickBytes, TRAIN_BYTES_MAX),
      tickBytes,
    )
    return Math.max(2 * this.#mtuBytes, Math.min(burstBytes, windowBytes))
  }

  /** What must have gathered before the next train leaves: one tick's worth, so that a timer wakes for more than one packet. */
  #trainBytes(rate: number, windowBytes: number): number {
    const tickBytes = Math.min((rate * TICK_US) / 1e6, TRAIN_BYTES_MAX)
    return Math.max(this.#mtuBytes, Math.min(tickBytes, this.#capacityBytes(rate, windowBytes) / 2))
  }

  #refill(nowUs: Micros, rate: number, windowBytes: number): void {
    const capacityBytes = this.#capacityBytes(rate, windowBytes)
    const elapsedUs = this.#refilledAtUs < 0 ? 0 : nowUs - this.#refilledAtUs
    this.#refilledAtUs = nowUs
    const wasAwaited = this.#isAwaited
    this.#isAwaited = false
    // What is there stays: the first ten packets of a connection need not wait.
    if (elapsedUs <= 0 || this.#tokenBytes >= capacityBytes) return
    const earnedBytes = (elapsedUs * rate) / 1e6
    const paidBytes = Math.min(earnedBytes, this.#owedBytes)
    const filledBytes = this.#tokenBytes + earnedBytes + paidBytes
    this.#tokenBytes = Math.min(filledBytes, capacityBytes)
    this.#owedBytes -= paidBytes
    if (!this.#makesUp) return
    // What does not fit is owed as well, unless nobody waited for it.
    const overflowBytes = Math.max(0, filledBytes - capacityBytes)
    if (wasAwaited) this.#owedBytes = Math.min(this.#owedBytes + overflowBytes, (MAKE_UP_US * rate) / 1e6, windowBytes)
    else if (overflowBytes > 0) this.#owedBytes = 0
  }
}
