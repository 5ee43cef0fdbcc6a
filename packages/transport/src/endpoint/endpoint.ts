/** Owns connections: routes datagrams by connection ID, accepts clients, keeps ready queue and deadlines. Sans-I/O. */
import { HeaderStatus, HeaderView, PacketType } from '@quicether/wire'
import type { LocalCid } from '../cid/cid-registry.ts'
import { CidTable, LOCAL_CID_LENGTH } from '../cid/cid-table.ts'
import { type TransportConfig, resolveConfig } from '../config.ts'
import { Connection, type ConnectionHost } from '../connection.ts'
import { LifeState, type Role } from '../core.ts'
import type { ConnectionEvent } from '../events.ts'
import type { ConnectionObserver } from '../observe.ts'
import { type PreferredEndpoint, localParameters } from '../parameters.ts'
import type { CryptoPort, RandomSource, TlsClientContext, TlsServerContext } from '../ports/crypto.ts'
import { type DatagramBatch, type Micros, NEVER, type PathTuple, type TransmitBatch } from '../ports/datagrams.ts'
import { type AcceptOptions, Acceptor, acceptDefaults } from './acceptor.ts'
import { DeadlineHeap } from './deadline-heap.ts'
import { OneRttIntake } from './one-rtt-intake.ts'
import { handleDatagram, openOne, opened } from './packet-intake.ts'
import { StatelessAnswers } from './stateless.ts'
import { TokenMint } from './tokens.ts'

export interface ServerOptions extends Partial<AcceptOptions> {
  readonly tls: TlsServerContext
  /** The driver must receive there, too. */
  readonly preferredAddress?: PreferredEndpoint
}

export interface ObserverInfo {
  readonly role: Role
  readonly originalDestinationCid: string
  readonly tuple: PathTuple
}

export interface EndpointOptions {
  readonly crypto: CryptoPort
  readonly random: RandomSource
  /** Absent: this endpoint only connects. */
  readonly server?: ServerOptions
  readonly config?: Partial<TransportConfig>
  readonly observe?: (info: ObserverInfo) => ConnectionObserver | null
  /** Fills the connection IDs we issue, unpredictable and never the same twice; `random` when absent. */
  readonly connectionIds?: RandomSource
  /**
   * A datagram of no connection here, before it is accepted or answered; true = another endpoint takes it. The header is
   * that of its first packet. Bytes and header are borrowed.
   */
  readonly onUnrouted?: (batch: DatagramBatch, index: number, header: HeaderView) => boolean
  /** What added to `nowUs` gives a time shared with all endpoints that have the same token key; 0 when absent. */
  readonly epochOffsetUs?: Micros
  /** Something can be transmitted or an event is queued, from outside the driver's own calls. Must not call back. */
  readonly onReady?: () => void
}

export interface ConnectOptions {
  readonly tls: TlsClientContext
  readonly tuple: PathTuple
  readonly serverName: string
  readonly alpn: readonly string[]
  /** Offer 0-RTT when possible. */
  readonly earlyData?: boolean
  /** First version to try; default: the first of the configuration. */
  readonly version?: number
  readonly config?: Partial<TransportConfig>
  /** Token from an earlier NEW_TOKEN of this server. */
  readonly token?: Uint8Array
  /** Gives the tuple for a server's preferred address, undefined to stay; absent: always stay. */
  readonly tupleTo?: (address: string, port: number) => PathTuple | undefined
  /** Called with tokens for later connections that start with this version (RFC 9369 §5). */
  readonly onNewToken?: (token: Uint8Array, version: number) => void
}

export type EndpointEvent =
  | { readonly kind: 'incoming'; readonly connection: Connection }
  | { readonly kind: 'connection'; readonly connection: Connection; readonly event: ConnectionEvent }
  | { readonly kind: 'drained'; readonly connection: Connection }

/**
 * Contract: calls never re-enter. After any push (`handleDatagrams`, `handleTimeout`, `connect`) or call on a
 * connection, drain `pollTransmit` until false and `pollEvent` until undefined, then re-arm a timer at `pollTimeout()`.
 * `nowUs` never goes back.
 */
