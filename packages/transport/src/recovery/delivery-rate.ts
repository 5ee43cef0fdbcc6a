/** Delivery rate sampling (draft-ietf-ccwg-bbr, "Delivery Rate Samples"): how fast one path delivers, packet by packet. */
import type { Level } from '../ports/crypto.ts'
import type { Micros } from '../ports/datagrams.ts'

const CAPACITY_MIN = 64
/** Words of one packet: its number plus one, delivered, delivered at, first sent at, lost, in flight, application-limited. */
const WORDS = 7
const [NUMBER, DELIVERED, DELIVERED_AT, FIRST_SENT_AT, LOST, IN_FLIGHT, APP_LIMITED] = [0, 1, 2, 3, 4, 5, 6] as const

/**
 * One path's counters, what each packet saw of them when it was sent, and the sample of the acknowledgment being
 * processed. Rates are bytes per second, volumes bytes. Only controllers that ask for it have one; nothing is allocated
 * per packet. Within one acknowledgment: `onAcked` for each packet, `onLost` for each loss, `finishAck`, use the sample,
 * `clearSample`.
 */
export class DeliveryRate {
  /** Bytes acknowledged, and bytes declared lost, over the life of the path. */
  deliveredBytes = 0
  lostBytes = 0
  // The sample of this acknowledgment, taken from the newest packet it covers.
  hasSample = false
  /** Bytes newly acknowledged. */
  ackedBytes = 0
  /** 0 when no reliable rate could be told. */
  bytesPerSecond = 0
  /** `deliveredBytes` when the packet was sent. */
  priorDeliveredBytes = 0
  /** Delivered, and lost, between the sending of the packet and its acknowledgment. */
  sampleBytes = 0
  sampleLostBytes = 0
  /** In flight right after the packet was sent. */
  inFlightBytes = 0
  isAppLimited = false
  // The packet lost last.
  /** In flight right after it was sent, and lost from then on, itself included. */
  lossInFlightBytes = 0
  lossLostBytes = 0
  isLossAppLimited = false
  /** Whether the packet before it is not lost: losses of neighbours are one event. */
  isNewLossRange = false
  #deliveredAtUs: Micros = 0
  #firstSentAtUs: Micros = 0
  /** The path counts as application-limited until this much is delivered; 0 = it is not. */
  #limitedUntilBytes = 0
  #intervalUs = 0
  #priorLostBytes = 0
  #newestNumber = -1
  #lastLostNumber = -2
  #lastLostLevel = -1
  readonly #snapshots: (Snapshots | undefined)[] = [undefined, undefined, undefined, undefined]

  /** Whether what was sent last left room in the window for want of data. */
  get isLimited(): boolean {
    return this.#limitedUntilBytes > 0
  }

  /** When the newest packet acknowledged so far was sent. */
  get newestSentAtUs(): Micros {
    return this.#firstSentAtUs
  }

  /** A packet that counts as in flight was sent; `inFlightBytes` includes it. `firstNumber`: oldest one outstanding. */
  onSent(
    level: Level,
    packetNumber: number,
    firstNumber: number,
    bytes: number,
    inFlightBytes: number,
    nowUs: Micros,
  ): void {
    if (inFlightBytes <= bytes) {
      this.#firstSentAtUs = nowUs
      this.#deliveredAtUs = nowUs
    }
    let snapshots = this.#snapshots[level]
    if (snapshots === undefined) {
      snapshots = new Snapshots()
      this.#snapshots[level] = snapshots
    }
    const at = snapshots.place(packetNumber, firstNumber)
    const { words } = snapshots
    words[at + NUMBER] = packetNumber + 1
    words[at + DELIVERED] = this.deliveredBytes
    words[at + DELIVERED_AT] = this.#deliveredAtUs
    words[at + FIRST_SENT_AT] = this.#firstSentAtUs
    words[at + LOST] = this.lostBytes
    words[at + IN_FLIGHT] = inFlightBytes
    words[at + APP_LIMITED] = this.#limitedUntilBytes > 0 ? 1 : 0
  }

