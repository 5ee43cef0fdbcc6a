/** Frames as an attacker writes them (no rule is checked) and a tally of the frames a victim sends. */
import { type AckView, type FrameSink, FrameType, writeVarint } from '@quicether/wire'

/** An inclusive run of packet numbers. */
export interface PacketRange {
  readonly smallest: number
  readonly largest: number
}

/** Builds a packet payload frame by frame. Every method returns the builder. */
export class Frames {
  readonly #bytes: Uint8Array
  #length: number

  constructor(capacityBytes: number = 1_400) {
    this.#bytes = new Uint8Array(capacityBytes)
    this.#length = 0
  }

  get length(): number {
    return this.#length
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  numbers(...values: readonly number[]): this {
    for (const value of values) this.#length = writeVarint(this.#bytes, this.#length, value)
    return this
  }

  raw(data: Uint8Array): this {
    this.#bytes.set(data, this.#length)
    this.#length += data.length
    return this
  }

  padding(count: number): this {
    this.#bytes.fill(0, this.#length, this.#length + count)
    this.#length += count
    return this
  }

  ping(): this {
    return this.numbers(FrameType.Ping)
  }

  /** Ranges from the largest numbers down, with at least one missing number between them. */
  ack(ranges: readonly PacketRange[]): this {
    const first = ranges[0] ?? { smallest: 0, largest: 0 }
    this.numbers(FrameType.Ack, first.largest, 0, ranges.length - 1, first.largest - first.smallest)
    let smallest = first.smallest
    for (const range of ranges.slice(1)) {
      this.numbers(smallest - range.largest - 2, range.largest - range.smallest)
      smallest = range.smallest
    }
    return this
  }

  stream(id: number, offset: number, data: Uint8Array, fin: boolean = false): this {
    return this.numbers(FrameType.Stream | 0x06 | (fin ? 1 : 0), id, offset, data.length).raw(data)
  }

  crypto(offset: number, data: Uint8Array): this {
    return this.numbers(FrameType.Crypto, offset, data.length).raw(data)
  }

  newConnectionId(sequence: number, retirePriorTo: number, cid: Uint8Array): this {
    this.numbers(FrameType.NewConnectionId, sequence, retirePriorTo, cid.length).raw(cid)
    return this.raw(new Uint8Array(16).fill(sequence & 0xff))
  }

  pathChallenge(data: Uint8Array): this {
    return this.numbers(FrameType.PathChallenge).raw(data)
  }
}

export interface SeenClose {
  readonly isApplication: boolean
  readonly code: number
  readonly reason: string
}

/** Counts what arrives; keeps only what attackers need to go on. */
export class FrameTally implements FrameSink {
  /** Frames by type name. */
  readonly counts: Map<string, number> = new Map()
  streamBytes = 0
  ackRangesMax = 0
  largestAcked = -1
  maxData = 0
  maxStreamsBidi = 0
  /** Largest sequence number of a NEW_CONNECTION_ID frame. */
  newestCidSequence = 0
  readonly challenges: Uint8Array[] = []
  closed: SeenClose | undefined
  /** The slab that offsets refer to; set before decoding. */
  bytes: Uint8Array = new Uint8Array(0)

  of(name: string): number {
    return this.counts.get(name) ?? 0
  }

  #count(name: string): void {
    this.counts.set(name, this.of(name) + 1)
  }

  onPadding(): void {}
  onPing(): void {
    this.#count('ping')
  }
  onAck(ack: AckView): void {
    this.#count('ack')
    this.ackRangesMax = Math.max(this.ackRangesMax, ack.count)
    this.largestAcked = Math.max(this.largestAcked, ack.largest[0] ?? -1)
  }
  onResetStream(): void {
    this.#count('reset_stream')
  }
  onStopSending(): void {
    this.#count('stop_sending')
  }
  onCrypto(): void {
    this.#count('crypto')
  }
  onNewToken(): void {
    this.#count('new_token')
  }
  onStream(_id: number, _offset: number, start: number, end: number): void {
    this.#count('stream')
    this.streamBytes += end - start
  }
  onMaxData(limit: number): void {
    this.#count('max_data')
    this.maxData = Math.max(this.maxData, limit)
  }
  onMaxStreamData(): void {
    this.#count('max_stream_data')
  }
  onMaxStreams(bidirectional: boolean, limit: number): void {
    this.#count('max_streams')
    if (bidirectional) this.maxStreamsBidi = Math.max(this.maxStreamsBidi, limit)
  }
  onDataBlocked(): void {
    this.#count('data_blocked')
  }
  onStreamDataBlocked(): void {
    this.#count('stream_data_blocked')
  }
  onStreamsBlocked(): void {
    this.#count('streams_blocked')
  }
  onNewConnectionId(_pathId: number, _isPathFrame: boolean, sequence: number): void {
    this.#count('new_connection_id')
    this.newestCidSequence = Math.max(this.newestCidSequence, sequence)
  }
  onRetireConnectionId(): void {
    this.#count('retire_connection_id')
  }
  onPathChallenge(start: number): void {
    this.#count('path_challenge')
    if (this.challenges.length < 64) this.challenges.push(this.bytes.slice(start, start + 8))
  }
  onPathResponse(): void {
    this.#count('path_response')
  }
  onConnectionClose(isApplication: boolean, code: number, _frameType: number, start: number, end: number): void {
    this.#count('connection_close')
    this.closed ??= { isApplication, code, reason: new TextDecoder().decode(this.bytes.subarray(start, end)) }
  }
  onHandshakeDone(): void {
    this.#count('handshake_done')
  }
  onDatagram(): void {
    this.#count('datagram')
  }
  onPathAbandon(): void {
    this.#count('path_abandon')
  }
  onPathStatus(): void {
    this.#count('path_status')
  }
  onMaxPathId(): void {
    this.#count('max_path_id')
  }
  onPathsBlocked(): void {
    this.#count('paths_blocked')
  }
  onPathCidsBlocked(): void {
    this.#count('path_cids_blocked')
  }
  onAdditionalAddresses(): void {
    this.#count('additional_addresses')
  }
}
