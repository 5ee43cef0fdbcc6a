/** One connection: composition of its parts, life cycle, timers, and the API for applications. */
import {
  type ServerAddress,
  TransportError,
  type TransportErrorName,
  type TransportParameters,
  transportErrorCodes,
} from '@quicether/wire'
import { type CidHost, CidRegistry, type LocalCid } from './cid/cid-registry.ts'
import type { TransportConfig } from './config.ts'
import type { DatagramOptions } from './datagram/datagram-queue.ts'
import { ConnectionCore, LifeState, type Role } from './core.ts'
import { QuicError } from './errors.ts'
import type {
  ConnectionEvent,
  ErrorCode,
  PathId,
  ReadStatus,
  StreamId,
  StreamKind,
  StreamStats,
  StreamTransport,
} from './events.ts'
import { HandshakeFlow } from './handshake-flow.ts'
import { Lifecycle } from './lifecycle.ts'
import type { ConnectionObserver } from './observe.ts'
import { Multipath, type PathStatus } from './path/multipath.ts'
import { Path } from './path/path.ts'
import { PathManager } from './path/path-manager.ts'
import { type CryptoPort, Level, NO_KEY, type RandomSource, type TlsSession } from './ports/crypto.ts'
import { type Micros, NEVER, type PathTuple, type TransmitBatch } from './ports/datagrams.ts'
import { Receipts } from './receive/receipts.ts'
import { Receiver } from './receive/receiver.ts'
import { PacketSpace } from './recovery/packet-space.ts'
import { type ConnectionStats, type PathView, connectionStats, pathView } from './stats.ts'
import { ANY_PATH } from './stream/stream-class.ts'
import type { StreamPriority } from './stream/stream-priority.ts'
import { ConnectionTimers } from './timers.ts'
import { Transmitter } from './transmit/transmitter.ts'

/** What a connection needs of its endpoint. */
export interface ConnectionHost extends CidHost {
  /** The connection has something to send, a new deadline, or an event. Cheap; may be called often. */
  onWake(connection: Connection): void
  /** A token for later connections to the same server arrived (client). */
  onNewToken(connection: Connection, token: Uint8Array): void
  /** Client: tuple for a preferred address of the server, undefined to stay where it is. */
  tupleTo(address: string, port: number): PathTuple | undefined
}

export interface ConnectionInit {
  readonly role: Role
  readonly config: TransportConfig
  readonly crypto: CryptoPort
  readonly random: RandomSource
  readonly observer: ConnectionObserver | null
  readonly host: (connection: Connection) => ConnectionHost
  readonly tuple: PathTuple
  readonly version: number
  readonly localCid: LocalCid
  readonly parameters: TransportParameters
  /** Creates the TLS session once the parameters are final. */
  readonly createTls: (parameters: Uint8Array, version: number) => TlsSession
  readonly nowUs: Micros
}

export class Connection implements StreamTransport {
  /** Parts shared with receiver and transmitter; not for applications. */
  readonly core: ConnectionCore
  readonly flow: HandshakeFlow
  readonly receiver: Receiver
  readonly #transmitter: Transmitter
  readonly #host: ConnectionHost
  readonly #receipts: Receipts
  #nowUs: Micros
  readonly #timers: ConnectionTimers
  readonly #life: Lifecycle
  /** Bookkeeping of the endpoint: position in its deadline heap, membership in its queues. */
  heapIndex = -1
  deadlineUs: Micros = NEVER
  isReady = false
  hasEvents = false
  isCounted = false
  initialRoute = ''
  /** Free for the driver or application. */
  userData: unknown = undefined

