/** Decides when a packet number space owes its peer an ACK, and remembers what to put in it. */
import { RangeSet } from '../ranges.ts'
import { PACKET_THRESHOLD } from '../recovery/reordering.ts'
import { type Micros, NEVER, Ecn } from '../ports/datagrams.ts'

// RFC 9000 §13.2.3: "A receiver … SHOULD limit the number of ACK Ranges it remembers"
/** Ranges kept; older ones are forgotten and their numbers count as duplicates from then on. */
export const ACK_RANGES_KEPT = 64

// RFC 9000 §13.2.2: "A receiver SHOULD send an ACK frame after receiving at least two ack-eliciting packets."
const ELICITING_PER_ACK = 2
// RFC 9000 §13.2.2 leaves room for fewer ACKs where they are dear: a fast flow must not fill a thin uplink with them.
/** Ack-eliciting packets that one ACK may answer while a fast flow arrives in order. */
export const ELICITING_PER_ACK_MAX = 10
/** ACKs per round trip that a fast flow still gets: enough for its sender's clock and its HyStart samples. */
const ACKS_PER_ROUND = 8
/** Ack-eliciting packets after a gap or a CE mark that are acknowledged as densely as those of a slow flow. */
const CAUTIOUS_PACKETS = 16

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
  /** Packets processed, each number once. */
  packetsReceived = 0
  /** Largest number told over another path, because this one has fallen silent. */
  largestToldElsewhere = -1
  /** Packets at or below this number are never reported again and count as duplicates. */
  #floor = -1
  #elicitingSinceAck = 0
  /** Ack-eliciting packets that make an ACK due now. */
  #elicitingPerAck = ELICITING_PER_ACK
  // Ack-eliciting packets of the present round trip.
  #roundStartUs: Micros = 0
  #roundPackets = 0
  #cautiousLeft = 0
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

  /** Records a processed packet. `maxAckDelayUs` is ours, as announced; `rttUs` our estimate of the round trip. */
  onReceived(
    packetNumber: number,
    isEliciting: boolean,
    ecn: number,
    maxAckDelayUs: Micros,
    rttUs: Micros,
    nowUs: Micros,
  ): void {
    const previousLargest = this.largest
    this.packetsReceived++
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
    const isUrgent = packetNumber !== previousLargest + 1 || ecn === Ecn.Ce
    this.#adapt(isUrgent, rttUs, nowUs)
    const perAck = this.#cautiousLeft > 0 ? ELICITING_PER_ACK : this.#elicitingPerAck
    if (this.#immediate || isUrgent || this.#elicitingSinceAck >= perAck) {
      this.dueAtUs = nowUs
    } else if (this.dueAtUs === NEVER) {
      // RFC 9000 §13.2.1: "An endpoint MUST acknowledge all ack-eliciting 0-RTT and 1-RTT packets within its advertised max_ack_delay"
      this.dueAtUs = nowUs + (perAck > ELICITING_PER_ACK ? Math.floor(maxAckDelayUs / 4) : maxAckDelayUs)
    }
  }

  /**
   * Numbers below the largest that have not come, as far as one can tell: the newest few may only have been overtaken, and
   * what comes late counts no more. Numbers that the peer left out on purpose (RFC 9000 §21.4) look the same.
   */
  get packetsMissing(): number {
    let missing = this.largest + 1 - this.packetsReceived
    // RFC 9002 §6.1.1: what is less than the packet threshold behind is not lost yet
    for (let behind = 1; behind < PACKET_THRESHOLD && behind <= this.largest; behind++)
      if (!this.isDuplicate(this.largest - behind)) missing--
    return missing
  }

  /** Counts the packets of each round trip: an eighth of them, within bounds, shares an ACK in the next one. */
  #adapt(isUrgent: boolean, rttUs: Micros, nowUs: Micros): void {
    const roundUs = nowUs - this.#roundStartUs
    if (roundUs >= rttUs) {
      // A round trip that took twice as long had a pause in it: its count says nothing about what comes.
      const share = roundUs < 2 * rttUs ? Math.floor(this.#roundPackets / ACKS_PER_ROUND) : 0
      this.#elicitingPerAck = Math.max(ELICITING_PER_ACK, Math.min(ELICITING_PER_ACK_MAX, share))
      this.#roundStartUs = nowUs
      this.#roundPackets = 0
    }
    this.#roundPackets++
    if (isUrgent) this.#cautiousLeft = CAUTIOUS_PACKETS
    else if (this.#cautiousLeft > 0) this.#cautiousLeft--
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
