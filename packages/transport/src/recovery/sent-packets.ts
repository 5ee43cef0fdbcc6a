/** Sent packets of one packet number space: a ring by packet number, with receipts in a second ring. No objects. */

export const SentState = { Free: 0, InFlight: 1, Acked: 2, Lost: 3, Skipped: 4 } as const

/** Flags of a sent packet. */
export const SentFlag = {
  Eliciting: 1,
  /** Counts towards bytes in flight. */
  CountsInFlight: 2,
  MtuProbe: 4,
  /** Contents were handed back to their owners by a PTO; a later loss must not do it again. */
  Requeued: 8,
  /** Sent while the application had nothing more to send. */
  AppLimited: 16,
  Ect0: 32,
} as const

/** What a packet carried, so that owners learn of its fate. Words: kind, a, b, c. */
export const ReceiptKind = {
  /** a: stream, b: offset, c: length * 2 + fin */
  Stream: 1,
  /** a: level, b: offset, c: length */
  Crypto: 2,
  /** a: largest acknowledged number */
  Ack: 3,
  MaxData: 4,
  /** a: stream */
  MaxStreamData: 5,
  /** a: 0 bidirectional, 1 unidirectional */
  MaxStreams: 6,
  ResetStream: 7,
  StopSending: 8,
  /** a: path, b: sequence */
  NewConnectionId: 9,
  RetireConnectionId: 10,
  HandshakeDone: 11,
  /** a: index of the token */
  NewToken: 12,
  DataBlocked: 13,
  StreamDataBlocked: 14,
  StreamsBlocked: 15,
  Datagram: 16,
  /** a: path */
  PathChallenge: 17,
  PathAbandon: 18,
  PathStatus: 19,
  MaxPathId: 20,
  PathsBlocked: 21,
  PathCidsBlocked: 22,
  /** a: largest acknowledged number, b: path */
  PathAck: 23,
  /** a: sequence */
  AdditionalAddresses: 24,
} as const

export const RECEIPT_WORDS = 4
/** Few connections have more in flight most of the time, and each has these tables. */
const CAPACITY_MIN = 16
/** Tables larger than this shrink again once nothing is in flight: what was busy once must not cost for ever. */
const CAPACITY_KEPT = 1_024
/** Bound of packets outstanding in one space; the sender stalls at it. */
export const SENT_PACKETS_MAX = 65_536
/** Of these, kept for probes and ACKs. */
const SENT_RESERVE = 1_024
/** With more than this outstanding, lost packets are forgotten early: late acknowledgments are a nicety, room is not. */
const REMEMBER_LOST_BELOW = SENT_PACKETS_MAX / 2

export class SentPackets {
  /** Lowest number still remembered; everything below is settled. */
  first = 0
  /** Next packet number to be used. */
  next = 0
  /** Packets in state InFlight that elicit an acknowledgment. */
  elicitingInFlight = 0
  /** Packets in state Lost that are still remembered. */
  lostCount = 0
  #mask = CAPACITY_MIN - 1
  #state: Uint8Array = new Uint8Array(CAPACITY_MIN)
  #flags: Uint8Array = new Uint8Array(CAPACITY_MIN)
  #bytes: Int32Array = new Int32Array(CAPACITY_MIN)
  #sentAtUs: Float64Array = new Float64Array(CAPACITY_MIN)
  #receiptStart: Float64Array = new Float64Array(CAPACITY_MIN)
  #receiptCount: Uint16Array = new Uint16Array(CAPACITY_MIN)
  #receipts: Float64Array = new Float64Array(CAPACITY_MIN * 2 * RECEIPT_WORDS)
  #receiptMask = CAPACITY_MIN * 2 - 1
  /** Running index of the next receipt; ring position is `index & mask`. */
  #receiptNext = 0
  #pendingReceipts = 0

  /** Room for another packet of any kind; a reserve is kept for those that get things moving again. */
  canSend(): boolean {
    return this.next - this.first < SENT_PACKETS_MAX - SENT_RESERVE
  }

