/** One QUIC connection over real sockets, as applications and application protocols see it. */
import type {
  CloseReason,
  Connection,
  ConnectionEvent,
  ConnectionStats,
  ErrorCode,
  Micros,
  PathChange,
  PathId,
  PathStatus,
  PathTuple,
  PathView,
  StreamId,
  StreamPriority,
  StreamTransport,
} from '@quicether/transport'
import { QuicError } from '@quicether/transport'
import type { AddressOption } from './server-addresses.ts'
import { ConnectionHealth, type Health } from './connection-health.ts'
import { PathPolicy, type PathPolicyParts } from './path-policy.ts'
import type { PathPolicyOptions } from './path-policy-options.ts'
import type { ClientPaths, MigrateOptions, OpenPathOptions } from './client-paths.ts'
import { connectError } from './close-reason.ts'
import { nowUs } from './driver.ts'
import { canonicalIp, formatAddress } from './ip-address.ts'
import type { QuicDatagrams } from './streams/datagrams.ts'
import type { QuicStream } from './streams/quic-stream.ts'
import { type OpenStreamOptions, StreamHub } from './streams/stream-hub.ts'

/** What the handshake agreed on. */
export interface Handshake {
  readonly alpn: string
  readonly resumed: boolean
  readonly earlyData: 'none' | 'accepted' | 'rejected'
  /** From the first datagram of the connection to the complete handshake on our side. */
  readonly establishmentUs: Micros
}

/** Events held while nobody listens. Streams are limited by the transport, but datagrams and addresses can be this many. */
const HELD_EVENTS_MAX = 4096

/** Made by `connect` and `listen`. */
export class QuicConnection implements AsyncDisposable {
  readonly role: 'client' | 'server'
  /** Streams and datagrams. */
  readonly transport: StreamTransport
  /** Settles when the handshake completes; rejects with a QuicError when the connection ends before. */
  readonly connected: Promise<Handshake>
  /** Settles when the connection has ended, for whatever reason. Never rejects. */
  readonly closed: Promise<CloseReason>
  readonly #connection: Connection
  readonly #onDetach: () => void
  readonly #paths: ClientPaths | undefined
  readonly #health: ConnectionHealth
  #policy: PathPolicy | undefined
  #hub: StreamHub | undefined
  /** Told of every change of a path, besides `onEvent`. */
  onPath: ((id: PathId, change: PathChange) => void) | null = null
  /** Client: told of every address that the server announces or withdraws, besides `onEvent`. */
  onAddress: ((change: 'announced' | 'withdrawn', address: string, port: number) => void) | null = null
  readonly #held: ConnectionEvent[] = []
  #onEvent: ((event: ConnectionEvent) => void) | null = null
  #isDelivering = false
  #isReplayPlanned = false
  #handshake: Handshake | undefined
  #closeReason: CloseReason | undefined
  #resolveConnected!: (handshake: Handshake) => void
  #rejectConnected!: (error: Error) => void
  #resolveClosed!: (reason: CloseReason) => void
  #datagramsDropped = 0

  /**
   * @param onDetach called once when the connection has ended and its driver may stop.
   * @param paths a client's sockets.
   */
  constructor(connection: Connection, onDetach: () => void, paths?: ClientPaths) {
    this.role = connection.core.role
    this.transport = connection
    this.#connection = connection
    this.#onDetach = onDetach
    this.#paths = paths
    this.#health = new ConnectionHealth(connection)
    this.connected = new Promise((resolve, reject) => {
      this.#resolveConnected = resolve
      this.#rejectConnected = reject
    })
    // A caller may look at `closed` only.
    this.connected.catch(() => {})
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
  }

  /** The one listener. Events that came before it was set are delivered first, in order, in a microtask. */
  get onEvent(): ((event: ConnectionEvent) => void) | null {
    return this.#onEvent
  }

