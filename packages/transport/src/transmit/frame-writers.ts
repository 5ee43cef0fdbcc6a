/** Writers of ACK and of the connection's own control frames, in the order the transmitter calls them. */
import { FrameType } from '@quicether/wire'
import type { CidRegistry } from '../cid/cid-registry.ts'
import type { ConnectionCore } from '../core.ts'
import { Level } from '../ports/crypto.ts'
import type { Micros } from '../ports/datagrams.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import type { PacketWriter } from './packet-writer.ts'

/** Exponent we announce for ACK Delay (the default of RFC 9000 §18.2). */
export const ACK_DELAY_EXPONENT = 3
const ACK_ROOM_MIN = 40
const RANGE_ROOM = 16
const CONTROL_ROOM = 32

// RFC 9000 §19.3
/** Writes an ACK frame with as many ranges as fit, newest first. False when there was no room. */
export function writeAck(packet: PacketWriter, space: PacketSpace, isMultipath: boolean, nowUs: Micros): boolean {
  const ack = space.ack
  const { starts, ends } = ack.received
  let i = starts.length - 1
  if (i < 0 || packet.room < ACK_ROOM_MIN) return false
  const hasEcn = ack.ect0 + ack.ect1 + ack.ce > 0
  const room = packet.room - ACK_ROOM_MIN - (hasEcn ? 24 : 0)
  const extra = Math.min(i, Math.max(0, Math.floor(room / RANGE_ROOM)))
  const delayUs = space.level === Level.OneRtt ? Math.max(0, nowUs - ack.largestAtUs) : 0
  // RFC 10069 §2.3: PATH_ACK for 1-RTT packets once multipath is negotiated; Initial and Handshake packets keep ACK
  const isPathAck = isMultipath && space.level === Level.OneRtt
  if (isPathAck) {
    packet.byte(hasEcn ? FrameType.PathAckEcn : FrameType.PathAck)
    packet.varint(space.pathId)
  } else packet.byte(hasEcn ? FrameType.AckEcn : FrameType.Ack)
  packet.varint(ack.largest)
  packet.varint(Math.floor(delayUs / 2 ** ACK_DELAY_EXPONENT))
  packet.varint(extra)
  let start = starts[i] as number
  packet.varint((ends[i] as number) - 1 - start)
  for (let n = 0; n < extra; n++) {
    i--
    packet.varint(start - (ends[i] as number) - 1)
    packet.varint((ends[i] as number) - 1 - (starts[i] as number))
    start = starts[i] as number
  }
  if (hasEcn) {
    packet.varint(ack.ect0)
    packet.varint(ack.ect1)
    packet.varint(ack.ce)
  }
  packet.quietReceipt(isPathAck ? ReceiptKind.PathAck : ReceiptKind.Ack, ack.largest, space.pathId)
  ack.onAckSent()
  return true
}

/** Whether anything but streams, datagrams and CRYPTO waits for a 1-RTT packet. */
export function hasControl(core: ConnectionCore): boolean {
  const { streams } = core
  return (
    core.handshakeDonePending ||
    core.pingPending ||
    core.newTokens.length > 0 ||
    hasCidControl(core) ||
    core.multipath.hasPending() ||
    core.announcer.hasPending() ||
    streams.window.needsAnnouncement ||
    streams.limits.announce[0] ||
    streams.limits.announce[1] ||
    streams.limits.blockedPending[0] ||
    streams.limits.blockedPending[1] ||
    streams.outbox.dataBlockedPending ||
    streams.outbox.hasControl()
  )
}

function hasCidControl(core: ConnectionCore): boolean {
  for (const registry of core.multipath.registries.values()) {
    if (registry.announcePending.length > 0 || registry.retirePending.length > 0) return true
  }
  return false
}

/** Connection IDs to announce and to retire, of every path ID, on whatever path goes next. */
export function writeCidControl(packet: PacketWriter, core: ConnectionCore): void {
  const { registries, isNegotiated } = core.multipath
  for (const registry of registries.values()) writeCidsOf(packet, registry, isNegotiated)
}

