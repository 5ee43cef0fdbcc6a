/** One train under construction: datagrams, the packets in them, their records and the common sealing. */
import {
  FrameType,
  PacketType,
  TAG_LENGTH,
  longHeaderLength,
  packetNumberLength,
  patchLongHeaderLength,
  writeLongHeader,
  writePacketNumber,
  writeShortHeader,
} from '@quicether/wire'
import { type ConnectionCore, EMPTY } from '../core.ts'
import type { Path } from '../path/path.ts'
import { DESCRIPTOR_WORDS, Level, Seal } from '../ports/crypto.ts'
import { Ecn, type Micros, type PathTuple, type TransmitBatch } from '../ports/datagrams.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'
import { SentFlag } from '../recovery/sent-packets.ts'
import { PacketWriter } from './packet-writer.ts'

/** Initial, Handshake and 1-RTT (or 0-RTT) fit into one datagram. */
const PACKETS_PER_DATAGRAM = 4
const DESCRIPTORS_MAX = 256
/** The distance between packet numbers left out doubles up to so often. */
const SKIP_DOUBLINGS_MAX = 7
/** Fixed bits are drawn by so many bytes: asking the source costs more than a packet. */
const COIN_BYTES = 3
/** Smallest packet worth starting: header, packet number, a frame, tag. */
export const PACKET_ROOM_MIN = 60

/** One train is built at a time, whatever the connection: the scratch space of sealing is shared by all. */
const sharedDescriptors = new Int32Array(DESCRIPTORS_MAX * DESCRIPTOR_WORDS)
// So are the packets of the datagram being built, until their length is final.
const starts = new Int32Array(PACKETS_PER_DATAGRAM)
const pnOffsets = new Int32Array(PACKETS_PER_DATAGRAM)
const pnLengths = new Int32Array(PACKETS_PER_DATAGRAM)
const ends = new Int32Array(PACKETS_PER_DATAGRAM)
const levels = new Int32Array(PACKETS_PER_DATAGRAM)
const eliciting = new Uint8Array(PACKETS_PER_DATAGRAM)
const randomBytes = new Uint8Array(COIN_BYTES)

export class TrainBuilder {
  readonly writer: PacketWriter = new PacketWriter()
  /** Bytes of ack-eliciting packets that the path's congestion control and pacer still allow. */
  budget = 0
  readonly #core: ConnectionCore
  #descriptorCount = 0
  #oneRttCount = 0
  #packetCount = 0
  readonly #info = { level: 0 as Level, pathId: 0, packetNumber: 0, length: 0, version: 0, keyPhase: 0, ecn: 0 }

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  // ---- the train

  /** Starts an empty train for `tuple`. */
  beginTrain(out: TransmitBatch, tuple: PathTuple): void {
    out.tuple = tuple
    out.length = 0
    out.segmentSize = 0
    out.count = 0
    out.ecn = Ecn.NotEct
    this.#descriptorCount = 0
    this.#oneRttCount = 0
  }

  /** Counts a datagram of the path's own tuple. */
  account(out: TransmitBatch, path: Path, length: number): void {
    this.count(out, length)
    path.sentBytes += length
  }

  /** Counts a datagram. */
  count(out: TransmitBatch, length: number): void {
    const { counters } = this.#core
    if (out.count === 0) out.segmentSize = length
    out.length += length
    out.count++
    counters.bytesSent += length
  }

