/** IP addresses as text in one spelling and as the words that sockets use. */
import { isIPv4, SocketAddress } from 'node:net'

/** Text of an address given as big-endian words; IPv6 in the spelling of RFC 5952. */
export function formatIp(family: number, words: Int32Array, at: number): string {
  const first = words[at] as number
  if (family === 4) return `${first >>> 24}.${(first >>> 16) & 255}.${(first >>> 8) & 255}.${first & 255}`
  const groups: string[] = []
  for (let index = 0; index < 4; index++) {
    const word = words[at + index] as number
    groups.push((word >>> 16).toString(16), (word & 0xffff).toString(16))
  }
  return canonicalIp(groups.join(':'))
}

/** The one spelling of an address that tuples use; a zone (`%eth0`) is kept. */
export function canonicalIp(address: string): string {
  const [ip = '', zone] = address.split('%')
  if (isIPv4(ip)) return ip
  const { address: canonical } = new SocketAddress({ address: ip, family: 'ipv6' })
  return zone === undefined ? canonical : `${canonical}%${zone}`
}

/** Writes the words of a valid address without zone; returns its family, 4 or 6. */
export function writeIp(address: string, words: Int32Array, at: number): 4 | 6 {
  if (isIPv4(address)) {
    words[at] = address.split('.').reduce((word, part) => (word << 8) | Number(part), 0)
    return 4
  }
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address)
  let text = address
  if (dotted !== null) {
    const [high = 0, low = 0] = halves(dotted[2] as string)
    text = `${dotted[1]}${high.toString(16)}:${low.toString(16)}`
  }
  const [head = '', tail] = text.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...new Array<string>(zeros).fill('0'), ...right]
  for (let index = 0; index < 4; index++) {
    const high = Number.parseInt(groups[2 * index] as string, 16)
    const low = Number.parseInt(groups[2 * index + 1] as string, 16)
    words[at + index] = (high << 16) | low
  }
  return 6
}

function halves(ipv4: string): [number, number] {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number)
  return [a * 256 + b, c * 256 + d]
}

/** Whether an address stands for all addresses of the machine. */
export function isUnspecified(address: string): boolean {
  return address === '0.0.0.0' || address === '::'
}

/** How far an address reaches: this machine, one link, or further. */
export function scopeOf(address: string): 'loopback' | 'link' | 'wide' {
  if (/^127\.|^::1$|^0:0:0:0:0:0:0:1$/.test(address)) return 'loopback'
  return /^169\.254\.|^fe[89ab]/i.test(address) ? 'link' : 'wide'
}

// RFC 9000 §21.5.6: "Endpoints MAY refuse to use … addresses" of another kind: a server far away has no business with our loopback
/** Whether an address that the peer at `known` claims to have may be tried. Without a zone, none of a link may. */
export function mayFollow(known: string, claimed: string): boolean {
  const scope = scopeOf(claimed)
  return scope === 'wide' || (scope === 'loopback' && scopeOf(known) === 'loopback')
}

/** `address:port`, with brackets around IPv6. */
export function formatAddress(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
