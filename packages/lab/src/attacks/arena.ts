/** A victim, honest clients and attackers on a perfect network of 10 ms: every datagram passes through one place. */
import {
  type Connection,
  type ConnectionEvent,
  createTransmitBatch,
  createTuple,
  type DatagramBatch,
  Endpoint,
  type EndpointOptions,
  NEVER,
  type PathTuple,
  type StreamId,
  type TransportConfig,
} from '@quicether/transport'
import {
  createFakeCrypto,
  createFakeTls,
  createSeededRandom,
  type FakeCryptoOptions,
} from '@quicether/transport/testing'
import { HeaderStatus, HeaderView, PacketType, Version } from '@quicether/wire'
import { TaskHeap } from '../heap.ts'
import { RawPeer } from './raw-peer.ts'
import { type SpyCrypto, spyOn } from './spy-crypto.ts'

export const DELAY_US = 10_000
const SLAB_BYTES = 65_536
const BATCH_MAX = 64
/** Loop iterations at one instant after which an endpoint is considered to spin. */
const SPINS_MAX = 100_000

/** Somebody with an address on the network. */
export interface Station {
  receive(bytes: Uint8Array, from: string, to: string): void
}

/** What crossed the network between two addresses, in one direction. */
export interface Flow {
  datagrams: number
  bytes: number
}

export class Arena {
  nowUs = 1_000_000
  readonly #heap: TaskHeap = new TaskHeap()
  readonly #stations: Map<string, Station> = new Map()
  readonly #flows: Map<string, Flow> = new Map()
  /** Told of every datagram as it is sent; for sniffing. */
  onDatagram: ((bytes: Uint8Array, from: string, to: string) => void) | undefined

  /** Microseconds that a datagram takes beyond the usual delay; overtaking is possible. */
  jitter: (() => number) | undefined

  attach(address: string, station: Station): void {
    this.#stations.set(address, station)
  }

  detach(address: string): void {
    this.#stations.delete(address)
  }

