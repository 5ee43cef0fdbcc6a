/** One path of constant rate and delay behind a queue, driven through the real loss recovery and pacer: for tests of controllers. */
import { AckView } from '@quicether/wire'
import type { CongestionController } from '../congestion/controller.ts'
import { Level } from '../ports/crypto.ts'
import { PacketSpace } from '../recovery/packet-space.ts'
import { Pacer } from '../recovery/pacer.ts'
import { Recovery } from '../recovery/recovery.ts'
import { RttEstimator } from '../recovery/rtt.ts'
import { SentFlag } from '../recovery/sent-packets.ts'
import { createSeededRandom } from './random.ts'

const MTU = 1_200
const STEP_US = 250
/** How far back, and how many ranges, an ACK reports. */
const ACKED_PACKETS = 300
const ACKED_RANGES = 32

export interface BottleneckOptions {
  readonly bytesPerSecond: number
  readonly rttUs: number
  /** Room of the queue, tail drop. Default: one product of rate and round trip, at least 20 packets. */
  readonly queueBytes?: number
  /** Every n-th packet gets lost; 0 = none. */
  readonly loseEvery?: number
  /** Further delay per packet, uniform up to this; the order stays. */
  readonly jitterUs?: number
}

/** Steps of a quarter of a millisecond; `isGreedy` false = the test says what is to be sent. */
export class Bottleneck {
  readonly recovery: Recovery
  readonly space: PacketSpace = new PacketSpace(Level.OneRtt, 0, 0)
  bytesPerSecond: number
  rttUs: number
  queueBytes: number
  loseEvery: number
  isGreedy = true
  /** Bytes the application still wants to send when it is not greedy. */
  pendingBytes = 0
  /** Packets with these numbers arrive this much later than others. */
  readonly lateUs: Map<number, number> = new Map()
  nowUs = 0
  deliveredBytes = 0
  queueBytesMax = 0
  dropped = 0
  readonly #pacer: Pacer = new Pacer(MTU)
  /** Packet numbers and when their acknowledgments come. */
  #underWay: { pn: number; ackAtUs: number }[] = []
  /** 1 = arrived, by packet number. */
  #received: Uint8Array = new Uint8Array(1 << 16)
  #largest = -1
  #busyUntilUs = 0
  #sent = 0
  readonly #jitterUs: number
  readonly #random = createSeededRandom(1)
  #lastAtUs = 0
  #nextAckAtUs = Infinity

  constructor(controller: CongestionController, options: BottleneckOptions) {
    const context = {
      handshakeConfirmed: true,
      peerCompletedAddressValidation: true,
      hasHandshakeKeys: true,
      maxAckDelayUs: 0,
      observer: null,
    }
    const sink = { onReceiptAcked: ignore, onReceiptLost: ignore, onPacketAcked: ignore, onPacketLost: ignore }
    this.recovery = new Recovery(new RttEstimator(), controller, context, sink)
    this.recovery.spaces.push(this.space)
    this.bytesPerSecond = options.bytesPerSecond
    this.rttUs = options.rttUs
    const product = (options.bytesPerSecond * options.rttUs) / 1e6
    this.queueBytes = options.queueBytes ?? Math.max(product, 20 * MTU)
    this.loseEvery = options.loseEvery ?? 0
    this.#jitterUs = options.jitterUs ?? 0
  }

  run(durationUs: number): void {
    this.until(() => false, durationUs)
  }

  /** Runs until the condition holds; false when it does not within the time. */
  until(condition: () => boolean, withinUs: number): boolean {
    const endUs = this.nowUs + withinUs
    while (this.nowUs < endUs) {
      this.nowUs += STEP_US
      this.#acknowledge()
      if (this.recovery.deadlineUs(false) <= this.nowUs) this.recovery.onTimeout(this.nowUs, false)
      this.#send()
      if (condition()) return true
    }
    return false
  }