export class Endpoint {
  readonly crypto: CryptoPort
  readonly config: TransportConfig
  readonly #random: RandomSource
  readonly #server: ServerOptions | undefined
  readonly #observe: ((info: ObserverInfo) => ConnectionObserver | null) | undefined
  readonly #onReady: (() => void) | undefined
  readonly #onUnrouted: EndpointOptions['onUnrouted']
  readonly #connectionIds: RandomSource
  readonly #routes: CidTable<Connection> = new CidTable<Connection>()
  /** Server: original DCIDs of clients, until the handshake is confirmed. */
  readonly #initialRoutes: Map<string, Connection> = new Map()
  /** Trusted stateless reset tokens of peers. */
  readonly #resetTokens: Map<string, Connection> = new Map()
  readonly #connections: Set<Connection> = new Set()
  readonly #deadlines: DeadlineHeap<Connection> = new DeadlineHeap<Connection>()
  readonly #ready: Connection[] = []
  readonly #withEvents: Connection[] = []
  readonly #incoming: EndpointEvent[] = []
  readonly #answers: StatelessAnswers
  readonly #tokens: TokenMint
  readonly #acceptor: Acceptor
  readonly #header: HeaderView = new HeaderView()
  readonly #clientOptions: WeakMap<Connection, ConnectOptions> = new WeakMap()
  #handshakes = 0
  readonly #intake: OneRttIntake = new OneRttIntake()
  #isDriving = false
  /** New clients are told at once that there are no connections any more (RFC 9000 §5.2.2). */
  isRefusing = false

  constructor(options: EndpointOptions) {
    this.crypto = options.crypto
    this.config = resolveConfig(options.config)
    this.#random = options.random
    this.#server = options.server
    this.#observe = options.observe
    this.#onReady = options.onReady
    this.#onUnrouted = options.onUnrouted
    this.#connectionIds = options.connectionIds ?? options.random
    this.#answers = new StatelessAnswers(options.crypto, options.random)
    this.#tokens = new TokenMint(options.crypto, options.random, options.epochOffsetUs)
    const accept = { ...acceptDefaults, ...options.server }
    this.#acceptor = new Acceptor(accept, this.#tokens, this.#answers, this.#connectionIds)
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  /** Connection IDs, first CIDs of clients and reset tokens that lead to a connection; 0 when none is left. */
  get routeCount(): number {
    return this.#routes.size + this.#initialRoutes.size + this.#resetTokens.size
  }

  get stats(): {
    readonly retries: number
    readonly versionNegotiations: number
    readonly resets: number
    readonly refused: number
  } {
    const { retries, versionNegotiations, resets } = this.#answers
    return { retries, versionNegotiations, resets, refused: this.#acceptor.refused }
  }

  connections(): IterableIterator<Connection> {
    return this.#connections.values()
  }

  // ---- push

  /** Starts a connection; its first packets come from `pollTransmit`. */
  connect(options: ConnectOptions, nowUs: Micros): Connection {
    const config = resolveConfig({ ...this.config, ...options.config })
    const version = options.version ?? (config.versions[0] as number)
    // RFC 9000 §7.2: "unpredictable … at least 8 bytes in length"
    const destinationCid = this.#randomBytes(LOCAL_CID_LENGTH)
    const connection = this.#create(
      'client',
      config,
      options.tuple,
      version,
      hex(destinationCid),
      nowUs,
      (parameters, chosen) =>
        options.tls.createSession({
          version: chosen,
          serverName: options.serverName,
          alpn: options.alpn,
          transportParameters: parameters,
          earlyData: options.earlyData ?? false,
        }),
    )
    this.#clientOptions.set(connection, options)
    if (options.token !== undefined) connection.core.token = options.token
    connection.setNow(nowUs)
    connection.flow.startClient(destinationCid)
    this.#started(connection, nowUs)
    this.#markReady(connection)
    return connection
  }

  /** Takes received datagrams; packets are opened in place. */
  handleDatagrams(batch: DatagramBatch, nowUs: Micros): void {
    this.#isDriving = true
    for (let i = 0; i < batch.count; i++) {
      if (!this.#stage(batch, i, nowUs)) {
        this.#openStaged(batch, nowUs)
        this.#handleSlow(batch, i, nowUs)
      } else if (this.#intake.isFull) this.#openStaged(batch, nowUs)
    }
    this.#openStaged(batch, nowUs)
    this.#isDriving = false
  }

  /** Stages a 1-RTT packet for the common `open`; false when the datagram needs the slow way. */
  #stage(batch: DatagramBatch, index: number, nowUs: Micros): boolean {
    const offset = batch.offsets[index] as number
    const length = batch.lengths[index] as number
    const { bytes } = batch
    if (length < 1 + LOCAL_CID_LENGTH + 20 || ((bytes[offset] as number) & 0x80) !== 0) return false
    const target = this.#routes.get(bytes, offset + 1)
    if (target === undefined || !target.owner.canOpenOneRtt) return false
    const { owner, pathId } = target
    // RFC 10069 §3.1: a packet for a path ID not in use opens the path
    const path = owner.core.paths.get(pathId) ?? owner.acceptPath(pathId, batch.tuples[index] as PathTuple, nowUs)
    if (path !== undefined) return this.#intake.stage(target, path, offset, length, index)
    // A path ID that is over, or one that a server may not open: there is nothing to open the packet with.
    owner.core.counters.packetsDropped++
    owner.core.observer?.packetDropped('unknown_path', length, nowUs)
    return true
  }

  #openStaged(batch: DatagramBatch, nowUs: Micros): void {
    if (this.#intake.count === 0) return
    const count = this.#intake.open(this.crypto, batch.bytes)
    for (let n = 0; n < count; n++) this.#deliverStaged(batch, n, nowUs)
  }

  #deliverStaged(batch: DatagramBatch, n: number, nowUs: Micros): void {
    const intake = this.#intake
    const connection = intake.connection(n)
    const path = intake.path(n)
    const index = intake.index(n)
    const payloadLength = intake.payloadLength(n)
    const length = batch.lengths[index] as number
    const tuple = batch.tuples[index] as PathTuple
    const { core } = connection
    this.#markReady(connection)
    if (core.state >= LifeState.Closing) {
      if (core.state === LifeState.Closing) this.#whileClosing(connection, n, batch, nowUs)
      return
    }
    connection.setNow(nowUs)
    core.counters.bytesReceived += length
    if (payloadLength < 0) return this.#onUnreadable(connection, batch, index, nowUs)
    if (path.isDormant) core.multipath.onFirstPacket(path, tuple, nowUs)
    if (!core.paths.admit(path, tuple, length)) {
      core.counters.packetsDropped++
      core.observer?.packetDropped('unknown_tuple', length, nowUs)
      return
    }
    const payload = intake.payloadOffset(n)
    intake.describe(n, opened, length, batch.ecns[index] as number)
    connection.onGeneration(intake.generation(n))
    connection.receiver.onPacket(opened, path, tuple, batch.bytes, payload, payload + payloadLength, nowUs)
  }

