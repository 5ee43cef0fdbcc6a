/** Two endpoints joined by a virtual wire with fake cryptography: the smallest world an engine test needs. */
import type { TransportConfig } from '../config.ts'
import type { Connection } from '../connection.ts'
import { type ConnectOptions, Endpoint, type EndpointOptions, type ServerOptions } from '../endpoint/endpoint.ts'
import type { ConnectionEvent } from '../events.ts'
import { NEVER, type PathTuple, createTransmitBatch, createTuple } from '../ports/datagrams.ts'
import { type FakeCrypto, createFakeCrypto } from './fake-crypto.ts'
import { type FakeTls, type FakeTlsOptions, createFakeTls } from './fake-tls.ts'
import { createSeededRandom } from './random.ts'

/** A datagram on the wire; a filter may change, drop (return false) or delay it. */
export interface WireDatagram {
  readonly from: 'client' | 'server'
  bytes: Uint8Array
  /** As the sender sees it. */
  tuple: PathTuple
  ecn: number
  atUs: number
}

export interface PairOptions {
  readonly delayUs?: number
  readonly client?: Partial<TransportConfig>
  readonly server?: Partial<TransportConfig>
  readonly accept?: Partial<Omit<ServerOptions, 'tls'>>
  readonly tlsServer?: Partial<Omit<FakeTlsOptions, 'crypto' | 'seed'>>
  readonly tlsClient?: Partial<Omit<FakeTlsOptions, 'crypto' | 'seed'>>
  readonly connect?: Partial<ConnectOptions>
  readonly seed?: number
  readonly observe?: EndpointOptions['observe']
  readonly datagramsMax?: number
  /** Further options of the server's endpoint. */
  readonly serverEndpoint?: Pick<EndpointOptions, 'connectionIds' | 'onUnrouted' | 'epochOffsetUs'>
  /** Puts something between an endpoint and its cryptography, such as a `Forger`. */
  readonly wrapCrypto?: (side: 'client' | 'server', crypto: FakeCrypto) => FakeCrypto
  /** Changes the transport parameters that a side sends; none at all leaves the extension out. */
  readonly parametersOf?: (side: 'client' | 'server', parameters: Uint8Array) => Uint8Array
}

export type WireFilter = (datagram: WireDatagram) => boolean

const CLIENT_ADDRESS = '10.0.0.1'
const SERVER_ADDRESS = '10.0.0.2'

/** Tuple of the client; `port` and `address` change to play a rebinding or a migration. */
export function clientTuple(port = 40_000, address: string = CLIENT_ADDRESS): PathTuple {
  return createTuple({
    localAddress: address,
    localPort: port,
    remoteAddress: SERVER_ADDRESS,
    remotePort: 443,
    interfaceIndex: 0,
    socket: 0,
  })
}

/** Tuple of the server towards a client at `address` and `port`. */
export function serverTuple(port = 40_000, address: string = CLIENT_ADDRESS): PathTuple {
  return reversed(clientTuple(port, address))
}

function reversed(tuple: PathTuple): PathTuple {
  return createTuple({
    localAddress: tuple.remoteAddress,
    localPort: tuple.remotePort,
    remoteAddress: tuple.localAddress,
    remotePort: tuple.localPort,
    interfaceIndex: 0,
    socket: 0,
  })
}

export class Pair {
  readonly client: Endpoint
  readonly server: Endpoint
  readonly clientCrypto: FakeCrypto
  readonly serverCrypto: FakeCrypto
  readonly clientTls: FakeTls
  nowUs = 1_000_000
  /** Newest connection of each side. */
  connection!: Connection
  accepted: Connection | undefined
  readonly clientEvents: ConnectionEvent[] = []
  readonly serverEvents: ConnectionEvent[] = []
  /** Everything that was put on the wire, in order, filters applied. */
  readonly sent: WireDatagram[] = []
  filter: WireFilter = () => true
  onEvent: (side: 'client' | 'server', connection: Connection, event: ConnectionEvent) => void = () => {}
  readonly #options: PairOptions
  readonly #wire: WireDatagram[] = []
  readonly #out

