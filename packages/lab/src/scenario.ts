/** Scenarios in a few lines: a client with named links, a server, transfers, and things that happen at times. */
import type {
  ConnectionStats,
  ConnectOptions,
  EndpointOptions,
  Micros,
  PathStatus,
  PathTuple,
  PathView,
} from '@quicether/transport'
import type { ConnectionApp, TransferHandle } from './connection-app.ts'
import type { DownMode } from './host.ts'
import type { Link, LinkOptions, PipeOptions } from './link.ts'
import type { Nat, NatKind } from './nat.ts'
import { Party, type PartyCryptoFactory } from './parties.ts'
import type { TransferPlan } from './transfers.ts'
import { World } from './world.ts'

export interface ScenarioLink extends LinkOptions {
  /** Puts a NAT of this kind on the link. */
  readonly nat?: NatKind
  /** The client's address is an IPv6 one. Not together with `nat`. */
  readonly isIpv6?: boolean
}

export interface ScenarioOptions {
  readonly seed: number
  /** Access links of the client; it connects over the first one that is up. */
  readonly links: Readonly<Record<string, ScenarioLink>>
  /** The server's link. Default: perfect. */
  readonly server?: LinkOptions
  readonly clientConfig?: EndpointOptions['config']
  readonly serverConfig?: EndpointOptions['config']
  readonly accept?: Partial<NonNullable<EndpointOptions['server']>>
  readonly createCrypto?: PartyCryptoFactory
  readonly observe?: EndpointOptions['observe']
}

const SERVER_ADDRESS = '203.0.113.1'
const SERVER_ADDRESS_IPV6 = '2001:db8:ffff::1'
const SERVER_PORT = 4_433

/** A transfer of a scenario and its figures. */
export class ScenarioTransfer {
  readonly #world: World
  readonly #app: ConnectionApp
  readonly #handle: TransferHandle
  readonly #bytes: number

  constructor(world: World, app: ConnectionApp, handle: TransferHandle, bytes: number) {
    this.#world = world
    this.#app = app
    this.#handle = handle
    this.#bytes = bytes
  }

  /** Every byte arrived, in order and verified, and both ends know it. An arrow function: pass it to `until`. */
  readonly finished = (): boolean => this.#handle.finishedAtUs !== undefined

  get receivedBytes(): number {
    return this.#app.progress(this.#handle)
  }

