/** A computer of the virtual world: interfaces with addresses, UDP ports, and a handler for what arrives. */
import { createTuple, type Micros, type PathTuple } from '@quicether/transport'
import { type Datagram, isIpv6 } from './datagram.ts'
import type { Link } from './link.ts'
import type { Nat } from './nat.ts'
import type { World } from './world.ts'

/** What became of a datagram handed to the network. `unreachable` is what a real kernel reports as ENETUNREACH. */
export type SendOutcome = 'sent' | 'unreachable'

/** How an interface goes down: `error` makes sends fail, `silent` swallows them. */
export type DownMode = 'error' | 'silent'

export type DatagramHandler = (datagram: Datagram, tuple: PathTuple, nowUs: Micros) => void
export type InterfaceListener = (networkInterface: NetworkInterface, nowUs: Micros) => void

export interface InterfaceOptions {
  readonly addresses: readonly string[]
  readonly link: Link
  readonly nat?: Nat
}

/** One interface of a host: its addresses, its link, its NAT, up or down. */
export class NetworkInterface {
  readonly host: Host
  readonly name: string
  readonly index: number
  readonly link: Link
  readonly nat: Nat | undefined
  readonly #addresses: string[]
  #down: DownMode | undefined

  constructor(host: Host, name: string, index: number, options: InterfaceOptions) {
    this.host = host
    this.name = name
    this.index = index
    this.link = options.link
    this.nat = options.nat
    this.#addresses = []
    for (const address of options.addresses) this.addAddress(address)
  }

  get addresses(): readonly string[] {
    return this.#addresses
  }

  get isUp(): boolean {
    return this.#down === undefined
  }

  get downMode(): DownMode | undefined {
    return this.#down
  }

  addAddress(address: string): void {
    this.host.world.claim(address, this)
    this.#addresses.push(address)
    this.host.interfaceChanged(this)
  }

  removeAddress(address: string): void {
    const at = this.#addresses.indexOf(address)
    if (at < 0) throw new Error(`interface ${this.name} of ${this.host.name} has no address ${address}`)
    this.#addresses.splice(at, 1)
    this.host.world.unclaim(address, this)
    this.host.interfaceChanged(this)
  }

  down(mode: DownMode): void {
    this.#down = mode
    this.host.world.note('interface', `${this.host.name} ${this.name} down`)
    this.host.interfaceChanged(this)
  }

  up(): void {
    this.#down = undefined
    this.host.world.note('interface', `${this.host.name} ${this.name} up`)
    this.host.interfaceChanged(this)
  }
}

export interface HostStats {
  sent: number
  received: number
  /** Datagrams to an address or port nobody listens on. */
  refused: number
  unreachable: number
}

