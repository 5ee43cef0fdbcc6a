/** The blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian, as bytes. */

export const BlockType = {
  SectionHeader: 0x0a0d0d0a,
  InterfaceDescription: 1,
  InterfaceStatistics: 5,
  EnhancedPacket: 6,
  DecryptionSecrets: 10,
} as const

/** Packets start with an IPv4 or IPv6 header. */
export const LINKTYPE_RAW = 101
/** Fixed part of an Enhanced Packet Block: type, length, interface, time (2), captured and original length. */
export const PACKET_HEADER_BYTES = 28
/** Flags option (8), end of options (4), closing length (4). */
export const PACKET_TRAILER_BYTES = 16
/** The drop count option, present in the first packet after a gap. */
export const DROP_COUNT_BYTES = 12

export const Direction = { Inbound: 1, Outbound: 2 } as const

const Option = {
  End: 0,
  Comment: 1,
  UserApplication: 4,
  InterfaceName: 2,
  InterfaceDescription: 3,
  TimestampResolution: 9,
  PacketFlags: 2,
  PacketDropCount: 4,
  StatisticsReceived: 4,
  StatisticsDropped: 5,
} as const

const BYTE_ORDER_MAGIC = 0x1a2b3c4d
const SECRETS_TLS_KEYLOG = 0x544c534b
const TIMESTAMP_MICROSECONDS = 6
const TWO_POW_32 = 0x1_0000_0000

/** Section Header Block, the first of every file; the section length is left open. */
export function sectionHeaderBlock(options: { readonly application: string; readonly comment?: string }): Buffer {
  const body = Buffer.alloc(16)
  body.writeUInt32LE(BYTE_ORDER_MAGIC, 0)
  body.writeUInt16LE(1, 4)
  body.writeUInt16LE(0, 6)
  // Section length unknown: -1.
  body.fill(0xff, 8)
  const parts = [textOption(Option.UserApplication, options.application)]
  if (options.comment !== undefined) parts.push(textOption(Option.Comment, options.comment))
  return block(BlockType.SectionHeader, [body, ...parts, endOption()])
}

/** Interface Description Block for packets that begin with their IP header, times in microseconds. */
export function interfaceBlock(options: {
  readonly name: string
  readonly description?: string
  /** Longest kept packet, IP header included; 0 = no limit. */
  readonly snapBytes: number
}): Buffer {
  const body = Buffer.alloc(8)
  body.writeUInt16LE(LINKTYPE_RAW, 0)
  body.writeUInt32LE(options.snapBytes, 4)
  const parts = [
    textOption(Option.InterfaceName, options.name),
    bytesOption(Option.TimestampResolution, Buffer.from([TIMESTAMP_MICROSECONDS])),
  ]
  if (options.description !== undefined) parts.push(textOption(Option.InterfaceDescription, options.description))
  return block(BlockType.InterfaceDescription, [body, ...parts, endOption()])
}

/** TLS secrets in the NSS key log format; they serve the packets that follow in the file. */
export function secretsBlock(keylogText: string): Buffer {
  const secrets = Buffer.from(keylogText, 'utf8')
  const body = Buffer.alloc(8)
  body.writeUInt32LE(SECRETS_TLS_KEYLOG, 0)
  body.writeUInt32LE(secrets.length, 4)
  return block(BlockType.DecryptionSecrets, [body, padded(secrets)])
}

/** Interface Statistics Block: packets seen and packets left out of the file. */
export function statisticsBlock(options: {
  readonly interfaceId: number
  readonly epochUs: number
  readonly packetsReceived: number
  readonly packetsDropped: number
}): Buffer {
  const body = Buffer.alloc(12)
  body.writeUInt32LE(options.interfaceId, 0)
  body.writeUInt32LE(Math.floor(options.epochUs / TWO_POW_32), 4)
  body.writeUInt32LE(options.epochUs % TWO_POW_32, 8)
  return block(BlockType.InterfaceStatistics, [
    body,
    bytesOption(Option.StatisticsReceived, u64(options.packetsReceived)),
    bytesOption(Option.StatisticsDropped, u64(options.packetsDropped)),
    endOption(),
  ])
}

/** Bytes of an Enhanced Packet Block around `capturedLength` bytes of packet. */
export function packetBlockLength(capturedLength: number, hasDropCount: boolean): number {
  return (
    PACKET_HEADER_BYTES + paddedLength(capturedLength) + PACKET_TRAILER_BYTES + (hasDropCount ? DROP_COUNT_BYTES : 0)
  )
}

/**
 * Writes an Enhanced Packet Block around packet bytes that stand, or will stand, at `at + PACKET_HEADER_BYTES`.
 * `dropCount` packets were lost to the capture since the one before; 0 leaves the option out.
 */
export function writePacketBlock(
  out: Buffer,
  at: number,
  fields: {
    readonly interfaceId: number
    readonly epochUs: number
    readonly capturedLength: number
    readonly originalLength: number
    readonly direction: number
    readonly dropCount: number
  },
): void {
  const length = packetBlockLength(fields.capturedLength, fields.dropCount > 0)
  out.writeUInt32LE(BlockType.EnhancedPacket, at)
  out.writeUInt32LE(length, at + 4)
  out.writeUInt32LE(fields.interfaceId, at + 8)
  out.writeUInt32LE(Math.floor(fields.epochUs / TWO_POW_32), at + 12)
  out.writeUInt32LE(fields.epochUs % TWO_POW_32, at + 16)
  out.writeUInt32LE(fields.capturedLength, at + 20)
  out.writeUInt32LE(fields.originalLength, at + 24)
  let position = at + PACKET_HEADER_BYTES
  const packetEnd = position + fields.capturedLength
  position += paddedLength(fields.capturedLength)
  out.fill(0, packetEnd, position)
  out.writeUInt16LE(Option.PacketFlags, position)
  out.writeUInt16LE(4, position + 2)
  out.writeUInt32LE(fields.direction, position + 4)
  position += 8
  if (fields.dropCount > 0) {
    out.writeUInt16LE(Option.PacketDropCount, position)
    out.writeUInt16LE(8, position + 2)
    out.writeUInt32LE(fields.dropCount % TWO_POW_32, position + 4)
    out.writeUInt32LE(Math.floor(fields.dropCount / TWO_POW_32), position + 8)
    position += DROP_COUNT_BYTES
  }
  out.writeUInt32LE(Option.End, position)
  out.writeUInt32LE(length, position + 4)
}

function block(type: number, parts: readonly Buffer[]): Buffer {
  const bodyLength = parts.reduce((sum, part) => sum + part.length, 0)
  const head = Buffer.alloc(8)
  const tail = Buffer.alloc(4)
  head.writeUInt32LE(type, 0)
  head.writeUInt32LE(bodyLength + 12, 4)
  tail.writeUInt32LE(bodyLength + 12, 0)
  return Buffer.concat([head, ...parts, tail])
}

function textOption(code: number, text: string): Buffer {
  // Option lengths have 16 bits.
  return bytesOption(code, Buffer.from(text, 'utf8').subarray(0, 0xffff))
}

function bytesOption(code: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt16LE(code, 0)
  head.writeUInt16LE(value.length, 2)
  return Buffer.concat([head, padded(value)])
}

function endOption(): Buffer {
  return Buffer.alloc(4)
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(value % TWO_POW_32, 0)
  bytes.writeUInt32LE(Math.floor(value / TWO_POW_32), 4)
  return bytes
}

function padded(bytes: Buffer): Buffer {
  return bytes.length % 4 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - (bytes.length % 4))])
}

function paddedLength(length: number): number {
  return (length + 3) & ~3
}