  /** Puts a copy of `bytes` on the wire; `from` may be a lie. */
  send(bytes: Uint8Array, from: string, to: string): void {
    const flow = this.flow(from, to)
    flow.datagrams += 1
    flow.bytes += bytes.length
    const copy = bytes.slice()
    this.onDatagram?.(copy, from, to)
    this.at(this.nowUs + DELAY_US + (this.jitter?.() ?? 0), () => this.#stations.get(to)?.receive(copy, from, to))
  }

  flow(from: string, to: string): Flow {
    const key = `${from}>${to}`
    let flow = this.#flows.get(key)
    if (flow === undefined) {
      flow = { datagrams: 0, bytes: 0 }
      this.#flows.set(key, flow)
    }
    return flow
  }

  at(atUs: number, action: () => void): void {
    this.#heap.push(Math.max(atUs, this.nowUs), { run: action })
  }

  run(durationUs: number): void {
    const endUs = this.nowUs + durationUs
    while (this.#heap.nextUs() <= endUs) this.#step()
    this.nowUs = endUs
  }

  /** Runs until `condition` holds; throws when it does not within `withinUs`. */
  until(condition: () => boolean, withinUs: number, what: string): void {
    const endUs = this.nowUs + withinUs
    while (!condition()) {
      if (this.#heap.nextUs() > endUs) throw new Error(`${what}: not within ${withinUs / 1e6} s of virtual time`)
      this.#step()
    }
  }

  #step(): void {
    this.nowUs = Math.max(this.nowUs, this.#heap.nextUs())
    this.#heap.pop()?.run(this.nowUs)
  }
}

/** An endpoint at one address, driven as a real driver would: input, transmit, events, timer. */
export class Node implements Station {
  readonly arena: Arena
  readonly address: string
  readonly endpoint: Endpoint
  readonly crypto: SpyCrypto
  readonly connections: Set<Connection> = new Set()
  eventsSeen = 0
  onConnectionEvent: ((connection: Connection, event: ConnectionEvent) => void) | undefined
  #isFrozen = false
  readonly #tuples: Map<string, PathTuple> = new Map()
  readonly #slab: Uint8Array = new Uint8Array(SLAB_BYTES)
  readonly #batch: DatagramBatch
  readonly #out = createTransmitBatch(new Uint8Array(SLAB_BYTES), BATCH_MAX)
  #timerAtUs = NEVER
  #isDrivePending = false
  #filledBytes = 0

  constructor(arena: Arena, address: string, options: NodeOptions) {
    this.arena = arena
    this.address = address
    this.crypto = spyOn(createFakeCrypto(options.seed, options.crypto ?? {}))
    const tls = createFakeTls({
      crypto: this.crypto,
      seed: options.seed,
      certificateBytes: options.certificateBytes ?? 2_500,
    })
    const common = {
      crypto: this.crypto,
      random: createSeededRandom(options.seed).fork('endpoint'),
      config: options.config ?? {},
      onReady: () => this.#scheduleDrive(),
    }
    const endpointOptions: EndpointOptions =
      options.isServer === true ? { ...common, server: { tls: tls.server, ...options.server } } : common
    this.endpoint = new Endpoint(endpointOptions)
    this.tlsClient = tls.client
    this.#batch = {
      bytes: this.#slab,
      offsets: new Int32Array(BATCH_MAX),
      lengths: new Int32Array(BATCH_MAX),
      ecns: new Uint8Array(BATCH_MAX),
      tuples: [],
      count: 0,
    }
    arena.attach(address, this)
  }

  readonly tlsClient: ReturnType<typeof createFakeTls>['client']

  tuple(remote: string): PathTuple {
    let tuple = this.#tuples.get(remote)
    if (tuple === undefined) {
      const [localAddress, localPort] = split(this.address)
      const [remoteAddress, remotePort] = split(remote)
      tuple = createTuple({ localAddress, localPort, remoteAddress, remotePort, interfaceIndex: 0, socket: 0 })
      this.#tuples.set(remote, tuple)
    }
    return tuple
  }

  /** Stops driving the endpoint for ever: somebody else speaks for it now. */
  freeze(): void {
    this.#isFrozen = true
  }

  connect(remote: string): Connection {
    const connection = this.endpoint.connect(
      { tls: this.tlsClient, serverName: 'victim.test', alpn: ['test'], tuple: this.tuple(remote) },
      this.arena.nowUs,
    )
    this.connections.add(connection)
    this.#drive()
    return connection
  }

  receive(bytes: Uint8Array, from: string): void {
    if (this.#isFrozen) return
    if (this.#batch.count === BATCH_MAX || this.#filledBytes + bytes.length > SLAB_BYTES) this.#drive()
    const at = this.#batch.count
    this.#slab.set(bytes, this.#filledBytes)
    this.#batch.offsets[at] = this.#filledBytes
    this.#batch.lengths[at] = bytes.length
    this.#batch.ecns[at] = 0
    this.#batch.tuples[at] = this.tuple(from)
    this.#batch.count += 1
    this.#filledBytes += bytes.length
    this.#scheduleDrive()
  }

  #scheduleDrive(): void {
    if (this.#isDrivePending) return
    this.#isDrivePending = true
    this.arena.at(this.arena.nowUs, () => {
      this.#isDrivePending = false
      this.#drive()
    })
  }

  #drive(): void {
    if (this.#isFrozen) return
    const { endpoint, arena } = this
    if (this.#batch.count > 0) {
      endpoint.handleDatagrams(this.#batch, arena.nowUs)
      this.#batch.count = 0
      this.#filledBytes = 0
    }
    let spins = 0
    while (endpoint.pollTimeout() <= arena.nowUs) {
      endpoint.handleTimeout(arena.nowUs)
      this.#flush()
      if (++spins > SPINS_MAX) throw new Error(`the endpoint at ${this.address} spins at ${arena.nowUs} us`)
    }
    this.#flush()
    this.#arm()
  }

  #flush(): void {
    const { endpoint, arena } = this
    for (;;) {
      let progress = false
      while (endpoint.pollTransmit(this.#out, arena.nowUs)) {
        progress = true
        this.#transmit()
      }
      for (let event = endpoint.pollEvent(); event !== undefined; event = endpoint.pollEvent()) {
        progress = true
        this.eventsSeen += 1
        if (event.kind === 'incoming') this.connections.add(event.connection)
        else if (event.kind === 'drained') this.connections.delete(event.connection)
        else this.onConnectionEvent?.(event.connection, event.event)
      }
      if (!progress) return
    }
  }

  #transmit(): void {
    const { bytes, length, segmentSize, tuple } = this.#out
    if (tuple === undefined) throw new Error('a train without a tuple')
    const to = `${tuple.remoteAddress}:${tuple.remotePort}`
    for (let at = 0; at < length; at += segmentSize) {
      this.arena.send(bytes.subarray(at, Math.min(length, at + segmentSize)), this.address, to)
    }
  }

  #arm(): void {
    const atUs = this.endpoint.pollTimeout()
    if (atUs === NEVER || atUs >= this.#timerAtUs) return
    this.#timerAtUs = atUs
    this.arena.at(atUs, () => {
      if (this.#timerAtUs === atUs) this.#timerAtUs = NEVER
      this.#drive()
    })
  }
}

export interface NodeOptions {
  readonly seed: number
  readonly isServer?: boolean
  readonly config?: Partial<TransportConfig>
  readonly server?: Partial<NonNullable<EndpointOptions['server']>>
  readonly crypto?: FakeCryptoOptions
  readonly certificateBytes?: number
}

function split(address: string): [string, number] {
  const at = address.lastIndexOf(':')
  return [address.slice(0, at), Number(address.slice(at + 1))]
}

export const VICTIM = '10.0.0.1:443'

/** The server side of a tiny protocol: a request is four bytes, the number of bytes wanted in return. */
export class Responder {
  readonly node: Node
  requests = 0
  bytesRead = 0
  streamsReset = 0
  /** Leaves everything unread when false. */
  isReading = true
  /** Streams opened by peers whose end the application has not seen. */
  readonly open: Set<string> = new Set()
  readonly #pending: Map<
    string,
    { connection: Connection; id: StreamId; left: number; asked: number; got: number; isReady: boolean }
  > = new Map()

  constructor(node: Node) {
    this.node = node
    node.onConnectionEvent = (connection, event) => this.#onEvent(connection, event)
  }

  #key(connection: Connection, id: StreamId): string {
    let number = this.#numbers.get(connection)
    if (number === undefined) {
      number = this.#numbers.size
      this.#numbers.set(connection, number)
    }
    return `${number}/${id}`
  }

  readonly #numbers: Map<Connection, number> = new Map()

  #onEvent(connection: Connection, event: ConnectionEvent): void {
    if (event.kind === 'streamOpened') {
      const key = this.#key(connection, event.id)
      this.open.add(key)
      this.#pending.set(key, { connection, id: event.id, left: 0, asked: 0, got: 0, isReady: false })
    } else if (event.kind === 'readable' && this.isReading) this.#read(connection, event.id)
    else if (event.kind === 'writable') this.#write(this.#key(connection, event.id))
    else if (event.kind === 'streamReset') {
      this.streamsReset += 1
      const key = this.#key(connection, event.id)
      this.open.delete(key)
      this.#pending.delete(key)
      if ((event.id & 2) === 0) connection.reset(event.id, 0)
    } else if (event.kind === 'streamStopped') this.#pending.delete(this.#key(connection, event.id))
    else if (event.kind === 'closed') this.#forget(connection)
  }

  #forget(connection: Connection): void {
    for (const [key, state] of this.#pending) if (state.connection === connection) this.#pending.delete(key)
    const prefix = `${this.#numbers.get(connection) ?? -1}/`
    for (const key of this.open) if (key.startsWith(prefix)) this.open.delete(key)
  }

  #read(connection: Connection, id: StreamId): void {
    const key = this.#key(connection, id)
    const state = this.#pending.get(key)
    const status = connection.read(id, (chunk) => {
      this.bytesRead += chunk.length
      if (state === undefined) return
      for (const byte of chunk)
        if (state.got < 4) {
          state.asked = state.asked * 256 + byte
          state.got += 1
        }
    })
    if (status !== 'finished') return
    this.open.delete(key)
    if (state === undefined || (id & 2) !== 0) return
    this.requests += 1
    state.left = state.asked
    state.isReady = true
    this.#write(key)
  }

  #write(key: string): void {
    const state = this.#pending.get(key)
    // An event of before the end may still be read after it.
    if (state === undefined || !state.isReady || state.connection.isClosed) return
    while (state.left > 0) {
      const wanted = Math.min(state.left, CHUNK_BYTES)
      // A chunk of its own each time, as bodies from elsewhere are.
      const accepted = state.connection.write(state.id, new Uint8Array(wanted))
      state.left -= accepted
      if (accepted < wanted) return
    }
    state.connection.finish(state.id)
    this.#pending.delete(key)
  }
}

const CHUNK_BYTES = 16_384

/** An honest client that downloads through the tiny protocol. */
export class Downloader {
  readonly node: Node
  readonly connection: Connection
  isConnected = false
  closed: string | undefined
  finished = 0
  bytes = 0
  readonly #wanted: number[] = []

