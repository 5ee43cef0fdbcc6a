/** Datagrams of one connection that need care: long headers, coalesced packets, keys not there yet. */
import { HeaderStatus, HeaderView, PacketType, Reader } from '@quicether/wire'
import { LOCAL_CID_LENGTH } from '../cid/cid-table.ts'
import type { Connection } from '../connection.ts'
import { LifeState } from '../core.ts'
import { DESCRIPTOR_WORDS, type KeyPair, Level, NO_KEY, OpenIn, OpenOut } from '../ports/crypto.ts'
import type { Micros, PathTuple } from '../ports/datagrams.ts'
import { type OpenedPacket, createOpenedPacket, packetNumberOf } from './opened-packet.ts'

/** Datagrams kept per connection until their keys arrive (RFC 9001 §5.7). */
const EARLY_DATAGRAMS_MAX = 8

interface EarlyDatagram {
  readonly bytes: Uint8Array
  readonly tuple: PathTuple
  readonly ecn: number
}

const early: WeakMap<Connection, EarlyDatagram[]> = new WeakMap()
const descriptor = new Int32Array(DESCRIPTOR_WORDS)
const view = new HeaderView()

/** A packet as the receiver wants it; reused. */
export const opened: OpenedPacket = createOpenedPacket()

/** Opens one packet in place. Returns the payload length or a negative failure; offsets are left in `descriptor`. */
export function openOne(
  connection: { readonly core: { readonly crypto: Connection['core']['crypto'] } },
  bytes: Uint8Array,
  offset: number,
  header: HeaderView,
  key: number,
  space: number,
): number {
  descriptor[OpenIn.Offset] = offset
  descriptor[OpenIn.Length] = header.packetLength
  descriptor[OpenIn.PnOffset] = header.pnOffset
  descriptor[OpenIn.KeyId] = key
  descriptor[OpenIn.PathId] = 0
  descriptor[OpenIn.Space] = space
  connection.core.crypto.open(bytes, descriptor, 1)
  return descriptor[OpenOut.PayloadLength] as number
}

/** Processes all packets of a datagram that belong to `connection`, from `offset` on. */
export function handleDatagram(
  connection: Connection,
  bytes: Uint8Array,
  offset: number,
  end: number,
  tuple: PathTuple,
  ecn: number,
  localSequence: number,
  nowUs: Micros,
): void {
  const { core } = connection
  let at = offset
  let first = true
  while (at < end && core.state <= LifeState.Established) {
    const status = view.parse(bytes, at, end, LOCAL_CID_LENGTH)
    if (status !== HeaderStatus.Ok) return drop(connection, 'header', end - at, nowUs)
    const { packetLength, dcidOffset, dcidLength } = view
    // RFC 9000 §12.2: "Receivers MAY … MUST ignore any subsequent packets with a different Destination Connection ID than the first packet in the datagram"
    if (!first && !sameBytes(bytes, view0.offset, view0.length, dcidOffset, dcidLength)) return
    if (first) {
      view0.offset = dcidOffset
      view0.length = dcidLength
    }
    first = false
    handlePacket(connection, bytes, at, end, tuple, ecn, localSequence, nowUs)
    at += packetLength
  }
}

const view0 = { offset: 0, length: 0 }

function sameBytes(bytes: Uint8Array, a: number, aLength: number, b: number, bLength: number): boolean {
  if (aLength !== bLength) return false
  for (let i = 0; i < aLength; i++) if (bytes[a + i] !== bytes[b + i]) return false
  return true
}

