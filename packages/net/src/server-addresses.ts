/** Addresses of a server besides those it is bound to at first: the one it prefers and those it announces. */
import { isIPv4, isIPv6 } from 'node:net'
import { ANNOUNCED_ADDRESSES_MAX, type PreferredEndpoint, QuicError } from '@quicether/transport'
import { canonicalIp, formatAddress, isUnspecified } from './ip-address.ts'
import type { BoundSocket, UdpPort } from './udp-port.ts'

/** IP address without zone; the port is the listener's own when absent. */
export interface AddressOption {
  readonly address: string
  readonly port?: number
}

/** What a server asks clients to move to, at most one address of each family. */
export interface PreferredAddressOption {
  readonly ipv4?: AddressOption
  readonly ipv6?: AddressOption
}

interface Announced {
  readonly address: string
  readonly port: number
  /** Socket that was bound for it alone. */
  readonly handle: number | undefined
}

/** A withdrawn address is received on for this long, so that clients can leave it in good order. */
const WITHDRAWN_MS = 3_000

/** Binds what is not bound yet and remembers what is announced. */
export class ServerAddresses {
  readonly #port: UdpPort
  readonly #sockets: BoundSocket[]
  readonly #watch: (handle: number) => void
  readonly #release: (handle: number) => void
  readonly #canBind: boolean
  #announced: Announced[] = []
  readonly #leaving: Map<string, { readonly handle: number; readonly timer: NodeJS.Timeout }> = new Map()

  /** `watch` and `release` start and end the use of a socket that was bound here; workers cannot, they share theirs. */
  constructor(
    port: UdpPort,
    sockets: BoundSocket[],
    watch: (handle: number) => void,
    release: (handle: number) => void,
    canBind = true,
  ) {
    this.#port = port
    this.#sockets = sockets
    this.#watch = watch
    this.#release = release
    this.#canBind = canBind
  }

  /** The listener's first port. */
  get port(): number {
    return this.#sockets[0]?.port ?? 0
  }

  list(): readonly Required<AddressOption>[] {
    return this.#announced.map(({ address, port }) => ({ address, port }))
  }

  /**
   * For the transport parameter, with sockets bound where there are none; undefined when no family is given.
   * @throws QuicError `ERR_ADDRESS`, `ERR_FAMILY`, `ERR_PORT_IN_USE`, …
   */
  prefer({ ipv4, ipv6 }: PreferredAddressOption): PreferredEndpoint | undefined {
    if (ipv4 === undefined && ipv6 === undefined) return undefined
    return {
      ...(ipv4 === undefined ? {} : { ipv4: this.#preferOne(ipv4, 'ipv4') }),
      ...(ipv6 === undefined ? {} : { ipv6: this.#preferOne(ipv6, 'ipv6') }),
    }
  }

  #preferOne(option: AddressOption, family: 'ipv4' | 'ipv6'): { readonly address: string; readonly port: number } {
    const { address, port } = this.#checked(option, 'prefer')
    if (address.includes(':') !== (family === 'ipv6')) {
      throw new QuicError('ERR_FAMILY', `preferredAddress.${family} is ${address}; give an address of that family`)
    }
    this.#ensureBound(address, port)
    return { address, port }
  }

  /** The address and port to announce to every connection; undefined when they are announced already. */
  announce(option: AddressOption): Required<AddressOption> | undefined {
    const { address, port } = this.#checked(option, 'announce')
    if (this.#announced.some((entry) => entry.address === address && entry.port === port)) return undefined
    if (this.#announced.length >= ANNOUNCED_ADDRESSES_MAX) {
      const message = `cannot announce ${address}: ${ANNOUNCED_ADDRESSES_MAX} addresses are announced; withdraw one first`
      throw new QuicError('ERR_ADDRESS_LIMIT', message)
    }
    const key = formatAddress(address, port)
    const leaving = this.#leaving.get(key)
    clearTimeout(leaving?.timer)
    this.#leaving.delete(key)
    const handle = leaving?.handle ?? this.#ensureBound(address, port)
    this.#announced = [...this.#announced, { address, port, handle }]
    return { address, port }
  }

  /** The address and port to take back from every connection; undefined when they were not announced. */
  withdraw(option: AddressOption): Required<AddressOption> | undefined {
    const { address, port } = this.#checked(option, 'withdraw')
    const entry = this.#announced.find((known) => known.address === address && known.port === port)
    if (entry === undefined) return undefined
    this.#announced = this.#announced.filter((known) => known !== entry)
    if (entry.handle !== undefined) this.#releaseLater(formatAddress(address, port), entry.handle)
    return { address, port }
  }

  close(): void {
    for (const { timer } of this.#leaving.values()) clearTimeout(timer)
    this.#leaving.clear()
  }

  #releaseLater(key: string, handle: number): void {
    const timer = setTimeout(() => {
      this.#leaving.delete(key)
      this.#forget(handle)
      this.#release(handle)
    }, WITHDRAWN_MS)
    timer.unref()
    this.#leaving.set(key, { handle, timer })
  }

  #forget(handle: number): void {
    const index = this.#sockets.findIndex((socket) => socket.handle === handle)
    if (index >= 0) this.#sockets.splice(index, 1)
  }

  #checked(option: AddressOption, verb: string): Required<AddressOption> {
    const { address, port = this.port } = option
    if (!isIPv4(address) && (!isIPv6(address) || address.includes('%'))) {
      const message = `cannot ${verb} '${address}': not an IPv4 or IPv6 address without zone`
      throw new QuicError('ERR_ADDRESS', message)
    }
    const canonical = canonicalIp(address)
    if (isUnspecified(canonical)) {
      throw new QuicError('ERR_ADDRESS', `cannot ${verb} ${address}: clients need one address; name each of them`)
    }
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new QuicError('ERR_PORT', `cannot ${verb} ${address}: port ${port} is not a whole number from 1 to 65535`)
    }
    return { address: canonical, port }
  }

  /** Receives at an address of this machine. One that is not is taken to be forwarded to us (a NAT, a load balancer). */
  #ensureBound(address: string, port: number): number | undefined {
    const isIpv6 = address.includes(':')
    const isCovered = this.#sockets.some(
      (socket) =>
        socket.port === port &&
        (socket.address === address || (isUnspecified(socket.address) && socket.address.includes(':') === isIpv6)),
    )
    if (isCovered) return undefined
    try {
      const socket = this.#port.bind({ address, port })
      if (!this.#canBind) {
        this.#port.unbind(socket.handle)
        const message = `workers do not listen on ${formatAddress(address, port)}; add it to the addresses of their group`
        throw new QuicError('ERR_WORKERS', message)
      }
      this.#sockets.push(socket)
      this.#watch(socket.handle)
      return socket.handle
    } catch (error) {
      if (error instanceof QuicError && error.code === 'ERR_ADDRESS') return undefined
      throw error
    }
  }
}
