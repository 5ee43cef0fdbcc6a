/** One opened packet -> frames -> owners. The only place that catches a peer's violation. */
import {
  AckElicitingBit,
  type AckView,
  type FrameSink,
  FrameType,
  NonProbingBit,
  TransportError,
  decodeFrames,
  transportErrorName,
} from '@quicether/wire'
import type { CidRegistry } from '../cid/cid-registry.ts'
import { type ConnectionCore, LifeState } from '../core.ts'
import type { CloseReason } from '../events.ts'
import type { Path } from '../path/path.ts'
import { Level } from '../ports/crypto.ts'
import type { Micros, PathTuple } from '../ports/datagrams.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'

/** What the receiver asks of the connection. */
export interface ReceiverHost {
  /** Closes because of an exception thrown while processing a packet. */
  fail(error: unknown, nowUs: Micros): void
  onPeerClosed(reason: CloseReason, nowUs: Micros): void
  onHandshakeDone(nowUs: Micros): void
  /** A Handshake packet was processed: a server may drop its Initial keys (RFC 9001 §4.9.1). */
  onHandshakePacket(nowUs: Micros): void
  onNewToken(token: Uint8Array): void
}

const text = new TextDecoder()

export class Receiver implements FrameSink {
  readonly #core: ConnectionCore
  readonly #host: ReceiverHost
  // The packet being processed.
  #bytes: Uint8Array = new Uint8Array(0)
  #level: Level = Level.Initial
  #space!: PacketSpace
  #path!: Path
  #tuple!: PathTuple
  #localSequence = 0
  #packetBytes = 0
  #nowUs: Micros = 0
  readonly #info = { level: 0 as Level, pathId: 0, packetNumber: 0, length: 0, version: 0, keyPhase: 0, ecn: 0 }

  constructor(core: ConnectionCore, host: ReceiverHost) {
    this.#core = core
    this.#host = host
  }

  /**
   * Processes one authenticated packet: `bytes[start, end)` is its plaintext payload. `localSequence` is the sequence
   * number of our CID it was sent to. Violations close the connection; nothing is thrown.
   */
  // RFC 9000 §5.2: packets are matched to the connection by the endpoint; violations inside end it with an error
  onPacket(
    packet: {
      readonly level: Level
      readonly packetNumber: number
      readonly firstByte: number
      readonly length: number
      readonly ecn: number
      readonly localSequence: number
    },
    path: Path,
    tuple: PathTuple,
    bytes: Uint8Array,
    start: number,
    end: number,
    nowUs: Micros,
  ): void {
    const core = this.#core
    const { level, packetNumber } = packet
    const space = level === Level.OneRtt || level === Level.ZeroRtt ? path.space : core.spaces[level]
    if (space === undefined) return
    // RFC 9000 §17.2#1, §17.3.1#1: "Packets containing a zero value for this bit are not valid packets in this version and MUST be discarded", unless we announced grease_quic_bit (RFC 9287 §3)
    if ((packet.firstByte & 0x40) === 0 && !core.config.isGreaseEnabled) {
      core.counters.packetsDropped++
      return
    }
    if (space.ack.isDuplicate(packetNumber)) {
      core.counters.duplicates++
      return
    }
    this.#bytes = bytes
    this.#level = level
    this.#space = space
    this.#path = path
    this.#tuple = tuple
    this.#localSequence = packet.localSequence
    this.#packetBytes = packet.length
    this.#nowUs = nowUs
    try {
      this.#checkReservedBits(level, packet.firstByte)
      core.streams.nowUs = nowUs
      core.streams.rttUs = core.paths.windowRttUs(path)
      if (core.observer !== null) this.#observe(packet, start, end)
      const bits = decodeFrames(bytes, start, end, level, core.multipath.isNegotiated, this)
      const isEliciting = (bits & AckElicitingBit) !== 0
      const { smoothedUs } = path.rtt
      space.ack.onReceived(packetNumber, isEliciting, packet.ecn, core.config.maxAckDelayUs, smoothedUs, nowUs)
      core.counters.packetsReceived++
      path.packetsReceived++
      path.bytesReceived += packet.length
      core.lastActivityUs = nowUs
      core.sentElicitingSinceReceive = false
      if (level === Level.Handshake) this.#host.onHandshakePacket(nowUs)
      if ((bits & NonProbingBit) !== 0 && level === Level.OneRtt) {
        core.paths.onNonProbing(path, tuple, packetNumber, packet.localSequence, nowUs)
      }
    } catch (error) {
      this.#host.fail(error, nowUs)
    }
  }

