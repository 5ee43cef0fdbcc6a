/** A network address translator between an access link and the rest of the world, with the usual temperaments. */
import type { Micros } from '@quicether/transport'
import type { SeededRandom } from '@quicether/transport/testing'
import type { Datagram } from './datagram.ts'

/**
 * `full-cone`: one public port per inside port, open to anyone. `restricted`: the same port, open only to addresses and
 * ports that were written to. `symmetric`: another public port for each destination, open only to it.
 */
export type NatKind = 'full-cone' | 'restricted' | 'symmetric'

export interface NatOptions {
  readonly kind?: NatKind
  readonly publicAddress: string
  /** A mapping unused for this long is forgotten. Default 30 s (RFC 4787 §4.3 asks for 2 min; many do less). */
  readonly idleUs?: Micros
  /** Mappings kept; the one unused for longest gives way. Default 4096. */
  readonly mappingsMax?: number
}

export interface NatStats {
  refusedInbound: number
  mappingsMade: number
  mappingsExpired: number
  rebindings: number
}

interface Mapping {
  readonly publicPort: number
  readonly insideAddress: string
  readonly insidePort: number
  /** Remote `address|port` keys that may answer; undefined = anyone. */
  readonly peers: Set<string> | undefined
  readonly isStatic: boolean
  lastUsedUs: Micros
}

const FIRST_PORT = 20_000
const LAST_PORT = 60_000
const PEERS_MAX = 1_024

export class Nat {
  readonly kind: NatKind
  readonly stats: NatStats = { refusedInbound: 0, mappingsMade: 0, mappingsExpired: 0, rebindings: 0 }
  readonly #idleUs: Micros
  readonly #mappingsMax: number
  #publicAddress: string
  #nextPort: number
  readonly #byInside = new Map<string, Mapping>()
  readonly #byPort = new Map<number, Mapping>()

  constructor(options: NatOptions, random: SeededRandom) {
    this.kind = options.kind ?? 'restricted'
    this.#publicAddress = options.publicAddress
    this.#idleUs = options.idleUs ?? 30_000_000
    this.#mappingsMax = options.mappingsMax ?? 4_096
    this.#nextPort = random.between(FIRST_PORT, LAST_PORT)
  }

  get publicAddress(): string {
    return this.#publicAddress
  }

  get mappings(): number {
    return this.#byPort.size
  }

  /** Forgets all dynamic mappings, as after a reboot; optionally with another public address. */
  rebind(publicAddress?: string): void {
    this.stats.rebindings++
    if (publicAddress !== undefined) this.#publicAddress = publicAddress
    for (const [key, mapping] of this.#byInside) {
      if (mapping.isStatic) continue
      this.#byInside.delete(key)
      this.#byPort.delete(mapping.publicPort)
    }
    // RFC 4787 §4.2.1: ports of forgotten mappings are not reused at once.
    this.#nextPort += 7
  }

  /** A fixed mapping, as made by hand or by UPnP, NAT-PMP or PCP; open to anyone, survives `rebind`. */
  forward(publicPort: number, insideAddress: string, insidePort: number): void {
    if (this.#byPort.has(publicPort)) throw new Error(`port ${publicPort} of NAT ${this.#publicAddress} is taken`)
    const mapping = { publicPort, insideAddress, insidePort, peers: undefined, isStatic: true, lastUsedUs: Infinity }
    this.#byPort.set(publicPort, mapping)
    this.#byInside.set(`${insideAddress}|${insidePort}`, mapping)
  }

  /** Rewrites the source of a datagram that leaves. */
  outbound(datagram: Datagram, nowUs: Micros): void {
    const inside = `${datagram.sourceAddress}|${datagram.sourcePort}`
    const peer = `${datagram.destinationAddress}|${datagram.destinationPort}`
    const fixed = this.#byInside.get(inside)
    const key = this.kind === 'symmetric' && fixed?.isStatic !== true ? `${inside}|${peer}` : inside
    let mapping = this.#byInside.get(key)
    if (mapping !== undefined && this.#isExpired(mapping, nowUs)) {
      this.#forget(key, mapping)
      mapping = undefined
    }
    mapping ??= this.#create(key, datagram, nowUs)
    if (mapping.peers !== undefined) allow(mapping.peers, peer)
    if (!mapping.isStatic) mapping.lastUsedUs = nowUs
    datagram.sourceAddress = this.#publicAddress
    datagram.sourcePort = mapping.publicPort
  }

  /** Rewrites the destination of a datagram that arrives; false = refused. */
  inbound(datagram: Datagram, nowUs: Micros): boolean {
    const mapping = this.#byPort.get(datagram.destinationPort)
    const peer = `${datagram.sourceAddress}|${datagram.sourcePort}`
    const isOpen =
      mapping !== undefined &&
      !this.#isExpired(mapping, nowUs) &&
      (mapping.peers === undefined || mapping.peers.has(peer))
    if (!isOpen || datagram.destinationAddress !== this.#publicAddress) {
      this.stats.refusedInbound++
      return false
    }
    datagram.destinationAddress = mapping.insideAddress
    datagram.destinationPort = mapping.insidePort
    return true
  }

  #isExpired(mapping: Mapping, nowUs: Micros): boolean {
    return !mapping.isStatic && nowUs - mapping.lastUsedUs > this.#idleUs
  }

  #forget(key: string, mapping: Mapping): void {
    this.stats.mappingsExpired++
    this.#byInside.delete(key)
    this.#byPort.delete(mapping.publicPort)
  }

  #create(key: string, datagram: Datagram, nowUs: Micros): Mapping {
    if (this.#byPort.size >= this.#mappingsMax) this.#evict()
    const mapping: Mapping = {
      publicPort: this.#freePort(),
      insideAddress: datagram.sourceAddress,
      insidePort: datagram.sourcePort,
      peers: this.kind === 'full-cone' ? undefined : new Set(),
      isStatic: false,
      lastUsedUs: nowUs,
    }
    this.stats.mappingsMade++
    this.#byInside.set(key, mapping)
    this.#byPort.set(mapping.publicPort, mapping)
    return mapping
  }

  #evict(): void {
    let oldestKey: string | undefined
    let oldest: Mapping | undefined
    for (const [key, mapping] of this.#byInside) {
      if (oldest === undefined || mapping.lastUsedUs < oldest.lastUsedUs) {
        oldestKey = key
        oldest = mapping
      }
    }
    if (oldestKey !== undefined && oldest !== undefined && !oldest.isStatic) this.#forget(oldestKey, oldest)
  }

  #freePort(): number {
    for (let tries = FIRST_PORT; tries <= LAST_PORT; tries++) {
      const port = this.#nextPort
      this.#nextPort = port >= LAST_PORT ? FIRST_PORT : port + 1
      if (!this.#byPort.has(port)) return port
    }
    throw new Error(`NAT ${this.#publicAddress} has no free port`)
  }
}

/** Remembers a peer, at most `PEERS_MAX` of them: the one let in first gives way. */
function allow(peers: Set<string>, peer: string): void {
  peers.add(peer)
  if (peers.size <= PEERS_MAX) return
  for (const oldest of peers) {
    peers.delete(oldest)
    return
  }
}
