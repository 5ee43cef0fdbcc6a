/** Three endpoints on one wire in virtual time: a server, a client whose traffic the fuzzer spoils, and an honest client. */
import {
  type Connection,
  type ConnectionObserver,
  createTransmitBatch,
  createTuple,
  DESCRIPTOR_WORDS,
  type DatagramBatch,
  Endpoint,
  type EndpointEvent,
  type PathTuple,
  QuicError,
  Seal,
  type StreamId,
  type TransmitBatch,
} from '../../../packages/transport/src/index.ts'
import {
  createFakeCrypto,
  createFakeTls,
  createSeededRandom,
  type FakeCrypto,
} from '../../../packages/transport/src/testing/index.ts'
import { promise } from '../target.ts'

const ONE_WAY_US = 10_000
/** Work at one instant, and in one run, after which the engine counts as spinning. */
const TURNS_PER_INSTANT_MAX = 2_000
const TURNS_MAX = 60_000
const TAG_BYTES = 16
const ECHO_BYTES_MAX = 64 * 1024

export const Party = { Server: 0, Spoiled: 1, Honest: 2 } as const

interface Node {
  readonly endpoint: Endpoint
  readonly crypto: FakeCrypto
  /** Plaintexts that replace the payloads of the next packets it seals. */
  readonly forgeries: { readonly payload: Uint8Array; readonly keepsTail: boolean }[]
}

export interface Flying {
  readonly to: number
  readonly bytes: Uint8Array
  readonly tuple: PathTuple
  readonly atUs: number
}

export class SmallWorld {
  nowUs = 1_000_000
  readonly nodes: readonly Node[]
  readonly spoiled: Connection
  readonly honest: Connection
  /** Datagrams under way, oldest first. */
  flying: Flying[] = []
  /** Given each datagram of the spoiled connection that leaves; false = it is lost. */
  filter: (datagram: Flying) => boolean = () => true
  /** Last datagram that the spoiled client sent. */
  lastSent: Flying | undefined
  readonly closes: string[] = []
  readonly honestEcho: Uint8Array[] = []
  #honestFinished = false
  /** The spoiled client's port; a change is a NAT rebinding. */
  spoiledPort = 4_001
  readonly #out: TransmitBatch = createTransmitBatch(new Uint8Array(65_536), 16)
  readonly #echoes = new Map<Connection, Map<StreamId, { pending: Uint8Array[]; bytes: number; isEnded: boolean }>>()
  /** Bytes received from and sent to addresses that never complete a handshake. */
  readonly #strangers = new Map<string, { received: number; sent: number }>()
  #turns = 0
  #internalError: string | undefined

  constructor(mode: number) {
    this.nodes = [Party.Server, Party.Spoiled, Party.Honest].map((party) => this.#createNode(party, mode))
    this.spoiled = this.#connect(Party.Spoiled, this.spoiledPort)
    this.honest = this.#connect(Party.Honest, 4_002)
  }

  // ---- time

  /** Lets everything happen up to `untilUs`. */
  run(untilUs: number): void {
    let turnsNow = 0
    for (;;) {
      this.#drainAll()
      const nextUs = Math.min(
        this.flying[0]?.atUs ?? Infinity,
        ...this.nodes.map((node) => node.endpoint.pollTimeout()),
      )
      if (nextUs > untilUs) break
      turnsNow = nextUs > this.nowUs ? 0 : turnsNow + 1
      promise(turnsNow <= TURNS_PER_INSTANT_MAX, 'the engine comes to rest at one instant')
      promise(++this.#turns <= TURNS_MAX, `work comes to an end: ${this.#turns} turns`)
      this.nowUs = Math.max(this.nowUs, nextUs)
      this.#deliverDue()
      for (const { endpoint } of this.nodes)
        if (endpoint.pollTimeout() <= this.nowUs) endpoint.handleTimeout(this.nowUs)
    }
    this.nowUs = Math.max(this.nowUs, untilUs)
    this.#check()
  }

  /** Hands a datagram to a party now, from an address that never answers. */
  inject(party: number, bytes: Uint8Array, tuple: PathTuple): void {
    const known = this.#strangers.get(tuple.remoteAddress)
    if (party === Party.Server) {
      this.#strangers.set(tuple.remoteAddress, {
        received: (known?.received ?? 0) + bytes.length,
        sent: known?.sent ?? 0,
      })
    }
    this.#deliver({ to: party, bytes, tuple, atUs: this.nowUs })
  }