  // RFC 9000 §17.2, §17.3.1: "An endpoint MUST treat receipt of a packet that has a non-zero value for these bits after removing both packet and header protection as a connection error of type PROTOCOL_VIOLATION."
  #checkReservedBits(level: Level, firstByte: number): void {
    const mask = level === Level.OneRtt ? 0x18 : 0x0c
    if ((firstByte & mask) !== 0) throw new TransportError('PROTOCOL_VIOLATION', 0, 'reserved header bits are set')
  }

  #observe(
    packet: {
      readonly level: Level
      readonly packetNumber: number
      readonly length: number
      readonly firstByte: number
      readonly ecn: number
    },
    start: number,
    end: number,
  ): void {
    const info = this.#info
    info.level = packet.level
    info.pathId = this.#path.id
    info.packetNumber = packet.packetNumber
    info.length = packet.length
    info.version = this.#core.version
    info.keyPhase = packet.level === Level.OneRtt ? (packet.firstByte >>> 2) & 1 : 0
    info.ecn = packet.ecn
    this.#core.observer?.packetReceived(info, this.#bytes, start, end, this.#nowUs)
  }

  // ---- FrameSink

  onPadding(_count: number): void {}

  onPing(): void {}

  onAck(ack: AckView): void {
    const path = this.#ackedPath(ack)
    if (path === undefined) return
    const space = this.#level === Level.OneRtt ? path.space : this.#space
    // RFC 9000 §13.2.5: the delay counts only in 1-RTT packets
    const exponent = this.#core.ackDelayExponent
    const delayUs = this.#level === Level.OneRtt ? ack.delay * 2 ** exponent : 0
    const largestBefore = space.largestAcked
    path.newlyAckedEct0 = 0
    // Asked for now: once everything up to it is acknowledged, the packet is forgotten.
    const largestSentAtUs = space.sent.sentAtUs(ack.largest[0] as number)
    path.recovery.onAck(space, ack, delayUs, this.#nowUs, this.#path.id)
    this.#core.streams.fitSendBuffers(this.#core.paths.pipeBytes())
    this.#validateEcn(path, space, ack, (ack.largest[0] as number) > largestBefore, largestSentAtUs)
    if (this.#level === Level.Handshake && !this.#core.peerCompletedAddressValidation) {
      this.#core.peerCompletedAddressValidation = true
      path.recovery.ptoCount = 0
    }
    if (this.#level === Level.OneRtt && (ack.largest[0] as number) >= space.phaseFirstSent)
      this.#core.keys.onPhaseAcked()
  }

  /** Path an ACK is about: path 0 for ACK, any path for PATH_ACK (RFC 10069 §2.3); undefined when it is over. */
  #ackedPath(ack: AckView): Path | undefined {
    if (ack.pathId < 0) return this.#path.id === 0 ? this.#path : this.#core.paths.get(0)
    // RFC 10069 §4: frames for a path that is over are ignored
    return this.#core.multipath.pathForAck(ack.pathId)
  }

  #validateEcn(path: Path, space: PacketSpace, ack: AckView, isNewer: boolean, largestSentAtUs: Micros): void {
    const newly = path.newlyAckedEct0
    if (!isNewer) {
      if (newly > 0) path.ecn.onReorderedAck(newly)
      return
    }
    if (!ack.hasEcn) return path.ecn.onAckWithoutEcn(newly)
    const increase = path.ecn.onAckEcn(path.ecnSpace(space.level), newly, 0, ack.ect0, ack.ect1, ack.ce)
    // RFC 9002 §B.7: the signal dates from the largest newly acknowledged packet; a later date would cut the window again.
    if (increase > 0) path.recovery.onEcnCongestion(largestSentAtUs, this.#nowUs)
  }

  onResetStream(id: number, code: number, finalSize: number): void {
    this.#core.streams.onResetStream(id, code, finalSize)
  }

  onStopSending(id: number, code: number): void {
    this.#core.streams.onStopSending(id, code)
  }

  onCrypto(offset: number, start: number, end: number): void {
    this.#core.handshake.onCrypto(this.#level, offset, this.#bytes, start, end)
  }

  onNewToken(start: number, end: number): void {
    // RFC 9000 §19.7: "A server MUST treat receipt of a NEW_TOKEN frame as a connection error of type PROTOCOL_VIOLATION."
    if (this.#core.isServer)
      throw new TransportError('PROTOCOL_VIOLATION', FrameType.NewToken, 'NEW_TOKEN from a client')
    this.#host.onNewToken(this.#bytes.slice(start, end))
  }

  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void {
    this.#core.streams.onStream(id, offset, this.#bytes, start, end, fin, this.#packetBytes)
  }

  onMaxData(limit: number): void {
    this.#core.streams.onMaxData(limit)
  }

  onMaxStreamData(id: number, limit: number): void {
    this.#core.streams.onMaxStreamData(id, limit)
  }

  onMaxStreams(bidirectional: boolean, limit: number): void {
    this.#core.streams.limits.raisePeer(bidirectional, limit, this.#core.events)
  }

  onDataBlocked(_limit: number): void {}

  onStreamDataBlocked(id: number, _limit: number): void {
    this.#core.streams.onStreamDataBlocked(id)
  }

  onStreamsBlocked(_bidirectional: boolean, _limit: number): void {}

  onNewConnectionId(
    pathId: number,
    isPathFrame: boolean,
    sequence: number,
    retirePriorTo: number,
    cidStart: number,
    cidLength: number,
    tokenStart: number,
  ): void {
    const cid = this.#bytes.slice(cidStart, cidStart + cidLength)
    const token = this.#bytes.slice(tokenStart, tokenStart + 16)
    const registry = this.#registryFor(pathId, isPathFrame, FrameType.PathNewConnectionId)
    if (registry === undefined) return
    if (this.#core.multipath.isNegotiated) this.#core.multipath.checkUnique(registry.pathId, cid)
    registry.onNew(sequence, retirePriorTo, cid, token, this.#core.config.activeCidLimit)
  }

  onRetireConnectionId(pathId: number, isPathFrame: boolean, sequence: number): void {
    const registry = this.#registryFor(pathId, isPathFrame, FrameType.PathRetireConnectionId)
    if (registry === undefined) return
    registry.onRetired(sequence, registry === this.#path.cids ? this.#localSequence : -1)
    const limit = Math.min(this.#core.peerParameters?.activeConnectionIdLimit ?? 2, this.#core.config.activeCidLimit)
    registry.replenish(registry.pathId === 0 ? limit : Math.min(limit, 2))
  }

  /** RFC 10069 §3.2: NEW_CONNECTION_ID and RETIRE_CONNECTION_ID mean path 0, whatever path they came on. */
  #registryFor(pathId: number, isPathFrame: boolean, frameType: number): CidRegistry | undefined {
    if (isPathFrame) return this.#core.multipath.registryFor(pathId, frameType)
    return this.#core.multipath.registries.get(0)
  }

  onPathChallenge(start: number): void {
    // RFC 9000 §19.17: "The recipient of this frame MUST generate a PATH_RESPONSE frame … containing the same Data value."
    this.#core.paths.onChallenge(this.#path, this.#tuple, this.#bytes.slice(start, start + 8), this.#localSequence)
  }

  onPathResponse(start: number): void {
    this.#core.paths.onResponse(this.#bytes, start, this.#nowUs)
  }

  onConnectionClose(application: boolean, code: number, frameType: number, start: number, end: number): void {
    const reason = text.decode(this.#bytes.subarray(start, end))
    this.#host.onPeerClosed(closeReasonOf(application, code, frameType, reason), this.#nowUs)
  }

  onHandshakeDone(): void {
    // RFC 9000 §19.20: "A server MUST treat receipt of a HANDSHAKE_DONE frame as a connection error of type PROTOCOL_VIOLATION."
    if (this.#core.isServer) {
      throw new TransportError('PROTOCOL_VIOLATION', FrameType.HandshakeDone, 'HANDSHAKE_DONE from a client')
    }
    this.#host.onHandshakeDone(this.#nowUs)
  }

  onDatagram(start: number, end: number, frameBytes: number): void {
    const core = this.#core
    // RFC 9221 §3: "An endpoint that receives a DATAGRAM frame … larger than the value it sent … MUST terminate the connection with an error of type PROTOCOL_VIOLATION."
    if (frameBytes > core.config.datagramFrameBytesMax) {
      throw new TransportError('PROTOCOL_VIOLATION', FrameType.Datagram, 'DATAGRAM larger than announced')
    }
    core.datagrams.received++
    if (core.events.size >= core.config.datagramQueueMax * 4) {
      core.datagrams.dropped++
      return
    }
    core.events.push({ kind: 'datagram', data: this.#bytes.slice(start, end) })
  }

  onPathAbandon(pathId: number, code: number): void {
    this.#core.multipath.onAbandon(pathId, code, this.#nowUs)
  }

  onPathStatus(pathId: number, available: boolean, sequence: number): void {
    this.#core.multipath.onStatus(pathId, available, sequence)
  }

  onMaxPathId(limit: number): void {
    this.#core.multipath.onMaxPathId(limit)
  }

  onPathsBlocked(limit: number): void {
    this.#core.multipath.onPathsBlocked(limit)
  }

  onPathCidsBlocked(pathId: number, nextSequence: number): void {
    this.#core.multipath.onCidsBlocked(pathId, nextSequence)
  }

  onAdditionalAddresses(sequence: number, _count: number, start: number, end: number): void {
    this.#core.announced.onFrame(sequence, this.#bytes, start, end, this.#nowUs)
  }

  /** Whether packets may still be processed. */
  get isOpen(): boolean {
    return this.#core.state <= LifeState.Established
  }
}

function closeReasonOf(application: boolean, code: number, frameType: number, reason: string): CloseReason {
  if (application) return { kind: 'application', by: 'peer', code, reason }
  return { kind: 'transport', by: 'peer', code, name: transportErrorName(code), frameType, reason }
}