  set onEvent(listener: ((event: ConnectionEvent) => void) | null) {
    if (this.#hub !== undefined) throw inUse('its streams are read already')
    this.#onEvent = listener
    if (listener === null || this.#held.length === 0 || this.#isReplayPlanned) return
    this.#isReplayPlanned = true
    queueMicrotask(() => {
      this.#isReplayPlanned = false
      this.#replay()
    })
  }

  /**
   * Opens a stream as soon as the peer allows one more. Raw QUIC: not together with `onEvent`, which HTTP/3 uses.
   * @throws QuicError (by rejecting) `ERR_CONNECTION_CLOSED`, `ERR_CONNECTION_IN_USE`; the signal's reason.
   */
  async openStream(options: OpenStreamOptions = {}): Promise<QuicStream> {
    return this.#streams().open(options)
  }

  /**
   * Streams of the peer as they come; ends when the connection does. Raw QUIC like `openStream`.
   * @throws QuicError `ERR_CONNECTION_IN_USE`
   */
  get incomingStreams(): AsyncIterableIterator<QuicStream> {
    return this.#streams().incoming()
  }

  /**
   * Unreliable messages (RFC 9221). Raw QUIC like `openStream`.
   * @throws QuicError `ERR_CONNECTION_IN_USE`
   */
  get datagrams(): QuicDatagrams {
    return this.#streams().datagrams
  }

  #streams(): StreamHub {
    if (this.#hub !== undefined) return this.#hub
    if (this.#onEvent !== null) throw inUse('another protocol, such as HTTP/3, has its events')
    const hub = new StreamHub(this.transport, this.role)
    this.onEvent = (event) => hub.handleEvent(event)
    this.#hub = hub
    return hub
  }

  /** Undefined until the handshake is complete. */
  get handshake(): Handshake | undefined {
    return this.#handshake
  }

  /** The agreed application protocol; undefined until the handshake is complete. */
  get alpn(): string | undefined {
    return this.#handshake?.alpn
  }

  /** The handshake is complete. */
  get isEstablished(): boolean {
    return this.#handshake !== undefined
  }

  /** Why it ended; undefined while it is open. */
  get closeReason(): CloseReason | undefined {
    return this.#closeReason
  }

  get isClosed(): boolean {
    return this.#closeReason !== undefined || this.#connection.isClosed
  }

  /** Addresses of the path in use. */
  get tuple(): PathTuple {
    return this.#connection.path.tuple
  }

  /** `address:port` of the peer. */
  get remote(): string {
    return formatAddress(this.tuple.remoteAddress, this.tuple.remotePort)
  }

  /** `address:port` of our end. */
  get local(): string {
    return formatAddress(this.tuple.localAddress, this.tuple.localPort)
  }

  /** Original destination connection ID in hex: the name of the connection in qlog files and logs. */
  get id(): string {
    return Buffer.from(this.#connection.core.originalDestinationCid).toString('hex')
  }

  /** Server: the name the client asked for. Client: the name asked for. */
  get serverName(): string | undefined {
    return this.isClosed ? undefined : this.#connection.core.handshake.tls.serverName()
  }

  /** DER certificates of the peer, or its one raw public key; empty when it showed none or the connection has ended. */
  get peerCertificates(): readonly Uint8Array[] {
    return this.isClosed ? [] : this.#connection.core.handshake.tls.peerCertificates()
  }

  /** Largest DATAGRAM payload that can be sent now; 0 = the peer takes none. */
  get datagramBytesMax(): number {
    return this.#connection.datagramBytesMax
  }

  /** DATAGRAMs dropped because nobody listened for events. */
  get datagramsDropped(): number {
    return this.#datagramsDropped
  }

  stats(): ConnectionStats {
    return this.#connection.stats()
  }

  paths(): readonly PathView[] {
    return this.#connection.paths()
  }

  /**
   * Client: further addresses of the server, as it announced them; `openPath` to one tries it. Empty when the server
   * announces none or does not know the extension, or `config.maxPaths` is 1.
   */
  announcedAddresses(): readonly Required<AddressOption>[] {
    return this.#connection.announcedAddresses().map(({ address, port }) => ({ address: canonicalIp(address), port }))
  }

  /** Paths that both sides allow at once; 1 without multipath. */
  get pathLimit(): number {
    return this.#paths?.limit ?? 1
  }

  /** Client: the server as it was connected to, or as it has asked to be reached since. */
  get server(): Required<AddressOption> {
    const known = this.#paths?.server
    if (known !== undefined) return { address: known.address, port: known.remotePort }
    return { address: this.tuple.localAddress, port: this.tuple.localPort }
  }

  /**
   * Client: opens, reserves and closes paths from now on as interfaces and addresses of the server come and go. The option
   * `paths` of `connect` does it from the start. Returns the policy, the same one when it is called again.
   * @throws QuicError `ERR_CONFIG` for values out of range, `ERR_NOT_CLIENT` on servers.
   */
  managePaths(options: PathPolicyOptions = {}, parts: PathPolicyParts = {}): PathPolicy {
    if (this.#paths === undefined) throw new QuicError('ERR_NOT_CLIENT', 'only a client opens paths (RFC 10069 §3)')
    this.#policy ??= new PathPolicy(this, options, parts)
    return this.#policy
  }

  /** What manages the paths; undefined when nobody does. */
  get pathPolicy(): PathPolicy | undefined {
    return this.#policy
  }

  /** Whether any path works now, since when, and if none does when the next attempt is made. */
  get health(): Health {
    return this.#health.look()
  }

  /** Told when the last path falls silent and when one answers again, at most a few times a second; null ends it. */
  watchHealth(onChange: ((health: Health) => void) | null): void {
    this.#health.watch(onChange)
  }

  /**
   * Probes every path that has fallen silent now, instead of when its back-off ends: something about the network has
   * changed. The path policy calls it when an address has come.
   */
  probeSilentPaths(): void {
    if (!this.isClosed) this.#connection.probeSilentPaths()
  }

  /** Called by the driver's owner when the kernel refuses datagrams for a tuple. */
  onSendFailed(tuple: PathTuple): void {
    if (this.isClosed) return
    this.#paths?.onSendFailed(tuple)
    this.#policy?.onSendFailed()
  }

  /** The engine's connection, for what this class does not offer (key update, migration). */
  get engine(): Connection {
    return this.#connection
  }

  /**
   * Client: moves to another socket (RFC 9000 §9.2); the event `path` with `migrated` follows once the new path is
   * validated, `failed` if it is not. False = not now: the handshake is not confirmed, the peer forbids it or has given
   * no spare connection ID.
   * @throws QuicError `ERR_ADDRESS`, `ERR_INTERFACE`, … when the socket cannot be opened, `ERR_NOT_CLIENT` on servers.
   */
  migrate(options: MigrateOptions = {}): boolean {
    if (this.#paths === undefined) throw new QuicError('ERR_NOT_CLIENT', 'only a client can migrate (RFC 9000 §9)')
    return !this.isClosed && this.#paths.migrate(options)
  }

  /**
   * Client: opens a further path over a socket of its own (RFC 10069 §3) and resolves with its ID once it is validated;
   * from then on it carries data. Both sides need `config.maxPaths` above 1.
   * @throws QuicError (by rejecting) `ERR_NO_MULTIPATH`, `ERR_PATH_LIMIT`, `ERR_PATH_FORBIDDEN`, `ERR_PATH_UNREACHABLE`, `ERR_PATH_TIMEOUT`,
   * `ERR_FAMILY`, `ERR_INTERFACE`, `ERR_ADDRESS`, `ERR_CONNECTION_CLOSED`, `ERR_NOT_CLIENT` on servers.
   */
  async openPath(options: OpenPathOptions = {}): Promise<PathId> {
    if (this.#paths === undefined) throw new QuicError('ERR_NOT_CLIENT', 'only a client opens paths (RFC 10069 §3)')
    return this.#paths.open(options)
  }

  /**
   * Abandons a path; what was under way on it goes over the others (RFC 10069 §3.4). The event `path` with `abandoned`
   * follows.
   * @throws QuicError `ERR_PATH` when there is no such path or it is the last one: `close` ends the connection.
   */
  closePath(id: PathId): void {
    const open = this.#openPaths(id)
    if (open.length > 1) return this.#connection.closePath(id, nowUs())
    throw new QuicError('ERR_PATH', `path ${id} is the only open one; use close() to end the connection`)
  }

  /**
   * Says how the peer should use a path, and uses it so itself: `backup` = only while no available one works.
   * @throws QuicError `ERR_PATH` when there is no such path.
   */
  setPathStatus(id: PathId, status: PathStatus): void {
    this.#openPaths(id)
    this.#connection.setPathStatus(id, status)
  }

  /**
   * Keeps what we send on a stream to one path while that works, also to a backup path; while it is silent, and once it is
   * over, the others carry it. Undefined = any path again.
   * @returns false when the stream is not open for sending.
   * @throws QuicError `ERR_PATH` when there is no such path.
   */
  setStreamPath(stream: StreamId, path: PathId | undefined): boolean {
    if (path !== undefined) this.#openPaths(path)
    return this.#connection.setStreamPath(stream, path)
  }

  /**
   * Order or share of what we send on a stream, for the stream schedulers `prio`, `rfc9218` and `sprio`.
   * @returns false when the stream is not open for sending.
   * @throws QuicError `ERR_PRIORITY` for values out of range.
   */
  setStreamPriority(stream: StreamId, priority: StreamPriority): boolean {
    return this.#connection.setStreamPriority(stream, priority)
  }

  /** Open paths, `id` among them. */
  #openPaths(id: PathId): readonly PathId[] {
    const open = this.#connection.core.paths.paths.filter((path) => !path.isAbandoned).map((path) => path.id)
    if (open.includes(id)) return open
    throw new QuicError('ERR_PATH', `there is no open path ${id}; open ones: ${open.join(', ')}`)
  }

  /** Ends the connection with an application error code; settles like `closed`. */
  close(code: ErrorCode = 0, reason = ''): Promise<CloseReason> {
    if (!this.isClosed) this.#connection.close(code, reason)
    return this.closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Called by the driver's owner with each event of this connection. Exceptions of the listener do not reach it. */
  handleEvent(event: ConnectionEvent, atUs: Micros): void {
    if (event.kind === 'connected') this.#onConnected(event, atUs)
    if (event.kind === 'closed') this.#onClosed(event.reason)
    this.#paths?.handleEvent(event)
    if (event.kind === 'path') this.#guard(() => this.onPath?.(event.path, event.change))
    if (event.kind === 'addressAnnounced' || event.kind === 'addressWithdrawn') {
      const change = event.kind === 'addressAnnounced' ? 'announced' : 'withdrawn'
      this.#guard(() => this.onAddress?.(change, canonicalIp(event.address), event.port))
    }
    if (this.#onEvent === null || this.#held.length > 0 || this.#isDelivering) this.#hold(event)
    else this.#deliver(event)
    if (event.kind === 'closed') {
      this.#policy?.stop()
      this.#health.watch(null)
      this.#onDetach()
    } else if (event.kind === 'path' || event.kind === 'confirmed' || event.kind.startsWith('address')) {
      this.#policy?.review()
    }
  }

  #onConnected(event: ConnectionEvent & { kind: 'connected' }, atUs: Micros): void {
    const { alpn, resumed, earlyData } = event
    const establishmentUs = Math.max(0, atUs - this.#connection.core.createdAtUs)
    this.#handshake = { alpn, resumed, earlyData, establishmentUs }
    this.#resolveConnected(this.#handshake)
  }

  #onClosed(reason: CloseReason): void {
    this.#closeReason = reason
    this.#rejectConnected(connectError(this.remote, reason))
    this.#resolveClosed(reason)
  }

  #hold(event: ConnectionEvent): void {
    if (this.#held.length >= HELD_EVENTS_MAX && event.kind === 'datagram') {
      this.#datagramsDropped++
      return
    }
    // `announcedAddresses` tells what holds: nobody needs a history that a server can make as long as it likes.
    if (this.#held.length >= HELD_EVENTS_MAX && event.kind.startsWith('address')) return
    this.#held.push(event)
  }

  #replay(): void {
    while (this.#onEvent !== null) {
      const event = this.#held.shift()
      if (event === undefined) return
      this.#deliver(event)
    }
  }

  #deliver(event: ConnectionEvent): void {
    this.#isDelivering = true
    this.#guard(() => this.#onEvent?.(event))
    this.#isDelivering = false
  }

  #guard(listener: () => void): void {
    try {
      listener()
    } catch (error) {
      // The listener's bug is its own: it ends the process as any exception in a callback does, not our loop.
      queueMicrotask(() => {
        throw error
      })
    }
  }
}

function inUse(why: string): QuicError {
  return new QuicError('ERR_CONNECTION_IN_USE', `the streams of this connection have an owner: ${why}`)
}
