/** The address list of ADDITIONAL_ADDRESSES frames (draft-piraux-quic-additional-addresses-03 §4). */
import { TransportError } from './errors.ts'
import { FrameType } from './frame-types.ts'
import { parseIpv6 } from './transport-parameters.ts'
import { type Reader, writeVarint } from './varint.ts'

/** An address that a server can be reached at besides the one in use. */
export interface ServerAddress {
  /** Dotted IPv4, or IPv6 as eight groups of hex digits without leading zeros (`2001:db8:0:0:0:0:0:9`). */
  readonly address: string
  readonly port: number
}

const V4_BYTES = 4
const V6_BYTES = 16
/** Frame type, sequence number and count at their longest. */
const HEAD_BYTES_MAX = 24

/** Moves past `count` entries. Throws FRAME_ENCODING_ERROR when they are cut short or of an unknown address version. */
export function readAddressList(reader: Reader, count: number): void {
  for (let index = 0; index < count; index++) {
    const version = reader.u8()
    // draft-piraux-quic-additional-addresses-03 §4: "The value 4 indicates IPv4 while 6 indicates IPv6."
    if (version !== 4 && version !== 6) {
      throw new TransportError('FRAME_ENCODING_ERROR', reader.frameType, `address ${index} is of IP version ${version}`)
    }
    reader.skip((version === 4 ? V4_BYTES : V6_BYTES) + 2)
  }
}

/** Calls `visit` for each address in `bytes[start, end)`, a range that the frame decoder has checked. */
export function visitAddresses(
  bytes: Uint8Array,
  start: number,
  end: number,
  visit: (address: string, port: number) => void,
): void {
  for (let at = start; at < end; ) {
    const isV4 = bytes[at] === 4
    const ip = bytes.subarray(at + 1, at + 1 + (isV4 ? V4_BYTES : V6_BYTES))
    at += 1 + ip.length
    visit(isV4 ? ip.join('.') : ipv6Text(ip), ((bytes[at] as number) << 8) | (bytes[at + 1] as number))
    at += 2
  }
}

function ipv6Text(ip: Uint8Array): string {
  const groups: string[] = []
  for (let at = 0; at < ip.length; at += 2) {
    groups.push((((ip[at] as number) << 8) | (ip[at + 1] as number)).toString(16))
  }
  return groups.join(':')
}

/**
 * One whole ADDITIONAL_ADDRESSES frame. Addresses are dotted IPv4 or IPv6 without zone, ports 0 to 65535; RangeError for
 * an IPv6 address that is none.
 */
export function encodeAdditionalAddresses(sequence: number, addresses: readonly ServerAddress[]): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES_MAX + addresses.length * (1 + V6_BYTES + 2))
  let at = writeVarint(bytes, 0, FrameType.AdditionalAddresses)
  at = writeVarint(bytes, at, sequence)
  at = writeVarint(bytes, at, addresses.length)
  for (const { address, port } of addresses) {
    const isV4 = !address.includes(':')
    const ip = isV4 ? address.split('.').map(Number) : parseIpv6(address)
    bytes[at++] = isV4 ? 4 : 6
    bytes.set(ip, at)
    at += ip.length
    bytes[at++] = port >>> 8
    bytes[at++] = port & 0xff
  }
  return bytes.slice(0, at)
}