// RFC 9000 §19.15, §19.16; with several paths RFC 10069 §4.4, §4.5
// RFC 10069 §3.2: "Endpoints SHOULD also use PATH_NEW_CONNECTION_ID and PATH_RETIRE_CONNECTION_ID for the initial path with path ID 0."
function writeCidsOf(packet: PacketWriter, cids: CidRegistry, hasPathFrames: boolean): void {
  const { pathId } = cids
  while (cids.retirePending.length > 0 && packet.room >= CONTROL_ROOM) {
    const sequence = cids.retirePending.shift() as number
    packet.varint(hasPathFrames ? FrameType.PathRetireConnectionId : FrameType.RetireConnectionId)
    if (hasPathFrames) packet.varint(pathId)
    packet.varint(sequence)
    packet.receipt(ReceiptKind.RetireConnectionId, pathId, sequence)
  }
  while (cids.announcePending.length > 0 && packet.room >= 2 * CONTROL_ROOM) {
    const sequence = cids.announcePending.shift() as number
    const local = cids.localBySequence(sequence)
    if (local === undefined) continue
    packet.varint(hasPathFrames ? FrameType.PathNewConnectionId : FrameType.NewConnectionId)
    if (hasPathFrames) packet.varint(pathId)
    packet.varint(sequence)
    packet.varint(0)
    packet.byte(local.cid.length)
    packet.copy(local.cid)
    packet.copy(local.resetToken)
    packet.receipt(ReceiptKind.NewConnectionId, pathId, sequence)
  }
}

/** HANDSHAKE_DONE, NEW_TOKEN and the connection's flow-control announcements. */
export function writeConnectionControl(packet: PacketWriter, core: ConnectionCore): void {
  if (core.handshakeDonePending && packet.room >= 1) {
    core.handshakeDonePending = false
    packet.byte(FrameType.HandshakeDone)
    packet.receipt(ReceiptKind.HandshakeDone)
  }
  if (core.pingPending && packet.room >= 1) {
    core.pingPending = false
    packet.byte(FrameType.Ping)
    packet.isEliciting = true
  }
  while (core.newTokens.length > 0) {
    const token = core.newTokens[0] as Uint8Array
    if (packet.room < token.length + 10) break
    core.newTokens.shift()
    packet.byte(FrameType.NewToken)
    packet.varint(token.length)
    packet.copy(token)
    packet.receipt(ReceiptKind.NewToken)
  }
  core.announcer.write(packet)
  writeFlowControl(packet, core)
}

function writeFlowControl(packet: PacketWriter, core: ConnectionCore): void {
  const { streams } = core
  if (streams.window.needsAnnouncement && packet.room >= CONTROL_ROOM) {
    streams.window.needsAnnouncement = false
    packet.byte(FrameType.MaxData)
    packet.varint(streams.window.limit)
    packet.receipt(ReceiptKind.MaxData)
  }
  for (let t = 0; t < 2; t++) {
    const type = t as 0 | 1
    if (streams.limits.announce[type] && packet.room >= CONTROL_ROOM) {
      streams.limits.announce[type] = false
      packet.byte(type === 0 ? FrameType.MaxStreamsBidi : FrameType.MaxStreamsUni)
      packet.varint(streams.limits.peerMax(type === 0))
      packet.receipt(ReceiptKind.MaxStreams, type)
    }
    if (streams.limits.blockedPending[type] && packet.room >= CONTROL_ROOM) {
      streams.limits.blockedPending[type] = false
      packet.byte(type === 0 ? FrameType.StreamsBlockedBidi : FrameType.StreamsBlockedUni)
      packet.varint(streams.limits.localMax(type === 0))
      packet.receipt(ReceiptKind.StreamsBlocked, type)
    }
  }
  if (streams.outbox.dataBlockedPending && packet.room >= CONTROL_ROOM) {
    streams.outbox.dataBlockedPending = false
    streams.credit.blockedAt = streams.credit.limit
    packet.byte(FrameType.DataBlocked)
    packet.varint(streams.credit.limit)
    packet.receipt(ReceiptKind.DataBlocked)
  }
}