  /** In the closing state a CONNECTION_CLOSE of the peer still counts; everything else is answered now and then. */
  #whileClosing(connection: Connection, n: number, batch: DatagramBatch, nowUs: Micros): void {
    // RFC 9000 §10.2.1: a closing endpoint that receives CONNECTION_CLOSE may enter the draining state
    const type = this.#intake.payloadLength(n) > 0 ? batch.bytes[this.#intake.payloadOffset(n)] : 0
    if (type === 0x1c || type === 0x1d) connection.onStatelessReset(nowUs)
    else connection.onPacketWhileClosing()
  }

  #onUnreadable(connection: Connection, batch: DatagramBatch, index: number, nowUs: Micros): void {
    const offset = batch.offsets[index] as number
    const length = batch.lengths[index] as number
    if (this.#isReset(batch.bytes, offset, length)) return connection.onStatelessReset(nowUs)
    connection.core.counters.packetsDropped++
    connection.core.observer?.packetDropped('decryption_failure', length, nowUs)
    try {
      connection.core.keys.onFailed()
    } catch (error) {
      connection.fail(error, nowUs)
    }
  }

  // RFC 9000 §10.3.1: "The endpoint identifies a received datagram as a Stateless Reset by comparing the last 16 bytes of the datagram with all stateless reset tokens associated with the remote address"
  #isReset(bytes: Uint8Array, offset: number, length: number): boolean {
    if (length < 21 || this.#resetTokens.size === 0) return false
    return this.#resetTokens.has(hex(bytes.subarray(offset + length - 16, offset + length)))
  }

  #handleSlow(batch: DatagramBatch, index: number, nowUs: Micros): void {
    const offset = batch.offsets[index] as number
    const length = batch.lengths[index] as number
    const tuple = batch.tuples[index] as PathTuple
    const ecn = batch.ecns[index] as number
    const { bytes } = batch
    const end = offset + length
    const header = this.#header
    const status = header.parse(bytes, offset, end, LOCAL_CID_LENGTH)
    if (status === HeaderStatus.Malformed) return
    const connection = this.#route(bytes, header)
    if (connection === undefined) {
      if (this.#onResetOf(bytes, header, offset, length, nowUs)) return
      if (this.#onUnrouted?.(batch, index, header) === true) return
      if (status === HeaderStatus.UnknownVersion) return this.#onUnknownVersion(bytes, header, length, tuple)
      if (header.type === PacketType.Initial) return this.#accept(bytes, offset, end, tuple, ecn, nowUs)
      if (header.type === PacketType.OneRtt) this.#onUnknownCid(bytes, offset, length, tuple, nowUs)
      return
    }
    if (status !== HeaderStatus.Ok) return
    this.#markReady(connection)
    if (connection.core.state >= LifeState.Closing) {
      if (connection.core.state === LifeState.Closing) connection.onPacketWhileClosing()
      return
    }
    connection.setNow(nowUs)
    connection.core.counters.bytesReceived += length
    if (!connection.core.paths.admit(connection.path, tuple, length)) return
    handleDatagram(connection, bytes, offset, end, tuple, ecn, 0, nowUs)
  }

  #route(bytes: Uint8Array, header: HeaderView): Connection | undefined {
    if (header.dcidLength === LOCAL_CID_LENGTH) {
      const target = this.#routes.get(bytes, header.dcidOffset)
      if (target !== undefined) return target.owner
    }
    if (header.type === PacketType.OneRtt || this.#initialRoutes.size === 0) return undefined
    return this.#initialRoutes.get(hex(bytes.subarray(header.dcidOffset, header.dcidOffset + header.dcidLength)))
  }

  /** Whether this is a stateless reset of a peer, which has no connection ID of ours. */
  #onResetOf(bytes: Uint8Array, header: HeaderView, offset: number, length: number, nowUs: Micros): boolean {
    if ((header.firstByte & 0x80) !== 0 || !this.#isReset(bytes, offset, length)) return false
    const connection = this.#resetTokens.get(hex(bytes.subarray(offset + length - 16, offset + length)))
    if (connection === undefined) return false
    this.#markReady(connection)
    connection.onStatelessReset(nowUs)
    return true
  }

  #onUnknownCid(bytes: Uint8Array, offset: number, length: number, tuple: PathTuple, nowUs: Micros): void {
    if (length < 1 + LOCAL_CID_LENGTH) return
    const cid = bytes.slice(offset + 1, offset + 1 + LOCAL_CID_LENGTH)
    this.#answers.reset(cid, length, tuple, nowUs)
    this.#signal()
  }

  // RFC 9000 §6.1: "a server … SHOULD send a Version Negotiation packet" if the datagram is large enough for a supported version
  #onUnknownVersion(bytes: Uint8Array, header: HeaderView, length: number, tuple: PathTuple): void {
    // RFC 9000 §5.2.2: "Servers MUST drop smaller packets that specify unsupported versions."
    if (this.#server === undefined || length < 1200) return
    this.#answers.versionNegotiation(bytes, header, tuple, this.config.versions)
    this.#signal()
  }

  // ---- accepting

  #accept(bytes: Uint8Array, offset: number, end: number, tuple: PathTuple, ecn: number, nowUs: Micros): void {
    const server = this.#server
    const header = this.#header
    // RFC 9000 §5.2.2: everything else that belongs to no connection is dropped
    if (server === undefined) return
    if (!this.config.versions.includes(header.version))
      return this.#onUnknownVersion(bytes, header, end - offset, tuple)
    const load = { handshakes: this.#handshakes, connections: this.#connections.size }
    const admission = this.#acceptor.admit(bytes, header, end - offset, tuple, load, nowUs)
    this.#signal()
    if (admission === undefined) return
    const initialDcid = bytes.slice(header.dcidOffset, header.dcidOffset + header.dcidLength)
    const keys = this.crypto.initialKeys(header.version, initialDcid, 'server')
    const probeSpace = this.crypto.createSpace()
    // Nothing is created for a packet that does not authenticate: open a copy first.
    const copy = bytes.slice(offset, offset + header.packetLength)
    const payloadLength = openOne({ core: { crypto: this.crypto } }, copy, 0, header, keys.rx, probeSpace)
    this.crypto.closeSpace(probeSpace)
    if (payloadLength < 0) {
      this.crypto.closeKey(keys.rx)
      this.crypto.closeKey(keys.tx)
      return
    }
    const connection = this.#create(
      'server',
      this.config,
      tuple,
      header.version,
      hex(admission.originalDcid),
      nowUs,
      (parameters, version) => server.tls.createSession({ version, transportParameters: parameters }),
    )
    const local = connection.path.cids.local[0] as LocalCid
    connection.flow.startServer({ keys, initialDcid, ...admission, resetToken: local.resetToken })
    if (server.preferredAddress !== undefined) connection.flow.preferAddress(server.preferredAddress)
    connection.path.receivedBytes += end - offset
    connection.initialRoute = hex(initialDcid)
    this.#initialRoutes.set(connection.initialRoute, connection)
    this.#started(connection, nowUs)
    this.#incoming.push({ kind: 'incoming', connection })
    this.#markReady(connection)
    connection.setNow(nowUs)
    connection.core.counters.bytesReceived += end - offset
    if (admission.hasInvalidToken || this.isRefusing) {
      connection.flow.onFirstPacket(bytes.slice(header.scidOffset, header.scidOffset + header.scidLength))
      if (this.isRefusing) return connection.failWith('CONNECTION_REFUSED', 'the server is shutting down', nowUs)
      return connection.failWith('INVALID_TOKEN', 'the Retry token has expired or was made for another address', nowUs)
    }
    handleDatagram(connection, bytes, offset, end, tuple, ecn, 0, nowUs)
  }

  #create(
    role: Role,
    config: TransportConfig,
    tuple: PathTuple,
    version: number,
    originalDestinationCid: string,
    nowUs: Micros,
    createTls: (parameters: Uint8Array, version: number) => ReturnType<TlsServerContext['createSession']>,
  ): Connection {
    // RFC 9000 §5.1: connection IDs are random: they carry no information and are never issued twice
    const cid = this.#freshCid()
    const localCid: LocalCid = { sequence: 0, cid, resetToken: this.crypto.statelessResetToken(cid) }
    const connection = new Connection({
      role,
      config,
      crypto: this.crypto,
      random: this.#random,
      observer: this.#observe?.({ role, originalDestinationCid, tuple }) ?? null,
      host: (owner) => this.#hostOf(owner),
      tuple,
      version,
      localCid,
      parameters: localParameters(config, role),
      createTls,
      nowUs,
    })
    this.#routes.set(cid, { owner: connection, pathId: 0, sequence: 0 })
    this.#connections.add(connection)
    this.#handshakes++
    return connection
  }

  #started(connection: Connection, nowUs: Micros): void {
    const { core } = connection
    core.observer?.connectionStarted({
      role: core.role,
      version: core.version,
      sourceCid: hex(core.localCid),
      destinationCid: hex(connection.path.cids.active?.cid ?? new Uint8Array(0)),
      originalDestinationCid: hex(core.originalDestinationCid),
      tuple: connection.path.tuple,
      nowUs,
    })
  }

  #hostOf(connection: Connection): ConnectionHost {
    return {
      issue: (pathId, sequence) => {
        const cid = this.#freshCid()
        this.#routes.set(cid, { owner: connection, pathId, sequence })
        return { sequence, cid, resetToken: this.crypto.statelessResetToken(cid) }
      },
      unroute: (cid) => this.#routes.delete(cid),
      trustResetToken: (token) => void this.#resetTokens.set(hex(token), connection),
      forgetResetToken: (token) => void this.#resetTokens.delete(hex(token)),
      onWake: () => this.#markReady(connection),
      tupleTo: (address, port) => this.#clientOptions.get(connection)?.tupleTo?.(address, port),
      onNewToken: (_connection, token) =>
        this.#clientOptions.get(connection)?.onNewToken?.(token, connection.core.version),
    }
  }

  /** Lets time pass: expired deadlines act. */
  handleTimeout(nowUs: Micros): void {
    this.#isDriving = true
    for (
      let item = this.#deadlines.peek();
      item !== undefined && item.deadlineUs <= nowUs;
      item = this.#deadlines.peek()
    ) {
      item.handleTimeout(nowUs)
      this.#deadlines.set(item, NEVER)
      this.#markReady(item)
    }
    this.#isDriving = false
  }

  #markReady(connection: Connection): void {
    if (!connection.isReady) {
      connection.isReady = true
      this.#ready.push(connection)
    }
    this.#signal()
  }

  #signal(): void {
    if (!this.#isDriving) this.#onReady?.()
  }

  // ---- pull

  /** Fills `out` with the next train; false when nothing can be sent now. */
  pollTransmit(out: TransmitBatch, nowUs: Micros): boolean {
    this.#isDriving = true
    try {
      if (this.#answers.pollTransmit(out)) return true
      for (let connection = this.#ready[0]; connection !== undefined; connection = this.#ready[0]) {
        if (connection.pollTransmit(out, nowUs)) {
          // Round robin: one train each.
          if (this.#ready.length > 1) this.#ready.push(this.#ready.shift() as Connection)
          return true
        }
        this.#ready.shift()
        connection.isReady = false
        this.#settle(connection, nowUs)
      }
      return false
    } finally {
      this.#isDriving = false
    }
  }

  /** The connection has nothing to send now: arm its timer, note its events, forget it when it is over. */
  #settle(connection: Connection, nowUs: Micros): void {
    this.#deadlines.set(connection, connection.nextTimeoutUs(nowUs))
    if (!connection.hasEvents && connection.core.events.size > 0) {
      connection.hasEvents = true
      this.#withEvents.push(connection)
    }
    const { core } = connection
    if (core.handshakeConfirmed || core.state >= LifeState.Closing) this.#endHandshake(connection, nowUs)
    if (core.addressTokens.owedFor !== undefined) this.#mintToken(connection, nowUs)
    if (core.state === LifeState.Drained) this.#forget(connection)
  }

  #endHandshake(connection: Connection, nowUs: Micros): void {
    if (connection.isCounted) return
    connection.isCounted = true
    this.#handshakes--
    const { core } = connection
    this.#initialRoutes.delete(connection.initialRoute)
    if (core.isServer && core.handshakeConfirmed) {
      core.addressTokens.onConfirmed(connection.path)
      this.#mintToken(connection, nowUs)
    }
  }

  // RFC 9000 §8.1.3: a token for the client's next connection
  #mintToken(connection: Connection, nowUs: Micros): void {
    const { core } = connection
    const tuple = core.addressTokens.take()
    if (tuple === undefined) return
    core.newTokens.push(this.#tokens.fresh(tuple, core.version, nowUs))
    this.#markReady(connection)
  }

  #forget(connection: Connection): void {
    if (!this.#connections.delete(connection)) return
    this.#deadlines.remove(connection)
    this.#incoming.push({ kind: 'drained', connection })
  }

  /** Earliest moment `handleTimeout` has something to do, NEVER when none. No side effect. */
  pollTimeout(): Micros {
    return this.#deadlines.peek()?.deadlineUs ?? NEVER
  }

  /** Next event of the endpoint or one of its connections. A connection's `drained` comes after its other events. */
  pollEvent(): EndpointEvent | undefined {
    const incoming = this.#incoming[0]
    if (incoming !== undefined && (incoming.kind === 'incoming' || this.#withEvents.length === 0)) {
      return this.#incoming.shift()
    }
    for (let connection = this.#withEvents[0]; connection !== undefined; connection = this.#withEvents[0]) {
      const event = connection.pollEvent()
      if (event !== undefined) return { kind: 'connection', connection, event }
      this.#withEvents.shift()
      connection.hasEvents = false
    }
    return this.#incoming.shift()
  }

  #freshCid(): Uint8Array {
    const cid = new Uint8Array(LOCAL_CID_LENGTH)
    this.#connectionIds.fill(cid)
    return cid
  }

  #randomBytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    this.#random.fill(bytes)
    return bytes
  }

  /** Closes every connection with an application code; used when the driver stops. */
  closeAll(code: number, reason: string): void {
    for (const connection of this.#connections) connection.close(code, reason)
  }
}

function hex(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i++) text += ((bytes[i] as number) + 256).toString(16).slice(1)
  return text
}
