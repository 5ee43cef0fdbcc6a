/** Finds the UDP datagram inside a captured packet, by link type. */

/** One UDP payload, as offsets into the packet. */
export interface UdpDatagram {
  readonly from: string
  readonly to: string
  readonly start: number
  readonly end: number
  /** The capture kept only a part of it. */
  readonly isCut: boolean
}

const LinkType = { Null: 0, Ethernet: 1, Raw: 101, LinuxSll: 113, Ipv4: 228, Ipv6: 229, LinuxSll2: 276 } as const
const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_IPV6 = 0x86dd
const ETHERTYPE_VLAN = 0x8100
const PROTOCOL_UDP = 17
/** Extension headers of IPv6 that have a length of their own: hop-by-hop, routing, destination options. */
const EXTENSIONS: readonly number[] = [0, 43, 60]
const EXTENSIONS_MAX = 8

/** Undefined for everything that is no whole UDP over IPv4 or IPv6: other protocols, fragments, malformed headers. */
export function findUdp(linkType: number, bytes: Uint8Array): UdpDatagram | undefined {
  const start = ipOffset(linkType, bytes)
  if (start < 0 || start >= bytes.length) return undefined
  const version = (bytes[start] as number) >>> 4
  if (version === 4) return inIpv4(bytes, start)
  return version === 6 ? inIpv6(bytes, start) : undefined
}

function ipOffset(linkType: number, bytes: Uint8Array): number {
  switch (linkType) {
    case LinkType.Raw:
    case LinkType.Ipv4:
    case LinkType.Ipv6:
      return 0
    case LinkType.Null:
      return 4
    case LinkType.LinuxSll:
      return isIp(u16(bytes, 14)) ? 16 : -1
    case LinkType.LinuxSll2:
      return isIp(u16(bytes, 0)) ? 20 : -1
    case LinkType.Ethernet: {
      const at = u16(bytes, 12) === ETHERTYPE_VLAN ? 16 : 12
      return isIp(u16(bytes, at)) ? at + 2 : -1
    }
    default:
      return -1
  }
}

const isIp = (type: number): boolean => type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6

function inIpv4(bytes: Uint8Array, start: number): UdpDatagram | undefined {
  const headerBytes = ((bytes[start] as number) & 0x0f) * 4
  if (headerBytes < 20 || start + headerBytes > bytes.length || bytes[start + 9] !== PROTOCOL_UDP) return undefined
  // Neither the first nor a later fragment is a datagram (RFC 9000 §14: QUIC packets are not fragmented).
  if ((u16(bytes, start + 6) & 0x3fff) !== 0) return undefined
  const address = (at: number): string => Array.from(bytes.subarray(at, at + 4)).join('.')
  return inUdp(bytes, start + headerBytes, address(start + 12), address(start + 16))
}

function inIpv6(bytes: Uint8Array, start: number): UdpDatagram | undefined {
  if (start + 40 > bytes.length) return undefined
  let next = bytes[start + 6] as number
  let at = start + 40
  for (let count = 0; EXTENSIONS.includes(next) && count < EXTENSIONS_MAX; count++) {
    if (at + 8 > bytes.length) return undefined
    next = bytes[at] as number
    at += ((bytes[at + 1] as number) + 1) * 8
  }
  if (next !== PROTOCOL_UDP) return undefined
  return inUdp(bytes, at, ipv6(bytes, start + 8), ipv6(bytes, start + 24))
}

function inUdp(bytes: Uint8Array, at: number, source: string, destination: string): UdpDatagram | undefined {
  if (at + 8 > bytes.length) return undefined
  const length = u16(bytes, at + 4)
  if (length < 8) return undefined
  const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address)
  return {
    from: `${bracketed(source)}:${u16(bytes, at)}`,
    to: `${bracketed(destination)}:${u16(bytes, at + 2)}`,
    start: at + 8,
    end: Math.min(at + length, bytes.length),
    isCut: at + length > bytes.length,
  }
}

/** Text of RFC 5952 but for the choice among equally long runs of zeros: the first one is shortened. */
function ipv6(bytes: Uint8Array, at: number): string {
  const groups = Array.from({ length: 8 }, (_, index) => u16(bytes, at + 2 * index).toString(16))
  const text = groups.join(':')
  const [longest = ''] = [...text.matchAll(/\b0(?::0)+\b/g)].map(([run]) => run).sort((a, b) => b.length - a.length)
  return longest === '' ? text : text.replace(longest, '::').replace(/:{3,}/, '::')
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}
