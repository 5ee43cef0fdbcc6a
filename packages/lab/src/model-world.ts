/** The world of the path model: one client with several access links, one server, and a hand on every link. */
import type { Connection, ConnectionObserver, PathTuple, TransmitBatch } from '@quicether/transport'
import { AmplificationChecker, InitialSizeChecker } from './checkers.ts'
import type { ConnectionApp } from './connection-app.ts'
import type { Datagram } from './datagram.ts'
import type { NetworkInterface } from './host.ts'
import type { Deliver, Link } from './link.ts'
import { hex, type PacketFacts, readPacket } from './model-frames.ts'
import { SideModel } from './model-paths.ts'
import type { ModelPlan, Side, Tampering, Way } from './model-steps.ts'
import type { Nat } from './nat.ts'
import { packetLog } from './packet-log.ts'
import { Party } from './parties.ts'
import { SafetyError } from './transfers.ts'
import { World } from './world.ts'

export const SERVER_ADDRESS = '203.0.113.1'
export const SERVER_PORT = 4_433
/** Somebody who sees datagrams or changes them; holds no connection. */
const ATTACKER_ADDRESS = '192.0.2.250'
const CID_BYTES = 8
const ONE_RTT = 3

interface Rule {
  readonly how: Tampering
  left: number
}

/** One access link of the client. */
export interface ModelAccess {
  readonly link: Link
  readonly via: NetworkInterface
  readonly nat: Nat | undefined
  readonly rules: Readonly<Record<Way, Rule[]>>
}

export class ModelWorld {
  readonly world: World
  readonly accesses: readonly ModelAccess[]
  readonly parties: Readonly<Record<Side, Party>>
  readonly models: Readonly<Record<Side, SideModel>>
  readonly apps: Partial<Record<Side, ConnectionApp>> = {}
  /** Datagrams that were changed, held, copied or swallowed by command. */
  tampered = 0
  readonly #isVerbose: boolean
  readonly #pending: Readonly<Record<Side, PacketFacts[]>> = { client: [], server: [] }

  constructor(plan: ModelPlan, isVerbose: boolean) {
    this.#isVerbose = isVerbose
    const world = new World({ seed: plan.seed })
    this.world = world
    const serverHost = world.addHost('server')
    serverHost.addInterface('eth0', { addresses: [SERVER_ADDRESS], link: world.addLink('server') })
    const amplification = new AmplificationChecker(serverHost)
    const rttMinUs = 2 * Math.min(...plan.links.map(({ delayUs }) => Math.min(delayUs, 1_000)))
    const model = (side: Side): SideModel =>
      new SideModel({
        side,
        maxPaths: plan.maxPaths[side],
        activeCidLimit: plan.activeCidLimit[side],
        rttMinUs,
        now: () => world.nowUs,
        onProved: (address, port) => {
          if (side === 'server') amplification.validated(address, port)
        },
      })
    this.models = { client: model('client'), server: model('server') }
    this.models.client.peer = this.models.server
    this.models.server.peer = this.models.client
    const clientHost = world.addHost('client')
    this.accesses = plan.links.map((link, index) => this.#addAccess(clientHost, link, index))
    this.parties = { server: this.#addParty(plan, 'server'), client: this.#addParty(plan, 'client') }
    world.observe(amplification)
    world.observe(new InitialSizeChecker(serverHost))
    world.observe({
      onReceived: (host, datagram) => this.#onReceived(host === serverHost ? 'server' : 'client', datagram),
      afterStep: () => this.throwViolation(),
    })
  }

  #addAccess(host: Party['host'], link: ModelPlan['links'][number], index: number): ModelAccess {
    const { nat: kind, ...options } = link
    const { world } = this
    const nat = kind === undefined ? undefined : world.addNat({ kind, publicAddress: `198.51.100.${index + 1}` })
    const made = world.addLink(`link${index}`, options)
    const via = host.addInterface(`if${index}`, {
      addresses: [nat === undefined ? `192.0.2.${index + 2}` : `10.0.${index}.2`],
      link: made,
      ...(nat === undefined ? {} : { nat }),
    })
    const access: ModelAccess = { link: made, via, nat, rules: { up: [], down: [] } }
    for (const way of ['up', 'down'] as const) {
      const deliver = made[way].deliver as Deliver
      made[way].deliver = (datagram, nowUs) => this.#tamper(access, way, datagram, nowUs, deliver)
    }
    return access
  }

  // ---- the parties, watched

  #addParty(plan: ModelPlan, side: Side): Party {
    const party = new Party({
      host: this.world.hosts.find(({ name }) => name === side) as Party['host'],
      config: {
        idleTimeoutUs: 3_600_000_000,
        // Behind a NAT that forgets, only a client that speaks up now and then can be found again.
        keepAliveUs: side === 'client' ? 2_000_000 : 0,
        maxPaths: plan.maxPaths[side],
        activeCidLimit: plan.activeCidLimit[side],
        keyUpdatePackets: plan.keyUpdatePackets,
        mtuBytesMax: 1_252,
      },
      ...(side === 'server' ? { port: SERVER_PORT, server: {} } : {}),
      onConnection: (app) => this.#adopt(side, app),
      observe: () => this.#observer(side),
    })
    const { endpoint } = party
    const poll = endpoint.pollTransmit.bind(endpoint)
    // Packets are told before the addresses of their train are known: they are judged once it is whole.
    endpoint.pollTransmit = (out, nowUs) => {
      this.#pending[side].length = 0
      const isFilled = poll(out, nowUs)
      if (isFilled) this.#onTrain(side, out)
      return isFilled
    }
    return party
  }

