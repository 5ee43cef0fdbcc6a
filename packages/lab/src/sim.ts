/** One seed, one run: a storm of traffic and faults with safety checked all along, then calm, in which all must finish. */
import type { Connection, ConnectionObserver, Micros } from '@quicether/transport'
import { createSeededRandom } from '@quicether/transport/testing'
import { AmplificationChecker, InitialSizeChecker } from './checkers.ts'
import { type ConnectionApp, describeClose } from './connection-app.ts'
import { FaultSwarm } from './faults.ts'
import type { Host, NetworkInterface } from './host.ts'
import { inspectConnection } from './inspection.ts'
import { packetLog } from './packet-log.ts'
import { fakePartyCrypto, Party, type PartyCryptoFactory } from './parties.ts'
import { type ClientPlan, drawPlan, type SimPlan } from './sim-plan.ts'
import { SafetyError } from './transfers.ts'
import { World } from './world.ts'

export interface SimOptions {
  /** Replaces the toy cryptography; the run is then not repeatable byte for byte. */
  readonly createCrypto?: PartyCryptoFactory
  /** Writes every packet into the timeline (slower). */
  readonly isVerbose?: boolean
}

export interface SimReport {
  readonly seed: number
  /** Fingerprint of every datagram and its time. */
  readonly digest: string
  readonly virtualUs: Micros
  readonly steps: number
  readonly datagrams: number
  readonly bytes: number
  readonly transfers: number
  readonly faults: number
  readonly connections: number
  /** Paths that clients opened besides the first one, and closed again. */
  readonly pathsOpened: number
  readonly pathsClosed: number
  readonly failure: string | undefined
  /** Last lines of the timeline when the run failed, all of it when it was verbose. */
  readonly timeline: string
}

const SERVER_ADDRESS = '203.0.113.1'
const SERVER_ADDRESS_IPV6 = '2001:db8:ffff::1'
const SERVER_PORT = 4_433
/** After the storm, everything must finish within this. */
const CALM_US = 240_000_000
/** Connections must be gone this long after they were closed: an idle timeout and some. */
const DRAIN_US = 400_000_000
/** Steps between two looks at the engine's own figures. */
const INSPECT_EVERY = 64

export function runSeed(seed: number, options: SimOptions = {}): SimReport {
  const simulation = new Simulation(seed, options)
  let failure: string | undefined
  try {
    simulation.run()
  } catch (error) {
    failure = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    if (error instanceof Error && !(error instanceof SafetyError)) failure += `\n${error.stack ?? ''}`
  }
  return simulation.report(failure)
}

interface ClientSide {
  readonly plan: ClientPlan
  readonly host: Host
  readonly party: Party
  readonly interfaces: readonly NetworkInterface[]
  readonly apps: ConnectionApp[]
  isVanished: boolean
}

class Simulation {
  readonly #seed: number
  readonly #options: SimOptions
  readonly #plan: SimPlan
  readonly #world: World
  #server: Party
  readonly #serverHost: Host
  #restarts = 0
  #vanished = 0
  readonly #clients: ClientSide[] = []
  readonly #faults: FaultSwarm
  readonly #amplification: AmplificationChecker
  readonly #serverApps: ConnectionApp[] = []
  #connections = 0
  #transfersDone = 0
  #pathsOpened = 0
  #pathsClosed = 0
  #isOver = false
  #failure: SafetyError | undefined

