/** Builds the IP and UDP headers that the kernel keeps to itself, so that a capture looks like one from the wire. */
import { isIPv4, isIPv6 } from 'node:net'
import type { PathTuple } from '@quicether/transport'

export const IPV4_HEADER_BYTES = 20
export const IPV6_HEADER_BYTES = 40
export const UDP_HEADER_BYTES = 8

const HOP_LIMIT = 64
const PROTOCOL_UDP = 17

/** The headers of one direction of a tuple, complete but for lengths, ECN, identification and checksums. */
export interface HeaderTemplate {
  readonly isIpv6: boolean
  /** IP and UDP header. */
  readonly bytes: Uint8Array
  /** One's complement sum over the parts of the UDP pseudo-header that do not change. */
  readonly pseudoSum: number
}

/** Headers of all packets of one tuple in one direction; length, ECN, ports and checksums are filled in per packet. */
export function createHeaderTemplate(tuple: PathTuple, direction: 'sent' | 'received'): HeaderTemplate {
  const { localAddress, localPort, remoteAddress, remotePort } = tuple
  const isSent = direction === 'sent'
  const [local, remote] = sameFamily(parseAddress(localAddress), parseAddress(remoteAddress))
  const source = isSent ? local : remote
  const destination = isSent ? remote : local
  const isIpv6 = source.length === 16
  const ipBytes = isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES
  const bytes = new Uint8Array(ipBytes + UDP_HEADER_BYTES)
  if (isIpv6) {
    bytes[0] = 0x60
    bytes[6] = PROTOCOL_UDP
    bytes[7] = HOP_LIMIT
    bytes.set(source, 8)
    bytes.set(destination, 24)
  } else {
    bytes[0] = 0x45
    // Don't Fragment: RFC 9000 §14 "UDP datagrams MUST NOT be fragmented at the IP layer."
    bytes[6] = 0x40
    bytes[8] = HOP_LIMIT
    bytes[9] = PROTOCOL_UDP
    bytes.set(source, 12)
    bytes.set(destination, 16)
  }
  writeU16(bytes, ipBytes, isSent ? localPort : remotePort)
  writeU16(bytes, ipBytes + 2, isSent ? remotePort : localPort)
  return {
    isIpv6,
    bytes,
    pseudoSum: sumWords(source, 0, source.length, sumWords(destination, 0, destination.length, PROTOCOL_UDP)),
  }
}

/**
 * Writes IP and UDP header in front of a payload that already stands at `at + template.bytes.length` in `out`.
 * `payloadLength` is the whole UDP payload, of which `capturedLength` bytes are in `out`; a cut payload gets the
 * checksum 0 ("none"), as its true one cannot be verified anyway.
 */
export function writeHeaders(
  template: HeaderTemplate,
  out: Uint8Array,
  at: number,
  fields: {
    readonly payloadLength: number
    readonly capturedLength: number
    readonly ecn: number
    readonly id: number
  },
): void {
  const { isIpv6, bytes } = template
  const { payloadLength, capturedLength } = fields
  const udpAt = at + (isIpv6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES)
  const udpLength = UDP_HEADER_BYTES + payloadLength
  out.set(bytes, at)
  if (isIpv6) {
    // RFC 8200 §3: the traffic class straddles the first two bytes; its low two bits are ECN (RFC 3168 §5).
    out[at + 1] = (fields.ecn & 3) << 4
    writeU16(out, at + 4, udpLength)
  } else {
    out[at + 1] = fields.ecn & 3
    writeU16(out, at + 2, IPV4_HEADER_BYTES + udpLength)
    writeU16(out, at + 4, fields.id & 0xffff)
    writeU16(out, at + 10, foldChecksum(sumWords(out, at, at + IPV4_HEADER_BYTES, 0)))
  }
  writeU16(out, udpAt + 4, udpLength)
  if (capturedLength < payloadLength) return
  const sum = sumWords(out, udpAt, udpAt + udpLength, template.pseudoSum + udpLength)
  // RFC 768: "If the computed checksum is zero, it is transmitted as all ones"
  writeU16(out, udpAt + 6, foldChecksum(sum) || 0xffff)
}

/** 4 or 16 bytes. IPv4-mapped IPv6 addresses become IPv4, zone names are dropped, what is no address becomes 0.0.0.0. */
export function parseAddress(text: string): Uint8Array {
  const zone = text.indexOf('%')
  const address = zone < 0 ? text : text.slice(0, zone)
  if (isIPv4(address)) return Uint8Array.from(address.split('.'), Number)
  if (!isIPv6(address)) return new Uint8Array(4)
  const bytes = parseIpv6(address)
  const isMapped = bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0)
  return isMapped ? bytes.slice(12) : bytes
}

/** `address` has passed `isIPv6`. */
function parseIpv6(address: string): Uint8Array {
  const [head = '', tail] = address.split('::')
  const front = parseGroups(head)
  const back = tail === undefined ? [] : parseGroups(tail)
  const bytes = new Uint8Array(16)
  bytes.set(front, 0)
  bytes.set(back, 16 - back.length)
  return bytes
}

function parseGroups(text: string): number[] {
  const bytes: number[] = []
  if (text === '') return bytes
  for (const group of text.split(':')) {
    if (group.includes('.')) bytes.push(...group.split('.').map(Number))
    else bytes.push(Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff)
  }
  return bytes
}

/** A wildcard local address takes the family of the remote one; any other mixture becomes IPv6. */
function sameFamily(local: Uint8Array, remote: Uint8Array): [Uint8Array, Uint8Array] {
  if (local.length === remote.length) return [local, remote]
  if (local.every((byte) => byte === 0)) return [new Uint8Array(remote.length), remote]
  return [toIpv6(local), toIpv6(remote)]
}

function toIpv6(address: Uint8Array): Uint8Array {
  if (address.length === 16) return address
  const mapped = new Uint8Array(16)
  mapped[10] = 0xff
  mapped[11] = 0xff
  mapped.set(address, 12)
  return mapped
}

/** RFC 1071 sum of 16-bit words, not yet folded; 64 KB of words stay far below 2^53. */
function sumWords(bytes: Uint8Array, start: number, end: number, initial: number): number {
  let sum = initial
  const pairsEnd = end - ((end - start) & 1)
  for (let at = start; at < pairsEnd; at += 2) sum += ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
  if (pairsEnd < end) sum += (bytes[pairsEnd] as number) << 8
  return sum
}

function foldChecksum(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000)
  return ~folded & 0xffff
}

function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8
  bytes[at + 1] = value & 0xff
}