  /** A client that shakes hands from an address where it hears nothing: the server may send it three times as much. */
  ghost(number: number): void {
    const tuple = this.strangerTuple(number)
    const crypto = createFakeCrypto(1_000 + number)
    const endpoint = new Endpoint({ crypto, random: createSeededRandom(2_000 + number) })
    const tls = createFakeTls({ crypto, seed: 3_000 + number }).client
    const own = tupleOf(tuple.remoteAddress, tuple.remotePort, '10.0.0.1', 443)
    endpoint.connect({ tls, tuple: own, serverName: 'server.test', alpn: ['test'] }, this.nowUs)
    while (endpoint.pollTransmit(this.#out, this.nowUs)) {
      const { bytes, length, segmentSize } = this.#out
      for (let at = 0; at < length; at += segmentSize) {
        this.inject(Party.Server, bytes.slice(at, Math.min(length, at + segmentSize)), tuple)
      }
    }
  }

  /** A tuple of the server towards a stranger. */
  strangerTuple(number: number): PathTuple {
    return tupleOf('10.0.0.1', 443, `192.0.2.${1 + (number % 250)}`, 1_000 + number)
  }

  /** Calls for an application: a wrong moment is told by QuicError, anything else is a broken promise. */
  call(action: () => void): void {
    try {
      action()
    } catch (error) {
      if (!(error instanceof QuicError)) throw error
    }
  }

  get isHonestEchoComplete(): boolean {
    return this.#honestFinished
  }

  /** Everything has ended: nothing may be left anywhere. */
  checkEmpty(): void {
    for (const [party, { endpoint, crypto }] of this.nodes.entries()) {
      promise(endpoint.connectionCount === 0, `party ${party} keeps ${endpoint.connectionCount} connections for ever`)
      promise(crypto.openKeys() === 0, `party ${party} leaks ${crypto.openKeys()} keys`)
      promise(crypto.openSpaces() === 0, `party ${party} leaks ${crypto.openSpaces()} packet number spaces`)
    }
  }

  // ---- making

  /** The honest client's server must stay honest. Its client never changes its connection ID. */
  #isToHonest(bytes: Uint8Array, descriptors: Int32Array, at: number): boolean {
    const offset = descriptors[at * DESCRIPTOR_WORDS + Seal.Offset] as number
    return this.honest.core.localCid.every((byte, index) => bytes[offset + 1 + index] === byte)
  }

  #createNode(party: number, mode: number): Node {
    const crypto = createFakeCrypto(party + 1)
    const forgeries: Node['forgeries'] = []
    const seal = crypto.seal.bind(crypto)
    crypto.seal = (bytes, descriptors, count) => {
      for (let at = 0; at < count; at++) {
        if (!this.#isToHonest(bytes, descriptors, at)) forge(bytes, descriptors, at, forgeries)
      }
      seal(bytes, descriptors, count)
    }
    const tls = createFakeTls({ crypto, seed: party + 1, certificateBytes: (mode & 2) === 0 ? 900 : 5_000 })
    const endpoint = new Endpoint({
      crypto,
      random: createSeededRandom(party + 100),
      observe: () => this.#observer(),
      config: {
        idleTimeoutUs: 5_000_000,
        maxStreamsBidi: 8,
        maxStreamsUni: 4,
        streamWindowBytes: 4_096,
        streamWindowMaxBytes: 8_192,
        connectionWindowBytes: 8_192,
        connectionWindowMaxBytes: 16_384,
      },
      ...(party === Party.Server ? { server: { tls: tls.server, retry: (mode & 1) === 0 ? 'auto' : 'always' } } : {}),
    })
    if (party !== Party.Server) this.#clients.set(endpoint, tls.client)
    return { endpoint, crypto, forgeries }
  }