  #adopt(side: Side, app: ConnectionApp): void {
    // A copy of the first packets may start a handshake that nobody finishes; the commands come after the handshake.
    if (this.apps[side] !== undefined) throw new Error(`a second connection at the ${side}`)
    this.apps[side] = app
    const model = this.models[side]
    model.connection = app.connection
    const cid = hex(app.connection.core.localCid)
    model.issued.set(cid, { pathId: 0, sequence: 0, cid })
    app.onEvent = (event) => {
      if (event.kind === 'path') model.onAppEvent(event.path, event.change)
    }
  }

  #observer(side: Side): ConnectionObserver {
    const model = this.models[side]
    const ignore = (): void => {}
    const log = this.#isVerbose ? packetLog(this.world, side) : undefined
    const judge = (act: () => void): void => {
      try {
        act()
      } catch (error) {
        model.violations.push(`${side}: ${error instanceof Error ? error.message : error}`)
      }
    }
    return {
      connectionStarted: ignore,
      packetDropped: ignore,
      packetLost: ignore,
      metricsUpdated: ignore,
      ...log,
      packetSent: (packet, bytes, start, end, nowUs) => {
        log?.packetSent(packet, bytes, start, end, nowUs)
        if (packet.level === ONE_RTT) judge(() => this.#pending[side].push(readPacket(packet, bytes, start, end)))
      },
      packetReceived: (packet, bytes, start, end, nowUs) => {
        log?.packetReceived(packet, bytes, start, end, nowUs)
        if (packet.level === ONE_RTT) judge(() => model.onReceived(readPacket(packet, bytes, start, end)))
      },
      event: (name, data, nowUs) => {
        log?.event(name, data, nowUs)
        if (name === 'path') model.onPathEvent(Number(data['path_id']), String(data['change']))
        if (name === 'internal_error') this.world.note(side, `${name} ${JSON.stringify(data)}`)
      },
    }
  }

  #onTrain(side: Side, out: TransmitBatch): void {
    const packets = this.#pending[side]
    const model = this.models[side]
    // Stateless resets and the like hold no packet of the connection.
    if (packets.length === 0) return
    // Datagrams of the handshake hold several packets.
    if (packets.length !== out.count) {
      if (model.isArmed) model.violations.push(`${side}: ${packets.length} packets in ${out.count} datagrams`)
      for (const packet of packets) for (const cid of packet.announced) model.issued.set(cid.cid, cid)
      return
    }
    packets.forEach((packet, index) => {
      const at = index * out.segmentSize + 1
      model.onSent(packet, out.tuple as PathTuple, hex(out.bytes, at, at + CID_BYTES))
    })
  }

  #onReceived(side: Side, { bytes, length, sourceAddress, sourcePort }: Datagram): void {
    if (length <= CID_BYTES || ((bytes[0] as number) & 0x80) !== 0) return
    this.models[side].onHeard(`${sourceAddress}:${sourcePort}`, hex(bytes, 1, 1 + CID_BYTES))
  }

  /** Throws what either model found; the world calls it after each event. */
  throwViolation(): void {
    const [first] = [...this.models.client.violations, ...this.models.server.violations]
    if (first !== undefined) throw new SafetyError(first)
  }

  // ---- the hand on the links

  /** Changes the next `count` datagrams. */
  tamperWith(access: ModelAccess, way: Way, count: number, how: Tampering): void {
    access.rules[way].push({ how, left: count })
  }

  #tamper(access: ModelAccess, way: Way, datagram: Datagram, nowUs: number, deliver: Deliver): void {
    const [rule] = access.rules[way]
    if (rule === undefined) return deliver(datagram, nowUs)
    if (--rule.left === 0) access.rules[way].shift()
    this.tampered++
    const { world } = this
    const { how } = rule
    if (how.kind === 'drop') return world.pool.release(datagram)
    if (how.kind === 'hold') return this.#later(how.forUs, datagram, deliver)
    if (how.kind === 'duplicate') this.#later(how.afterUs, world.pool.copy(datagram), deliver)
    if (how.kind === 'corrupt') {
      const at = Math.floor(how.at * datagram.length)
      datagram.bytes[at] = (datagram.bytes[at] as number) ^ how.mask
    }
    if (how.kind === 'spoof') return this.#forge(way, how.port, datagram, nowUs, deliver)
    if (how.kind === 'replay') {
      const copy = world.pool.copy(datagram)
      world.after(how.afterUs, () => this.#forge(way, how.port, copy, world.nowUs, deliver))
    }
    if (how.kind === 'race') {
      this.#forge(way, how.port, world.pool.copy(datagram), nowUs, deliver)
      return this.#later(how.byUs, datagram, deliver)
    }
    deliver(datagram, nowUs)
  }

  #later(delayUs: number, datagram: Datagram, deliver: Deliver): void {
    this.world.after(delayUs, () => deliver(datagram, this.world.nowUs))
  }

  /** Delivers with a source that is not its own; towards the server past the NAT, which would put its own. */
  #forge(way: Way, port: number, datagram: Datagram, nowUs: number, deliver: Deliver): void {
    datagram.sourceAddress = ATTACKER_ADDRESS
    datagram.sourcePort = port
    if (way === 'up') this.world.routeFrom(undefined, datagram, nowUs)
    else deliver(datagram, nowUs)
  }

  /** Everything works again: no rules, no cuts, all interfaces up, links as they were made. */
  heal(): void {
    for (const { link, via, rules } of this.accesses) {
      rules.up.length = 0
      rules.down.length = 0
      link.restore()
      if (!via.isUp) via.up()
    }
  }

  // ---- the two ends

  app(side: Side): ConnectionApp {
    const app = this.apps[side]
    if (app === undefined) throw new Error(`the ${side} has no connection yet`)
    return app
  }

  connection(side: Side): Connection {
    return this.app(side).connection
  }

  /** The client's addresses over one of its links, towards the server. */
  tupleOver(access: ModelAccess): PathTuple {
    const { host, driver } = this.parties.client
    return host.tuple(access.via.addresses[0] as string, driver.port, SERVER_ADDRESS, SERVER_PORT)
  }

  /** The address under which a local address of the client is known outside. */
  publicAddress(localAddress: string): string {
    const access = this.accesses.find(({ via }) => via.addresses.includes(localAddress))
    return access?.nat?.publicAddress ?? localAddress
  }
}