  /** Bytes per second delivered over the next `durationUs`. */
  rateOver(durationUs: number): number {
    const before = this.deliveredBytes
    this.run(durationUs)
    return ((this.deliveredBytes - before) * 1e6) / durationUs
  }

  /** Everything under way is lost. */
  loseAllUnderWay(): void {
    this.#underWay = []
  }

  #send(): void {
    const { congestion, rtt } = this.recovery
    while (this.space.probesPending > 0) {
      this.space.probesPending--
      this.#packet()
    }
    while (this.isGreedy || this.pendingBytes >= MTU) {
      if (this.recovery.inFlightBytes + MTU > congestion.windowBytes) return
      if (this.#pacer.budgetBytes(this.nowUs, congestion.pacingRate(rtt), congestion.windowBytes) < MTU) return
      if (!this.isGreedy) this.pendingBytes -= MTU
      this.#packet()
    }
    this.recovery.onLimited()
  }

  #packet(): void {
    const { nowUs } = this
    const flags = SentFlag.Eliciting | SentFlag.CountsInFlight
    const pn = this.recovery.onSent(this.space, MTU, flags, nowUs)
    this.#pacer.onSent(MTU, nowUs)
    this.#sent++
    const queuedBytes = (Math.max(0, this.#busyUntilUs - nowUs) * this.bytesPerSecond) / 1e6
    this.queueBytesMax = Math.max(this.queueBytesMax, queuedBytes)
    const isLost = this.loseEvery > 0 && this.#sent % this.loseEvery === 0
    if (isLost || queuedBytes + MTU > this.queueBytes) {
      this.dropped++
      return
    }
    this.#busyUntilUs = Math.max(this.#busyUntilUs, nowUs) + (MTU * 1e6) / this.bytesPerSecond
    const inOrderAtUs = Math.max(
      this.#lastAtUs,
      this.#busyUntilUs + this.rttUs + this.#random.fraction() * this.#jitterUs,
    )
    this.#lastAtUs = inOrderAtUs
    const ackAtUs = inOrderAtUs + (this.lateUs.get(pn) ?? 0)
    this.#underWay.push({ pn, ackAtUs })
    this.#nextAckAtUs = Math.min(this.#nextAckAtUs, ackAtUs)
  }

  #acknowledge(): void {
    if (this.nowUs < this.#nextAckAtUs) return
    const arrived = this.#underWay.filter(({ ackAtUs }) => ackAtUs <= this.nowUs).map(({ pn }) => pn)
    this.#underWay = this.#underWay.filter(({ ackAtUs }) => ackAtUs > this.nowUs)
    this.#nextAckAtUs = this.#underWay.reduce((least, { ackAtUs }) => Math.min(least, ackAtUs), Infinity)
    if (arrived.length === 0) return
    this.deliveredBytes += arrived.length * MTU
    for (const pn of arrived) {
      this.#note(pn)
      this.#largest = Math.max(this.#largest, pn)
    }
    this.recovery.onAck(this.space, this.#ranges(), 0, this.nowUs)
  }

  #note(pn: number): void {
    if (pn >= this.#received.length) {
      const larger = new Uint8Array(2 * this.#received.length)
      larger.set(this.#received)
      this.#received = larger
    }
    this.#received[pn] = 1
  }

  /** What has arrived of the last packets, as a receiver repeats it in each ACK frame. */
  #ranges(): AckView {
    const view = new AckView()
    const received = this.#received
    const largest = this.#largest
    for (let pn = largest; pn >= 0 && pn > largest - ACKED_PACKETS && view.count < ACKED_RANGES; pn -= 1) {
      if (received[pn] !== 1) continue
      if (view.count > 0 && view.smallest[view.count - 1] === pn + 1) view.smallest[view.count - 1] = pn
      else {
        view.largest[view.count] = pn
        view.smallest[view.count] = pn
        view.count++
      }
    }
    return view
  }
}

function ignore(): void {}