  constructor(seed: number, options: SimOptions) {
    this.#seed = seed
    this.#options = options
    const random = createSeededRandom(seed)
    const plan = drawPlan(random.fork('plan'))
    this.#plan = plan
    const world = new World({ seed })
    this.#world = world
    const host = world.addHost('server')
    host.addInterface('eth0', {
      addresses: [SERVER_ADDRESS, SERVER_ADDRESS_IPV6],
      link: world.addLink('server', plan.serverLink),
    })
    this.#serverHost = host
    this.#server = this.#createServer()
    plan.clients.forEach((client, index) => this.#addClient(client, index))
    this.#faults = new FaultSwarm(world, {
      links: world.links,
      nats: world.nats,
      interfaces: this.#clients.flatMap(({ interfaces }) => interfaces),
      sleepers: [
        { suspend: () => this.#server.driver.suspend(), resume: () => this.#server.driver.resume() },
        ...this.#clients.map(({ party }) => party.driver),
      ],
      canRebind: () =>
        this.#clients.every(
          ({ apps, isVanished }) =>
            isVanished || (apps.length > 0 && apps.every((app) => app.isConfirmed || app.closed !== undefined)),
        ),
    })
    this.#faults.schedule(random.fork('faults'), {
      startUs: world.nowUs,
      endUs: world.nowUs + plan.faultsEndUs,
      count: plan.faults,
      outageUsMax: 4_000_000,
    })
    this.#amplification = new AmplificationChecker(host)
    world.observe(this.#amplification)
    world.observe(new InitialSizeChecker(host))
    world.observe({ afterStep: () => this.#inspect() })
  }

  #createServer(): Party {
    const plan = this.#plan
    return new Party({
      host: this.#serverHost,
      port: SERVER_PORT,
      incarnation: this.#restarts,
      createCrypto: this.#options.createCrypto ?? fakePartyCrypto(plan),
      config: plan.serverConfig,
      server: { retry: plan.retry },
      receiveDelayUs: plan.serverReceiveDelayUs,
      onConnection: (app) => this.#onServerConnection(app),
      observe: () => this.#observer('server'),
    })
  }

  /** Power off; a while later the server is back and knows nobody (RFC 9000 §10.3). */
  #scheduleRestart(): void {
    const { restart } = this.#plan
    if (restart === undefined) return
    this.#world.after(restart.afterUs, () => {
      this.#world.note('phase', 'server crashes')
      this.#server.driver.stop()
      this.#serverApps.length = 0
    })
    this.#world.after(restart.afterUs + restart.pauseUs, () => {
      this.#world.note('phase', 'server is back')
      this.#restarts++
      this.#server = this.#createServer()
    })
  }

  #vanish(side: ClientSide): void {
    this.#world.note('phase', `${side.host.name} vanishes`)
    this.#vanished++
    side.isVanished = true
    side.party.driver.stop()
  }

  #addClient(plan: ClientPlan, index: number): void {
    const world = this.#world
    const host = world.addHost(`client${index}`)
    const interfaces = [plan.link, plan.secondLink].flatMap((options, number) => {
      if (options === undefined) return []
      const nat =
        plan.nat === undefined
          ? undefined
          : world.addNat({ kind: plan.nat, publicAddress: `198.51.100.${1 + 2 * index + number}` })
      const address = plan.isIpv6
        ? `2001:db8:${index}:${number}::2`
        : nat === undefined
          ? `192.0.2.${10 * index + number + 2}`
          : `10.${index}.${number}.2`
      const link = world.addLink(`${host.name}-${number}`, options)
      return [host.addInterface(`if${number}`, { addresses: [address], link, ...(nat === undefined ? {} : { nat }) })]
    })
    const { clientHelloBytesMin } = plan
    const party = new Party({
      host,
      createCrypto: this.#options.createCrypto ?? fakePartyCrypto({ clientHelloBytesMin }),
      config: plan.config,
      receiveDelayUs: plan.receiveDelayUs,
      datagramsMax: plan.datagramsMax,
      observe: () => this.#observer(host.name),
    })
    const side: ClientSide = { plan, host, party, interfaces, apps: [], isVanished: false }
    this.#clients.push(side)
    world.after(0, () => this.#connect(side, false))
    if (plan.vanishesAfterUs !== undefined) world.after(plan.vanishesAfterUs, () => this.#vanish(side))
  }

  #connect(side: ClientSide, earlyData: boolean): void {
    const { plan, party, apps } = side
    if (side.isVanished) return
    const address = plan.isIpv6 ? SERVER_ADDRESS_IPV6 : SERVER_ADDRESS
    // Interfaces may be down just now: a person would try again.
    if (side.host.defaultAddress(address) === undefined) {
      this.#world.after(100_000, () => this.#connect(side, earlyData))
      return
    }
    const app = party.connect(address, SERVER_PORT, { earlyData })
    const isFirst = apps.length === 0
    apps.push(app)
    this.#connections++
    app.onEvent = (event) => {
      if (event.kind === 'closed') this.#onClientClosed(side, app)
      if (event.kind === 'confirmed' && isFirst && plan.reconnects)
        this.#world.after(200_000, () => this.#connect(side, true))
    }
    for (const { plan: transfer, afterUs, byServer } of plan.transfers) {
      if (byServer) continue
      this.#world.after(isFirst ? afterUs : afterUs / 10, () => {
        if (!app.connection.isClosed) app.transfer(transfer)
      })
    }
    for (const { lengthBytes, afterUs, byServer } of plan.datagrams) {
      if (!byServer) this.#world.after(afterUs, () => app.sendDatagram(lengthBytes))
    }
    for (const { kind, afterUs, byServer } of plan.actions) {
      if (!byServer) this.#world.after(afterUs, () => this.#act(app, kind, side))
    }
  }

  /** The server does its share of the plan on each connection, by the plan of a client picked in turn. */
  #onServerConnection(app: ConnectionApp): void {
    this.#serverApps.push(app)
    const { plan } = this.#clients[this.#serverApps.length % this.#clients.length] as ClientSide
    app.onEvent = (event) => {
      if (event.kind === 'closed') this.#onClosed(app)
      if (event.kind !== 'connected') return
      for (const { plan: transfer, afterUs, byServer } of plan.transfers) {
        if (!byServer) continue
        this.#world.after(afterUs, () => {
          if (!app.connection.isClosed) app.transfer(transfer)
        })
      }
      for (const { lengthBytes, afterUs, byServer } of plan.datagrams) {
        if (byServer) this.#world.after(afterUs, () => app.sendDatagram(lengthBytes))
      }
      for (const { kind, afterUs, byServer } of plan.actions) {
        if (byServer) this.#world.after(afterUs, () => this.#act(app, kind, undefined))
      }
    }
  }

  #act(app: ConnectionApp, kind: ClientPlan['actions'][number]['kind'], side: ClientSide | undefined): void {
    const { connection } = app
    if (!app.isConfirmed || connection.isClosed || this.#isOver) return
    if (kind === 'update-keys') connection.updateKeys()
    else if (kind === 'rotate-cid') connection.rotateCid()
    else if (kind === 'path-status') togglePathStatus(connection)
    else if (side !== undefined) this.#actOnPaths(app, kind, side)
    this.#world.note('action', `${app.name} ${kind}`)
  }

  #actOnPaths(app: ConnectionApp, kind: 'migrate' | 'open-path' | 'close-path', side: ClientSide): void {
    const { connection } = app
    const { nowUs } = this.#world
    if (kind === 'close-path') {
      const id = closablePath(connection)
      if (id === undefined) return
      connection.closePath(id, nowUs)
      this.#pathsClosed++
      return
    }
    const [path] = connection.paths()
    const isElsewhere = (each: NetworkInterface): boolean => each.isUp && each.addresses[0] !== path?.localAddress
    // Two paths may also share one pair of addresses (RFC 10069 §1: a path is known by its ID).
    const target = side.interfaces.find(isElsewhere) ?? (kind === 'open-path' ? side.interfaces[0] : undefined)
    const address = target?.addresses[0]
    if (path === undefined || address === undefined) return
    const tuple = side.host.tuple(address, side.party.driver.port, path.remoteAddress, path.remotePort)
    if (kind === 'migrate') connection.migrate(tuple, nowUs)
    else if (connection.openPath(tuple, {}, nowUs) !== undefined) this.#pathsOpened++
  }

  /** After a crash of the server, clients learn by stateless reset or silence that it forgot them, and start over. */
  #onClientClosed(side: ClientSide, app: ConnectionApp): void {
    const kind = app.closed?.kind
    const isForgotten = this.#plan.restart !== undefined && !this.#isOver && (kind === 'reset' || kind === 'idle')
    if (!isForgotten) return this.#onClosed(app)
    this.#transfersDone += app.transfersDone
    this.#world.after(100_000, () => this.#connect(side, true))
  }

  /** A connection may only end when the run is over, or before it was one. */
  #onClosed(app: ConnectionApp): void {
    this.#transfersDone += app.transfersDone
    if (this.#isOver) return
    const reason = app.closed
    if (reason === undefined) return
    // A duplicate of a client's first packet makes a server start a handshake that nobody finishes.
    const isServerSide = this.#serverApps.includes(app)
    if (isServerSide && !app.isConnected) return
    // Of a client without power nothing is heard until the idle timeout.
    if (isServerSide && this.#vanished > 0 && reason.kind === 'idle') return
    // A flipped bit turns version 1 into version 0, Version Negotiation, which nothing authenticates.
    if (
      reason.kind === 'version' &&
      this.#world.links.some(({ up, down }) => up.stats.corrupted + down.stats.corrupted > 0)
    )
      return
    this.#failure ??= new SafetyError(`${app.name} closed during the run: ${describeClose(reason)}`)
  }

  /** Tells the checker, which cannot read path validation on the wire, what the server holds for validated. */
  #noteValidated(): void {
    for (const connection of this.#server.apps.keys()) {
      for (const path of connection.paths()) {
        if (path.isValidated) this.#amplification.validated(path.remoteAddress, path.remotePort)
      }
    }
  }

  /** Safety of what the engine says of itself, now and then; failures noted by callbacks, at once. */
  #inspect(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#world.steps % INSPECT_EVERY !== 0) return
    for (const connection of this.#server.apps.keys()) inspectConnection(connection)
    for (const { party } of this.#clients) for (const connection of party.apps.keys()) inspectConnection(connection)
  }

  run(): void {
    const world = this.#world
    this.#scheduleRestart()
    world.run(this.#plan.faultsEndUs)
    if (this.#faults.active > 0) throw new Error('faults outlived the storm')
    world.note('phase', 'calm')
    world.until(() => this.#isFinished(), { withinUs: CALM_US, what: 'the end of all transfers' })
    // Let what is still in the air land: late acknowledgments, tickets, probes.
    world.run(2_000_000)
    this.#close()
    world.until(() => this.#openConnections() === 0, {
      withinUs: DRAIN_US,
      what: 'the end of all connections',
    })
    // The last datagrams may still be answered, by stateless resets that get shorter and shorter.
    for (let rounds = 0; rounds < 20; rounds++) {
      world.until(() => world.pool.inUse === 0, { withinUs: 60_000_000, what: 'the landing of the last datagrams' })
      world.run(1_000_000)
    }
    this.#checkLeaks()
  }

  #openConnections(): number {
    let open = this.#server.apps.size
    for (const { party, isVanished } of this.#clients) if (!isVanished) open += party.apps.size
    return open
  }

  #isFinished(): boolean {
    for (const { apps, plan, isVanished } of this.#clients) {
      if (isVanished) continue
      if (apps.at(-1)?.closed !== undefined && this.#plan.restart !== undefined) return false
      if (apps.length < (plan.reconnects ? 2 : 1) && apps[0]?.closed === undefined) return false
      for (const app of apps) if (!isSettled(app)) return false
    }
    for (const app of this.#serverApps) if (app.isConnected && !isSettled(app)) return false
    return true
  }

  #close(): void {
    this.#isOver = true
    this.#world.note('phase', 'close')
    for (const { apps, plan } of this.#clients)
      if (!plan.closesByServer) for (const app of apps) app.connection.close(0, 'done')
    const isServersTurn = this.#clients.some(({ plan }) => plan.closesByServer)
    if (isServersTurn) for (const app of this.#serverApps) if (app.closed === undefined) app.connection.close(0, 'done')
    // Clients whose server never finished its handshake with them have nobody who closes.
    this.#world.after(1_000_000, () => {
      for (const { apps } of this.#clients)
        for (const app of apps) if (app.closed === undefined) app.connection.close(0, 'done')
    })
  }

  #checkLeaks(): void {
    const living = this.#clients.filter(({ isVanished }) => !isVanished).map(({ party }) => party)
    for (const party of [this.#server, ...living]) {
      const { fake } = party.crypto
      if (party.endpoint.connectionCount !== 0)
        throw new SafetyError(`${party.host.name}: the endpoint still holds connections`)
      const { routeCount } = party.endpoint
      if (routeCount !== 0)
        throw new SafetyError(`${party.host.name}: ${routeCount} connection IDs or reset tokens of nobody`)
      if (party.endpoint.pollTimeout() !== Infinity)
        throw new SafetyError(`${party.host.name}: a timer outlived all connections`)
      if (fake !== undefined && (fake.openKeys() !== 0 || fake.openSpaces() !== 0)) {
        throw new SafetyError(
          `${party.host.name}: ${fake.openKeys()} keys and ${fake.openSpaces()} packet number spaces were never closed`,
        )
      }
    }
    if (this.#world.pool.inUse !== 0) throw new SafetyError(`${this.#world.pool.inUse} datagrams were never released`)
  }

  #observer(owner: string): ConnectionObserver | null {
    const world = this.#world
    const log = this.#options.isVerbose === true ? packetLog(world, owner) : undefined
    const ignore = (): void => {}
    return {
      connectionStarted: ignore,
      packetSent: ignore,
      packetReceived: ignore,
      packetDropped: ignore,
      packetLost: ignore,
      metricsUpdated: ignore,
      ...log,
      event: (name, data, nowUs) => {
        // The event comes while the path still is where it was validated.
        if (name === 'path' && owner === 'server') this.#noteValidated()
        if (log !== undefined) log.event(name, data, nowUs)
        else if (name === 'internal_error') world.note(owner, `${name} ${JSON.stringify(data)}`)
      },
    }
  }

  report(failure: string | undefined): SimReport {
    const world = this.#world
    const apps = [...this.#clients.flatMap((side) => side.apps), ...this.#serverApps]
    const states = apps.map((app) => `${app.describe()}\n    ${figures(app.connection)}`).join('\n')
    const isVerbose = this.#options.isVerbose === true
    return {
      seed: this.#seed,
      digest: world.digest.hex(),
      virtualUs: world.nowUs,
      steps: world.steps,
      datagrams: world.digest.datagrams,
      bytes: world.digest.bytes,
      transfers: this.#transfersDone,
      faults: this.#faults.begun,
      connections: this.#connections,
      pathsOpened: this.#pathsOpened,
      pathsClosed: this.#pathsClosed,
      failure,
      timeline:
        failure === undefined && !isVerbose
          ? ''
          : `${isVerbose ? world.timeline() : world.timelineTail(40)}\n${states}`,
    }
  }
}

function isSettled(app: ConnectionApp): boolean {
  app.sweep()
  return app.closed !== undefined || (app.isConnected && app.isIdle)
}

/** The engine's own figures, for people who look for the reason of a failure. */
function figures(connection: Connection): string {
  return JSON.stringify({ ...connection.stats(), paths: connection.paths() }, undefined, 1).replaceAll(/\s+/g, ' ')
}

/** A path that may go because another one works: the newest, or path 0 when its turn comes. */
function closablePath(connection: Connection): number | undefined {
  const open = connection.core.paths.paths.filter((path) => !path.isAbandoned)
  const works = open.filter((path) => path.isUsable() && !path.isSuspect())
  const victim = (connection.core.counters.packetsSent % 3 === 0 ? open[0] : open.at(-1)) as (typeof open)[number]
  return works.some((path) => path !== victim) ? victim.id : undefined
}

function togglePathStatus(connection: Connection): void {
  const path = connection.core.paths.paths.at(-1)
  if (path !== undefined) connection.setPathStatus(path.id, path.status === 'backup' ? 'available' : 'backup')
}