function handlePacket(
  connection: Connection,
  bytes: Uint8Array,
  at: number,
  end: number,
  tuple: PathTuple,
  ecn: number,
  localSequence: number,
  nowUs: Micros,
): void {
  const { type, version } = view
  if (type === PacketType.VersionNegotiation) return onVersionNegotiation(connection, bytes, at, end, nowUs)
  if (type === PacketType.Retry) {
    if (connection.core.isServer) return drop(connection, 'unexpected_packet', end - at, nowUs)
    const scid = bytes.slice(view.scidOffset, view.scidOffset + view.scidLength)
    const token = bytes.slice(view.tokenOffset, view.tokenOffset + view.tokenLength)
    if (!connection.flow.onRetry(bytes, at, end, scid, token, version)) drop(connection, 'retry', end - at, nowUs)
    return
  }
  const level = type as Level
  // RFC 9000 §17.2.2: "clients that receive an Initial packet with a non-zero Token Length field MUST either discard the packet or generate a connection error"
  if (level === Level.Initial && view.tokenLength > 0 && !connection.core.isServer) {
    return drop(connection, 'unexpected_token', view.packetLength, nowUs)
  }
  const key = level === Level.Initial ? connection.flow.initialRx(version) : keyOf(connection, level)
  if (
    level === Level.Initial &&
    key === NO_KEY &&
    tryOtherVersion(connection, bytes, at, tuple, ecn, localSequence, nowUs)
  )
    return
  if (key === NO_KEY) return keepForLater(connection, bytes, at, end, tuple, ecn, level, nowUs)
  // RFC 9000 §5.2.1: packets of another version than the one in use are discarded
  if (level !== Level.Initial && level !== Level.OneRtt && version !== connection.core.version) {
    return drop(connection, 'version', end - at, nowUs)
  }
  openAndDeliver(connection, bytes, at, level, key, tuple, ecn, localSequence, nowUs)
}

function keyOf(connection: Connection, level: Level): number {
  if (level === Level.OneRtt && !connection.canOpenOneRtt) return NO_KEY
  return connection.core.keys.rx(level)
}

function openAndDeliver(
  connection: Connection,
  bytes: Uint8Array,
  at: number,
  level: Level,
  key: number,
  tuple: PathTuple,
  ecn: number,
  localSequence: number,
  nowUs: Micros,
): void {
  const { core } = connection
  const path = connection.path
  const space = level === Level.Initial || level === Level.Handshake ? core.spaces[level] : path.space
  if (space === undefined) return
  // RFC 9001 §5.5: "received packets … that cannot be unprotected successfully MUST be discarded"; duplicates are dropped after opening
  const length = openOne(connection, bytes, at, view, key, space.handle)
  if (length < 0) return onFailure(connection, nowUs)
  deliver(connection, bytes, level, length, tuple, ecn, localSequence, nowUs)
}

function onFailure(connection: Connection, nowUs: Micros): void {
  drop(connection, 'decryption_failure', view.packetLength, nowUs)
  try {
    connection.core.keys.onFailed()
  } catch (error) {
    connection.fail(error, nowUs)
  }
}

/** Hands the packet opened last to the receiver. */
function deliver(
  connection: Connection,
  bytes: Uint8Array,
  level: Level,
  payloadLength: number,
  tuple: PathTuple,
  ecn: number,
  localSequence: number,
  nowUs: Micros,
): void {
  const { core, flow } = connection
  const payload = descriptor[OpenOut.PayloadOffset] as number
  opened.level = level
  opened.packetNumber = packetNumberOf(descriptor, 0)
  opened.firstByte = descriptor[OpenOut.FirstByte] as number
  opened.length = view.packetLength
  opened.ecn = ecn
  opened.localSequence = localSequence
  if (level === Level.OneRtt) connection.onGeneration(descriptor[OpenOut.Generation] as number)
  else if (!checkSourceCid(connection, bytes, nowUs)) return
  const keysBefore = core.keys.has(Level.Handshake) || core.keys.has(Level.OneRtt)
  const { packetLength } = view
  connection.receiver.onPacket(opened, connection.path, tuple, bytes, payload, payload + payloadLength, nowUs)
  view.packetLength = packetLength
  if (!flow.hasPeer) flow.hasPeer = true
  if (!keysBefore || early.has(connection)) replayEarly(connection, nowUs)
}

/** The peer's first packet tells its CID; later long headers must repeat it (RFC 9000 §7.2). */
function checkSourceCid(connection: Connection, bytes: Uint8Array, nowUs: Micros): boolean {
  const { flow } = connection
  const { scidOffset, scidLength } = view
  if (!flow.hasPeer) {
    flow.onFirstPacket(bytes.slice(scidOffset, scidOffset + scidLength))
    return true
  }
  // RFC 9000 §7.2: "any subsequent packets it receives on that connection with a different Source Connection ID … MUST discard"
  const active = connection.core.paths.primary.cids.active?.cid
  if (active === undefined || connection.core.handshakeConfirmed) return true
  if (active.length === scidLength && active.every((byte, i) => byte === bytes[scidOffset + i])) return true
  drop(connection, 'source_cid', view.packetLength, nowUs)
  return false
}