/** Binds ports, sends datagrams by route and hands what arrives to the handler of the port. */
export class Host {
  readonly world: World
  readonly name: string
  readonly stats: HostStats = { sent: 0, received: 0, refused: 0, unreachable: 0 }
  /** Told when an interface or its addresses change: the world's netlink socket. */
  onInterfaceChange: InterfaceListener | undefined = undefined
  readonly #interfaces: NetworkInterface[] = []
  readonly #handlers = new Map<number, DatagramHandler>()
  readonly #tuples = new Map<string, PathTuple>()
  #nextPort = 49_152

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
  }

  get interfaces(): readonly NetworkInterface[] {
    return this.#interfaces
  }

  addInterface(name: string, options: InterfaceOptions): NetworkInterface {
    if (this.#interfaces.some((existing) => existing.name === name))
      throw new Error(`host ${this.name} already has an interface ${name}`)
    const { link, nat } = options
    if (link.up.deliver !== undefined) throw new Error(`link ${link.name} is already attached to an interface`)
    const added = new NetworkInterface(this, name, this.#interfaces.length + 1, options)
    this.#interfaces.push(added)
    link.up.deliver = (datagram, nowUs) => this.world.routeFrom(nat, datagram, nowUs)
    link.down.deliver = (datagram, nowUs) => this.#arrive(added, datagram, nowUs)
    return added
  }

  interface(name: string): NetworkInterface {
    const found = this.#interfaces.find((candidate) => candidate.name === name)
    if (found === undefined) {
      throw new Error(
        `host ${this.name} has no interface ${name}, only ${this.#interfaces.map((each) => each.name).join(', ')}`,
      )
    }
    return found
  }

  /** First address of an interface that is up, in the family of `remote` when given. */
  defaultAddress(remote?: string): string | undefined {
    for (const candidate of this.#interfaces) {
      if (!candidate.isUp) continue
      for (const address of candidate.addresses) {
        if (remote === undefined || isIpv6(address) === isIpv6(remote)) return address
      }
    }
    return undefined
  }

  /** Listens on a UDP port on every address of this host. Port 0 takes the next free one. Returns the port. */
  bind(port: number, handler: DatagramHandler): number {
    let chosen = port
    while (chosen === 0 || (port === 0 && this.#handlers.has(chosen))) chosen = this.#nextPort++
    if (this.#handlers.has(chosen)) throw new Error(`port ${chosen} of host ${this.name} is in use`)
    this.#handlers.set(chosen, handler)
    return chosen
  }

  unbind(port: number): void {
    this.#handlers.delete(port)
  }

  /** The interned tuple of these addresses; one object per combination. */
  tuple(localAddress: string, localPort: number, remoteAddress: string, remotePort: number): PathTuple {
    const interfaceIndex = this.#interfaceOf(localAddress)?.index ?? 0
    const key = `${localAddress}|${localPort}|${remoteAddress}|${remotePort}|${interfaceIndex}`
    const known = this.#tuples.get(key)
    if (known !== undefined) return known
    const tuple = createTuple({ localAddress, localPort, remoteAddress, remotePort, interfaceIndex, socket: localPort })
    this.#tuples.set(key, tuple)
    return tuple
  }

  /** Sends `bytes[start, end)` along a tuple. The bytes are copied. */
  send(tuple: PathTuple, bytes: Uint8Array, start: number, end: number, ecn: number, nowUs: Micros): SendOutcome {
    const via = this.#interfaceOf(tuple.localAddress)
    if (via === undefined || via.downMode === 'error') {
      this.stats.unreachable++
      return 'unreachable'
    }
    const datagram = this.world.pool.take(end - start)
    datagram.bytes.set(bytes.subarray(start, end))
    datagram.sourceAddress = tuple.localAddress
    datagram.sourcePort = tuple.localPort
    datagram.destinationAddress = tuple.remoteAddress
    datagram.destinationPort = tuple.remotePort
    datagram.ecn = ecn
    this.stats.sent++
    this.world.onSent(this, datagram, nowUs)
    if (via.downMode === 'silent') this.world.pool.release(datagram)
    else via.link.up.push(datagram, nowUs)
    return 'sent'
  }

  /** Internal: an interface or its addresses changed. */
  interfaceChanged(changed: NetworkInterface): void {
    this.onInterfaceChange?.(changed, this.world.nowUs)
  }

  #arrive(via: NetworkInterface, datagram: Datagram, nowUs: Micros): void {
    const handler = this.#handlers.get(datagram.destinationPort)
    if (via.isUp && handler !== undefined && via.addresses.includes(datagram.destinationAddress)) {
      this.stats.received++
      this.world.onReceived(this, datagram, nowUs)
      const { destinationAddress, destinationPort, sourceAddress, sourcePort } = datagram
      handler(datagram, this.tuple(destinationAddress, destinationPort, sourceAddress, sourcePort), nowUs)
    } else {
      this.stats.refused++
    }
    this.world.pool.release(datagram)
  }

  #interfaceOf(address: string): NetworkInterface | undefined {
    for (const candidate of this.#interfaces) if (candidate.addresses.includes(address)) return candidate
    return undefined
  }
}