  constructor(node: Node, remote: string = VICTIM) {
    this.node = node
    node.onConnectionEvent = (_connection, event) => this.#onEvent(event)
    this.connection = node.connect(remote)
  }

  /** Asks for `bytes`; several may run at once. */
  download(bytes: number): void {
    this.#wanted.push(bytes)
    this.#open()
  }

  #open(): void {
    while (this.isConnected && this.#wanted.length > 0) {
      const id = this.connection.openStream('bidirectional')
      if (id === undefined) return
      const bytes = this.#wanted.shift() ?? 0
      const request = new Uint8Array([bytes >>> 24, bytes >>> 16, bytes >>> 8, bytes])
      this.connection.write(id, request)
      this.connection.finish(id)
    }
  }

  #onEvent(event: ConnectionEvent): void {
    if (event.kind === 'connected') {
      this.isConnected = true
      this.#open()
    } else if (event.kind === 'streamsAvailable') this.#open()
    else if (event.kind === 'closed') this.closed = JSON.stringify(event.reason)
    else if (event.kind === 'readable') {
      const status = this.connection.read(event.id, (chunk) => {
        this.bytes += chunk.length
      })
      if (status === 'finished') this.finished += 1
    }
  }
}

/** Sniffs what two addresses call themselves in long headers. */
export class Sniffer {
  /** Newest source connection ID seen from an address towards another. */
  readonly #scids: Map<string, Uint8Array> = new Map()
  readonly #header: HeaderView = new HeaderView()

