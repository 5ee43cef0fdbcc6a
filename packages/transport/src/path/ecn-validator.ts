/** Decides whether packets of one path carry ECT(0), and checks what the peer reports (RFC 9000 §13.4.2, §A.4). */
import { Ecn } from '../ports/datagrams.ts'

/** RFC 9000 §A.4: ECT(0) is tried on this many packets or for three PTOs. */
const TESTING_PACKETS = 10
/** A second consecutive probe timeout ends one plus two PTOs, hence three. */
const TESTING_PTOS = 2
/** Initial, Handshake and application data: ECN counts are reported per packet number space (RFC 9000 §13.4.1). */
const SPACES = 3

export type EcnState = 'testing' | 'unknown' | 'capable' | 'failed'

/**
 * Counts are kept per packet number space: 0 Initial, 1 Handshake, 2 application data. All packets of one path only:
 * with several paths each has its own validator and its own application space.
 */
export class EcnValidator {
  readonly #isEnabled: boolean
  #state: EcnState
  #failure: string
  #testingSent: number
  /** Marked packets that were neither acknowledged nor lost yet, and those acknowledged, since the path began. */
  #markedOutstanding: number
  #markedAcked: number
  #markedCe: number
  readonly #sentEct0: number[]
  readonly #sentEct1: number[]
  readonly #seenEct0: number[]
  readonly #seenEct1: number[]
  readonly #seenCe: number[]

  /** `isEnabled` = false: never marks, for drivers that cannot set or read codepoints. */
  constructor(isEnabled: boolean) {
    this.#isEnabled = isEnabled
    this.#state = isEnabled ? 'testing' : 'failed'
    this.#failure = isEnabled ? '' : 'disabled'
    this.#testingSent = 0
    this.#markedOutstanding = 0
    this.#markedAcked = 0
    this.#markedCe = 0
    this.#sentEct0 = new Array<number>(SPACES).fill(0)
    this.#sentEct1 = new Array<number>(SPACES).fill(0)
    this.#seenEct0 = new Array<number>(SPACES).fill(0)
    this.#seenEct1 = new Array<number>(SPACES).fill(0)
    this.#seenCe = new Array<number>(SPACES).fill(0)
  }

  get state(): EcnState {
    return this.#state
  }

  /** Why validation failed, for logs; empty when it has not. */
  get failure(): string {
    return this.#failure
  }

  /** ECN codepoint for the next packet. */
  codepointToSend(): number {
    return this.#state === 'testing' || this.#state === 'capable' ? Ecn.Ect0 : Ecn.NotEct
  }

  /** Packets that may still carry `codepointToSend` in one train before it may change. */
  packetsBeforeChange(): number {
    return this.#state === 'testing' ? TESTING_PACKETS - this.#testingSent : Infinity
  }

