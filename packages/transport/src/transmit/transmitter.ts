/** Plan -> packets -> seal: the only place where a packet is born. Fills one train of datagrams for one tuple. */
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
import { type ConnectionCore, EMPTY, LifeState } from '../core.ts'
import type { Path } from '../path/path.ts'
import type { PathProbe } from '../path/path-probe.ts'
import { DESCRIPTOR_WORDS, Level, NO_KEY, Seal } from '../ports/crypto.ts'
import { Ecn, type Micros, type PathTuple, type TransmitBatch } from '../ports/datagrams.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'
import { ReceiptKind, SentFlag } from '../recovery/sent-packets.ts'
import { hasControl, writeAck, writeCidControl, writeConnectionControl } from './frame-writers.ts'
import { PacketWriter } from './packet-writer.ts'

// RFC 9000 §14.1: Initial datagrams and path validation are padded to the smallest allowed maximum datagram size
const DATAGRAM_MIN = 1200
const PACKETS_PER_DATAGRAM = 4
const DESCRIPTORS_MAX = 256
/** Smallest packet worth starting: header, packet number, a frame, tag. */
const PACKET_ROOM_MIN = 60

/** One train is built at a time, whatever the connection: the scratch space of sealing is shared by all. */
const sharedDescriptors = new Int32Array(DESCRIPTORS_MAX * DESCRIPTOR_WORDS)

export class Transmitter {
  readonly #core: ConnectionCore
  readonly #writer: PacketWriter = new PacketWriter()
  #descriptorCount = 0
  #oneRttCount = 0
  // Packets of the datagram being built, until their length is final.
  readonly #starts: Int32Array = new Int32Array(PACKETS_PER_DATAGRAM)
  readonly #pnOffsets: Int32Array = new Int32Array(PACKETS_PER_DATAGRAM)
  readonly #pnLengths: Int32Array = new Int32Array(PACKETS_PER_DATAGRAM)
  readonly #ends: Int32Array = new Int32Array(PACKETS_PER_DATAGRAM)
  readonly #levels: Int32Array = new Int32Array(PACKETS_PER_DATAGRAM)
  readonly #eliciting: Uint8Array = new Uint8Array(PACKETS_PER_DATAGRAM)
  #packetCount = 0
  #budget = 0
  #skipAt = -1
  #isProbeFirst = false
  readonly #info = { level: 0 as Level, pathId: 0, packetNumber: 0, length: 0, version: 0, keyPhase: 0, ecn: 0 }

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  /** Fills `out` with one train; false when nothing can be sent now. */
  poll(out: TransmitBatch, nowUs: Micros): boolean {
    const core = this.#core
    const probe = core.keys.tx(Level.OneRtt) === NO_KEY ? undefined : core.paths.nextProbe()
    // Challenges and the train take turns, so that neither starves the other.
    if (probe !== undefined && !this.#isProbeFirst) {
      this.#isProbeFirst = true
      return this.#pollProbe(out, probe, nowUs)
    }
    this.#isProbeFirst = false
    const path = core.paths.primary
    if (this.#pollTrain(out, path, nowUs)) return true
    return probe === undefined ? false : this.#pollProbe(out, probe, nowUs)
  }

  // ---- ordinary trains

  #pollTrain(out: TransmitBatch, path: Path, nowUs: Micros): boolean {
    this.#beginTrain(out, path.tuple)
    this.#maybeUpdateKeys(path, nowUs)
    this.#budget = path.sendBudget(nowUs)
    if (this.#pollMtuProbe(out, path, nowUs)) return true
    const ecn = path.ecn.codepointToSend()
    const most = Math.min(out.datagramsMax, ecn === Ecn.NotEct ? Infinity : path.ecn.packetsBeforeChange())
    while (out.count < most) {
      const size = out.count === 0 ? path.mtu.mtuBytes : out.segmentSize
      const credit = path.amplificationCredit
      const limit = Math.min(size, credit)
      if (out.length + limit > out.bytes.length || this.#descriptorCount + PACKETS_PER_DATAGRAM > DESCRIPTORS_MAX) break
      const length = this.#datagram(out.bytes, out.length, limit, path, ecn, nowUs)
      if (length === 0) break
      this.#account(out, path, length)
      if (length < size) break
    }
    return this.#finishTrain(out, path, ecn)
  }

  #beginTrain(out: TransmitBatch, tuple: PathTuple): void {
    out.tuple = tuple
    out.length = 0
    out.segmentSize = 0
    out.count = 0
    out.ecn = Ecn.NotEct
    this.#descriptorCount = 0
    this.#oneRttCount = 0
  }

  #account(out: TransmitBatch, path: Path, length: number): void {
    this.#count(out, length)
    path.sentBytes += length
  }

