/** Loss detection of one path (RFC 9002): what is in flight, what is lost, when to probe. Receipts go back to owners. */
import { type AckView, TransportError } from '@quicether/wire'
import { AckArrivals, SampleUse } from '../ack/ack-arrivals.ts'
import { type CongestionController, isModelController, type ModelController } from '../congestion/controller.ts'
import type { ConnectionObserver } from '../observe.ts'
import { Level } from '../ports/crypto.ts'
import { type Micros, NEVER } from '../ports/datagrams.ts'
import type { PacketSpace } from './packet-space.ts'
import { Reordering } from './reordering.ts'
import type { RttEstimator } from './rtt.ts'
import { SentFlag, type SentPackets, SentState } from './sent-packets.ts'

/** Back-off doubles at most this often (then 64 PTOs apart): a silent path is probed for ever, not abandoned to minutes. */
const PTO_BACKOFF_MAX = 6
/** RFC 9002 leaves the cap open; beyond this a long outage would be noticed minutes late. */
export const PTO_MAX_US = 60_000_000
/** The same while another path carries the data: a link that returns is noticed this soon, later ones less so. */
const SPARE_PTO_FIRST_MAX_US = 500_000
const SPARE_PTO_MAX_US = 1_000_000
const SPARE_PTO_LATE_MAX_US = 5_000_000
/** Probe timeouts of a silent path after which its return is less urgent; about four seconds, and half a minute. */
const SPARE_PTO_FIRST = 10
const SPARE_PTO_EARLY = 40

/** A mere receiver sends ACKs that nobody acknowledges; beyond this many the oldest are forgotten. */
const QUIET_PACKETS_MAX = 2048

/** Shortest time between two searches for late acknowledgments of lost packets. */
const LOST_SCAN_PAUSE_US = 1_000

/** What recovery needs to know about the connection at the moment of an event. Kept up to date by the connection. */
export interface RecoveryContext {
  handshakeConfirmed: boolean
  /** Client before it knows that the server has validated its address (RFC 9002 §6.2.2.1). */
  peerCompletedAddressValidation: boolean
  hasHandshakeKeys: boolean
  /** The peer's max_ack_delay. */
  maxAckDelayUs: number
  readonly observer: ConnectionObserver | null
}

/** Owners of sent data; `kind` and words as in `ReceiptKind`. */
export interface ReceiptSink {
  onReceiptAcked(space: PacketSpace, kind: number, a: number, b: number, c: number, nowUs: Micros): void
  onReceiptLost(space: PacketSpace, kind: number, a: number, b: number, c: number): void
  /** A packet left the flight; MTU prober and ECN validator of the path want to know. */
  onPacketAcked(space: PacketSpace, bytes: number, flags: number, nowUs: Micros): void
  onPacketLost(space: PacketSpace, bytes: number, flags: number, nowUs: Micros): void
}

export class Recovery {
  readonly rtt: RttEstimator
  readonly congestion: CongestionController
  /** The same controller when it models the path from rate samples. */
  readonly #model: ModelController | null
  inFlightBytes = 0
  ptoCount = 0
  /** Other paths work: probes find out whether this one does, they do not hold data up. */
  isSpare = false
  /** Other paths are open, if silent as well: with all of them dead, the first that returns should be noticed soon. */
  hasSiblings = false
  /** Something was offered to other paths because no acknowledgment came in time; until one comes, they go first. */
  isLate = false
  packetsLost = 0
  bytesLost = 0
  readonly #context: RecoveryContext
  readonly #sink: ReceiptSink
  /** Spaces of this path in level order; path 0 has up to three, others one. */
  readonly spaces: PacketSpace[] = []

  readonly #reordering: Reordering = new Reordering()
  readonly #arrivals: AckArrivals = new AckArrivals()
  // State of one pass over losses; fields, not locals, so that helpers need no objects.
  #lostBytes = 0
  /** When the last probe timeout expired. */
  #ptoAtUs: Micros = 0
  #newestLostAtUs: Micros = 0
  #spanStartUs: Micros = NEVER
  #spanUs = 0
  /** Packets sent before belong to another way; they are recovered without telling RTT and congestion control. */
  #ignoreBeforeUs: Micros = -1

  constructor(rtt: RttEstimator, congestion: CongestionController, context: RecoveryContext, sink: ReceiptSink) {
    this.rtt = rtt
    this.congestion = congestion
    this.#model = isModelController(congestion) ? congestion : null
    this.#context = context
    this.#sink = sink
  }