  constructor(init: ConnectionInit) {
    const { role, config, crypto, random, nowUs } = init
    this.core = new ConnectionCore(role, config, crypto, random, init.parameters, init.observer)
    const core = this.core
    core.version = init.version
    core.localCid = init.localCid.cid
    core.createdAtUs = nowUs
    core.lastActivityUs = nowUs
    this.#nowUs = nowUs
    this.#host = init.host(this)
    this.#life = new Lifecycle(
      core,
      () => this.release(),
      () => this.#wake(),
    )
    this.#receipts = new Receipts(core)
    core.spaces[Level.Initial] = new PacketSpace(Level.Initial, 0, crypto.createSpace())
    core.spaces[Level.Handshake] = new PacketSpace(Level.Handshake, 0, crypto.createSpace())
    core.paths = new PathManager(
      {
        isServer: core.isServer,
        get maxAckDelayUs() {
          return core.maxAckDelayUs
        },
        isHandshakeConfirmed: () => core.handshakeConfirmed,
        isMigrationForbidden: () => core.peerParameters?.disableActiveMigration === true,
        onPathUnreachable: (path) => this.core.multipath.close(path.id, transportErrorCodes.PATH_UNSTABLE_OR_POOR),
        onPathEvent: (change, path) => {
          if (core.isServer) core.addressTokens.onPathEvent(change, path)
          core.observer?.event('path', { path_id: path.id, change, remote: path.tuple.remoteAddress }, this.#nowUs)
        },
      },
      core.events,
    )
    core.multipath = new Multipath(core, {
      createRegistry: (pathId) => new CidRegistry(pathId, this.#host),
      createPath: (pathId, tuple, cids) => this.#createPath(pathId, tuple, cids),
      releasePath: (path) => core.crypto.closeSpace(path.space.handle),
      onPathEvent: (change, path) => this.#onMultipathEvent(change, path),
    })
    const cids = new CidRegistry(0, this.#host)
    core.multipath.registries.set(0, cids)
    const path = this.#createPath(0, init.tuple, cids)
    path.cids.adoptLocal(init.localCid)
    path.recovery.spaces.unshift(core.spaces[Level.Initial] as PacketSpace, core.spaces[Level.Handshake] as PacketSpace)
    core.spaces[Level.OneRtt] = path.space
    core.paths.paths.push(path)
    this.receiver = new Receiver(core, {
      fail: (error, at) => this.fail(error, at),
      onPeerClosed: (reason, at) => this.#life.onPeerClosed(reason, at),
      onHandshakeDone: (at) => this.#confirm(at),
      onHandshakePacket: (at) => this.#onHandshakePacket(at),
      onNewToken: (token) => this.#host.onNewToken(this, token),
    })
    this.#transmitter = new Transmitter(core)
    this.flow = new HandshakeFlow(core, init.createTls, {
      onKeys: (level) => this.#onKeys(level),
      onHandshakeComplete: () => this.#onHandshakeComplete(),
    })
    this.#timers = new ConnectionTimers(core, this.#transmitter, nowUs + config.handshakeTimeoutUs)
    core.events.onFirst(() => this.#host.onWake(this))
  }

  #createPath(id: number, tuple: PathTuple, cids: CidRegistry): Path {
    const { core } = this
    const space = new PacketSpace(Level.OneRtt, id, core.crypto.createSpace())
    const path = new Path(id, tuple, space, cids, core.config, core, this.#receipts)
    if (core.peerParameters !== undefined) {
      path.mtu.setMaximum(Math.min(core.config.mtuBytesMax, core.peerParameters.maxUdpPayloadSize), this.#nowUs)
    }
    path.recovery.spaces.push(space)
    space.phaseFirstSent = 0
    return path
  }

  #onMultipathEvent(change: 'opened' | 'abandoned' | 'status', path: Path): void {
    this.core.events.push({ kind: 'path', path: path.id, change })
    const { remoteAddress: remote, localAddress: local } = path.tuple
    this.core.observer?.event('path', { path_id: path.id, change, local, remote }, this.#nowUs)
    if (change !== 'abandoned') return
    this.core.streams.outbox.onPathGone(path.id)
    this.core.datagrams.onPathGone(path.id)
  }

  get path(): Path {
    return this.core.paths.primary
  }

  // ---- API for applications

  /** Next event, undefined when there is none. */
  pollEvent(): ConnectionEvent | undefined {
    return this.core.events.shift()
  }

  openStream(kind: StreamKind): StreamId | undefined {
    const id = this.core.streams.open(kind)
    if (id === undefined) this.#wake()
    return id
  }

  write(id: StreamId, data: Uint8Array): number {
    this.#checkOpen('write')
    const accepted = this.core.streams.write(id, data)
    if (accepted > 0) this.#wake()
    return accepted
  }

  read(id: StreamId, visit: (chunk: Uint8Array) => void, maxBytes?: number): ReadStatus {
    const { streams } = this.core
    const status = streams.read(id, visit, maxBytes)
    if (
      streams.window.needsAnnouncement ||
      streams.outbox.hasControl() ||
      streams.limits.announce[0] ||
      streams.limits.announce[1]
    ) {
      this.#wake()
    }
    return status
  }

  finish(id: StreamId): void {
    this.#checkOpen('finish')
    this.core.streams.finish(id)
    this.#wake()
  }

  // RFC 9000 §11.2: "RESET_STREAM MUST only be instigated by the application protocol that uses QUIC."
  reset(id: StreamId, code: ErrorCode): void {
    this.core.streams.reset(id, code)
    this.#wake()
  }

  stop(id: StreamId, code: ErrorCode): void {
    this.core.streams.stop(id, code)
    this.#wake()
  }

  sendDatagram(data: Uint8Array, options?: DatagramOptions): boolean {
    if (this.core.state > LifeState.Established) return false
    const path = options?.path === undefined ? this.path : this.core.paths.get(options.path)
    if (path === undefined || path.isAbandoned) return false
    const isQueued = this.core.datagrams.push(data, path.mtu.mtuBytes, options)
    if (isQueued) this.#wake()
    return isQueued
  }

  /** Largest datagram payload that can be sent now; 0 when the peer takes none. */
  get datagramBytesMax(): number {
    return this.core.datagrams.payloadBytesMax(this.path.mtu.mtuBytes)
  }

  /** Order (`prio`, `rfc9218`) or share (`sprio`) of what we send on a stream; false when it is not open. Throws ERR_PRIORITY. */
  setStreamPriority(id: StreamId, priority: StreamPriority): boolean {
    return this.core.streams.setPriority(id, priority)
  }

  /**
   * Keeps what we send on a stream to one path while that works; while it is silent, and once it is over, other paths
   * carry it. Undefined = any path again. False when the stream or the path is not open.
   */
  setStreamPath(id: StreamId, pathId: PathId | undefined): boolean {
    if (pathId !== undefined && this.core.paths.get(pathId)?.isAbandoned !== false) return false
    const isBound = this.core.streams.bind(id, pathId ?? ANY_PATH)
    this.#wake()
    return isBound
  }

  streamStats(id: StreamId): StreamStats | undefined {
    return this.core.streams.stats(id)
  }

  /** Closes with an application error code; the last time known to the engine is used for timers. */
  close(code: ErrorCode, reason: string): void {
    this.#life.startClosing({ kind: 'application', by: 'local', code, reason }, this.#nowUs)
    this.#wake()
  }

  /** Asks for a key update (RFC 9001 §6), done as soon as it is allowed. */
  updateKeys(): void {
    this.core.keys.requestUpdate()
    this.core.pingPending = true
    this.#wake()
  }

  /** Uses a fresh connection ID of the peer on a path, the first one unless told, from now on. False when none is spare. */
  rotateCid(id: PathId = this.path.id): boolean {
    const path = this.core.paths.get(id)
    if (path === undefined || path.isAbandoned) return false
    const isRotated = path.cids.rotate()
    if (!isRotated) this.core.multipath.onCidsMissing(id)
    this.#wake()
    return isRotated
  }

  /**
   * Client: opens a further path over `tuple` (RFC 10069 §3). It carries data once it is validated, event `path` tells.
   * Undefined = multipath was not negotiated, or no path ID or connection ID is left now.
   */
  openPath(tuple: PathTuple, options: { readonly status?: PathStatus }, nowUs: Micros): number | undefined {
    const path = this.core.multipath.open(tuple, options.status ?? 'available', nowUs)
    this.#wake()
    return path?.id
  }

  /** Says how the peer should use a path: `backup` = only when no available one works (RFC 10069 §3.3). */
  setPathStatus(id: number, status: PathStatus): void {
    this.core.multipath.setStatus(id, status)
    this.#wake()
  }

  /** Abandons a path; `code` as in RFC 10069 §4.2.1. Closing the last one closes the connection. */
  closePath(id: number, nowUs: Micros, code: number = transportErrorCodes.APPLICATION_ABANDON_PATH): void {
    try {
      this.core.multipath.close(id, code)
    } catch (error) {
      this.fail(error, nowUs)
    }
    this.#wake()
  }

  /** The driver could not send from `tuple`: the path over it counts as silent at once, while another one works. */
  onSendFailed(tuple: PathTuple): void {
    this.core.paths.onSendFailed(tuple)
    this.#wake()
  }

  /** Probes silent paths at once and from the beginning of their back-off: the network has changed. */
  probeSilentPaths(): void {
    this.core.paths.probeSilent()
    this.#wake()
  }

  /** A packet came for a path ID not in use: a server opens the path. The endpoint calls this. */
  acceptPath(id: number, tuple: PathTuple, nowUs: Micros): Path | undefined {
    this.setNow(nowUs)
    return this.core.multipath.accept(id, tuple)
  }

  /**
   * Client: moves a path, the first open one by default, to other addresses after validating them (RFC 9000 §9). False
   * when the peer forbids it or gave no connection ID, or there is no such path.
   */
  migrate(tuple: PathTuple, nowUs: Micros, pathId: number = this.path.id): boolean {
    const path = this.core.paths.get(pathId)
    if (path === undefined || path.isAbandoned) return false
    const isStarted = this.core.paths.migrate(path, tuple, nowUs)
    if (!isStarted) this.core.multipath.onCidsMissing(pathId)
    this.#wake()
    return isStarted
  }

  /** Client: probes and moves to the server's preferred address (RFC 9000 §9.6). */
  usePreferredAddress(tuple: PathTuple, nowUs: Micros): boolean {
    const isStarted = this.core.paths.usePreferredAddress(this.path, tuple, nowUs)
    this.#wake()
    return isStarted
  }

  /**
   * Server: tells the client that it can be reached at a further address of ours, too, where the driver must receive;
   * false when it is announced already. Clients that do not understand the extension hear nothing.
   * Throws ERR_ADDRESS, ERR_PORT, ERR_ADDRESS_LIMIT, ERR_NOT_SERVER.
   */
  announceAddress(address: string, port: number): boolean {
    const isNew = this.core.announcer.announce(address, port)
    this.#wake()
    return isNew
  }

  /** Server: takes an announced address back; false when there is none such. */
  withdrawAddress(address: string, port: number): boolean {
    const isKnown = this.core.announcer.withdraw(address, port)
    this.#wake()
    return isKnown
  }

  /** Client: further addresses of the server. They are claims: validated by the path that is opened to them. */
  announcedAddresses(): readonly ServerAddress[] {
    return this.core.announced.list()
  }

  stats(): ConnectionStats {
    return connectionStats(this.core)
  }

  paths(): readonly PathView[] {
    return this.core.paths.paths.filter((path) => !path.isDormant).map(pathView)
  }

  get alpn(): string | undefined {
    return this.core.handshake.tls.alpn()
  }

  get isClosed(): boolean {
    return this.core.state >= LifeState.Closing
  }

  #checkOpen(verb: string): void {
    if (this.core.state >= LifeState.Closing) {
      throw new QuicError('ERR_CONNECTION_CLOSED', `the connection is closed; ${verb}() needs an open one`)
    }
  }

  #wake(): void {
    this.#host.onWake(this)
  }

  // ---- handshake

  #onKeys(level: Level): void {
    const { core } = this
    if (level === Level.Handshake) core.hasHandshakeKeys = true
    if (level === Level.ZeroRtt && !core.isServer) core.events.push({ kind: 'earlyDataReady' })
    // RFC 9000 §17.2.3: "A client MUST NOT send 0-RTT packets once it starts processing 1-RTT packets"
    // RFC 9001 §5.6: "Once a client has installed 1-RTT keys, it MUST NOT send any more 0-RTT packets."
    if (level === Level.OneRtt && !core.isServer) core.keys.discard(Level.ZeroRtt)
  }

  #onHandshakeComplete(): void {
    const { core } = this
    const { tls } = core.handshake
    core.state = LifeState.Established
    this.#timers.handshakeDeadlineUs = NEVER
    const wasEarly = this.flow.usedEarlyData
    const isAccepted = tls.earlyDataAccepted()
    if (!core.isServer && wasEarly && !isAccepted) this.flow.onEarlyDataRejected()
    core.events.push({
      kind: 'connected',
      // RFC 9001 §8.1: TLS refuses a handshake without a common protocol with no_application_protocol (0x0178)
      alpn: tls.alpn() ?? '',
      resumed: tls.resumed(),
      earlyData: wasEarly ? (isAccepted ? 'accepted' : 'rejected') : isAccepted ? 'accepted' : 'none',
    })
    core.observer?.event('connection_state', { new: 'handshake_completed' }, this.#nowUs)
    if (!core.isServer) return
    // RFC 9001 §4.1.2: "the TLS handshake is considered confirmed at the server when the handshake completes. The server MUST send a HANDSHAKE_DONE frame as soon as the handshake is complete."
    core.handshakeDonePending = true
    this.#confirm(this.#nowUs)
  }

  #confirm(nowUs: Micros): void {
    const { core } = this
    if (core.handshakeConfirmed) return
    core.handshakeConfirmed = true
    core.peerCompletedAddressValidation = true
    // RFC 9001 §4.9.2: "An endpoint MUST discard its Handshake keys when the TLS handshake is confirmed"
    this.#discardLevel(Level.Initial)
    this.#discardLevel(Level.Handshake)
    core.keys.discard(Level.ZeroRtt)
    this.path.isValidated = true
    this.path.mtu.start()
    const limit = Math.min(core.peerParameters?.activeConnectionIdLimit ?? 2, core.config.activeCidLimit)
    this.path.cids.replenish(limit)
    if (core.multipath.isNegotiated) core.multipath.issueCids()
    core.events.push({ kind: 'confirmed' })
    core.observer?.event('connection_state', { new: 'handshake_confirmed' }, nowUs)
    if (!core.isServer) this.#considerPreferredAddress(nowUs)
  }