  constructor(options: PairOptions = {}) {
    this.#options = options
    const seed = options.seed ?? 1
    const wrap = options.wrapCrypto ?? ((_side, crypto) => crypto)
    this.clientCrypto = wrap('client', createFakeCrypto(seed * 2))
    this.serverCrypto = wrap('server', createFakeCrypto(seed * 2 + 1))
    const change = options.parametersOf
    this.clientTls = changing(createFakeTls({ crypto: this.clientCrypto, seed, ...options.tlsClient }), change)
    const serverTls = changing(
      createFakeTls({ crypto: this.serverCrypto, seed: seed + 1, ...options.tlsServer }),
      change,
    )
    const observe = options.observe === undefined ? {} : { observe: options.observe }
    this.client = new Endpoint({
      crypto: this.clientCrypto,
      random: createSeededRandom(seed + 2),
      config: options.client ?? {},
      ...observe,
    })
    this.server = new Endpoint({
      crypto: this.serverCrypto,
      random: createSeededRandom(seed + 3),
      config: options.server ?? {},
      server: { tls: serverTls.server, ...options.accept },
      ...observe,
      ...options.serverEndpoint,
    })
    this.#out = createTransmitBatch(new Uint8Array(65_536), options.datagramsMax ?? 16)
  }

  connect(extra: Partial<ConnectOptions> = {}): Connection {
    this.connection = this.client.connect(
      {
        tls: this.clientTls.client,
        tuple: clientTuple(),
        serverName: 'server.test',
        alpn: ['test'],
        ...this.#options.connect,
        ...extra,
      },
      this.nowUs,
    )
    return this.connection
  }

  /** Connects and runs until both sides have confirmed the handshake. */
  handshake(): this {
    this.connect()
    this.run(() => this.connection.core.handshakeConfirmed && (this.accepted?.core.handshakeConfirmed ?? false))
    return this
  }

  /** Both sides' output goes to the wire, events to the lists. */
  flush(): void {
    this.#flushOne('client', this.client)
    this.#flushOne('server', this.server)
  }

