/** Fuzzes the packet header parser: any datagram, split into coalesced packets, stays within its bounds. */
import {
  HeaderStatus,
  HeaderView,
  longHeaderLength,
  PacketType,
  Version,
  writeLongHeader,
} from '../../../packages/wire/src/index.ts'
import { type FuzzTarget, magnitude, promise } from '../target.ts'

const cid = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])
/** Bytes in front of the datagram in its slab: nothing may be read there. */
const MARGIN = 16

/** The first byte chooses the length of our connection IDs; the rest is the datagram. */
export const packetHeader: FuzzTarget = {
  name: 'packet-header',
  inputBytesMax: 1_500,
  seeds: () => [
    ...[PacketType.Initial, PacketType.ZeroRtt, PacketType.Handshake, PacketType.Retry].flatMap((type) => [
      sample(type, Version.V1, 0),
      sample(type, Version.V2, 5),
    ]),
    Uint8Array.from([8, 0x41, ...cid, 0, 1, 2, 3]),
    Uint8Array.from([8, 0xc0, 0, 0, 0, 0, 8, ...cid, 8, ...cid, 0, 0, 0, 1, 0x6b, 0x33, 0x43, 0xcf]),
    Uint8Array.from([
      8,
      ...sample(PacketType.Initial, Version.V1, 40).subarray(1),
      ...sample(PacketType.Handshake, Version.V1, 0).subarray(1),
    ]),
  ],
  dictionary: [
    Uint8Array.of(0, 0, 0, 1),
    Uint8Array.of(0x6b, 0x33, 0x43, 0xcf),
    Uint8Array.of(0x1a, 0x2a, 0x3a, 0x4a),
    Uint8Array.of(20),
    Uint8Array.of(21),
  ],
  run: parseDatagram,
}

function parseDatagram(input: Uint8Array): string {
  const shortCidLength = (input[0] ?? 0) % 21
  const bytes = new Uint8Array(MARGIN + Math.max(0, input.length - 1) + MARGIN).fill(0xee)
  bytes.set(input.subarray(1), MARGIN)
  const end = bytes.length - MARGIN
  const view = new HeaderView()
  let outcome = ''
  let packets = 0
  for (let offset = MARGIN; offset < end; packets++) {
    const status = view.parse(bytes, offset, end, shortCidLength)
    if (packets < 3) outcome += `${status}/${view.type}/${magnitude(view.tokenLength)}/${magnitude(view.dcidLength)} `
    if (status !== HeaderStatus.Ok) break
    checkBounds(view, offset, end)
    promise(view.packetLength > 0, 'a packet of no bytes would be parsed for ever')
    offset += view.packetLength
  }
  promise(packets <= input.length, 'no more packets than bytes')
  return outcome + magnitude(packets)
}

function checkBounds(view: HeaderView, offset: number, end: number): void {
  const inside = (from: number, length: number) => from >= offset && length >= 0 && from + length <= end
  promise(offset + view.packetLength <= end, 'the packet ends within the datagram')
  promise(inside(view.dcidOffset, view.dcidLength), 'the destination connection ID is in the packet')
  promise(
    view.scidLength === 0 || inside(view.scidOffset, view.scidLength),
    'the source connection ID is in the packet',
  )
  promise(view.tokenLength === 0 || inside(view.tokenOffset, view.tokenLength), 'the token is in the packet')
  promise(view.pnOffset <= view.packetLength, 'the packet number starts within the packet')
  promise(view.version === 0 || view.dcidLength <= 20, 'connection IDs have at most 20 bytes')
}

function sample(type: PacketType, version: number, tokenBytes: number): Uint8Array {
  const token = new Uint8Array(tokenBytes)
  const bytes = new Uint8Array(1 + longHeaderLength(type, cid.length, cid.length, tokenBytes) + 24)
  bytes[0] = cid.length
  const pnOffset = writeLongHeader(bytes, 1, { type, version, dcid: cid, scid: cid, token }, 2, 1)
  bytes[pnOffset - 1] = bytes.length - pnOffset
  return bytes
}
