/** Packet headers (RFC 8999, RFC 9000 §17): a parser that fills a reusable view, and writers. */
import { PacketType, Version, isSupportedVersion, longHeaderBits, longHeaderType } from './version.ts'
import { varintLength, writeVarint } from './varint.ts'

// RFC 9000 §17.2: "In QUIC version 1, this value MUST NOT exceed 20 bytes"
export const CID_LENGTH_MAX = 20
export const TAG_LENGTH = 16

/** Outcome of `HeaderView.parse`; anything but `Ok` and `UnknownVersion` means: drop the rest of the datagram. */
export const HeaderStatus = { Ok: 0, UnknownVersion: 1, Malformed: 2 } as const
export type HeaderStatus = (typeof HeaderStatus)[keyof typeof HeaderStatus]

/** One packet's header as offsets into the datagram; reused from packet to packet. */
export class HeaderView {
  type: PacketType = PacketType.OneRtt
  version = 0
  firstByte = 0
  dcidOffset = 0
  dcidLength = 0
  scidOffset = 0
  scidLength = 0
  tokenOffset = 0
  tokenLength = 0
  /** Offset of the packet number from the packet's first byte. */
  pnOffset = 0
  /** Bytes of this packet, up to the next coalesced one. */
  packetLength = 0

  /**
   * Reads the header at `offset` of a datagram that ends at `end`. Never throws. `shortCidLength` is the length of
   * the connection IDs this endpoint issues; short headers do not carry it.
   */
  parse(bytes: Uint8Array, offset: number, end: number, shortCidLength: number): HeaderStatus {
    if (offset >= end) return HeaderStatus.Malformed
    const first = bytes[offset] as number
    this.firstByte = first
    if ((first & 0x80) === 0) return this.#parseShort(offset, end, shortCidLength)
    return this.#parseLong(bytes, offset, end)
  }

  #parseShort(offset: number, end: number, shortCidLength: number): HeaderStatus {
    this.type = PacketType.OneRtt
    this.version = 0
    this.dcidOffset = offset + 1
    this.dcidLength = shortCidLength
    this.scidLength = 0
    this.tokenLength = 0
    this.pnOffset = 1 + shortCidLength
    this.packetLength = end - offset
    return this.packetLength < this.pnOffset ? HeaderStatus.Malformed : HeaderStatus.Ok
  }

  #parseLong(bytes: Uint8Array, offset: number, end: number): HeaderStatus {
    if (end - offset < 7) return HeaderStatus.Malformed
    this.version =
      (((bytes[offset + 1] as number) << 24) |
        ((bytes[offset + 2] as number) << 16) |
        ((bytes[offset + 3] as number) << 8) |
        (bytes[offset + 4] as number)) >>>
      0
    let at = offset + 5
    this.dcidLength = bytes[at] as number
    this.dcidOffset = at + 1
    at += 1 + this.dcidLength
    if (at >= end) return HeaderStatus.Malformed
    this.scidLength = bytes[at] as number
    this.scidOffset = at + 1
    at += 1 + this.scidLength
    if (at > end) return HeaderStatus.Malformed
    this.packetLength = end - offset
    this.tokenOffset = at
    this.tokenLength = 0
    this.pnOffset = at - offset
    if (this.version === Version.Negotiation) {
      this.type = PacketType.VersionNegotiation
      return HeaderStatus.Ok
    }
    // RFC 8999 §5.1: connection IDs of other versions may be up to 255 bytes long
    if (!isSupportedVersion(this.version)) return HeaderStatus.UnknownVersion
    // RFC 9000 §17.2: "Endpoints that receive a version 1 long header with a value larger than 20 MUST drop the packet."
    if (this.dcidLength > CID_LENGTH_MAX || this.scidLength > CID_LENGTH_MAX) return HeaderStatus.Malformed
    this.type = longHeaderType(this.version, (this.firstByte >>> 4) & 3)
    if (this.type === PacketType.Retry) return this.#parseRetry(end)
    return this.#parseLengths(bytes, offset, at, end)
  }

  #parseRetry(end: number): HeaderStatus {
    this.tokenLength = end - this.tokenOffset - TAG_LENGTH
    return this.tokenLength < 0 ? HeaderStatus.Malformed : HeaderStatus.Ok
  }

  #parseLengths(bytes: Uint8Array, offset: number, start: number, end: number): HeaderStatus {
    let at = start
    if (this.type === PacketType.Initial) {
      const tokenLength = peekVarint(bytes, at, end)
      if (tokenLength < 0) return HeaderStatus.Malformed
      at += 1 << ((bytes[at] as number) >>> 6)
      this.tokenOffset = at
      this.tokenLength = tokenLength
      at += tokenLength
    }
    const length = peekVarint(bytes, at, end)
    if (length < 0) return HeaderStatus.Malformed
    at += 1 << ((bytes[at] as number) >>> 6)
    if (at + length > end) return HeaderStatus.Malformed
    this.pnOffset = at - offset
    this.packetLength = at + length - offset
    return HeaderStatus.Ok
  }
}