  /** Seals everything in one call. False when the train is empty. */
  finishTrain(out: TransmitBatch, path: Path, ecn: number): boolean {
    if (out.count === 0) return false
    out.ecn = ecn
    const core = this.#core
    core.crypto.seal(out.bytes, sharedDescriptors, this.#descriptorCount)
    if (this.#oneRttCount > 0) core.keys.onSealed(this.#oneRttCount)
    core.counters.packetsSent += this.#descriptorCount
    path.packetsSent += this.#descriptorCount
    path.bytesSent += out.length
    return true
  }

  /** Whether another datagram of `limit` bytes fits. */
  hasRoom(out: TransmitBatch, limit: number): boolean {
    return out.length + limit <= out.bytes.length && this.#descriptorCount + PACKETS_PER_DATAGRAM <= DESCRIPTORS_MAX
  }

  /** How many more packets can be sealed with this train. */
  get packetsLeft(): number {
    return DESCRIPTORS_MAX - PACKETS_PER_DATAGRAM - this.#descriptorCount
  }

  /** How many packet numbers come before one that is left out. */
  numbersBeforeSkip(space: PacketSpace): number {
    return this.#core.config.skipPacketNumberEvery === 0 ? Infinity : space.skipAt - space.sent.next
  }

  /** Adds a finished 1-RTT packet that fills its datagram: what `close`, `commit` and `account` do, in one step. */
  appendWhole(out: TransmitBatch, path: Path, headerLength: number, pnLength: number, packetNumber: number): void {
    const length = out.segmentSize
    this.#describe(out.length, headerLength, pnLength, length, packetNumber, Level.OneRtt, path)
    this.budget -= length
    this.account(out, path, length)
  }

  // ---- one datagram

  beginDatagram(): void {
    this.#packetCount = 0
  }

  get packetCount(): number {
    return this.#packetCount
  }

  /** Offset behind the last packet. */
  get end(): number {
    return ends[this.#packetCount - 1] as number
  }

  levelOf(index: number): Level {
    return levels[index] as Level
  }

  isEliciting(index: number): boolean {
    return eliciting[index] === 1
  }

  /** Pads the last packet so that the datagram reaches `end`. */
  expand(bytes: Uint8Array, offset: number, end: number): void {
    const last = this.#packetCount - 1
    const have = ends[last] as number
    if (have >= end || have <= offset) return
    bytes.fill(0, have - TAG_LENGTH, end - TAG_LENGTH)
    ends[last] = end
    // RFC 9002 §2: packets with PADDING count as in flight
    if (eliciting[last] === 0) eliciting[last] = 2
  }

  spaceOf(level: Level, path: Path): PacketSpace {
    return level === Level.OneRtt || level === Level.ZeroRtt ? path.space : (this.#core.spaces[level] as PacketSpace)
  }

  // ---- one packet

  /** Writes the header of a packet and points the writer behind it. False when there is no room. */
  begin(level: Level, path: Path, dcid: Uint8Array, bytes: Uint8Array, at: number, end: number): boolean {
    const core = this.#core
    const space = this.spaceOf(level, path)
    this.#maybeSkip(space)
    const pnLength = packetNumberLength(space.sent.next, space.largestAcked)
    const index = this.#packetCount
    const fixedBit = this.fixedBit()
    let pnOffset: number
    if (level === Level.OneRtt) {
      // RFC 9000 §17.4: the spin bit is disabled: always zero; see docs/spec-exceptions.md
      pnOffset = writeShortHeader(bytes, at, dcid, pnLength, core.keys.phase, fixedBit, 0)
    } else {
      const token = level === Level.Initial ? core.token : EMPTY
      if (end - at < longHeaderLength(level, dcid.length, core.localCid.length, token.length) + PACKET_ROOM_MIN)
        return false
      this.#long.type = level
      this.#long.version = core.version
      this.#long.dcid = dcid
      this.#long.scid = core.localCid
      this.#long.token = token
      pnOffset = writeLongHeader(bytes, at, this.#long, pnLength, fixedBit)
    }
    const payloadStart = writePacketNumber(bytes, pnOffset, space.sent.next, pnLength)
    starts[index] = at
    pnOffsets[index] = pnOffset
    pnLengths[index] = pnLength
    levels[index] = level
    this.writer.begin(bytes, payloadStart, end - TAG_LENGTH, level, space)
    return true
  }

  readonly #long: { type: PacketType; version: number; dcid: Uint8Array; scid: Uint8Array; token: Uint8Array } = {
    type: PacketType.Initial,
    version: 0,
    dcid: EMPTY,
    scid: EMPTY,
    token: EMPTY,
  }

  // RFC 9287 §3.1: once the peer has sent grease_quic_bit, the fixed bit SHOULD be unpredictable
  /** The fixed bit of the next packet. */
  fixedBit(): number {
    const core = this.#core
    if (!core.config.isGreaseEnabled || core.peerParameters?.greaseQuicBit !== true || !core.handshakeConfirmed)
      return 1
    if (this.#coinsLeft === 0) {
      core.random.fill(randomBytes)
      const [a, b, c] = randomBytes as unknown as [number, number, number]
      this.#coins = (a << 16) | (b << 8) | c
      this.#coinsLeft = 8 * COIN_BYTES
    }
    return (this.#coins >>> --this.#coinsLeft) & 1
  }

  #coins = 0
  #coinsLeft = 0
  readonly #oneByte = new Uint8Array(1)

  // RFC 9000 §21.4: skip packet numbers now and then, so that acknowledging what was not received shows
  #maybeSkip(space: PacketSpace): void {
    const every = this.#core.config.skipPacketNumberEvery
    if (every === 0 || space.level !== Level.OneRtt || space.sent.pendingReceipts > 0) return
    if (space.skipAt < 0 || space.sent.next > space.skipAt) {
      this.#core.random.fill(this.#oneByte)
      const meanDistance = every * 2 ** Math.min(space.skips, SKIP_DOUBLINGS_MAX)
      space.skipAt = space.sent.next + Math.ceil((meanDistance * (1 + (this.#oneByte[0] as number))) / 128)
    } else if (space.sent.next === space.skipAt) {
      space.sent.skip()
      space.skips++
    }
  }

  /** Ends the packet in the writer: pads it for header protection and notes it. Returns the offset behind its tag. */
  close(): number {
    const packet = this.writer
    const index = this.#packetCount
    const pnOffset = pnOffsets[index] as number
    // RFC 9001 §5.4.2: "endpoints SHOULD … pad packets" so that 4 bytes of packet number and payload precede the sample
    this.pad(Math.max(packet.at, pnOffset + 4))
    ends[index] = packet.at + TAG_LENGTH
    eliciting[index] = packet.isEliciting ? 1 : 0
    this.#packetCount = index + 1
    return packet.at + TAG_LENGTH
  }

  /** Fills up with PADDING frames until offset `until`. */
  pad(until: number): void {
    const packet = this.writer
    while (packet.at < until) packet.bytes[packet.at++] = FrameType.Padding
  }

  /** Makes the datagram's packets final: lengths, records, descriptors. */
  commit(bytes: Uint8Array, path: Path, extraFlags: number, ecn: number, nowUs: Micros): void {
    const core = this.#core
    for (let i = 0; i < this.#packetCount; i++) {
      const level = levels[i] as Level
      const start = starts[i] as number
      const end = ends[i] as number
      const pnOffset = pnOffsets[i] as number
      const space = this.spaceOf(level, path)
      if (level !== Level.OneRtt) patchLongHeaderLength(bytes, pnOffset, end - pnOffset)
      const elicits = eliciting[i] as number
      let flags = extraFlags
      if (elicits === 1) flags |= SentFlag.Eliciting | SentFlag.CountsInFlight
      else if (elicits === 2) flags |= SentFlag.CountsInFlight
      const length = end - start
      const packetNumber = path.recovery.onSent(space, length, flags, nowUs)
      if (elicits !== 0) {
        this.budget -= length
        path.pacer.onSent(length, nowUs)
      }
      if (elicits === 1) this.#noteEliciting(nowUs)
      if (ecn === Ecn.Ect0) path.ecn.onSent(path.ecnSpace(level), ecn)
      if (core.observer !== null) this.#observe(bytes, i, packetNumber, path, ecn, nowUs)
      const pnLength = pnLengths[i] as number
      this.#describe(start, pnOffset - start + pnLength, pnLength, length, packetNumber, level, path)
    }
  }

  // RFC 9000 §10.1: "an endpoint also restarts its idle timer when sending an ack-eliciting packet if no other ack-eliciting packets have been sent since last receiving and processing a packet"
  #noteEliciting(nowUs: Micros): void {
    const core = this.#core
    if (!core.sentElicitingSinceReceive) core.lastActivityUs = nowUs
    core.sentElicitingSinceReceive = true
  }

  #describe(
    start: number,
    headerLength: number,
    pnLength: number,
    length: number,
    packetNumber: number,
    level: Level,
    path: Path,
  ): void {
    const words = sharedDescriptors
    const at = this.#descriptorCount * DESCRIPTOR_WORDS
    words[at + Seal.Offset] = start
    words[at + Seal.HeaderLength] = headerLength
    words[at + Seal.Length] = length
    words[at + Seal.PnLow] = packetNumber | 0
    words[at + Seal.PnHigh] = Math.floor(packetNumber / 2 ** 32)
    words[at + Seal.KeyId] = this.#core.keys.tx(level)
    words[at + Seal.PathId] = path.id
    words[at + Seal.PnLength] = pnLength
    this.#descriptorCount++
    if (level === Level.OneRtt) this.#oneRttCount++
  }

  #observe(bytes: Uint8Array, index: number, packetNumber: number, path: Path, ecn: number, nowUs: Micros): void {
    const info = this.#info
    const start = starts[index] as number
    const end = ends[index] as number
    info.level = levels[index] as Level
    info.pathId = path.id
    info.packetNumber = packetNumber
    info.length = end - start
    info.version = this.#core.version
    info.keyPhase = this.#core.keys.phase
    info.ecn = ecn
    const payload = (pnOffsets[index] as number) + (pnLengths[index] as number)
    this.#core.observer?.packetSent(info, bytes, payload, end - TAG_LENGTH, nowUs)
  }
}