  constructor(arena: Arena) {
    arena.onDatagram = (bytes, from, to) => this.#look(bytes, from, to)
  }

  scid(from: string, to: string): Uint8Array {
    const cid = this.#scids.get(`${from}>${to}`)
    if (cid === undefined) throw new Error(`no long header seen from ${from} to ${to}`)
    return cid
  }

  #look(bytes: Uint8Array, from: string, to: string): void {
    const header = this.#header
    if (header.parse(bytes, 0, bytes.length, 0) !== HeaderStatus.Ok) return
    if (header.type === PacketType.OneRtt || header.type === PacketType.Retry || header.version === Version.Negotiation)
      return
    this.#scids.set(`${from}>${to}`, bytes.slice(header.scidOffset, header.scidOffset + header.scidLength))
  }
}

/** Lets an honest client at `address` connect, then puts an attacker in its place. */
export function takeOver(
  arena: Arena,
  sniffer: Sniffer,
  address: string,
  options: NodeOptions,
): { peer: RawPeer; connection: Connection } {
  const node = new Node(arena, address, options)
  let isConfirmed = false
  node.onConnectionEvent = (_connection, event) => {
    if (event.kind === 'confirmed') isConfirmed = true
    if (event.kind === 'closed') throw new Error(`the attacker could not connect: ${JSON.stringify(event.reason)}`)
  }
  const connection = node.connect(VICTIM)
  arena.until(() => isConfirmed, 5_000_000, 'handshake of the attacker')
  arena.run(500_000)
  node.freeze()
  const dcid = sniffer.scid(VICTIM, address)
  const cidLength = sniffer.scid(address, VICTIM).length
  const peer = new RawPeer(node.crypto, dcid, cidLength, (bytes) => arena.send(bytes, address, VICTIM))
  arena.attach(address, { receive: (bytes) => peer.receive(bytes) })
  return { peer, connection }
}