/** Value of the varint at `offset`, or -1 when it does not fit before `end` or is absurdly large. */
function peekVarint(bytes: Uint8Array, offset: number, end: number): number {
  if (offset >= end) return -1
  const first = bytes[offset] as number
  const length = 1 << (first >>> 6)
  if (offset + length > end) return -1
  let value = first & 0x3f
  for (let i = 1; i < length; i++) value = value * 256 + (bytes[offset + i] as number)
  return value > end - offset ? -1 : value
}

/** Bytes of a long header up to and including a 2-byte length field, packet number excluded. */
export function longHeaderLength(
  type: PacketType,
  dcidLength: number,
  scidLength: number,
  tokenLength: number,
): number {
  const token = type === PacketType.Initial ? varintLength(tokenLength) + tokenLength : 0
  return 7 + dcidLength + scidLength + token + 2
}

export interface LongHeaderFields {
  readonly type: PacketType
  readonly version: number
  readonly dcid: Uint8Array
  readonly scid: Uint8Array
  readonly token: Uint8Array
}

/**
 * Writes a long header with a placeholder 2-byte length; returns the offset of the packet number. The length field is
 * the two bytes before it (`patchLongHeaderLength`).
 */
export function writeLongHeader(
  bytes: Uint8Array,
  offset: number,
  fields: LongHeaderFields,
  pnLength: number,
  fixedBit: number,
): number {
  let at = offset
  bytes[at++] = 0x80 | (fixedBit << 6) | (longHeaderBits(fields.version, fields.type) << 4) | (pnLength - 1)
  at = writeU32(bytes, at, fields.version)
  at = writeCid(bytes, at, fields.dcid)
  at = writeCid(bytes, at, fields.scid)
  if (fields.type === PacketType.Initial) {
    at = writeVarint(bytes, at, fields.token.length)
    bytes.set(fields.token, at)
    at += fields.token.length
  }
  bytes[at] = 0x40
  bytes[at + 1] = 0
  return at + 2
}

/** Fills the length field written by `writeLongHeader`: packet number, payload and tag. */
export function patchLongHeaderLength(bytes: Uint8Array, pnOffset: number, length: number): void {
  bytes[pnOffset - 2] = 0x40 | (length >>> 8)
  bytes[pnOffset - 1] = length & 0xff
}

/** Writes a short header; returns the offset of the packet number. */
export function writeShortHeader(
  bytes: Uint8Array,
  offset: number,
  dcid: Uint8Array,
  pnLength: number,
  keyPhase: number,
  fixedBit: number,
  spinBit: number,
): number {
  bytes[offset] = (fixedBit << 6) | (spinBit << 5) | (keyPhase << 2) | (pnLength - 1)
  let at = offset + 1
  for (let i = 0; i < dcid.length; i++) bytes[at++] = dcid[i] as number
  return at
}