  onSent(space: number, codepoint: number): void {
    if (codepoint !== Ecn.Ect0 && codepoint !== Ecn.Ect1) return
    const sent = codepoint === Ecn.Ect0 ? this.#sentEct0 : this.#sentEct1
    sent[space] = (sent[space] ?? 0) + 1
    this.#markedOutstanding += 1
    if (this.#state !== 'testing') return
    this.#testingSent += 1
    // RFC 9000 §A.4: "After the testing period ends, the ECN state for the path becomes 'unknown'"
    if (this.#testingSent >= TESTING_PACKETS) this.#state = 'unknown'
  }

  /**
   * An ACK frame with ECN counts arrived that raised the largest acknowledged packet number of `space`. Others must
   * not be given: RFC 9000 §13.4.2.1 "MUST NOT fail ECN validation as a result of processing an ACK frame that does not
   * increase the largest acknowledged packet number".
   *
   * `newlyAckedEct0`, `newlyAckedEct1`: packets this frame newly acknowledges that were sent with that codepoint.
   * `ect0`, `ect1`, `ce`: the counts of the frame. Returns by how much CE grew: above 0 is a congestion signal.
   */
  onAckEcn(
    space: number,
    newlyAckedEct0: number,
    newlyAckedEct1: number,
    ect0: number,
    ect1: number,
    ce: number,
  ): number {
    this.#settle(newlyAckedEct0 + newlyAckedEct1)
    this.#markedAcked += newlyAckedEct0 + newlyAckedEct1
    if (this.#state === 'failed') return 0
    const ect0Increase = ect0 - (this.#seenEct0[space] ?? 0)
    const ect1Increase = ect1 - (this.#seenEct1[space] ?? 0)
    const ceIncrease = ce - (this.#seenCe[space] ?? 0)
    if (!this.#isPlausible(space, ect0, ect1, ce)) return 0
    if (ect0Increase < 0 || ect1Increase < 0 || ceIncrease < 0) return this.#fail('the peer lowered its ECN counts')
    // RFC 9000 §13.4.2.1: "the sum of the increase in ECT(0) and ECN-CE counts is less than the number of newly acknowledged packets"
    if (ect0Increase + ceIncrease < newlyAckedEct0) return this.#fail('ECT(0) markings were lost on the way')
    if (ect1Increase + ceIncrease < newlyAckedEct1) return this.#fail('ECT(1) markings were lost on the way')
    if (ect0Increase + ect1Increase + ceIncrease < newlyAckedEct0 + newlyAckedEct1)
      return this.#fail('fewer markings arrived than packets')
    this.#seenEct0[space] = ect0
    this.#seenEct1[space] = ect1
    this.#seenCe[space] = ce
    this.#markedCe += ceIncrease
    this.#judgeTest()
    return (this.#state as EcnState) === 'failed' ? 0 : ceIncrease
  }

  /** An ACK frame without ECN counts newly acknowledged this many marked packets; same condition as `onAckEcn`. */
  onAckWithoutEcn(newlyAckedMarked: number): void {
    this.#settle(newlyAckedMarked)
    this.#markedAcked += newlyAckedMarked
    // RFC 9000 §13.4.2.1: "ECN validation fails if the corresponding ECN counts are not present in the ACK frame"
    if (newlyAckedMarked > 0) this.#fail('the peer or the network does not report ECN markings')
  }

  /** A reordered ACK frame, whose counts are not validated, newly acknowledged this many marked packets. */
  onReorderedAck(newlyAckedMarked: number): void {
    this.#settle(newlyAckedMarked)
    this.#markedAcked += newlyAckedMarked
  }

  /** A packet with this codepoint was declared lost. */
  onLost(codepoint: number): void {
    if (codepoint !== Ecn.Ect0 && codepoint !== Ecn.Ect1) return
    this.#settle(1)
    // RFC 9000 §13.4.2: "If all packets marked with non-zero ECN codepoints are subsequently lost, it can disable marking"
    if (this.#state === 'unknown' && this.#markedOutstanding === 0 && this.#markedAcked === 0)
      this.#fail('every marked packet was lost')
  }

  /** A packet with this codepoint left without signal: its keys were discarded. */
  onDiscarded(codepoint: number): void {
    if (codepoint === Ecn.Ect0 || codepoint === Ecn.Ect1) this.#settle(1)
  }

  /** The probe timeout expired `consecutivePtos` times in a row: ends the testing period after three PTOs. */
  onPtoExpired(consecutivePtos: number): void {
    if (this.#state === 'testing' && consecutivePtos >= TESTING_PTOS && this.#testingSent > 0) this.#state = 'unknown'
  }

  /** The path leads elsewhere now (RFC 9000 §9.4, §13.4.2). Counts the peer has reported stay: they go on from there. */
  reset(): void {
    this.#state = this.#isEnabled ? 'testing' : 'failed'
    this.#failure = this.#isEnabled ? '' : 'disabled'
    this.#testingSent = 0
    this.#markedOutstanding = 0
    this.#markedAcked = 0
    this.#markedCe = 0
  }

  #isPlausible(space: number, ect0: number, ect1: number, ce: number): boolean {
    const sentEct0 = this.#sentEct0[space] ?? 0
    const sentEct1 = this.#sentEct1[space] ?? 0
    // RFC 9000 §13.4.2.1: "the received total count for either ECT(0) or ECT(1) exceeds the total number of packets sent"
    if (ect0 > sentEct0) this.#fail('more ECT(0) reported than sent')
    else if (ect1 > sentEct1) this.#fail('more ECT(1) reported than sent')
    else if (ect0 + ect1 + ce > sentEct0 + sentEct1) this.#fail('more ECN-CE reported than marked packets sent')
    else return true
    return false
  }

  #judgeTest(): void {
    if (this.#state !== 'testing' && this.#state !== 'unknown') return
    // RFC 9000 §A.4: capable "unless no marked packet has been acknowledged"
    if (this.#markedAcked === 0) return
    // RFC 9000 §A.4: "can also mark the ECN state for a path as 'failed' … if they are all ECN-CE marked"
    if (this.#markedCe < this.#markedAcked) this.#state = 'capable'
    else if (this.#testingSent >= TESTING_PACKETS && this.#markedOutstanding === 0)
      this.#fail('every marked packet was reported as ECN-CE')
  }

  #settle(packets: number): void {
    this.#markedOutstanding = Math.max(0, this.#markedOutstanding - packets)
  }

  // RFC 9000 §13.4.2.2: "If validation fails, then the endpoint MUST disable ECN."; it stays off for this path
  #fail(reason: string): number {
    if (this.#state !== 'failed') this.#failure = reason
    this.#state = 'failed'
    return 0
  }
}