  readonly #clients = new Map<Endpoint, ReturnType<typeof createFakeTls>['client']>()

  #connect(party: number, port: number): Connection {
    const { endpoint } = this.nodes[party] as Node
    const tls = this.#clients.get(endpoint)
    promise(tls !== undefined, 'clients have TLS')
    const tuple = tupleOf(`10.0.1.${party}`, port, '10.0.0.1', 443)
    return endpoint.connect({ tls, tuple, serverName: 'server.test', alpn: ['test'] }, this.nowUs)
  }

  /** The engine turns its own bugs into INTERNAL_ERROR and tells the observer: here they are findings. */
  #observer(): ConnectionObserver {
    const ignore = () => {}
    return {
      connectionStarted: ignore,
      packetSent: ignore,
      packetReceived: ignore,
      packetDropped: ignore,
      packetLost: ignore,
      metricsUpdated: ignore,
      event: (name, data) => {
        if (name === 'internal_error') this.#internalError ??= `${String(data['reason'])}\n${String(data['stack'])}`
      },
    }
  }

  #check(): void {
    promise(this.#internalError === undefined, `the engine closed with INTERNAL_ERROR: ${this.#internalError ?? ''}`)
    for (const [address, { received, sent }] of this.#strangers) {
      // RFC 9000 §8.1
      promise(sent <= 3 * received, `${sent} bytes were sent to ${address}, which sent ${received}`)
    }
  }

  // ---- the wire

  #drainAll(): void {
    for (const [party, { endpoint }] of this.nodes.entries()) {
      for (let rounds = 0; ; rounds++) {
        promise(rounds < TURNS_PER_INSTANT_MAX, 'pollTransmit and pollEvent come to an end')
        const isSent = endpoint.pollTransmit(this.#out, this.nowUs)
        if (isSent) this.#send(party)
        const event = endpoint.pollEvent()
        if (event !== undefined) this.#onEvent(party, event)
        if (!isSent && event === undefined) break
      }
    }
  }

  #send(from: number): void {
    const { bytes, tuple, length, segmentSize } = this.#out
    promise(tuple !== undefined && segmentSize > 0 && length > 0, 'a train has an address and bytes')
    for (let at = 0; at < length; at += segmentSize) {
      const datagram = bytes.slice(at, Math.min(length, at + segmentSize))
      this.#route(from, datagram, tuple)
    }
  }

  #route(from: number, bytes: Uint8Array, tuple: PathTuple): void {
    const stranger = this.#strangers.get(tuple.remoteAddress)
    if (from === Party.Server && stranger !== undefined) {
      stranger.sent += bytes.length
      return
    }
    const to =
      from === Party.Server ? (tuple.remoteAddress === '10.0.1.1' ? Party.Spoiled : Party.Honest) : Party.Server
    const isSpoiled = from === Party.Spoiled || to === Party.Spoiled
    // A rebound client no longer gets what is sent to its old port.
    if (to === Party.Spoiled && tuple.remotePort !== this.spoiledPort) return
    const port = from === Party.Spoiled ? this.spoiledPort : tuple.localPort
    const arriving =
      to === Party.Server
        ? tupleOf('10.0.0.1', 443, tuple.localAddress, port)
        : tupleOf(tuple.remoteAddress, to === Party.Spoiled ? 4_001 : tuple.remotePort, '10.0.0.1', 443)
    const datagram = { to, bytes, tuple: arriving, atUs: this.nowUs + ONE_WAY_US }
    if (from === Party.Spoiled) this.lastSent = datagram
    if (isSpoiled && !this.filter(datagram)) return
    this.flying.push(datagram)
  }

  #deliverDue(): void {
    const due = this.flying.filter((datagram) => datagram.atUs <= this.nowUs)
    if (due.length === 0) return
    this.flying = this.flying.filter((datagram) => datagram.atUs > this.nowUs)
    for (const datagram of due) this.#deliver(datagram)
  }

  #deliver({ to, bytes, tuple }: Flying): void {
    const batch: DatagramBatch = {
      bytes: bytes.slice(),
      offsets: Int32Array.of(0),
      lengths: Int32Array.of(bytes.length),
      ecns: Uint8Array.of(0),
      tuples: [tuple],
      count: 1,
    }
    this.nodes[to]?.endpoint.handleDatagrams(batch, this.nowUs)
  }

  // ---- the applications

  #onEvent(party: number, event: EndpointEvent): void {
    if (event.kind !== 'connection') return
    const { connection, event: what } = event
    if (what.kind === 'closed') this.closes.push(`${party}:${closeText(what.reason)}`)
    if (what.kind === 'readable' || what.kind === 'writable') {
      const isClient = connection === this.honest
      this.call(() => (isClient ? this.#readHonest(what.id) : this.#echo(connection, what.id)))
    }
  }

  #readHonest(id: StreamId): void {
    const status = this.honest.read(id, (chunk) => this.honestEcho.push(chunk.slice()))
    if (status === 'finished') this.#honestFinished = true
  }

  /** Both sides of the spoiled connection, and the server, send back what they read, a bounded amount of it. */
  #echo(connection: Connection, id: StreamId): void {
    const streams =
      this.#echoes.get(connection) ?? new Map<StreamId, { pending: Uint8Array[]; bytes: number; isEnded: boolean }>()
    this.#echoes.set(connection, streams)
    const echo = streams.get(id) ?? { pending: [], bytes: 0, isEnded: false }
    streams.set(id, echo)
    const status = connection.read(id, (chunk) => {
      if (echo.bytes + chunk.length > ECHO_BYTES_MAX) return
      echo.bytes += chunk.length
      echo.pending.push(chunk.slice())
    })
    const isMine = connection === this.spoiled ? id % 2 === 1 : id % 2 === 0
    if (!isMine || (id & 2) !== 0) {
      echo.pending = []
      return
    }
    while (echo.pending.length > 0) {
      const chunk = echo.pending[0] as Uint8Array
      const accepted = connection.write(id, chunk)
      if (accepted < chunk.length) {
        echo.pending[0] = chunk.subarray(accepted)
        return
      }
      echo.pending.shift()
    }
    if (status === 'finished' && !echo.isEnded) {
      echo.isEnded = true
      connection.finish(id)
    }
  }
}

