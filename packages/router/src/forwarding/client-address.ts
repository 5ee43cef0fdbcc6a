/** Who the client is: the peer of the connection, or whom a trusted proxy in front names. */
import { BlockList, isIP } from 'node:net'
import type { HeaderList } from '../exchange.ts'

export interface ClientAddress {
  /** The other end of the connection. */
  readonly peer: string
  /** The peer is a proxy whose statements are believed. */
  readonly isTrusted: boolean
  /** Whom limits and hashing go by. */
  readonly client: string
}

/** Addresses of proxies that are believed. */
export class TrustedProxies {
  readonly #list = new BlockList()
  readonly #isEmpty: boolean

  /** `ranges` are addresses or `address/bits`. Throws `RangeError` for anything else. */
  constructor(ranges: readonly string[]) {
    this.#isEmpty = ranges.length === 0
    for (const range of ranges) {
      const problem = rangeProblem(range)
      if (problem !== undefined) throw new RangeError(problem)
      const [address = '', bits] = range.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      if (bits === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(bits), family)
    }
  }

  resolve(peer: string, headers: HeaderList): ClientAddress {
    if (this.#isEmpty || !this.#has(peer)) return { peer, isTrusted: false, client: peer }
    return { peer, isTrusted: true, client: this.#named(headers) ?? peer }
  }

  /** The last address in X-Forwarded-For, or else in Forwarded, that is not itself a trusted proxy. */
  #named(headers: HeaderList): string | undefined {
    const hops = fieldHops(headers, 'x-forwarded-for')
    const list = hops.length > 0 ? hops : forwardedHops(headers)
    let last: string | undefined
    for (const hop of list.toReversed()) {
      if (isIP(hop) === 0) return last
      last = hop
      if (!this.#has(hop)) return hop
    }
    return last
  }

  #has(address: string): boolean {
    const family = isIP(address)
    return family !== 0 && this.#list.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }
}

/** What is wrong with an address or range; undefined = nothing. */
export function rangeProblem(range: string): string | undefined {
  const [address = '', bits, more] = range.split('/')
  const family = isIP(address)
  if (more !== undefined) return `"${range}" has more than one "/"`
  if (family === 0) return `"${address}" is not an IP address`
  const bitsMax = family === 6 ? 128 : 32
  if (bits !== undefined && !/^[0-9]{1,3}$/u.test(bits)) return `"${bits}" is not a number of bits`
  if (bits !== undefined && Number(bits) > bitsMax) return `/${bits} is more than the ${bitsMax} bits of an address`
  return undefined
}

function fieldHops(headers: HeaderList, field: string): string[] {
  const hops: string[] = []
  for (const [name, value] of headers) {
    if (name === field) for (const hop of value.split(',')) hops.push(hop.trim())
  }
  return hops
}

/** RFC 7239 §5.2: the `for` of each element, without port, quotes and brackets. */
function forwardedHops(headers: HeaderList): string[] {
  return fieldHops(headers, 'forwarded').map((element) => {
    const node = /(?:^|;)\s*for=("?)(\[[^\]]+\]|[^";:]+)/iu.exec(element)?.[2] ?? ''
    return node.replaceAll(/[[\]]/gu, '')
  })
}