  /** Room for a probe or an ACK. */
  canProbe(): boolean {
    return this.next - this.first < SENT_PACKETS_MAX - 2
  }

  /** Attaches a receipt to the packet being built. */
  pushReceipt(kind: number, a: number, b: number, c: number): void {
    const oldest = this.first === this.next ? this.#receiptNext - this.#pendingReceipts : this.#oldestReceipt()
    if (this.#receiptNext - oldest > this.#receiptMask) this.#growReceipts(oldest)
    const at = (this.#receiptNext & this.#receiptMask) * RECEIPT_WORDS
    const words = this.#receipts
    words[at] = kind
    words[at + 1] = a
    words[at + 2] = b
    words[at + 3] = c
    this.#receiptNext++
    this.#pendingReceipts++
  }

  get pendingReceipts(): number {
    return this.#pendingReceipts
  }

  /** Drops the receipts of a packet that was not sent after all. */
  discardPendingReceipts(): void {
    this.#receiptNext -= this.#pendingReceipts
    this.#pendingReceipts = 0
  }

  /** Records the packet with the number `next` and its pending receipts; returns its number. */
  record(bytes: number, flags: number, sentAtUs: number): number {
    const packetNumber = this.next
    if (packetNumber - this.first > this.#mask) this.#grow()
    const slot = packetNumber & this.#mask
    this.#state[slot] = SentState.InFlight
    this.#flags[slot] = flags
    this.#bytes[slot] = bytes
    this.#sentAtUs[slot] = sentAtUs
    this.#receiptStart[slot] = this.#receiptNext - this.#pendingReceipts
    this.#receiptCount[slot] = this.#pendingReceipts
    this.#pendingReceipts = 0
    this.next = packetNumber + 1
    if ((flags & SentFlag.Eliciting) !== 0) this.elicitingInFlight++
    return packetNumber
  }

  /** Leaves out one packet number, to catch optimistic acknowledgments (RFC 9000 §21.4). */
  skip(): void {
    if (this.next - this.first > this.#mask) this.#grow()
    const slot = this.next & this.#mask
    this.#state[slot] = SentState.Skipped
    this.#flags[slot] = 0
    this.#bytes[slot] = 0
    this.#receiptStart[slot] = this.#receiptNext - this.#pendingReceipts
    this.#receiptCount[slot] = 0
    this.next++
  }

  state(packetNumber: number): number {
    return this.#state[packetNumber & this.#mask] as number
  }

  flags(packetNumber: number): number {
    return this.#flags[packetNumber & this.#mask] as number
  }

  addFlag(packetNumber: number, flag: number): void {
    const slot = packetNumber & this.#mask
    this.#flags[slot] = (this.#flags[slot] as number) | flag
  }

  bytes(packetNumber: number): number {
    return this.#bytes[packetNumber & this.#mask] as number
  }

  sentAtUs(packetNumber: number): number {
    return this.#sentAtUs[packetNumber & this.#mask] as number
  }

  receiptCount(packetNumber: number): number {
    return this.#receiptCount[packetNumber & this.#mask] as number
  }

  /** Word `word` (0 kind, 1 a, 2 b, 3 c) of the packet's `index`-th receipt. */
  receipt(packetNumber: number, index: number, word: number): number {
    const start = this.#receiptStart[packetNumber & this.#mask] as number
    return this.#receipts[((start + index) & this.#receiptMask) * RECEIPT_WORDS + word] as number
  }

  /** Settles a packet in flight as Acked or Lost. Lost packets stay until `forgetThrough` for spurious-loss detection. */
  settle(packetNumber: number, state: number): void {
    const slot = packetNumber & this.#mask
    if (this.#state[slot] === SentState.InFlight && ((this.#flags[slot] as number) & SentFlag.Eliciting) !== 0) {
      this.elicitingInFlight--
    }
    if (this.#state[slot] === SentState.Lost) this.lostCount--
    if (state === SentState.Lost) this.lostCount++
    this.#state[slot] = state
  }

  /** Moves `first` over settled packets; lost ones sent before `lostBeforeUs` are forgotten with them. */
  advance(lostBeforeUs: number): void {
    while (this.first < this.next) {
      const slot = this.first & this.#mask
      const state = this.#state[slot] as number
      if (state === SentState.InFlight) return
      const isCrowded = this.next - this.first > REMEMBER_LOST_BELOW
      if (state === SentState.Lost && !isCrowded && (this.#sentAtUs[slot] as number) > lostBeforeUs) return
      if (state === SentState.Lost) this.lostCount--
      this.#state[slot] = SentState.Free
      this.first++
    }
    if (this.#mask >= CAPACITY_KEPT && this.#pendingReceipts === 0) this.#shrink()
  }

  /** Nothing is remembered: starts again with small tables. */
  #shrink(): void {
    this.#mask = CAPACITY_MIN - 1
    this.#state = new Uint8Array(CAPACITY_MIN)
    this.#flags = new Uint8Array(CAPACITY_MIN)
    this.#bytes = new Int32Array(CAPACITY_MIN)
    this.#sentAtUs = new Float64Array(CAPACITY_MIN)
    this.#receiptStart = new Float64Array(CAPACITY_MIN)
    this.#receiptCount = new Uint16Array(CAPACITY_MIN)
    this.#receipts = new Float64Array(CAPACITY_MIN * 2 * RECEIPT_WORDS)
    this.#receiptMask = CAPACITY_MIN * 2 - 1
  }

  /** How many packets the tables hold without growing. */
  get capacity(): number {
    return this.#mask + 1
  }

  /** Settles packets at the lower end that elicit no acknowledgment, up to the first that does. */
  forgetQuiet(): void {
    while (this.first < this.next) {
      const slot = this.first & this.#mask
      const isQuiet = ((this.#flags[slot] as number) & (SentFlag.Eliciting | SentFlag.CountsInFlight)) === 0
      if (this.#state[slot] === SentState.InFlight && !isQuiet) return
      if (this.#state[slot] === SentState.Lost) this.lostCount--
      this.#state[slot] = SentState.Free
      this.first++
    }
  }

  #oldestReceipt(): number {
    return this.#receiptStart[this.first & this.#mask] as number
  }

  #grow(): void {
    const oldMask = this.#mask
    const capacity = (oldMask + 1) * 2
    const old = [this.#state, this.#flags, this.#bytes, this.#sentAtUs, this.#receiptStart, this.#receiptCount] as const
    this.#mask = capacity - 1
    this.#state = new Uint8Array(capacity)
    this.#flags = new Uint8Array(capacity)
    this.#bytes = new Int32Array(capacity)
    this.#sentAtUs = new Float64Array(capacity)
    this.#receiptStart = new Float64Array(capacity)
    this.#receiptCount = new Uint16Array(capacity)
    const now = [this.#state, this.#flags, this.#bytes, this.#sentAtUs, this.#receiptStart, this.#receiptCount] as const
    for (let pn = this.first; pn < this.next; pn++) {
      for (let i = 0; i < old.length; i++) {
        ;(now[i] as Float64Array)[pn & this.#mask] = (old[i] as Float64Array)[pn & oldMask] as number
      }
    }
  }

  #growReceipts(oldest: number): void {
    const oldMask = this.#receiptMask
    const old = this.#receipts
    this.#receiptMask = (oldMask + 1) * 2 - 1
    this.#receipts = new Float64Array((this.#receiptMask + 1) * RECEIPT_WORDS)
    for (let index = oldest; index < this.#receiptNext; index++) {
      const from = (index & oldMask) * RECEIPT_WORDS
      const to = (index & this.#receiptMask) * RECEIPT_WORDS
      for (let word = 0; word < RECEIPT_WORDS; word++) this.#receipts[to + word] = old[from + word] as number
    }
  }
}