  onAcked(level: Level, packetNumber: number, bytes: number, sentAtUs: Micros, nowUs: Micros): void {
    this.deliveredBytes += bytes
    this.ackedBytes += bytes
    this.#deliveredAtUs = nowUs
    const snapshots = this.#snapshots[level]
    if (snapshots === undefined || !snapshots.has(packetNumber)) return
    const isNewest =
      !this.hasSample ||
      sentAtUs > this.#firstSentAtUs ||
      (sentAtUs === this.#firstSentAtUs && packetNumber > this.#newestNumber)
    if (!isNewest) return
    const at = snapshots.at(packetNumber)
    const { words } = snapshots
    this.hasSample = true
    this.#newestNumber = packetNumber
    this.priorDeliveredBytes = words[at + DELIVERED] as number
    this.#priorLostBytes = words[at + LOST] as number
    this.inFlightBytes = words[at + IN_FLIGHT] as number
    this.isAppLimited = words[at + APP_LIMITED] === 1
    // The slower of sending and acknowledging: neither bursts nor compressed acknowledgments look like a fast path.
    const sendUs = sentAtUs - (words[at + FIRST_SENT_AT] as number)
    const ackUs = nowUs - (words[at + DELIVERED_AT] as number)
    this.#intervalUs = Math.max(sendUs, ackUs)
    this.#firstSentAtUs = sentAtUs
  }

  onLost(level: Level, packetNumber: number, bytes: number): void {
    this.lostBytes += bytes
    this.isNewLossRange = level !== this.#lastLostLevel || packetNumber !== this.#lastLostNumber + 1
    this.#lastLostLevel = level
    this.#lastLostNumber = packetNumber
    const snapshots = this.#snapshots[level]
    if (snapshots === undefined || !snapshots.has(packetNumber)) {
      this.lossInFlightBytes = Infinity
      this.lossLostBytes = 0
      return
    }
    const at = snapshots.at(packetNumber)
    const { words } = snapshots
    this.lossInFlightBytes = words[at + IN_FLIGHT] as number
    this.lossLostBytes = this.lostBytes - (words[at + LOST] as number)
    this.isLossAppLimited = words[at + APP_LIMITED] === 1
  }

  /** Completes the sample. `rttMinUs`: shortest round trip seen; shorter intervals tell nothing. */
  finishAck(rttMinUs: Micros): void {
    if (this.#limitedUntilBytes > 0 && this.deliveredBytes > this.#limitedUntilBytes) this.#limitedUntilBytes = 0
    if (!this.hasSample) return
    this.sampleBytes = this.deliveredBytes - this.priorDeliveredBytes
    this.sampleLostBytes = this.lostBytes - this.#priorLostBytes
    if (this.#intervalUs >= rttMinUs && this.#intervalUs > 0) {
      this.bytesPerSecond = (this.sampleBytes * 1e6) / this.#intervalUs
    }
  }

  clearSample(): void {
    this.hasSample = false
    this.ackedBytes = 0
    this.bytesPerSecond = 0
    this.sampleBytes = 0
    this.sampleLostBytes = 0
  }

  /** Nothing more to send although the window has room: what is in flight now tells of the application, not of the path. */
  markLimited(inFlightBytes: number): void {
    this.#limitedUntilBytes = Math.max(this.deliveredBytes + inFlightBytes, 1)
  }

  /** The path leads elsewhere: packets under way say nothing about the new way. */
  reset(): void {
    this.#snapshots.fill(undefined)
    this.#limitedUntilBytes = 0
    this.clearSample()
  }
}

/** What the packets of one packet number space saw when they were sent: a ring by packet number. */
class Snapshots {
  words: Float64Array = new Float64Array(CAPACITY_MIN * WORDS)
  #mask = CAPACITY_MIN - 1

  /** Whether the packet was recorded here and not overwritten since. */
  has(packetNumber: number): boolean {
    return this.words[this.at(packetNumber) + NUMBER] === packetNumber + 1
  }

  at(packetNumber: number): number {
    return (packetNumber & this.#mask) * WORDS
  }

  /** Where `packetNumber` goes; those from `firstNumber` on are kept. */
  place(packetNumber: number, firstNumber: number): number {
    while (packetNumber - firstNumber > this.#mask) this.#grow(firstNumber, packetNumber)
    return this.at(packetNumber)
  }

  #grow(firstNumber: number, nextNumber: number): void {
    const old = this.words
    const oldMask = this.#mask
    this.#mask = (oldMask + 1) * 2 - 1
    this.words = new Float64Array((this.#mask + 1) * WORDS)
    for (let pn = Math.max(firstNumber, nextNumber - oldMask - 1); pn < nextNumber; pn++) {
      const source = (pn & oldMask) * WORDS
      this.words.set(old.subarray(source, source + WORDS), (pn & this.#mask) * WORDS)
    }
  }
}