  /** Records a sent packet with the receipts pushed on its space; returns its packet number. */
  onSent(space: PacketSpace, bytes: number, flags: number, nowUs: Micros): number {
    const packetNumber = space.sent.record(bytes, flags, nowUs)
    if ((flags & SentFlag.CountsInFlight) !== 0) {
      this.inFlightBytes += bytes
      this.congestion.onPacketSent(bytes, this.inFlightBytes, packetNumber, nowUs)
      if (this.#model !== null) {
        const { first } = space.sent
        this.#model.delivery.onSent(space.level, packetNumber, first, bytes, this.inFlightBytes, nowUs)
      }
    }
    if ((flags & SentFlag.Eliciting) !== 0) space.lastElicitingAtUs = nowUs
    else if (space.sent.next - space.sent.first > QUIET_PACKETS_MAX) space.sent.forgetQuiet()
    return packetNumber
  }

  /** Processes an ACK for `space`, which came over path `via`. Throws TransportError when it acknowledges what was never sent. */
  onAck(space: PacketSpace, ack: AckView, ackDelayUs: Micros, nowUs: Micros, via: number = space.pathId): void {
    const sent = space.sent
    const largest = ack.largest[0] as number
    // RFC 9000 §13.1: "An endpoint SHOULD treat receipt of an acknowledgment for a packet it did not send as a connection error of type PROTOCOL_VIOLATION"
    if (largest >= sent.next) {
      throw new TransportError('PROTOCOL_VIOLATION', 0, `acknowledges packet ${largest}, which was never sent`)
    }
    // An acknowledgment that came over another path (RFC 10069 §3.2) tells of the present only what was sent since the last probe timeout.
    const isFresh = via === space.pathId || (largest >= sent.first && sent.sentAtUs(largest) >= this.#ptoAtUs)
    if (largest > space.largestAcked) {
      space.largestAcked = largest
      if (isFresh) this.#sampleRtt(space, largest, ackDelayUs, via, nowUs)
    }
    const newlyAcked = this.#settleRanges(space, ack, nowUs)
    if (newlyAcked === 0) return
    this.#detectLost(space, nowUs)
    this.congestion.onAckFinished(this.inFlightBytes, this.rtt, nowUs)
    // RFC 9002 §6.2.1: PTO count resets on acknowledgment, unless the client is unsure that the server validated its address
    if (isFresh) this.isLate = false
    if (isFresh && this.#context.peerCompletedAddressValidation) this.ptoCount = 0
    this.#advance(space, nowUs)
    this.#reportMetrics(space, nowUs)
  }

  #sampleRtt(space: PacketSpace, largest: number, ackDelayUs: Micros, via: number, nowUs: Micros): void {
    const sent = space.sent
    if (largest < sent.first || sent.state(largest) !== SentState.InFlight) return
    // RFC 9002 §5.1: no sample unless the largest acknowledged packet is new and an ack-eliciting one is among the new
    if ((sent.flags(largest) & SentFlag.Eliciting) === 0) return
    if (sent.sentAtUs(largest) < this.#ignoreBeforeUs) return
    // RFC 9002 §5.3: acknowledgment delays of Initial packets are ignored
    const delay = space.level === Level.OneRtt ? ackDelayUs : 0
    const use = this.#arrivals.onArrival(space.pathId, via, this.rtt.ptoUs(this.#context.maxAckDelayUs), nowUs)
    if (use === SampleUse.None) return
    if (use === SampleUse.Restart) this.rtt.restartMin(nowUs - sent.sentAtUs(largest))
    this.rtt.onSample(nowUs - sent.sentAtUs(largest), delay, this.#context, nowUs)
  }

  #settleRanges(space: PacketSpace, ack: AckView, nowUs: Micros): number {
    const sent = space.sent
    let newlyAcked = 0
    // Below `scanFrom` only late acknowledgments of lost packets are of interest. A peer may send ACK frames by the
    // thousand, each over all numbers remembered: those are gone through a few times per round trip, not each time.
    const isScanningLost = sent.lostCount > 0 && nowUs >= space.lostScanAtUs
    if (isScanningLost) space.lostScanAtUs = nowUs + Math.max(LOST_SCAN_PAUSE_US, this.rtt.smoothedUs / 4)
    const floor = isScanningLost ? sent.first : Math.max(sent.first, space.scanFrom)
    // Upwards, so that owners see contiguous data and have nothing to remember.
    for (let i = ack.count - 1; i >= 0; i--) {
      const high = ack.largest[i] as number
      if (high < floor) continue
      const low = Math.max(ack.smallest[i] as number, floor)
      for (let pn = low; pn <= high; pn++) {
        const state = sent.state(pn)
        if (state === SentState.InFlight) {
          this.#onPacketAcked(space, pn, nowUs)
          newlyAcked++
        } else if (state === SentState.Lost) {
          // Only losses that congestion control was told about count against its last reduction.
          const counted = sent.flags(pn) & (SentFlag.CountsInFlight | SentFlag.MtuProbe)
          if (counted === SentFlag.CountsInFlight) {
            this.congestion.onSpuriousLoss?.(sent.bytes(pn), sent.sentAtUs(pn), nowUs)
            this.#reordering.onSpuriousLoss(space.largestAcked - pn, nowUs - sent.sentAtUs(pn))
          }
          this.#ackReceipts(space, pn, nowUs)
          sent.settle(pn, SentState.Acked)
        } else if (state === SentState.Skipped) {
          // RFC 9000 §21.4: "an endpoint can … skip packet numbers to detect" optimistic acknowledgment
          throw new TransportError('PROTOCOL_VIOLATION', 0, `acknowledges packet ${pn}, which was skipped on purpose`)
        }
      }
    }
    return newlyAcked
  }

  #onPacketAcked(space: PacketSpace, pn: number, nowUs: Micros): void {
    const sent = space.sent
    const bytes = sent.bytes(pn)
    const flags = sent.flags(pn)
    sent.settle(pn, SentState.Acked)
    if ((flags & SentFlag.CountsInFlight) !== 0) {
      this.inFlightBytes -= bytes
      this.#model?.delivery.onAcked(space.level, pn, bytes, sent.sentAtUs(pn), nowUs)
      this.congestion.onPacketAcked(bytes, pn, sent.sentAtUs(pn), this.rtt, nowUs)
    }
    this.#sink.onPacketAcked(space, bytes, flags, nowUs)
    this.#ackReceipts(space, pn, nowUs)
  }

  #ackReceipts(space: PacketSpace, pn: number, nowUs: Micros): void {
    const sent = space.sent
    const count = sent.receiptCount(pn)
    for (let i = 0; i < count; i++) {
      this.#sink.onReceiptAcked(
        space,
        sent.receipt(pn, i, 0),
        sent.receipt(pn, i, 1),
        sent.receipt(pn, i, 2),
        sent.receipt(pn, i, 3),
        nowUs,
      )
    }
  }

  // RFC 9002 §6.1: a packet is lost when a later one is acknowledged and it is older by 3 numbers or by the time threshold
  #detectLost(space: PacketSpace, nowUs: Micros): void {
    const sent = space.sent
    space.lossAtUs = NEVER
    if (space.largestAcked < 0) return
    const lossDelayUs = this.#reordering.lossDelayUs(this.rtt)
    this.#beginLosses()
    let pn = Math.max(space.scanFrom, sent.first)
    let isFirst = true
    for (; pn <= space.largestAcked; pn++) {
      const state = sent.state(pn)
      if (state !== SentState.InFlight) {
        if (state === SentState.Acked) this.#spanStartUs = NEVER
        continue
      }
      const sentAtUs = sent.sentAtUs(pn)
      if (pn <= space.largestAcked - this.#reordering.packetThreshold)
        this.#onPacketLost(space, pn, 'reordering', nowUs)
      else if (sentAtUs + lossDelayUs <= nowUs) this.#onPacketLost(space, pn, 'time', nowUs)
      else {
        if (isFirst) space.scanFrom = pn
        isFirst = false
        space.lossAtUs = Math.min(space.lossAtUs, sentAtUs + lossDelayUs)
      }
    }
    if (isFirst) space.scanFrom = pn
    this.#finishLosses(nowUs)
  }

  #beginLosses(): void {
    this.#lostBytes = 0
    this.#newestLostAtUs = 0
    this.#spanStartUs = NEVER
    this.#spanUs = 0
  }

  #onPacketLost(space: PacketSpace, pn: number, trigger: 'reordering' | 'time' | 'pto', nowUs: Micros): void {
    const sent = space.sent
    const bytes = sent.bytes(pn)
    const flags = sent.flags(pn)
    const sentAtUs = sent.sentAtUs(pn)
    sent.settle(pn, SentState.Lost)
    if ((flags & SentFlag.CountsInFlight) !== 0) {
      this.inFlightBytes -= bytes
      this.packetsLost++
      this.bytesLost += bytes
      // RFC 9000 §14.4: "Loss of a QUIC packet that is carried in a PMTU probe … SHOULD NOT be … an indication of congestion"
      if ((flags & SentFlag.MtuProbe) === 0) {
        this.#lostBytes += bytes
        this.#newestLostAtUs = Math.max(this.#newestLostAtUs, sentAtUs)
        this.#trackSpan(flags, sentAtUs)
        if (this.#model !== null) {
          this.#model.delivery.onLost(space.level, pn, bytes)
          this.#model.onPacketLost(bytes, sentAtUs, nowUs)
        }
      } else this.congestion.onPacketDiscarded(bytes)
      this.#sink.onPacketLost(space, bytes, flags, nowUs)
      this.#context.observer?.packetLost(space.level, space.pathId, pn, trigger, nowUs)
    }
    if ((flags & SentFlag.Requeued) === 0) this.#loseReceipts(space, pn)
  }

  // RFC 9002 §7.6.2: two ack-eliciting packets lost, none between them acknowledged, both sent after the first RTT sample
  #trackSpan(flags: number, sentAtUs: Micros): void {
    if ((flags & SentFlag.Eliciting) === 0) return
    if (!this.rtt.hasSample || sentAtUs <= this.rtt.firstSampleAtUs) return
    if (this.#spanStartUs === NEVER) this.#spanStartUs = sentAtUs
    else this.#spanUs = Math.max(this.#spanUs, sentAtUs - this.#spanStartUs)
  }

  #finishLosses(nowUs: Micros): void {
    if (this.#lostBytes === 0 || this.#newestLostAtUs < this.#ignoreBeforeUs) return
    // RFC 9000 §13.3: "Upon detecting losses, a sender MUST take appropriate congestion control action."
    // RFC 9002 §7.4: losses of packets the peer could not yet open count, too
    this.congestion.onCongestion(this.#newestLostAtUs, this.#lostBytes, 'loss', this.inFlightBytes, nowUs)
    this.#reordering.onLosses()
    if (this.#spanUs > this.rtt.persistentCongestionUs(this.#context.maxAckDelayUs)) {
      this.congestion.onPersistentCongestion(nowUs)
      this.rtt.onPersistentCongestion()
    }
  }

  #loseReceipts(space: PacketSpace, pn: number): void {
    const sent = space.sent
    const count = sent.receiptCount(pn)
    for (let i = 0; i < count; i++) {
      this.#sink.onReceiptLost(
        space,
        sent.receipt(pn, i, 0),
        sent.receipt(pn, i, 1),
        sent.receipt(pn, i, 2),
        sent.receipt(pn, i, 3),
      )
    }
  }

  #advance(space: PacketSpace, nowUs: Micros): void {
    // Lost packets are remembered for three PTOs so that late acknowledgments are recognised as spurious losses.
    space.sent.advance(nowUs - 3 * this.rtt.ptoUs(this.#context.maxAckDelayUs))
  }

  /** Earliest moment at which `onTimeout` has something to do, NEVER when nothing is outstanding. */
  deadlineUs(isAmplificationBlocked: boolean): Micros {
    let lossAtUs = NEVER
    for (const space of this.spaces) if (!space.isDiscarded) lossAtUs = Math.min(lossAtUs, space.lossAtUs)
    if (lossAtUs !== NEVER) return lossAtUs
    // RFC 9002 §6.2.2.1: "a server … MUST NOT arm the PTO timer … when no data can be sent" by the anti-amplification limit
    if (isAmplificationBlocked) return NEVER
    return this.#ptoSpace().atUs
  }

  /** The path leads elsewhere: RTT and losses of packets sent before say nothing about the new way (RFC 9000 §9.4). */
  onPathChanged(nowUs: Micros): void {
    this.rtt.reset()
    this.#reordering.reset()
    this.#arrivals.reset()
    this.#ignoreBeforeUs = nowUs
    this.ptoCount = 0
  }

  readonly #pto: { space: PacketSpace | undefined; atUs: Micros } = { space: undefined, atUs: NEVER }

  // RFC 9002 appendix A.8, GetPtoTimeAndSpace
  #ptoSpace(): { space: PacketSpace | undefined; atUs: Micros } {
    const pto = this.#pto
    pto.space = undefined
    pto.atUs = NEVER
    const backoff = 2 ** Math.min(this.ptoCount, PTO_BACKOFF_MAX)
    for (const space of this.spaces) {
      if (space.isDiscarded || space.sent.elicitingInFlight === 0) continue
      let durationUs = this.rtt.ptoUs(0)
      if (space.level === Level.OneRtt) {
        // RFC 9002 §6.2.1: "An endpoint MUST NOT set its PTO timer for the Application Data packet number space until the handshake is confirmed."
        if (!this.#context.handshakeConfirmed) continue
        durationUs = this.rtt.ptoUs(this.#context.maxAckDelayUs)
      }
      const atUs = space.lastElicitingAtUs + Math.min(durationUs * backoff, Math.max(durationUs, this.#ptoMaxUs()))
      if (atUs < pto.atUs) {
        pto.atUs = atUs
        pto.space = space
      }
    }
    if (pto.space === undefined && !this.#context.peerCompletedAddressValidation) this.#ptoForDeadlock(pto, backoff)
    return pto
  }

  // RFC 9002 §6.2.1 doubles without end, so as not to feed congestion: two small packets every few seconds do not
  #ptoMaxUs(): Micros {
    if (!this.isSpare) return this.hasSiblings ? SPARE_PTO_LATE_MAX_US : PTO_MAX_US
    if (this.ptoCount <= SPARE_PTO_FIRST) return SPARE_PTO_FIRST_MAX_US
    return this.ptoCount <= SPARE_PTO_EARLY ? SPARE_PTO_MAX_US : SPARE_PTO_LATE_MAX_US
  }

  // RFC 9002 §6.2.2.1: "the client MUST set the PTO timer if the client has not received an acknowledgment for any of its Handshake packets and the handshake is not confirmed"
  #ptoForDeadlock(pto: { space: PacketSpace | undefined; atUs: Micros }, backoff: number): void {
    const level = this.#context.hasHandshakeKeys ? Level.Handshake : Level.Initial
    let newestUs = 0
    for (const space of this.spaces) newestUs = Math.max(newestUs, space.lastElicitingAtUs)
    for (const space of this.spaces) {
      if (space.level !== level || space.isDiscarded) continue
      pto.space = space
      pto.atUs = newestUs + Math.min(this.rtt.ptoUs(0) * backoff, PTO_MAX_US)
    }
  }

  /** Acts on an expired deadline: declares losses by time, or asks for probes. Returns true when it was a PTO. */
  onTimeout(nowUs: Micros, isAmplificationBlocked: boolean): boolean {
    for (const space of this.spaces) {
      if (space.isDiscarded || space.lossAtUs > nowUs) continue
      this.#detectLost(space, nowUs)
      this.#advance(space, nowUs)
      return false
    }
    if (isAmplificationBlocked) return false
    const { space, atUs } = this.#ptoSpace()
    if (space === undefined || atUs > nowUs) return false
    // RFC 9002 §6.2: "A PTO timer expiration event does not indicate packet loss and MUST NOT cause prior unacknowledged packets to be marked as lost."
    this.ptoCount++
    this.#ptoAtUs = nowUs
    // RFC 9002 §6.2.4: "a sender MUST send at least one ack-eliciting packet in the packet number space as a probe"
    // RFC 9002 §6.2.4: one or two probes; two and one in turn, so that a network that drops periodically is not met in step
    space.probesPending =
      this.ptoCount % 2 === 1 && (space.level === Level.OneRtt || space.sent.elicitingInFlight > 0) ? 2 : 1
    this.#requeueOldest(space, space.probesPending)
    // RFC 9002 §6.2.4: "SHOULD also attempt to send … in other packet number spaces with in-flight data"
    for (const other of this.spaces) {
      if (other !== space && !other.isDiscarded && other.sent.elicitingInFlight > 0 && this.#mayProbe(other)) {
        other.probesPending = 1
        this.#requeueOldest(other, 1)
      }
    }
    return true
  }

  #mayProbe(space: PacketSpace): boolean {
    return space.level !== Level.OneRtt || this.#context.handshakeConfirmed
  }

  // RFC 9002 §6.2.4: probes SHOULD carry new data, else retransmitted data; the oldest packets' contents go back to their owners
  #requeueOldest(space: PacketSpace, count: number): void {
    const sent = space.sent
    let left = count
    for (let pn = Math.max(space.scanFrom, sent.first); pn < sent.next && left > 0; pn++) {
      if (!isRequeueable(sent, pn)) continue
      sent.addFlag(pn, SentFlag.Requeued)
      this.#loseReceipts(space, pn)
      left--
    }
  }

  /**
   * Offers the contents of packets sent until `sentUntilUs`, the oldest first and of at most about `bytesMax` bytes, to
   * other paths, without declaring losses. Returns the bytes of those packets.
   */
  requeue(space: PacketSpace, sentUntilUs: Micros, bytesMax: number): number {
    const sent = space.sent
    let bytes = 0
    for (let pn = this.#oldestRequeueable(space); pn < sent.next && bytes < bytesMax; pn++) {
      if (!isRequeueable(sent, pn)) continue
      if (sent.sentAtUs(pn) > sentUntilUs) break
      sent.addFlag(pn, SentFlag.Requeued)
      bytes += sent.bytes(pn)
      this.#loseReceipts(space, pn)
    }
    return bytes
  }

  /** When the oldest packet in flight was sent that `requeue` would offer; NEVER when there is none. */
  oldestInFlightUs(space: PacketSpace): Micros {
    const pn = this.#oldestRequeueable(space)
    return pn < space.sent.next ? space.sent.sentAtUs(pn) : NEVER
  }

  /** Its number; the next one to be sent when there is none. What was offered or settled once stays so: never looked at again. */
  #oldestRequeueable(space: PacketSpace): number {
    const sent = space.sent
    let pn = Math.max(space.scanFrom, sent.first, space.requeueFrom)
    while (pn < sent.next && !isRequeueable(sent, pn)) pn++
    space.requeueFrom = pn
    return pn
  }

  /** Nothing more is to be sent on this path, though window and pacing would allow it. */
  onLimited(): void {
    this.#model?.onLimited(this.inFlightBytes)
  }

  /** CE marks were reported beyond those known: a congestion signal for packets sent up to `sentAtUs`. */
  onEcnCongestion(sentAtUs: Micros, nowUs: Micros): void {
    this.congestion.onCongestion(sentAtUs, 0, 'ecn', this.inFlightBytes, nowUs)
  }

  // RFC 9002 §6.4: keys discarded: packets leave the flight without any signal
  discardSpace(space: PacketSpace): void {
    const sent = space.sent
    for (let pn = sent.first; pn < sent.next; pn++) {
      if (sent.state(pn) !== SentState.InFlight) continue
      if ((sent.flags(pn) & SentFlag.CountsInFlight) !== 0) {
        this.inFlightBytes -= sent.bytes(pn)
        this.congestion.onPacketDiscarded(sent.bytes(pn))
      }
      sent.settle(pn, SentState.Acked)
    }
    space.isDiscarded = true
    space.lossAtUs = NEVER
    space.probesPending = 0
    this.ptoCount = 0
  }

  /** Hands everything in flight in `space` back to its owners: 0-RTT was rejected, or a Retry came. */
  loseAll(space: PacketSpace): void {
    const sent = space.sent
    for (let pn = sent.first; pn < sent.next; pn++) {
      if (sent.state(pn) !== SentState.InFlight) continue
      const flags = sent.flags(pn)
      if ((flags & SentFlag.CountsInFlight) !== 0) {
        this.inFlightBytes -= sent.bytes(pn)
        this.congestion.onPacketDiscarded(sent.bytes(pn))
      }
      sent.settle(pn, SentState.Lost)
      if ((flags & SentFlag.Requeued) === 0) this.#loseReceipts(space, pn)
    }
    space.lossAtUs = NEVER
    space.scanFrom = sent.next
  }

  #reportMetrics(space: PacketSpace, nowUs: Micros): void {
    const observer = this.#context.observer
    if (observer === null) return
    observer.metricsUpdated(
      {
        pathId: space.pathId,
        smoothedRttUs: this.rtt.smoothedUs,
        rttMinUs: this.rtt.minUs,
        rttLatestUs: this.rtt.latestUs,
        rttVarUs: this.rtt.varUs,
        windowBytes: this.congestion.windowBytes,
        inFlightBytes: this.inFlightBytes,
        slowStartThresholdBytes: this.congestion.slowStartThresholdBytes,
        ptoCount: this.ptoCount,
        mtuBytes: 0,
        congestionState: this.congestion.state(),
      },
      nowUs,
    )
  }
}

/** In flight, and its contents are worth offering again and have not been yet. */
function isRequeueable(sent: SentPackets, pn: number): boolean {
  if (sent.state(pn) !== SentState.InFlight) return false
  const flags = sent.flags(pn)
  return (flags & SentFlag.Eliciting) !== 0 && (flags & (SentFlag.Requeued | SentFlag.MtuProbe)) === 0
}