  /** From the call that started it to its end, or until now. */
  get durationUs(): Micros {
    return (this.#handle.finishedAtUs ?? this.#world.nowUs) - this.#handle.startedAtUs
  }

  /** Payload bits per second over the whole duration. */
  get goodputBitsPerSecond(): number {
    return (this.#bytes * 8e6) / this.durationUs
  }
}

/** What the client of a scenario can do. */
export class ScenarioClient {
  readonly party: Party
  readonly app: ConnectionApp
  readonly #world: World
  #keys = 1

  constructor(world: World, party: Party, app: ConnectionApp) {
    this.#world = world
    this.party = party
    this.app = app
  }

  get stats(): ConnectionStats {
    return this.app.connection.stats()
  }

  download(bytes: number): ScenarioTransfer {
    return this.#start({ uploadBytes: 0, replyBytes: bytes }, bytes)
  }

  upload(bytes: number): ScenarioTransfer {
    return this.#start({ uploadBytes: bytes, replyBytes: 0 }, bytes)
  }

  /** As many bytes there as back, at the same time. */
  exchange(bytes: number): ScenarioTransfer {
    return this.#start({ uploadBytes: bytes, replyBytes: bytes }, 2 * bytes)
  }

  #start(sizes: Pick<TransferPlan, 'uploadBytes' | 'replyBytes'>, bytes: number): ScenarioTransfer {
    const handle = this.app.transfer({
      kind: 'bidirectional',
      key: this.#keys++,
      ...sizes,
      openerResetsAt: Infinity,
      openerStopsAt: Infinity,
      acceptorResetsAt: Infinity,
      acceptorStopsAt: Infinity,
      openerReadDelayUs: 0,
      acceptorReadDelayUs: 0,
    })
    return new ScenarioTransfer(this.#world, this.app, handle, bytes)
  }
}

/** Things that happen to links at a time. Every verb may be chained. */
export class Happening {
  readonly #scenario: Scenario
  readonly #atUs: Micros

  constructor(scenario: Scenario, atUs: Micros) {
    this.#scenario = scenario
    this.#atUs = atUs
  }

  cut(name: string): this {
    return this.#do(`${name} cut`, () => this.#scenario.link(name).cut())
  }

  mend(name: string): this {
    return this.#do(`${name} mended`, () => this.#scenario.link(name).mend())
  }

  set(name: string, options: PipeOptions): this {
    return this.#do(`${name} set to ${JSON.stringify(options)}`, () => this.#scenario.link(name).set(options))
  }

  down(name: string, mode: DownMode = 'error'): this {
    return this.#do(undefined, () => this.#scenario.client.party.host.interface(name).down(mode))
  }

  up(name: string): this {
    return this.#do(undefined, () => this.#scenario.client.party.host.interface(name).up())
  }

  /** The NAT of a link forgets its mappings, and takes another public address when one is given. */
  rebind(name: string, publicAddress?: string): this {
    return this.#do(`${name} rebound`, () => this.#scenario.nat(name).rebind(publicAddress))
  }

  /** The client asks its engine to move to another of its links. */
  migrate(name: string): this {
    return this.#do(`migrate to ${name}`, () => this.#scenario.migrate(name))
  }

  /** The client opens a path over a link (RFC 10069); fails the run when its engine cannot. */
  open(name: string, status: PathStatus = 'available'): this {
    return this.#do(`path over ${name} opened`, () => {
      if (this.#scenario.openPath(name, status) === undefined) throw new Error(`no path over ${name} could be opened`)
    })
  }

  /** The client abandons its path over a link. */
  abandon(name: string): this {
    return this.#do(`path over ${name} abandoned`, () => this.#scenario.closePath(name))
  }

  /** The client tells the server how to use its path over a link. */
  status(name: string, status: PathStatus): this {
    return this.#do(`path over ${name} is ${status}`, () => this.#scenario.setPathStatus(name, status))
  }

  do(action: () => void): this {
    return this.#do(undefined, action)
  }

  #do(note: string | undefined, action: () => void): this {
    this.#scenario.world.at(this.#scenario.startUs + this.#atUs, () => {
      if (note !== undefined) this.#scenario.world.note('link', note)
      action()
    })
    return this
  }
}

/** A world of one client and one server, with verbs for transfers and for what happens to the links. */
export class Scenario {
  readonly world: World
  readonly client: ScenarioClient
  readonly server: Party
  /** The server's side of the connections, in the order they came. */
  readonly accepted: ConnectionApp[] = []
  readonly startUs: Micros
  readonly #nats = new Map<string, Nat>()

  constructor(options: ScenarioOptions) {
    // Times of the timeline count from the start of the scenario.
    this.world = new World({ seed: options.seed, startUs: 0 })
    this.startUs = this.world.nowUs
    const { createCrypto, observe } = options
    const common = {
      ...(createCrypto === undefined ? {} : { createCrypto }),
      ...(observe === undefined ? {} : { observe }),
    }
    const serverHost = this.world.addHost('server')
    serverHost.addInterface('eth0', {
      addresses: [SERVER_ADDRESS, SERVER_ADDRESS_IPV6],
      link: this.world.addLink('server', options.server),
    })
    this.server = new Party({
      host: serverHost,
      port: SERVER_PORT,
      config: options.serverConfig ?? {},
      server: options.accept ?? {},
      onConnection: (app) => this.accepted.push(app),
      ...common,
    })
    const party = this.#createClient(options, common)
    const first = party.host.interfaces[0]?.addresses[0] ?? ''
    const remote = first.includes(':') ? SERVER_ADDRESS_IPV6 : SERVER_ADDRESS
    this.client = new ScenarioClient(this.world, party, party.connect(remote, SERVER_PORT))
  }

