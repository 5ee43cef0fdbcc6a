/** Decides when a packet number space owes its peer an ACK, and remembers what to put in it. */
import { RangeSet } from '../ranges.ts'
import { type Micros, NEVER, Ecn } from '../ports/datagrams.ts'

// RFC 9000 §13.2.3: "A receiver … SHOULD limit the number of ACK Ranges it remembers"
/** Ranges kept; older ones are forgotten and their numbers count as duplicates from then on. */
export const ACK_RANGES_KEPT = 64

// RFC 9000 §13.2.2: "A receiver SHOULD send an ACK frame after receiving at least two ack-eliciting packets."
const ELICITING_PER_ACK = 2

export class AckManager {
  /** Received packet numbers, `[start, end)`. */
  readonly received: RangeSet = new RangeSet()
  largest = -1
  largestAtUs = 0
  ect0 = 0
  ect1 = 0
  ce = 0
  /** When an ACK must leave, NEVER when none is owed. */
  dueAtUs: Micros = NEVER
  /** An ACK may ride along with other frames even before it is due. */
  isUseful = false
  /** Packets at or below this number are never reported again and count as duplicates. */
  #floor = -1
  #elicitingSinceAck = 0
  readonly #immediate: boolean

  /** `immediate`: Initial and Handshake spaces acknowledge at once (RFC 9000 §13.2.1). */
  constructor(immediate: boolean) {
    this.#immediate = immediate
  }

  // RFC 9000 §12.3: "A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another packet with the same packet number"
  isDuplicate(packetNumber: number): boolean {
    if (packetNumber > this.largest) return false
    return packetNumber <= this.#floor || this.received.contains(packetNumber)
  }

  /** Records a processed packet. `maxAckDelayUs` is ours, as announced. */
  onReceived(packetNumber: number, isEliciting: boolean, ecn: number, maxAckDelayUs: Micros, nowUs: Micros): void {
    const previousLargest = this.largest
    this.received.add(packetNumber, packetNumber + 1)
    if (this.received.count > ACK_RANGES_KEPT) this.#forgetOldest()
    if (packetNumber > this.largest) {
      this.largest = packetNumber
      this.largestAtUs = nowUs
    }
    // RFC 9000 §13.4.1: ECN counts are kept per packet number space
    if (ecn === Ecn.Ect0) this.ect0++
    else if (ecn === Ecn.Ect1) this.ect1++
    else if (ecn === Ecn.Ce) this.ce++
    if (!isEliciting) return
    this.isUseful = true
    this.#elicitingSinceAck++
    // RFC 9000 §13.2.1: an endpoint SHOULD acknowledge at once when packets arrive out of order or with the CE codepoint
    const outOfOrder = packetNumber !== previousLargest + 1
    if (this.#immediate || outOfOrder || ecn === Ecn.Ce || this.#elicitingSinceAck >= ELICITING_PER_ACK) {
      this.dueAtUs = nowUs
    } else if (this.dueAtUs === NEVER) {
      // RFC 9000 §13.2.1: "An endpoint MUST acknowledge all ack-eliciting 0-RTT and 1-RTT packets within its advertised max_ack_delay"
      this.dueAtUs = nowUs + maxAckDelayUs
    }
  }

  /** An ACK with the current contents has been written. */
  onAckSent(): void {
    this.dueAtUs = NEVER
    this.isUseful = false
    this.#elicitingSinceAck = 0
  }

  // RFC 9000 §13.2.4: "the receiver … can stop tracking the acknowledged packets" once the ACK is acknowledged
  /** The peer has seen an ACK of ours whose largest number was `largestAcked`. */
  onAckAcked(largestAcked: number): void {
    // Keep the numbers right below as ranges that shrink from the bottom; what falls out counts as duplicate.
    if (this.received.count <= 1 || largestAcked <= this.#floor) return
    const { starts, ends } = this.received
    let kept = 0
    while (kept < starts.length && (ends[kept] as number) - 1 <= largestAcked) kept++
    if (kept === 0 || kept === starts.length) kept = Math.min(kept, starts.length - 1)
    if (kept === 0) return
    const floor = (ends[kept - 1] as number) - 1
    this.received.remove(0, floor + 1)
    this.#floor = Math.max(this.#floor, floor)
  }

  #forgetOldest(): void {
    const { starts, ends } = this.received
    this.#floor = Math.max(this.#floor, (ends[0] as number) - 1)
    starts.shift()
    ends.shift()
  }
}
