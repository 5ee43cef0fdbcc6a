/** Reads what an observer on the wire can read of a QUIC datagram (RFC 8999, RFC 9000 §17): no keys needed. */

export type PacketKind = 'initial' | 'zeroRtt' | 'handshake' | 'retry' | 'versionNegotiation' | 'short' | 'unknown'

export interface PacketView {
  readonly kind: PacketKind
  readonly version: number
  readonly destinationCid: string
  readonly sourceCid: string
  readonly tokenBytes: number
}

export const VERSION_1 = 0x00000001
export const VERSION_2 = 0x6b3343cf

// RFC 9000 Table 5 and RFC 9369 §3.2: the same four types, rotated by one in version 2.
const kindsV1: readonly PacketKind[] = ['initial', 'zeroRtt', 'handshake', 'retry']
const kindsV2: readonly PacketKind[] = ['retry', 'initial', 'zeroRtt', 'handshake']

/** The packets coalesced in one datagram; `shortCidLength` is the length of connection IDs that the receiver chose. */
export function viewDatagram(bytes: Uint8Array, shortCidLength: number): PacketView[] {
  const packets: PacketView[] = []
  let at = 0
  while (at < bytes.length) {
    const first = bytes[at] ?? 0
    if ((first & 0x80) === 0) {
      // RFC 9000 §12.2: a short header packet can only be the last; after a long one, zero bytes may be padding.
      if (at === 0 || (first & 0x40) !== 0) packets.push(viewShort(bytes, at, shortCidLength))
      break
    }
    const parsed = viewLong(bytes, at)
    if (parsed === undefined) break
    packets.push(parsed.packet)
    if (parsed.end <= at) break
    at = parsed.end
  }
  return packets
}

function viewShort(bytes: Uint8Array, at: number, cidLength: number): PacketView {
  const destinationCid = hex(bytes.subarray(at + 1, at + 1 + cidLength))
  return { kind: 'short', version: 0, destinationCid, sourceCid: '', tokenBytes: 0 }
}

function viewLong(bytes: Uint8Array, start: number): { packet: PacketView; end: number } | undefined {
  if (start + 7 > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const first = view.getUint8(start)
  const version = view.getUint32(start + 1)
  let at = start + 5
  const destinationLength = view.getUint8(at)
  const destinationCid = hex(bytes.subarray(at + 1, at + 1 + destinationLength))
  at += 1 + destinationLength
  if (at >= bytes.length) return undefined
  const sourceLength = view.getUint8(at)
  const sourceCid = hex(bytes.subarray(at + 1, at + 1 + sourceLength))
  at += 1 + sourceLength
  const base = { version, destinationCid, sourceCid, tokenBytes: 0 }
  if (version === 0) return { packet: { ...base, kind: 'versionNegotiation' }, end: bytes.length }
  const kinds = version === VERSION_2 ? kindsV2 : kindsV1
  const kind = version === VERSION_1 || version === VERSION_2 ? (kinds[(first >> 4) & 3] ?? 'unknown') : 'unknown'
  // An unknown version shows only its invariant fields (RFC 8999 §5.1).
  if (kind === 'unknown' || kind === 'retry') return { packet: { ...base, kind }, end: bytes.length }
  let tokenBytes = 0
  if (kind === 'initial') {
    const token = varint(view, at)
    if (token === undefined) return undefined
    tokenBytes = token.value
    at = token.end + tokenBytes
  }
  const length = varint(view, at)
  if (length === undefined) return undefined
  return { packet: { ...base, kind, tokenBytes }, end: length.end + length.value }
}

function varint(view: DataView, at: number): { value: number; end: number } | undefined {
  if (at >= view.byteLength) return undefined
  const first = view.getUint8(at)
  const size = 1 << (first >> 6)
  if (at + size > view.byteLength) return undefined
  let value = first & 0x3f
  for (let index = 1; index < size; index += 1) value = value * 256 + view.getUint8(at + index)
  return { value, end: at + size }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