  #count(out: TransmitBatch, length: number): void {
    const { counters } = this.#core
    if (out.count === 0) out.segmentSize = length
    out.length += length
    out.count++
    counters.bytesSent += length
  }

  #finishTrain(out: TransmitBatch, path: Path, ecn: number): boolean {
    if (out.count === 0) return false
    out.ecn = ecn
    const core = this.#core
    core.crypto.seal(out.bytes, sharedDescriptors, this.#descriptorCount)
    if (this.#oneRttCount > 0) core.keys.onSealed(this.#oneRttCount)
    core.counters.packetsSent += this.#descriptorCount
    path.packetsSent += this.#descriptorCount
    return true
  }

  #maybeUpdateKeys(path: Path, nowUs: Micros): void {
    const core = this.#core
    if (!core.keys.maybeUpdate(core.handshakeConfirmed, path.ptoUs(core.maxAckDelayUs), nowUs)) return
    this.onKeysRotated(nowUs, 'local')
  }

  /** The keys have changed: remember where the new phase begins. */
  onKeysRotated(nowUs: Micros, by: 'local' | 'remote'): void {
    const core = this.#core
    core.counters.keyUpdates++
    for (const path of core.paths.paths) path.space.phaseFirstSent = path.space.sent.next
    core.observer?.event('key_updated', { trigger: `${by}_update`, generation: core.keys.generation }, nowUs)
  }

  // RFC 9000 §14.4: a PMTU probe is a PING padded to the size probed, alone in its datagram
  #pollMtuProbe(out: TransmitBatch, path: Path, nowUs: Micros): boolean {
    const core = this.#core
    if (!core.handshakeConfirmed || !path.isValidated || this.#budget <= 0) return false
    const size = path.mtu.nextProbe(nowUs)
    if (size === 0 || size > out.bytes.length || !path.space.sent.canSend()) return false
    this.#packetCount = 0
    if (!this.#begin(Level.OneRtt, path, path.cids.active?.cid ?? EMPTY, out.bytes, 0, size)) return false
    const packet = this.#writer
    packet.byte(FrameType.Ping)
    packet.isEliciting = true
    this.#pad(packet, packet.limit)
    this.#close(packet)
    this.#commit(out.bytes, path, SentFlag.MtuProbe, Ecn.NotEct, nowUs)
    path.mtu.onProbeSent(size)
    this.#account(out, path, size)
    return this.#finishTrain(out, path, Ecn.NotEct)
  }

  /** Builds one datagram of at most `limit` bytes; returns its length, 0 when there is nothing to send. */
  #datagram(bytes: Uint8Array, offset: number, limit: number, path: Path, ecn: number, nowUs: Micros): number {
    const core = this.#core
    this.#packetCount = 0
    let at = offset
    const end = offset + limit
    if (limit < PACKET_ROOM_MIN) return 0
    if (core.spaces[Level.Initial] !== undefined) at = this.#packet(Level.Initial, path, bytes, at, end, nowUs)
    const hasInitial = this.#packetCount > 0
    if (core.spaces[Level.Handshake] !== undefined) at = this.#packet(Level.Handshake, path, bytes, at, end, nowUs)
    if (core.keys.tx(Level.OneRtt) !== NO_KEY) at = this.#packet(Level.OneRtt, path, bytes, at, end, nowUs)
    // RFC 9001 §5.6: only clients have a 0-RTT sending key: servers never protect with it, clients never open with it
    else if (core.keys.tx(Level.ZeroRtt) !== NO_KEY) at = this.#packet(Level.ZeroRtt, path, bytes, at, end, nowUs)
    if (this.#packetCount === 0) return 0
    if (hasInitial && this.#mustExpand()) this.#expand(bytes, offset, Math.min(end, offset + DATAGRAM_MIN))
    const flags = ecn === Ecn.Ect0 ? SentFlag.Ect0 : 0
    this.#commit(bytes, path, flags, ecn, nowUs)
    return (this.#ends[this.#packetCount - 1] as number) - offset
  }

  // RFC 9000 §14.1: "A client MUST expand the payload of all UDP datagrams carrying Initial packets to at least … 1200 bytes"; "a server MUST expand … carrying ack-eliciting Initial packets"
  #mustExpand(): boolean {
    // RFC 9001 §9.3: a ClientHello travels in a datagram padded to at least 1200 bytes
    return !this.#core.isServer || this.#eliciting[0] === 1
  }

  /** Pads the last packet so that the datagram reaches `end`. */
  #expand(bytes: Uint8Array, offset: number, end: number): void {
    const last = this.#packetCount - 1
    const have = this.#ends[last] as number
    if (have >= end || have <= offset) return
    bytes.fill(0, have - TAG_LENGTH, end - TAG_LENGTH)
    this.#ends[last] = end
    // RFC 9002 §2: packets with PADDING count as in flight
    if (this.#eliciting[last] === 0) this.#eliciting[last] = 2
  }

  /** Adds one packet of `level` if it has something to say; returns the offset behind it. */
  #packet(level: Level, path: Path, bytes: Uint8Array, at: number, end: number, nowUs: Micros): number {
    const core = this.#core
    if (core.keys.tx(level) === NO_KEY || end - at < PACKET_ROOM_MIN) return at
    const space = this.#spaceOf(level, path)
    const isUrgent = space.probesPending > 0 || space.ack.dueAtUs <= nowUs
    if (space.isDiscarded || !(isUrgent ? space.sent.canProbe() : space.sent.canSend())) return at
    if (!this.#hasSomething(level, space, path, nowUs)) return at
    if (!this.#begin(level, path, path.cids.active?.cid ?? EMPTY, bytes, at, end)) return at
    this.#fill(level, space, path, nowUs)
    const packet = this.#writer
    if (packet.at === packet.payloadStart) {
      space.sent.discardPendingReceipts()
      return at
    }
    return this.#close(packet)
  }

  #spaceOf(level: Level, path: Path): PacketSpace {
    return level === Level.OneRtt || level === Level.ZeroRtt ? path.space : (this.#core.spaces[level] as PacketSpace)
  }

  #hasSomething(level: Level, space: PacketSpace, path: Path, nowUs: Micros): boolean {
    if (space.ack.dueAtUs <= nowUs && level !== Level.ZeroRtt) return true
    // RFC 9002 §7.5: "Probe packets MUST NOT be blocked by the congestion controller." They count as in flight all the same.
    if (this.#budget <= 0 && space.probesPending === 0) return false
    return space.probesPending > 0 || this.hasData(level, path)
  }

  /** Ack-eliciting content waits for a packet of `level`. */
  hasData(level: Level, path: Path): boolean {
    const core = this.#core
    if (core.handshake.hasCrypto(level)) return true
    if (level === Level.Initial || level === Level.Handshake) return false
    const { streams, datagrams } = core
    if (streams.outbox.hasData() || datagrams.size > 0) return true
    if (streams.outbox.isBlockedByConnection()) {
      streams.outbox.dataBlockedPending = true
      return true
    }
    return hasControl(core, path)
  }

  /** Frames in fixed order. ACK first: it must fit; probes and congestion window decide on the rest. */
  #fill(level: Level, space: PacketSpace, path: Path, nowUs: Micros): void {
    const core = this.#core
    const packet = this.#writer
    // RFC 9000 §13.2.6: "ACK frames MUST only be carried in a packet that has the same packet number space as the packet being acknowledged"; 0-RTT packets are acknowledged in 1-RTT packets
    const isAckWanted = level !== Level.ZeroRtt && (space.ack.isUseful || space.ack.dueAtUs <= nowUs)
    if (isAckWanted && writeAck(packet, space, nowUs) && level === Level.OneRtt) core.keys.onAckSent()
    if (this.#budget <= 0 && space.probesPending === 0) return this.#pingAckOnly(packet, space, nowUs)
    if (space.probesPending > 0) core.handshake.repeat(level)
    core.handshake.write(packet)
    // RFC 9000 §12.5: all other frames only in the application data packet number space
    if (level === Level.OneRtt || level === Level.ZeroRtt) {
      if (level === Level.OneRtt) writeCidControl(packet, path)
      writeConnectionControl(packet, core)
      core.streams.outbox.writeControl(packet)
      core.datagrams.write(packet)
      core.streams.outbox.writeData(packet)
    }
    if (space.probesPending > 0) {
      // RFC 9002 §6.2.4: "When there is no data to send, the sender SHOULD send a PING or other ack-eliciting frame in a single packet"
      if (!packet.isEliciting && packet.room > 0) {
        packet.byte(FrameType.Ping)
        packet.isEliciting = true
      }
      space.probesPending--
    }
    this.#pingAckOnly(packet, space, nowUs)
  }

  // RFC 9000 §13.2.4: "a receiver … might … send a PING frame … once per round trip" so that its own ACKs get acknowledged
  #pingAckOnly(packet: PacketWriter, space: PacketSpace, nowUs: Micros): void {
    if (packet.isEliciting || packet.level !== Level.OneRtt || packet.at === packet.payloadStart) return
    const unacked = space.sent.next - Math.max(space.largestAcked, space.sent.first)
    if (unacked < 64 || space.sent.elicitingInFlight > 0 || nowUs - space.lastElicitingAtUs < 10_000) return
    if (packet.room < 1) return
    packet.byte(FrameType.Ping)
    packet.isEliciting = true
  }

  // ---- one packet

  /** Writes the header of a packet and points the writer behind it. False when there is no room. */
  #begin(level: Level, path: Path, dcid: Uint8Array, bytes: Uint8Array, at: number, end: number): boolean {
    const core = this.#core
    const space = this.#spaceOf(level, path)
    this.#maybeSkip(space)
    const pnLength = packetNumberLength(space.sent.next, space.largestAcked)
    const index = this.#packetCount
    const fixedBit = this.#fixedBit()
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
    this.#starts[index] = at
    this.#pnOffsets[index] = pnOffset
    this.#pnLengths[index] = pnLength
    this.#levels[index] = level
    this.#writer.begin(bytes, payloadStart, end - TAG_LENGTH, level, space)
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
  #fixedBit(): number {
    const core = this.#core
    if (!core.config.isGreaseEnabled || core.peerParameters?.greaseQuicBit !== true || !core.handshakeConfirmed)
      return 1
    core.random.fill(this.#oneByte)
    return (this.#oneByte[0] as number) & 1
  }

  readonly #oneByte = new Uint8Array(1)

  // RFC 9000 §21.4: skip packet numbers now and then, so that acknowledging what was not received shows
  #maybeSkip(space: PacketSpace): void {
    const every = this.#core.config.skipPacketNumberEvery
    if (every === 0 || space.level !== Level.OneRtt || space.sent.pendingReceipts > 0) return
    if (this.#skipAt < 0 || space.sent.next > this.#skipAt) {
      this.#core.random.fill(this.#oneByte)
      this.#skipAt = space.sent.next + Math.ceil((every * (1 + (this.#oneByte[0] as number))) / 128)
    } else if (space.sent.next === this.#skipAt) space.sent.skip()
  }

  /** Ends the packet in the writer: pads it for header protection and notes it. Returns the offset behind its tag. */
  #close(packet: PacketWriter): number {
    const index = this.#packetCount
    const pnOffset = this.#pnOffsets[index] as number
    // RFC 9001 §5.4.2: "endpoints SHOULD … pad packets" so that 4 bytes of packet number and payload precede the sample
    this.#pad(packet, Math.max(packet.at, pnOffset + 4))
    this.#ends[index] = packet.at + TAG_LENGTH
    this.#eliciting[index] = packet.isEliciting ? 1 : 0
    this.#packetCount = index + 1
    return packet.at + TAG_LENGTH
  }

  #pad(packet: PacketWriter, until: number): void {
    while (packet.at < until) packet.bytes[packet.at++] = FrameType.Padding
  }

  /** Makes the datagram's packets final: lengths, records, descriptors. */
  #commit(bytes: Uint8Array, path: Path, extraFlags: number, ecn: number, nowUs: Micros): void {
    const core = this.#core
    for (let i = 0; i < this.#packetCount; i++) {
      const level = this.#levels[i] as Level
      const start = this.#starts[i] as number
      const end = this.#ends[i] as number
      const pnOffset = this.#pnOffsets[i] as number
      const space = this.#spaceOf(level, path)
      if (level !== Level.OneRtt) patchLongHeaderLength(bytes, pnOffset, end - pnOffset)
      const eliciting = this.#eliciting[i] as number
      let flags = extraFlags
      if (eliciting === 1) flags |= SentFlag.Eliciting | SentFlag.CountsInFlight
      else if (eliciting === 2) flags |= SentFlag.CountsInFlight
      const length = end - start
      const packetNumber = path.recovery.onSent(space, length, flags, nowUs)
      if (eliciting !== 0) {
        this.#budget -= length
        path.pacer.onSent(length, nowUs)
      }
      if (eliciting === 1) this.#noteEliciting(nowUs)
      if (ecn === Ecn.Ect0) path.ecn.onSent(path.ecnSpace(level), ecn)
      if (core.observer !== null) this.#observe(bytes, i, packetNumber, path, ecn, nowUs)
      this.#describe(i, packetNumber, level, path)
    }
  }

  // RFC 9000 §10.1: "an endpoint also restarts its idle timer when sending an ack-eliciting packet if no other ack-eliciting packets have been sent since last receiving and processing a packet"
  #noteEliciting(nowUs: Micros): void {
    const core = this.#core
    if (!core.sentElicitingSinceReceive) core.lastActivityUs = nowUs
    core.sentElicitingSinceReceive = true
  }

  #describe(index: number, packetNumber: number, level: Level, path: Path): void {
    const words = sharedDescriptors
    const at = this.#descriptorCount * DESCRIPTOR_WORDS
    const start = this.#starts[index] as number
    const pnLength = this.#pnLengths[index] as number
    words[at + Seal.Offset] = start
    words[at + Seal.HeaderLength] = (this.#pnOffsets[index] as number) - start + pnLength
    words[at + Seal.Length] = (this.#ends[index] as number) - start
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
    const start = this.#starts[index] as number
    const end = this.#ends[index] as number
    info.level = this.#levels[index] as Level
    info.pathId = path.id
    info.packetNumber = packetNumber
    info.length = end - start
    info.version = this.#core.version
    info.keyPhase = this.#core.keys.phase
    info.ecn = ecn
    const payload = (this.#pnOffsets[index] as number) + (this.#pnLengths[index] as number)
    this.#core.observer?.packetSent(info, bytes, payload, end - TAG_LENGTH, nowUs)
  }

  // ---- path validation

  // RFC 9000 §8.2.1, §8.2.2: PATH_CHALLENGE and PATH_RESPONSE go out on the tuple they are about, padded to 1200 bytes
  #pollProbe(out: TransmitBatch, probe: PathProbe, nowUs: Micros): boolean {
    const core = this.#core
    const path = core.paths.primary
    if (!path.space.sent.canSend()) return false
    this.#beginTrain(out, probe.tuple)
    this.#packetCount = 0
    const cid = probe.cid?.cid ?? path.cids.active?.cid ?? EMPTY
    // RFC 9000 §8.2.1: not expanded where the anti-amplification limit forbids it
    const limit = Math.min(DATAGRAM_MIN, core.paths.creditOf(probe))
    if (!this.#begin(Level.OneRtt, path, cid, out.bytes, 0, limit)) return false
    const packet = this.#writer
    if (probe.challengePending) {
      const data = core.randomBytes(8)
      packet.byte(FrameType.PathChallenge)
      packet.copy(data)
      packet.receipt(ReceiptKind.PathChallenge, path.id)
      probe.onChallengeSent(data, nowUs)
    }
    for (let data = probe.responses.shift(); data !== undefined && packet.room >= 9; data = probe.responses.shift()) {
      packet.byte(FrameType.PathResponse)
      packet.copy(data)
      packet.isEliciting = true
    }
    this.#pad(packet, packet.limit)
    this.#close(packet)
    this.#commit(out.bytes, path, 0, Ecn.NotEct, nowUs)
    this.#count(out, limit)
    core.paths.onProbeBytes(probe, limit)
    core.paths.onProbeSent(probe)
    return this.#finishTrain(out, path, Ecn.NotEct)
  }

  // ---- closing

  /** CONNECTION_CLOSE at every level the peer may be able to read (RFC 9000 §10.2.3). */
  pollClose(out: TransmitBatch, nowUs: Micros): boolean {
    const core = this.#core
    const path = core.paths.primary
    const reason = core.closeReason
    if (reason === undefined || (reason.kind !== 'transport' && reason.kind !== 'application')) return false
    this.#beginTrain(out, path.tuple)
    this.#packetCount = 0
    let at = 0
    const end = Math.min(path.mtu.mtuBytes, path.amplificationCredit)
    if (end < PACKET_ROOM_MIN) return false
    for (const level of [Level.Initial, Level.Handshake, Level.OneRtt] as const) {
      if (core.keys.tx(level) === NO_KEY || this.#spaceOf(level, path).isDiscarded || end - at < 200) continue
      if (!this.#begin(level, path, path.cids.active?.cid ?? EMPTY, out.bytes, at, end)) continue
      this.#writeClose(level, reason)
      at = this.#close(this.#writer)
    }
    if (this.#packetCount === 0) return false
    if (this.#levels[0] === Level.Initial && !core.isServer) this.#expand(out.bytes, 0, Math.min(end, DATAGRAM_MIN))
    this.#commit(out.bytes, path, 0, Ecn.NotEct, nowUs)
    this.#account(out, path, this.#ends[this.#packetCount - 1] as number)
    return this.#finishTrain(out, path, Ecn.NotEct)
  }

  #writeClose(
    level: Level,
    reason: { kind: 'transport' | 'application'; code: number; frameType?: number; reason: string },
  ): void {
    const packet = this.#writer
    // RFC 9000 §12.5: application errors only appear in 0-RTT and 1-RTT packets
    const isEarly = level !== Level.OneRtt
    // RFC 9000 §10.2.3: "a CONNECTION_CLOSE of type 0x1d MUST be replaced by a CONNECTION_CLOSE of type 0x1c when sending the frame in Initial or Handshake packets"
    const isApplication = reason.kind === 'application' && !isEarly
    const code = reason.kind === 'application' && isEarly ? 0x0c : reason.code
    const text =
      reason.kind === 'application' && isEarly ? EMPTY : encodeReason(reason.reason, Math.max(0, packet.room - 40))
    packet.byte(isApplication ? FrameType.ApplicationClose : FrameType.ConnectionClose)
    packet.varint(code)
    if (!isApplication) packet.varint(reason.frameType ?? 0)
    packet.varint(text.length)
    packet.copy(text)
  }

  /** Whether the connection may send now or could if only pacing allowed it. */
  wantsToSend(path: Path): boolean {
    const core = this.#core
    if (core.state >= LifeState.Closing || !path.space.sent.canSend()) return false
    const level = core.keys.tx(Level.OneRtt) !== NO_KEY ? Level.OneRtt : Level.ZeroRtt
    if (core.keys.tx(level) !== NO_KEY && this.hasData(level, path)) return true
    return core.handshake.hasCrypto(Level.Initial) || core.handshake.hasCrypto(Level.Handshake)
  }
}

const encoder = new TextEncoder()

function encodeReason(reason: string, bytesMax: number): Uint8Array {
  const bytes = encoder.encode(reason)
  return bytes.length <= bytesMax ? bytes : bytes.subarray(0, bytesMax)
}
