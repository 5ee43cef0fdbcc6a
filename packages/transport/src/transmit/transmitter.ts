/** Plan -> packets -> seal: the only place where a packet is born. Fills one train of datagrams for one tuple. */
import { FrameType } from '@quicether/wire'
import { AckRouter } from '../ack/ack-router.ts'
import { type ConnectionCore, EMPTY, LifeState } from '../core.ts'
import type { Path } from '../path/path.ts'
import type { PathProbe } from '../path/path-probe.ts'
import { Level, NO_KEY } from '../ports/crypto.ts'
import { Ecn, type Micros, type TransmitBatch } from '../ports/datagrams.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'
import { ReceiptKind, SentFlag } from '../recovery/sent-packets.ts'
import { PathPicker } from '../schedule/path-picker.ts'
import { BulkRun } from './bulk-run.ts'
import { closeContents, writeClose } from './close-frame.ts'
import { hasControl, writeAck, writeCidControl, writeConnectionControl } from './frame-writers.ts'
import type { PacketWriter } from './packet-writer.ts'
import { PACKET_ROOM_MIN, TrainBuilder } from './train-builder.ts'

// RFC 9000 §14.1: Initial datagrams and path validation are padded to the smallest allowed maximum datagram size
const DATAGRAM_MIN = 1200

export class Transmitter {
  readonly #core: ConnectionCore
  readonly #train: TrainBuilder
  readonly #picker: PathPicker
  readonly #bulk: BulkRun
  /** Which path tells the acknowledgments of which. */
  readonly acks: AckRouter
  #isProbeFirst = false
  /** The datagram being built cannot be expanded to 1200 bytes: no ack-eliciting Initial packet may go into it. */
  #isShort = false

  constructor(core: ConnectionCore) {
    this.#core = core
    this.#train = new TrainBuilder(core)
    this.#picker = new PathPicker(core)
    this.acks = new AckRouter(core)
    this.#bulk = new BulkRun(core, this.#train, this.acks)
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
    if (this.#pollPaths(out, nowUs)) return true
    if (probe !== undefined) return this.#pollProbe(out, probe, nowUs)
    this.#noteLimited()
    return false
  }

  /** Nothing leaves any more: paths that could have carried more had nothing to carry. */
  #noteLimited(): void {
    const { paths } = this.#core
    const hasData = this.#hasApplicationData()
    for (const path of paths.paths) {
      if (!hasData || path.lane.isHeld || !paths.mayCarryData(path)) path.recovery.onLimited()
    }
  }

  /** One train: application data goes where the packet scheduler wants it, everything else to its own path. */
  #pollPaths(out: TransmitBatch, nowUs: Micros): boolean {
    const { paths } = this.#core.paths
    if (paths.length === 1) return this.#pollTrain(out, paths[0] as Path, nowUs)
    const picker = this.#picker
    this.#core.multipath.reviewStatus()
    this.acks.update(nowUs)
    if (this.#hasApplicationData()) picker.pick(nowUs)
    else picker.clear()
    const { picked } = picker
    if (picked !== undefined && this.#pollTrain(out, picked, nowUs)) {
      picker.onSent(out.length)
      return true
    }
    for (const path of this.#inOrder()) if (path !== picked && this.#pollTrain(out, path, nowUs)) return true
    return false
  }

  #hasApplicationData(): boolean {
    const { streams, datagrams } = this.#core
    return streams.outbox.hasData() || datagrams.size > 0
  }