function tryOtherVersion(
  connection: Connection,
  bytes: Uint8Array,
  at: number,
  tuple: PathTuple,
  ecn: number,
  localSequence: number,
  nowUs: Micros,
): boolean {
  const { flow, core } = connection
  const { version } = view
  const keys: KeyPair | undefined = flow.candidateKeys(version)
  const space = core.spaces[Level.Initial]
  if (keys === undefined || space === undefined) return false
  // A packet that is opened in place cannot be opened again: try on a copy.
  const copy = bytes.slice(at, at + view.packetLength)
  const length = openOne(connection, copy, 0, view, keys.rx, space.handle)
  if (length < 0) {
    core.crypto.closeKey(keys.rx)
    core.crypto.closeKey(keys.tx)
    return false
  }
  bytes.set(copy, at)
  descriptor[OpenOut.PayloadOffset] = (descriptor[OpenOut.PayloadOffset] as number) + at
  flow.adoptVersion(version, keys)
  deliver(connection, bytes, Level.Initial, length, tuple, ecn, localSequence, nowUs)
  return true
}

function onVersionNegotiation(connection: Connection, bytes: Uint8Array, at: number, end: number, nowUs: Micros): void {
  const { core, flow } = connection
  // RFC 9000 §6.2: "A client MUST discard any Version Negotiation packet if it has received and successfully processed any other packet"
  if (core.isServer || flow.hasPeer || flow.isAfterVersionNegotiation || flow.retrySourceCid !== undefined) return
  const scid = bytes.subarray(view.scidOffset, view.scidOffset + view.scidLength)
  const expected = core.originalDestinationCid
  if (scid.length !== expected.length || !scid.every((byte, i) => byte === expected[i])) return
  const reader = new Reader(bytes, at + view.pnOffset, end)
  const offered: number[] = []
  while (reader.remaining >= 4 && offered.length < 64) offered.push(reader.u32())
  // RFC 9000 §6.2: "MUST discard a Version Negotiation packet that lists the QUIC version selected by the client"
  // RFC 8999 §7: nothing in it is trusted; version_information authenticates the outcome (RFC 9368 §4)
  if (offered.includes(core.version)) return
  if (!flow.onVersionNegotiation(offered, core.randomBytes(LOCAL_CID_LENGTH)))
    connection.onVersionFailure(offered, nowUs)
}

// RFC 9001 §5.7: packets whose keys are not there yet MAY be kept
function keepForLater(
  connection: Connection,
  bytes: Uint8Array,
  at: number,
  end: number,
  tuple: PathTuple,
  ecn: number,
  level: Level,
  nowUs: Micros,
): void {
  const { core } = connection
  const isEarly =
    level === Level.OneRtt ? !core.handshakeConfirmed : level !== Level.Initial && core.state === LifeState.Handshaking
  const kept = early.get(connection) ?? []
  if (!isEarly || kept.length >= EARLY_DATAGRAMS_MAX) return drop(connection, 'key_unavailable', end - at, nowUs)
  kept.push({ bytes: bytes.slice(at, at + view.packetLength), tuple, ecn })
  early.set(connection, kept)
}

function replayEarly(connection: Connection, nowUs: Micros): void {
  const kept = early.get(connection)
  if (kept === undefined) return
  const { core } = connection
  const isUsable =
    core.keys.rx(Level.Handshake) !== NO_KEY || connection.canOpenOneRtt || core.keys.rx(Level.ZeroRtt) !== NO_KEY
  if (!isUsable) return
  early.delete(connection)
  for (const datagram of kept) replayOne(connection, datagram, nowUs)
}

function replayOne(connection: Connection, datagram: EarlyDatagram, nowUs: Micros): void {
  const saved = { packetLength: view.packetLength, offset: view0.offset, length: view0.length }
  handleDatagram(connection, datagram.bytes, 0, datagram.bytes.length, datagram.tuple, datagram.ecn, 0, nowUs)
  view.packetLength = saved.packetLength
  view0.offset = saved.offset
  view0.length = saved.length
}

function drop(connection: Connection, reason: string, length: number, nowUs: Micros): void {
  connection.core.counters.packetsDropped++
  connection.core.observer?.packetDropped(reason, length, nowUs)
}