/** Replaces the plaintext of the packet of descriptor `at` by the next forgery, as far as it has room. */
function forge(bytes: Uint8Array, descriptors: Int32Array, at: number, forgeries: Node['forgeries']): void {
  const word = at * DESCRIPTOR_WORDS
  const offset = descriptors[word + Seal.Offset] as number
  const headerLength = descriptors[word + Seal.HeaderLength] as number
  const end = offset + (descriptors[word + Seal.Length] as number) - TAG_BYTES
  // 1-RTT packets only: before, there is little that a peer may say.
  if (((bytes[offset] as number) & 0x80) !== 0) return
  const forgery = forgeries.shift()
  if (forgery === undefined) return
  const start = offset + headerLength
  const payload = forgery.payload.subarray(0, end - start)
  bytes.set(payload, start)
  if (!forgery.keepsTail) bytes.fill(0, start + payload.length, end)
}

const tuples = new Map<string, PathTuple>()

/** Interned, as drivers do. */
function tupleOf(localAddress: string, localPort: number, remoteAddress: string, remotePort: number): PathTuple {
  const made = createTuple({ localAddress, localPort, remoteAddress, remotePort, interfaceIndex: 0, socket: 0 })
  const known = tuples.get(made.key)
  if (known !== undefined) return known
  if (tuples.size > 4_096) tuples.clear()
  tuples.set(made.key, made)
  return made
}

function closeText(reason: { readonly kind: string; readonly name?: string; readonly reason?: string }): string {
  return `${reason.kind} ${reason.name ?? ''} ${reason.reason ?? ''}`
}