  /** Application data may go into a packet of this path. Probes take it, too: they are for what the peer misses. */
  #carriesApplicationData(path: Path): boolean {
    return this.#core.paths.paths.length === 1 || this.#picker.picked === path || path.space.probesPending > 0
  }

  /** Application data that may go on the path waits; the picker has admitted by now what may. */
  #hasDataFor(path: Path): boolean {
    const { streams, datagrams } = this.#core
    return streams.outbox.hasDataFor(path.id) || datagrams.hasFor(path.id)
  }

  /** Frames of the application data space may go here; a backup path carries what is bound to it besides. */
  #mayCarryData(path: Path): boolean {
    return this.#picker.picked === path || this.#core.paths.mayCarryData(path)
  }

  readonly #order: Path[] = []

  /** Paths in the order in which they are offered what there is to send: answering ones first, the fastest first. */
  #inOrder(): readonly Path[] {
    const { paths } = this.#core.paths
    if (paths.length === 1) return paths
    const order = this.#order
    order.length = 0
    for (const path of paths) {
      if (path.isAbandoned || !path.mayTransmit()) continue
      let at = order.length
      while (at > 0 && isBefore(path, order[at - 1] as Path)) at--
      order.splice(at, 0, path)
    }
    return order
  }

  // ---- ordinary trains

  #pollTrain(out: TransmitBatch, path: Path, nowUs: Micros): boolean {
    const train = this.#train
    if (!path.mayTransmit()) return false
    train.beginTrain(out, path.tuple)
    this.#picker.admit(path)
    this.#maybeUpdateKeys(nowUs)
    train.budget = path.sendBudget(nowUs)
    if (this.#pollMtuProbe(out, path, nowUs)) return true
    const ecn = path.ecn.codepointToSend()
    const most = Math.min(out.datagramsMax, ecn === Ecn.NotEct ? Infinity : path.ecn.packetsBeforeChange())
    const carriesData = this.#carriesApplicationData(path) && this.#mayCarryData(path)
    while (out.count < most) {
      const size = out.count === 0 ? path.mtu.mtuBytes : out.segmentSize
      const credit = path.amplificationCredit
      const limit = Math.min(size, credit)
      if (!train.hasRoom(out, limit)) break
      const length = this.#datagram(out.bytes, out.length, limit, path, ecn, nowUs)
      if (length === 0) break
      train.account(out, path, length)
      if (length < size) break
      if (carriesData) this.#bulk.extend(out, path, most, ecn, nowUs)
    }
    return train.finishTrain(out, path, ecn)
  }

  #maybeUpdateKeys(nowUs: Micros): void {
    const core = this.#core
    if (!core.keys.maybeUpdate(core.handshakeConfirmed, core.paths.largestPtoUs(), nowUs)) return
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
    const train = this.#train
    const core = this.#core
    if (!core.handshakeConfirmed || !path.isValidated || train.budget <= 0) return false
    const size = path.mtu.nextProbe(nowUs)
    if (size === 0 || size > out.bytes.length || !path.space.sent.canSend()) return false
    if (path.recovery.inFlightBytes + size > path.recovery.congestion.windowBytes) return false
    train.beginDatagram()
    if (!train.begin(Level.OneRtt, path, path.cids.active?.cid ?? EMPTY, out.bytes, 0, size)) return false
    const packet = train.writer
    packet.byte(FrameType.Ping)
    packet.isEliciting = true
    train.pad(packet.limit)
    train.close()
    train.commit(out.bytes, path, SentFlag.MtuProbe, Ecn.NotEct, nowUs)
    path.mtu.onProbeSent(size)
    train.account(out, path, size)
    return train.finishTrain(out, path, Ecn.NotEct)
  }

  /** Builds one datagram of at most `limit` bytes; returns its length, 0 when there is nothing to send. */
  #datagram(bytes: Uint8Array, offset: number, limit: number, path: Path, ecn: number, nowUs: Micros): number {
    const train = this.#train
    const core = this.#core
    train.beginDatagram()
    let at = offset
    const end = offset + limit
    if (limit < PACKET_ROOM_MIN) return 0
    this.#isShort = limit < DATAGRAM_MIN
    // Handshake packets belong to path 0.
    const isFirstPath = path.id === 0
    if (isFirstPath && core.spaces[Level.Initial] !== undefined)
      at = this.#packet(Level.Initial, path, bytes, at, end, nowUs)
    const hasInitial = train.packetCount > 0
    if (isFirstPath && core.spaces[Level.Handshake] !== undefined)
      at = this.#packet(Level.Handshake, path, bytes, at, end, nowUs)
    if (core.keys.tx(Level.OneRtt) !== NO_KEY) at = this.#packet(Level.OneRtt, path, bytes, at, end, nowUs)
    // RFC 9001 §5.6: only clients have a 0-RTT sending key: servers never protect with it, clients never open with it
    else if (core.keys.tx(Level.ZeroRtt) !== NO_KEY) at = this.#packet(Level.ZeroRtt, path, bytes, at, end, nowUs)
    if (train.packetCount === 0) return 0
    if (hasInitial && this.#mustExpand()) train.expand(bytes, offset, Math.min(end, offset + DATAGRAM_MIN))
    const flags = ecn === Ecn.Ect0 ? SentFlag.Ect0 : 0
    train.commit(bytes, path, flags, ecn, nowUs)
    return train.end - offset
  }

  // RFC 9000 §14.1: "A client MUST expand the payload of all UDP datagrams carrying Initial packets to at least … 1200 bytes"; "a server MUST expand … carrying ack-eliciting Initial packets"
  #mustExpand(): boolean {
    const train = this.#train
    // RFC 9001 §9.3: a ClientHello travels in a datagram padded to at least 1200 bytes
    return !this.#core.isServer || train.isEliciting(0)
  }

  /** Adds one packet of `level` if it has something to say; returns the offset behind it. */
  #packet(level: Level, path: Path, bytes: Uint8Array, at: number, end: number, nowUs: Micros): number {
    const train = this.#train
    const core = this.#core
    if (core.keys.tx(level) === NO_KEY || end - at < PACKET_ROOM_MIN) return at
    const space = train.spaceOf(level, path)
    const isUrgent = space.probesPending > 0 || this.#isAckDue(level, space, path, nowUs)
    if (space.isDiscarded || !(isUrgent ? space.sent.canProbe() : space.sent.canSend())) return at
    if (!this.#hasSomething(level, space, path, nowUs)) return at
    if (!train.begin(level, path, path.cids.active?.cid ?? EMPTY, bytes, at, end)) return at
    this.#fill(level, space, path, nowUs)
    const packet = train.writer
    if (packet.at === packet.payloadStart) {
      space.sent.discardPendingReceipts()
      return at
    }
    return train.close()
  }

  #hasSomething(level: Level, space: PacketSpace, path: Path, nowUs: Micros): boolean {
    const train = this.#train
    if (this.#isAckDue(level, space, path, nowUs)) return true
    if (level === Level.Initial && this.#isShort) return false
    // RFC 9002 §7.5: "Probe packets MUST NOT be blocked by the congestion controller." They count as in flight all the same.
    if (train.budget <= 0 && space.probesPending === 0) return false
    return space.probesPending > 0 || this.hasData(level, path)
  }

  /** Whether an acknowledgment that belongs into packets of `level` on `path` is due. */
  #isAckDue(level: Level, space: PacketSpace, path: Path, nowUs: Micros): boolean {
    if (level === Level.OneRtt) return this.acks.isDue(path, nowUs)
    return level !== Level.ZeroRtt && space.ack.dueAtUs <= nowUs
  }

  /** Ack-eliciting content waits for a packet of `level`. */
  hasData(level: Level, path: Path): boolean {
    const core = this.#core
    if (path.id === 0 && core.handshake.hasCrypto(level)) return true
    if (level === Level.Initial || level === Level.Handshake || !this.#mayCarryData(path)) return false
    if (this.#carriesApplicationData(path) && this.#hasDataFor(path)) return true
    const { outbox } = core.streams
    if (outbox.isBlockedByConnection()) {
      if (!outbox.dataBlockedPending) outbox.stalls++
      outbox.dataBlockedPending = true
      return true
    }
    return hasControl(core)
  }

  /** Frames in fixed order. ACK first: it must fit; probes and congestion window decide on the rest. */
  #fill(level: Level, space: PacketSpace, path: Path, nowUs: Micros): void {
    const train = this.#train
    const core = this.#core
    const packet = train.writer
    // RFC 9000 §13.2.6: "ACK frames MUST only be carried in a packet that has the same packet number space as the packet being acknowledged"; 0-RTT packets are acknowledged in 1-RTT packets
    if (level === Level.OneRtt) {
      if (this.acks.write(packet, path, nowUs)) core.keys.onAckSent()
    } else if (level !== Level.ZeroRtt && (space.ack.isUseful || space.ack.dueAtUs <= nowUs)) {
      writeAck(packet, space, false, nowUs)
    }
    if (train.budget <= 0 && space.probesPending === 0) return this.#pingAckOnly(packet, space, nowUs)
    if (level === Level.Initial && this.#isShort) return
    if (path.id === 0) {
      if (space.probesPending > 0) core.handshake.repeat(level)
      core.handshake.write(packet)
    }
    // RFC 9000 §12.5: all other frames only in the application data packet number space
    if ((level === Level.OneRtt || level === Level.ZeroRtt) && this.#mayCarryData(path)) {
      if (level === Level.OneRtt) {
        writeCidControl(packet, core)
        core.multipath.write(packet)
      }
      writeConnectionControl(packet, core)
      core.streams.outbox.writeControl(packet)
      if (this.#carriesApplicationData(path)) {
        core.datagrams.write(packet, path.id, nowUs)
        core.streams.outbox.writeData(packet, path.id)
      }
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

  // ---- path validation

  // RFC 9000 §8.2.1, §8.2.2: PATH_CHALLENGE and PATH_RESPONSE go out on the tuple they are about, padded to 1200 bytes
  #pollProbe(out: TransmitBatch, probe: PathProbe, nowUs: Micros): boolean {
    const train = this.#train
    const core = this.#core
    const { path } = probe
    if (!path.space.sent.canSend()) return false
    train.beginTrain(out, probe.tuple)
    train.beginDatagram()
    const cid = probe.cid?.cid ?? path.cids.active?.cid ?? EMPTY
    // RFC 9000 §8.2.1: not expanded where the anti-amplification limit forbids it
    const limit = Math.min(DATAGRAM_MIN, core.paths.creditOf(probe))
    if (!train.begin(Level.OneRtt, path, cid, out.bytes, 0, limit)) return false
    const packet = train.writer
    if (probe.challengePending) {
      const data = core.randomBytes(8)
      packet.byte(FrameType.PathChallenge)
      packet.copy(data)
      packet.receipt(ReceiptKind.PathChallenge, path.id)
      probe.onChallengeSent(data, limit >= DATAGRAM_MIN, nowUs)
    }
    while (probe.responses.length > 0 && packet.room >= 9) {
      packet.byte(FrameType.PathResponse)
      packet.copy(probe.responses.shift() as Uint8Array)
      packet.isEliciting = true
    }
    train.pad(packet.limit)
    train.close()
    train.commit(out.bytes, path, 0, Ecn.NotEct, nowUs)
    train.count(out, limit)
    core.paths.onProbeBytes(probe, limit)
    core.paths.onProbeSent(probe)
    return train.finishTrain(out, path, Ecn.NotEct)
  }

  // ---- closing

  // RFC 10069 §2.6: CONNECTION_CLOSE frames "can be sent on any open path": one that answers
  #pathForClose(): Path {
    const { paths } = this.#core
    if (paths.paths.length === 1) return paths.primary
    return this.#inOrder().find((path) => path.isUsable()) ?? paths.primary
  }

  /** CONNECTION_CLOSE at every level the peer may be able to read (RFC 9000 §10.2.3). */
  pollClose(out: TransmitBatch, nowUs: Micros): boolean {
    const train = this.#train
    const core = this.#core
    const path = this.#pathForClose()
    const reason = closeContents(core.closeReason, core.isServer)
    if (reason === undefined) return false
    train.beginTrain(out, path.tuple)
    train.beginDatagram()
    let at = 0
    const end = Math.min(path.mtu.mtuBytes, path.amplificationCredit)
    if (end < PACKET_ROOM_MIN) return false
    for (const level of [Level.Initial, Level.Handshake, Level.OneRtt] as const) {
      if (core.keys.tx(level) === NO_KEY || train.spaceOf(level, path).isDiscarded || end - at < 200) continue
      if (!train.begin(level, path, path.cids.active?.cid ?? EMPTY, out.bytes, at, end)) continue
      writeClose(train.writer, reason)
      at = train.close()
    }
    if (train.packetCount === 0) return false
    if (train.levelOf(0) === Level.Initial && !core.isServer) train.expand(out.bytes, 0, Math.min(end, DATAGRAM_MIN))
    train.commit(out.bytes, path, 0, Ecn.NotEct, nowUs)
    train.account(out, path, train.end)
    return train.finishTrain(out, path, Ecn.NotEct)
  }

  /** Whether the connection may send now or could if only pacing allowed it. */
  wantsToSend(path: Path): boolean {
    const core = this.#core
    if (core.state >= LifeState.Closing || !path.space.sent.canSend()) return false
    const level = core.keys.tx(Level.OneRtt) !== NO_KEY ? Level.OneRtt : Level.ZeroRtt
    if (core.keys.tx(level) !== NO_KEY && (this.hasData(level, path) || this.#waitsForRoom(path))) return true
    // RFC 9000 §14.1: Initial packets wait until the anti-amplification limit allows a datagram of full size
    if (core.handshake.hasCrypto(Level.Initial) && path.amplificationCredit >= DATAGRAM_MIN) return true
    return core.handshake.hasCrypto(Level.Handshake)
  }

  /** One of several paths that application data waits for. The scheduler's wish to wait for another one ends it. */
  #waitsForRoom(path: Path): boolean {
    if (path.lane.isHeld || !this.#hasApplicationData()) return false
    this.#picker.admit(path)
    const { paths, streams, datagrams } = this.#core
    if (paths.mayCarryData(path)) return this.#hasDataFor(path)
    return path.isUsable() && !path.isSuspect() && (streams.outbox.hasBoundTo(path.id) || datagrams.hasBoundTo(path.id))
  }
}

function isBefore(a: Path, b: Path): boolean {
  if (a.isSuspect() !== b.isSuspect()) return b.isSuspect()
  return a.rtt.smoothedUs < b.rtt.smoothedUs
}
