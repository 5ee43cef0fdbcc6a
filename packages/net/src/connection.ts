/** One QUIC connection over real sockets, as applications and application protocols see it. */
import type {
  CloseReason,
  Connection,
  ConnectionEvent,
  ConnectionStats,
  ErrorCode,
  Micros,
  PathTuple,
  PathView,
  StreamTransport,
} from '@quicether/transport'
import { QuicError } from '@quicether/transport'
import { connectError } from './close-reason.ts'
import { formatAddress } from './ip-address.ts'

/** What the handshake agreed on. */
export interface Handshake {
  readonly alpn: string
  readonly resumed: boolean
  readonly earlyData: 'none' | 'accepted' | 'rejected'
  /** From the first datagram of the connection to the complete handshake on our side. */
  readonly establishmentUs: Micros
}

/** Where a client moves to; what is absent is left to the kernel. */
export interface MigrateOptions {
  readonly localAddress?: string
  readonly localPort?: number
  readonly interfaceName?: string
}

/** Events held while nobody listens. Streams are limited by the transport, so only datagrams can be this many. */
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
  readonly #migrate: ((options: MigrateOptions) => boolean) | undefined
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
   * @param migrate moves a client to a socket of its own.
   */
  constructor(connection: Connection, onDetach: () => void, migrate?: (options: MigrateOptions) => boolean) {
    this.role = connection.core.role
    this.transport = connection
    this.#connection = connection
    this.#onDetach = onDetach
    this.#migrate = migrate
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
    this.#onEvent = listener
    if (listener === null || this.#held.length === 0 || this.#isReplayPlanned) return
    this.#isReplayPlanned = true
    queueMicrotask(() => {
      this.#isReplayPlanned = false
      this.#replay()
    })
  }

  /** Undefined until the handshake is complete. */
  get handshake(): Handshake | undefined {
    return this.#handshake
  }

  /** The agreed application protocol; undefined until the handshake is complete. */
  get alpn(): string | undefined {
    return this.#handshake?.alpn
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
    if (this.#migrate === undefined) throw new QuicError('ERR_NOT_CLIENT', 'only a client can migrate (RFC 9000 §9)')
    return !this.isClosed && this.#migrate(options)
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
  handleEvent(event: ConnectionEvent, nowUs: Micros): void {
    if (event.kind === 'connected') this.#onConnected(event, nowUs)
    if (event.kind === 'closed') this.#onClosed(event.reason)
    if (this.#onEvent === null || this.#held.length > 0 || this.#isDelivering) this.#hold(event)
    else this.#deliver(event)
    if (event.kind === 'closed') this.#onDetach()
  }

  #onConnected(event: ConnectionEvent & { kind: 'connected' }, nowUs: Micros): void {
    const { alpn, resumed, earlyData } = event
    const establishmentUs = Math.max(0, nowUs - this.#connection.core.createdAtUs)
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
    try {
      this.#onEvent?.(event)
    } catch (error) {
      // The listener's bug is its own: it ends the process as any exception in a callback does, not our loop.
      queueMicrotask(() => {
        throw error
      })
    } finally {
      this.#isDelivering = false
    }
  }
}