  #createClient(options: ScenarioOptions, common: Pick<ScenarioOptions, 'createCrypto' | 'observe'>): Party {
    const host = this.world.addHost('client')
    const names = Object.keys(options.links)
    if (names.length === 0) throw new Error('a scenario needs at least one link')
    names.forEach((name, index) => {
      const { nat: kind, isIpv6, ...link } = options.links[name] as ScenarioLink
      if (kind !== undefined && isIpv6 === true) throw new Error(`link ${name}: NATs here translate IPv4 only`)
      const nat = kind === undefined ? undefined : this.world.addNat({ kind, publicAddress: `198.51.100.${index + 1}` })
      if (nat !== undefined) this.#nats.set(name, nat)
      host.addInterface(name, {
        addresses: [
          isIpv6 === true ? `2001:db8:${index}::2` : nat === undefined ? `192.0.2.${index + 2}` : `10.0.${index}.2`,
        ],
        link: this.world.addLink(name, link),
        ...(nat === undefined ? {} : { nat }),
      })
    })
    return new Party({ host, config: options.clientConfig ?? {}, ...common })
  }

  link(name: string): Link {
    const found = this.world.links.find((candidate) => candidate.name === name)
    if (found === undefined)
      throw new Error(`no link ${name}; there are ${this.world.links.map((each) => each.name).join(', ')}`)
    return found
  }

  nat(name: string): Nat {
    const found = this.#nats.get(name)
    if (found === undefined) throw new Error(`link ${name} has no NAT; give it one with nat: 'restricted'`)
    return found
  }

  /** What happens some time after the start. */
  at(atUs: Micros): Happening {
    return new Happening(this, atUs)
  }

  /** Asks the client's engine to move to a link. False when it may not or cannot (no spare connection ID). */
  migrate(name: string): boolean {
    const tuple = this.#tupleOver(name)
    return tuple !== undefined && this.client.app.connection.migrate(tuple, this.world.nowUs)
  }

  #tupleOver(name: string): PathTuple | undefined {
    const { party, app } = this.client
    const [path] = app.connection.paths()
    const address = party.host.interface(name).addresses[0]
    if (path === undefined || address === undefined) return undefined
    return party.host.tuple(address, party.driver.port, path.remoteAddress, path.remotePort)
  }

  // ---- several paths

  /** Opens a path over a link. Undefined when multipath was not negotiated or nothing is left to open it with. */
  openPath(name: string, status: PathStatus = 'available'): number | undefined {
    const tuple = this.#tupleOver(name)
    return tuple === undefined ? undefined : this.client.app.connection.openPath(tuple, { status }, this.world.nowUs)
  }

  /** Waits until paths over all links are open and validated on both sides. Handshake included. */
  join(...names: readonly string[]): void {
    const { app } = this.client
    this.until(() => app.isConfirmed, { withinUs: 10_000_000, what: 'the handshake' })
    // Connection IDs for further paths travel right behind it.
    for (const name of names)
      this.until(() => this.pathOver(name) !== undefined || this.openPath(name) !== undefined, {
        withinUs: 10_000_000,
        what: `connection IDs for a path over ${name}`,
      })
    const isReady = (views: readonly PathView[] = []): boolean =>
      views.filter((view) => view.isValidated).length > names.length
    this.until(() => isReady(app.connection.paths()) && isReady(this.accepted[0]?.connection.paths()), {
      withinUs: 10_000_000,
      what: 'the validation of all paths',
    })
  }

  /** The client's newest path over a link. */
  pathOver(name: string): PathView | undefined {
    const { addresses } = this.client.party.host.interface(name)
    return this.client.app.connection.paths().findLast((path) => addresses.includes(path.localAddress))
  }

  closePath(name: string): void {
    this.client.app.connection.closePath(this.#pathOver(name).id, this.world.nowUs)
  }

  setPathStatus(name: string, status: PathStatus): void {
    this.client.app.connection.setPathStatus(this.#pathOver(name).id, status)
  }

  #pathOver(name: string): PathView {
    const path = this.pathOver(name)
    if (path === undefined) throw new Error(`no path over ${name}; open one with openPath('${name}')`)
    return path
  }

  /** A further connection of the same client, e.g. to resume with 0-RTT. */
  reconnect(options: Partial<ConnectOptions> = {}): ScenarioClient {
    const { party, app } = this.client
    const [path] = app.connection.paths()
    return new ScenarioClient(
      this.world,
      party,
      party.connect(path?.remoteAddress ?? SERVER_ADDRESS, SERVER_PORT, options),
    )
  }

  run(durationUs: Micros): void {
    this.world.run(durationUs)
  }

  /** Runs until the condition holds; throws `LivenessError` naming the seed when it does not in time. */
  until(condition: () => boolean, options: { readonly withinUs: Micros; readonly what?: string }): void {
    this.world.until(condition, options)
  }

  timeline(...topics: readonly string[]): string {
    return this.world.timeline(...topics)
  }
}

/** Builds a scenario: `const lab = world({ seed: 7, links: { wifi: { delayUs: 8_000 } } })`. */
export function world(options: ScenarioOptions): Scenario {
  return new Scenario(options)
}