/** Writes 32 bits big-endian; returns the offset behind them. The caller has checked the room. */
export function writeU32(bytes: Uint8Array, offset: number, value: number): number {
  bytes[offset] = value >>> 24
  bytes[offset + 1] = (value >>> 16) & 0xff
  bytes[offset + 2] = (value >>> 8) & 0xff
  bytes[offset + 3] = value & 0xff
  return offset + 4
}

function writeCid(bytes: Uint8Array, offset: number, cid: Uint8Array): number {
  bytes[offset] = cid.length
  bytes.set(cid, offset + 1)
  return offset + 1 + cid.length
}

/** Version Negotiation packet (RFC 9000 §17.2.1) in answer to a packet with these connection IDs. */
export function encodeVersionNegotiation(
  dcid: Uint8Array,
  scid: Uint8Array,
  versions: readonly number[],
  randomBits: number,
): Uint8Array {
  const bytes = new Uint8Array(7 + dcid.length + scid.length + 4 * versions.length)
  // RFC 9000 §17.2.1: "Servers SHOULD set the most significant bit of this field (0x40) to 1"
  bytes[0] = 0xc0 | (randomBits & 0x3f)
  let at = writeU32(bytes, 1, Version.Negotiation)
  at = writeCid(bytes, at, dcid)
  at = writeCid(bytes, at, scid)
  for (const version of versions) at = writeU32(bytes, at, version)
  return bytes
}

/** A Retry packet without its integrity tag (RFC 9000 §17.2.5). */
export function encodeRetryWithoutTag(
  version: number,
  dcid: Uint8Array,
  scid: Uint8Array,
  token: Uint8Array,
  unusedBits: number,
): Uint8Array {
  const bytes = new Uint8Array(7 + dcid.length + scid.length + token.length)
  bytes[0] = 0xc0 | (longHeaderBits(version, PacketType.Retry) << 4) | (unusedBits & 0x0f)
  let at = writeU32(bytes, 1, version)
  at = writeCid(bytes, at, dcid)
  at = writeCid(bytes, at, scid)
  bytes.set(token, at)
  return bytes
}

/** Retry pseudo-packet of RFC 9001 §5.8: the original DCID with its length, then the packet without the tag. */
export function retryPseudoPacket(originalDcid: Uint8Array, retryWithoutTag: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + originalDcid.length + retryWithoutTag.length)
  bytes[0] = originalDcid.length
  bytes.set(originalDcid, 1)
  bytes.set(retryWithoutTag, 1 + originalDcid.length)
  return bytes
}

// RFC 9000 Appendix A.2: enough bytes for twice the distance to the largest acknowledged packet.
/** Bytes (1..4) of the truncated packet number. `largestAcked` is -1 before the first acknowledgment. */
// RFC 9000 §17.1: prior to the first acknowledgment the full number is in reach; afterwards more than twice the distance is represented
export function packetNumberLength(packetNumber: number, largestAcked: number): number {
  const unacked = largestAcked < 0 ? packetNumber + 1 : packetNumber - largestAcked
  if (unacked < 0x80) return 1
  if (unacked < 0x8000) return 2
  if (unacked < 0x80_0000) return 3
  return 4
}

/** Writes the low `length` (1 to 4) bytes of a packet number; returns the offset behind them. */
export function writePacketNumber(bytes: Uint8Array, offset: number, packetNumber: number, length: number): number {
  const low = packetNumber >>> 0
  for (let i = length - 1, at = offset; i >= 0; i--, at++) bytes[at] = (low >>> (8 * i)) & 0xff
  return offset + length
}

// RFC 9000 Appendix A.3
/** Expands a truncated packet number of `bits` bits next to the largest number received so far (-1 for none). */
export function expandPacketNumber(largest: number, truncated: number, bits: number): number {
  const expected = largest + 1
  const window = 2 ** bits
  const half = window / 2
  const candidate = expected - (expected % window) + truncated
  if (candidate <= expected - half && candidate < 2 ** 62 - window) return candidate + window
  if (candidate > expected + half && candidate >= window) return candidate - window
  return candidate
}