  // RFC 9000 §9.6.1: "Once the handshake is confirmed, the client SHOULD select one of the two addresses provided by the server and initiate path validation"
  #considerPreferredAddress(nowUs: Micros): void {
    const preferred = this.core.peerParameters?.preferredAddress
    if (preferred === undefined) return
    const { ipv4Address, ipv4Port, ipv6Address, ipv6Port } = preferred
    // The family in use is the one known to work.
    const isIpv6 = this.path.tuple.remoteAddress.includes(':')
    const address = isIpv6 ? ipv6Address : ipv4Address
    if (address === undefined) return
    const tuple = this.#host.tupleTo(address, isIpv6 ? ipv6Port : ipv4Port)
    if (tuple !== undefined) this.core.paths.usePreferredAddress(this.path, tuple, nowUs)
  }

  #onHandshakePacket(_nowUs: Micros): void {
    const { core } = this
    if (!core.isServer) return
    // RFC 9000 §8.1: receipt of a Handshake packet validates the client's address
    this.path.isValidated = true
    // RFC 9001 §4.9.1: "a server MUST discard Initial keys when it first successfully processes a Handshake packet"
    this.#discardLevel(Level.Initial)
  }

  #discardLevel(level: Level): void {
    const { core } = this
    const space = core.spaces[level]
    if (space === undefined) return
    this.path.recovery.discardSpace(space)
    core.crypto.closeSpace(space.handle)
    core.keys.discard(level)
    if (level === Level.Initial) this.flow.discardInitial()
    core.handshake.discard(level)
    core.spaces[level] = undefined
    const { spaces } = this.path.recovery
    spaces.splice(spaces.indexOf(space), 1)
  }

  // ---- input

  /** Sets the time of the current call; the endpoint does before any other input. */
  setNow(nowUs: Micros): void {
    this.#nowUs = nowUs
    this.core.streams.nowUs = nowUs
  }

  onPacketWhileClosing(): void {
    this.#life.onPacketWhileClosing()
  }

  /** Called after each successfully opened 1-RTT packet with the key generation that opened it. */
  onGeneration(generation: number): void {
    const { core } = this
    try {
      if (core.keys.onOpened(generation, core.paths.largestPtoUs(), this.#nowUs)) {
        this.#transmitter.onKeysRotated(this.#nowUs, 'remote')
      }
    } catch (error) {
      this.fail(error, this.#nowUs)
    }
  }

  /** Client: the first packet of the server was processed: Initial keys may go once Handshake packets flow. */
  onSentHandshake(): void {
    // RFC 9001 §4.9.1: "a client MUST discard Initial keys when it first sends a Handshake packet"
    if (!this.core.isServer) this.#discardLevel(Level.Initial)
  }

  // ---- output

  pollTransmit(out: TransmitBatch, nowUs: Micros): boolean {
    const { core } = this
    this.setNow(nowUs)
    if (core.state >= LifeState.Closing) return this.#life.takeClose() && this.#transmitter.pollClose(out, nowUs)
    try {
      const handshake = core.spaces[Level.Handshake]
      const before = handshake?.sent.next ?? 0
      const isSent = this.#transmitter.poll(out, nowUs)
      if (handshake !== undefined && handshake.sent.next > before) this.onSentHandshake()
      return isSent
    } catch (error) {
      this.fail(error, nowUs)
      return false
    }
  }

  // ---- timers

  /** Earliest moment at which `handleTimeout` or `pollTransmit` has something to do. */
  nextTimeoutUs(nowUs: Micros): Micros {
    return this.isClosed ? this.#life.nextTimeoutUs : this.#timers.nextUs(nowUs)
  }

  /** Lets everything that is due happen. */
  handleTimeout(nowUs: Micros): void {
    this.setNow(nowUs)
    if (this.isClosed) return this.#life.onTimeout(nowUs)
    const { idleTimeoutUs, config } = this.core
    if (this.#timers.isIdle(nowUs)) return this.#life.endSilently({ kind: 'idle', afterUs: idleTimeoutUs }, nowUs)
    // The peer is told: it may be waiting for nothing but this.
    if (nowUs >= this.#timers.handshakeDeadlineUs)
      return this.#life.startClosing({ kind: 'idle', afterUs: config.handshakeTimeoutUs }, nowUs)
    try {
      this.#timers.onTimeout(nowUs)
    } catch (error) {
      this.fail(error, nowUs)
    }
  }

  // ---- end of life

  /** Closes because of what a packet or a timer brought about. Our own bugs close with INTERNAL_ERROR. */
  fail(error: unknown, nowUs: Micros): void {
    this.#life.fail(error, nowUs)
  }

  /** Closes with a transport error of ours. */
  failWith(name: TransportErrorName, reason: string, nowUs: Micros): void {
    this.fail(new TransportError(name, 0, reason), nowUs)
  }

  onStatelessReset(nowUs: Micros): void {
    // RFC 9000 §10.3.1: "the endpoint MUST enter the draining period and not send any further packets on this connection"
    this.#life.onPeerClosed({ kind: 'reset' }, nowUs)
  }

  onVersionFailure(offered: readonly number[], nowUs: Micros): void {
    this.#life.endSilently({ kind: 'version', offered }, nowUs)
  }

  /** Gives back keys, CIDs and TLS. After this the endpoint forgets the connection. */
  release(): void {
    const { core } = this
    for (const registry of core.multipath.registries.values()) registry.close()
    for (const path of core.paths.paths) core.crypto.closeSpace(path.space.handle)
    for (const level of [Level.Initial, Level.Handshake] as const) {
      const space = core.spaces[level]
      if (space !== undefined) core.crypto.closeSpace(space.handle)
      core.spaces[level] = undefined
    }
    this.flow.discardInitial()
    core.keys.close()
    core.handshake.tls.close()
  }

  /** Whether 1-RTT packets can be opened now. */
  get canOpenOneRtt(): boolean {
    const { core } = this
    if (core.keys.rx(Level.OneRtt) === NO_KEY || core.state > LifeState.Closing) return false
    // RFC 9001 §5.7: "a server MUST NOT process incoming 1-RTT protected packets before the TLS handshake is complete"
    return !core.isServer || core.handshake.isComplete
  }
}