  #flushOne(side: 'client' | 'server', endpoint: Endpoint): void {
    const out = this.#out
    for (;;) {
      while (endpoint.pollTransmit(out, this.nowUs)) {
        for (let at = 0; at < out.length; at += out.segmentSize) {
          this.#send(
            side,
            out.bytes.slice(at, Math.min(at + out.segmentSize, out.length)),
            out.tuple as PathTuple,
            out.ecn,
          )
        }
      }
      const event = endpoint.pollEvent()
      if (event === undefined) return
      if (event.kind === 'incoming') this.accepted = event.connection
      if (event.kind !== 'connection') continue
      const events = side === 'client' ? this.clientEvents : this.serverEvents
      events.push(event.event)
      this.onEvent(side, event.connection, event.event)
    }
  }

  #send(from: 'client' | 'server', bytes: Uint8Array, tuple: PathTuple, ecn: number): void {
    const datagram: WireDatagram = { from, bytes, tuple, ecn, atUs: this.nowUs + (this.#options.delayUs ?? 10_000) }
    this.sent.push(datagram)
    if (this.filter(datagram)) this.inject(datagram)
  }

  /** Puts a datagram on the wire, past the filter. */
  inject(datagram: WireDatagram): void {
    let index = this.#wire.length
    while (index > 0 && (this.#wire[index - 1] as WireDatagram).atUs > datagram.atUs) index--
    this.#wire.splice(index, 0, datagram)
  }

  /** Moves time to the next thing that happens; false when nothing ever will. */
  step(): boolean {
    this.flush()
    const next = Math.min(this.#wire[0]?.atUs ?? NEVER, this.client.pollTimeout(), this.server.pollTimeout())
    if (next === NEVER) return false
    this.nowUs = Math.max(this.nowUs, next)
    while (this.#wire.length > 0 && (this.#wire[0] as WireDatagram).atUs <= this.nowUs)
      this.#deliver(this.#wire.shift() as WireDatagram)
    if (this.client.pollTimeout() <= this.nowUs) this.client.handleTimeout(this.nowUs)
    if (this.server.pollTimeout() <= this.nowUs) this.server.handleTimeout(this.nowUs)
    this.flush()
    return true
  }

  #deliver(datagram: WireDatagram): void {
    const endpoint = datagram.from === 'client' ? this.server : this.client
    const tuple = reversed(datagram.tuple)
    endpoint.handleDatagrams(
      {
        bytes: datagram.bytes.slice(),
        offsets: new Int32Array([0]),
        lengths: new Int32Array([datagram.bytes.length]),
        ecns: new Uint8Array([datagram.ecn]),
        tuples: [tuple],
        count: 1,
      },
      this.nowUs,
    )
  }

  /** Runs until `done`; throws when it takes more than `withinUs` of virtual time. */
  run(done: () => boolean, withinUs = 60_000_000): void {
    const deadlineUs = this.nowUs + withinUs
    this.flush()
    while (!done()) {
      if (!this.step()) throw new Error(`nothing happens any more at ${this.nowUs} us`)
      if (this.nowUs > deadlineUs) throw new Error(`not done after ${withinUs} us of virtual time`)
    }
  }

  /** Lets `us` microseconds pass. */
  advance(us: number): void {
    const until = this.nowUs + us
    this.flush()
    for (;;) {
      const next = Math.min(this.#wire[0]?.atUs ?? NEVER, this.client.pollTimeout(), this.server.pollTimeout())
      if (next > until) break
      this.step()
    }
    this.nowUs = until
  }

  event<K extends ConnectionEvent['kind']>(
    side: 'client' | 'server',
    kind: K,
  ): Extract<ConnectionEvent, { kind: K }> | undefined {
    const events = side === 'client' ? this.clientEvents : this.serverEvents
    return events.find((event): event is Extract<ConnectionEvent, { kind: K }> => event.kind === kind)
  }
}

function changing(tls: FakeTls, change: PairOptions['parametersOf']): FakeTls {
  if (change === undefined) return tls
  return {
    client: {
      createSession: (options) =>
        tls.client.createSession({
          ...options,
          transportParameters: change('client', options.transportParameters),
        }),
    },
    server: {
      createSession: (options) =>
        tls.server.createSession({
          ...options,
          transportParameters: change('server', options.transportParameters),
        }),
    },
  }
}

/** Sends `total` patterned bytes on a new stream and returns a probe of what the other side got. */
export function transfer(
  pair: Pair,
  from: 'client' | 'server',
  total: number,
): { readonly received: () => number; readonly isDone: () => boolean } {
  const sender = from === 'client' ? pair.connection : (pair.accepted as Connection)
  const id = sender.openStream('unidirectional')
  if (id === undefined) throw new Error('no stream available')
  let written = 0
  let received = 0
  let isDone = false
  const pump = (): void => {
    while (written < total) {
      const chunk = pattern(written, Math.min(16_384, total - written))
      const accepted = sender.write(id, chunk)
      written += accepted
      if (accepted < chunk.length) return
    }
    sender.finish(id)
  }
  const previous = pair.onEvent
  pair.onEvent = (side, connection, event) => {
    previous(side, connection, event)
    if (side === from && event.kind === 'writable' && event.id === id) pump()
    if (side !== from && event.kind === 'readable' && event.id === id) {
      const status = connection.read(id, (chunk) => {
        checkPattern(chunk, received)
        received += chunk.length
      })
      if (status === 'finished') isDone = true
    }
  }
  pump()
  return { received: () => received, isDone: () => isDone && received === total }
}

/** Bytes that depend on their offset, so that any mix-up shows. */
export function pattern(offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = patternByte(offset + i)
  return bytes
}

function patternByte(offset: number): number {
  return (Math.imul(offset, 0x9e3779b1) >>> 24) ^ (offset & 0xff)
}

export function checkPattern(chunk: Uint8Array, offset: number): void {
  for (let i = 0; i < chunk.length; i++) {
    if (chunk[i] !== patternByte(offset + i)) throw new Error(`wrong byte at offset ${offset + i}`)
  }
}
