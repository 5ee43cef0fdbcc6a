/** Servers: sockets, certificates and an engine that accepts connections. */
import {
  type CertificateIdentity,
  createNativeCrypto,
  createServerContext,
  type Identity,
  type KeyLog,
  type NativeServerContext,
  type ServerContextOptions,
  systemRandom,
} from '@quicether/native'
import type {
  AcceptOptions,
  CloseReason,
  Connection,
  ConnectionObserver,
  EndpointEvent,
  ErrorCode,
  Micros,
  ObserverInfo,
  TransportConfig,
} from '@quicether/transport'
import { Endpoint, QuicError } from '@quicether/transport'
import type { DatagramTap } from './capture/tap.ts'
import { QuicConnection } from './connection.ts'
import { Driver, epochOffsetUs } from './driver.ts'
import { InterfaceAnnouncer } from './interface-announcer.ts'
import { formatAddress } from './ip-address.ts'
import { nativeCall } from './native-call.ts'
import { type AddressOption, type PreferredAddressOption, ServerAddresses } from './server-addresses.ts'
import { type BoundSocket, UdpPort, type UdpPortStats } from './udp-port.ts'
import type { WorkerSeat } from './workers/seat.ts'

export interface ListenOptions {
  /** Addresses of this machine. Absent: all, over IPv6 and IPv4. */
  readonly addresses?: readonly string[]
  /** 0 = any free port, the same one on every address. */
  readonly port: number
  readonly interfaceName?: string
  /** Where clients are asked to go after the handshake (RFC 9000 §9.6); received on besides `addresses`. */
  readonly preferredAddress?: PreferredAddressOption
  /**
   * Further addresses that clients with several paths are told of; received on besides `addresses` where they are ours.
   * `announceAddress` and `withdrawAddress` change the list later. `interfaces` = those of this machine, as they come and
   * go, where all addresses are listened on.
   */
  readonly announce?: readonly AddressOption[] | 'interfaces'
  /** Certificates by server name; the first one answers to unknown names. */
  readonly identities: readonly Identity[]
  readonly alpn: readonly string[]
  readonly clientAuthentication?: ServerContextOptions['clientAuthentication']
  /** Accept 0-RTT; what it carries may be replayed by an attacker against another server, not against this one. */
  readonly earlyData?: boolean
  /** Sessions kept for resumption; 0 = none. */
  readonly sessionsMax?: number
  readonly cipherSuites?: readonly string[]
  readonly accept?: Partial<AcceptOptions>
  readonly config?: Partial<TransportConfig>
  /** 32 bytes each, so that tokens and resets survive a restart. Random when absent. */
  readonly tokenKey?: Uint8Array
  readonly resetKey?: Uint8Array
  readonly keyLog?: KeyLog
  readonly tap?: DatagramTap
  readonly observe?: (info: ObserverInfo) => ConnectionObserver | null
  /** Told of connections that ended before their handshake did; anybody can cause these, so mind the volume. */
  readonly onHandshakeFailed?: (remote: string, reason: CloseReason) => void
  /**
   * In the module of a worker group: listen as one of its workers. The group's addresses, port, keys and number of
   * sessions then stand for those given here.
   */
  readonly seat?: WorkerSeat
}

export interface ListenerCloseOptions {
  /** Let connections end by themselves for so long; meanwhile new ones are refused. 0 when absent. */
  readonly graceMs?: number
  readonly code?: ErrorCode
  readonly reason?: string
}

export interface ListenerStats extends UdpPortStats {
  readonly connections: number
  readonly accepted: number
  readonly retries: number
  readonly versionNegotiations: number
  readonly resets: number
  readonly refused: number
}

/** How long closing waits for peers to stop sending; RFC 9000 §10.2 allows to end earlier. */
const LINGER_MS = 100
const SAME_PORT_ATTEMPTS = 16
/** Addresses that stand for all; a machine may have one family only. */
const ALL_ADDRESSES = ['::', '0.0.0.0'] as const

/** Made by `listen`. */
export class QuicListener implements AsyncDisposable {
  readonly #endpoint: Endpoint
  readonly #driver: Driver
  readonly #port: UdpPort
  readonly #tls: NativeServerContext
  readonly #sockets: BoundSocket[]
  readonly #addresses: ServerAddresses
  readonly #announcer: InterfaceAnnouncer | undefined
  readonly #onConnection: (connection: QuicConnection) => void
  readonly #onHandshakeFailed: ListenOptions['onHandshakeFailed']
  readonly #onClosed: () => void
  readonly #connections: Map<Connection, QuicConnection> = new Map()
  /** Connections of the engine that have not ended, those in their handshake included. */
  readonly #live: Set<Connection> = new Set()
  #accepted = 0
  #isStarted = false
  #isClosing = false
  #closed: Promise<void> | undefined
  #onEmpty: (() => void) | undefined
  /** While closing waits for connections: wait no longer than so many milliseconds from now. */
  #hasten: ((graceMs: number) => void) | undefined

  constructor(options: ListenOptions, onConnection: (connection: QuicConnection) => void) {
    this.#onConnection = onConnection
    this.#onHandshakeFailed = options.onHandshakeFailed
    this.#tls = createTls(options)
    this.#port = new UdpPort()
    try {
      const { seat } = options
      const { tokenKey, resetKey } = seat?.shared ?? options
      const crypto = createNativeCrypto({
        ...(tokenKey === undefined ? {} : { tokenKey }),
        ...(resetKey === undefined ? {} : { resetKey }),
      })
      this.#onClosed = () => crypto.close()
      this.#sockets = seat === undefined ? bindAll(this.#port, options) : adoptAll(this.#port, seat)
      this.#driver = new Driver({
        port: this.#port,
        tap: options.tap,
        onEvent: (event, nowUs) => this.#onEvent(event, nowUs),
      })
      const handles = this.#sockets.map((socket) => socket.handle)
      this.#addresses = new ServerAddresses(
        this.#port,
        this.#sockets,
        (handle) => (this.#isStarted ? this.#driver.watch(handle) : handles.push(handle)),
        (handle) => this.#driver.release(handle),
        seat === undefined,
      )
      const preferredAddress = this.#addresses.prefer(options.preferredAddress ?? {})
      const { announce = [] } = options
      for (const address of announce === 'interfaces' ? [] : announce) this.#addresses.announce(address)
      this.#endpoint = new Endpoint({
        crypto,
        random: systemRandom(),
        server: { tls: this.#tls, ...options.accept, ...(preferredAddress === undefined ? {} : { preferredAddress }) },
        onReady: this.#driver.wake,
        epochOffsetUs: epochOffsetUs(),
        ...(seat === undefined
          ? {}
          : {
              connectionIds: seat.connectionIds(),
              onUnrouted: (batch, index, header) => seat.route(batch, index, header),
            }),
        ...(options.config === undefined ? {} : { config: options.config }),
        ...(options.observe === undefined ? {} : { observe: options.observe }),
      })
      this.#driver.start(this.#endpoint, seat === undefined ? handles : [])
      this.#isStarted = true
      if (seat !== undefined) this.#sit(seat, handles)
      if (announce === 'interfaces') this.#announcer = this.#announceInterfaces()
    } catch (error) {
      this.#port.close()
      this.#tls.close()
      throw error
    }
  }

  /** The group says when to read from the sockets, and hands over what has come to other workers. */
  #sit(seat: WorkerSeat, handles: readonly number[]): void {
    seat.take({
      begin: () => handles.forEach((handle) => void this.#driver.watch(handle)),
      stopReceiving: () => this.#driver.stopReceiving(handles),
      receiveFor: (handle, bytes, meta) => this.#driver.receiveFor(handle, bytes, meta),
      stats: () => this.stats(),
    })
  }

  /** The port, the same on all addresses. */
  get port(): number {
    return this.#sockets[0]?.port ?? 0
  }

  get addresses(): readonly { readonly address: string; readonly port: number }[] {
    return this.#sockets.map(({ address, port }) => ({ address, port }))
  }

  /** First address as `address:port`. */
  address(): string {
    const socket = this.#sockets[0]
    return socket === undefined ? '' : formatAddress(socket.address, socket.port)
  }

  /** Further addresses that clients are told of. */
  get announced(): readonly Required<AddressOption>[] {
    return this.#addresses.list()
  }

  /**
   * Tells all clients with several paths, those to come included, that they reach us at a further address, too. Where it
   * is an address of this machine it is received on; any other one is taken to be forwarded to us. False = known already.
   * @throws QuicError `ERR_ADDRESS`, `ERR_PORT`, `ERR_ADDRESS_LIMIT` above 16, `ERR_PORT_IN_USE`, …
   */
  announceAddress(address: string, port?: number): boolean {
    const fresh = this.#addresses.announce({ address, ...(port === undefined ? {} : { port }) })
    if (fresh === undefined) return false
    for (const connection of this.#live) connection.announceAddress(fresh.address, fresh.port)
    return true
  }

  /** Takes an announced address back; its socket closes a little later. False = it was not announced. */
  withdrawAddress(address: string, port?: number): boolean {
    const gone = this.#addresses.withdraw({ address, ...(port === undefined ? {} : { port }) })
    if (gone === undefined) return false
    for (const connection of this.#live) connection.withdrawAddress(gone.address, gone.port)
    return true
  }

  get connections(): IterableIterator<QuicConnection> {
    return this.#connections.values()
  }

  stats(): ListenerStats {
    const { retries, versionNegotiations, resets, refused } = this.#endpoint.stats
    const connections = this.#connections.size
    return { ...this.#port.stats, connections, accepted: this.#accepted, retries, versionNegotiations, resets, refused }
  }

  /**
   * New connections get these certificates; running ones keep theirs.
   * @throws QuicError naming the file at fault; the old certificates then stay.
   */
  replaceIdentities(identities: readonly CertificateIdentity[]): void {
    nativeCall(() => this.#tls.replaceIdentities(identities))
  }

  /**
   * Refuses new connections, waits at most `graceMs`, closes the others and then the sockets. Never rejects. A second call
   * can only hasten the first.
   */
  close(options: ListenerCloseOptions = {}): Promise<void> {
    if (this.#closed === undefined) this.#closed = this.#close(options)
    else this.#hasten?.(options.graceMs ?? 0)
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close({ graceMs = 0, code = 0, reason = '' }: ListenerCloseOptions): Promise<void> {
    this.#isClosing = true
    this.#endpoint.isRefusing = true
    await this.#empty(graceMs)
    this.#endpoint.closeAll(code, reason)
    this.#driver.wake()
    if (this.#endpoint.connectionCount > 0) await new Promise((resolve) => setTimeout(resolve, LINGER_MS))
    this.#announcer?.stop()
    this.#addresses.close()
    this.#driver.close()
    this.#tls.close()
    this.#onClosed()
  }

  #empty(graceMs: number): Promise<void> {
    if (graceMs <= 0 || this.#live.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const end = (): void => {
        for (const timer of timers) clearTimeout(timer)
        resolve()
      }
      const timers = [setTimeout(end, graceMs)]
      this.#onEmpty = end
      this.#hasten = (sooner) => {
        clearTimeout(timers[1])
        timers[1] = setTimeout(end, sooner)
      }
    })
  }

  #onEvent(event: EndpointEvent, nowUs: Micros): void {
    if (event.kind === 'drained') return
    const { connection } = event
    if (event.kind === 'incoming') {
      if (!this.#isClosing) this.#onIncoming(connection)
      return
    }
    if (event.event.kind === 'closed') this.#onEnded(connection)
    const known = this.#connections.get(connection)
    if (known !== undefined) return known.handleEvent(event.event, nowUs)
    // A connection is shown once its client has proved to speak TLS; those that fail before are only counted.
    if (event.event.kind === 'closed') {
      const { remoteAddress, remotePort } = connection.path.tuple
      this.#onHandshakeFailed?.(formatAddress(remoteAddress, remotePort), event.event.reason)
      return
    }
    const fresh = new QuicConnection(connection, () => this.#connections.delete(connection))
    this.#connections.set(connection, fresh)
    this.#accepted++
    try {
      this.#onConnection(fresh)
    } catch (error) {
      void fresh.close(0, 'the application failed')
      queueMicrotask(() => {
        throw error
      })
    }
    fresh.handleEvent(event.event, nowUs)
  }

  #announceInterfaces(): InterfaceAnnouncer {
    const isAll = (wildcard: string): boolean => this.#sockets.some(({ address }) => address === wildcard)
    return new InterfaceAnnouncer(this, { hasIpv4: isAll('0.0.0.0'), hasIpv6: isAll('::') })
  }

  #onIncoming(connection: Connection): void {
    this.#live.add(connection)
    for (const { address, port } of this.#addresses.list()) connection.announceAddress(address, port)
  }

  #onEnded(connection: Connection): void {
    this.#live.delete(connection)
    if (this.#live.size === 0) this.#onEmpty?.()
  }
}

/**
 * Serves QUIC. `onConnection` is called before any event of the connection is delivered.
 * @throws QuicError `ERR_PORT_IN_USE`, `ERR_ADDRESS`, `ERR_CERTIFICATE…`, `ERR_KEY_MISMATCH`, `ERR_CONFIG`, …
 */
export async function listen(
  options: ListenOptions,
  onConnection: (connection: QuicConnection) => void,
): Promise<QuicListener> {
  return new QuicListener(options, onConnection)
}

function createTls(options: ListenOptions): NativeServerContext {
  const { identities, alpn, clientAuthentication, earlyData, cipherSuites, keyLog, tap, seat } = options
  const sessionsMax = seat?.shared.sessionsMax ?? options.sessionsMax
  if (alpn.length === 0) {
    throw new QuicError('ERR_ALPN', 'a server needs at least one application protocol; set alpn, e.g. ["h3"]')
  }
  const logs = [keyLog, tap === undefined ? undefined : (line: string) => tap.keylogLine(line)].filter(
    (log) => log !== undefined,
  )
  return nativeCall(() =>
    createServerContext({
      identities,
      alpn,
      ...(clientAuthentication === undefined ? {} : { clientAuthentication }),
      ...(earlyData === undefined ? {} : { earlyData }),
      ...(sessionsMax === undefined ? {} : { sessionsMax }),
      ...(seat === undefined ? {} : { sessionStore: seat.shared.sessionStore }),
      ...(cipherSuites === undefined ? {} : { cipherSuites }),
      ...(logs.length === 0 ? {} : { keyLog: (line) => logs.forEach((log) => void log(line)) }),
    }),
  )
}

/** The sockets of a seat, each with its own descriptor; their handles are their places in the seat. */
function adoptAll(port: UdpPort, { sockets }: WorkerSeat): BoundSocket[] {
  return sockets.map(({ address, port: number, descriptor }) =>
    port.bind({ address, port: number, descriptor, isPinned: true }),
  )
}

function bindAll(port: UdpPort, options: ListenOptions): BoundSocket[] {
  const { addresses = ALL_ADDRESSES, interfaceName } = options
  if (addresses.length === 0) throw new QuicError('ERR_ADDRESS', 'no address to listen on; leave addresses out for all')
  const common = { isPinned: true, ...(interfaceName === undefined ? {} : { interfaceName }) }
  const isAny = options.addresses === undefined
  for (let attempt = 1; ; attempt++) {
    const bound: BoundSocket[] = []
    try {
      for (const address of addresses) {
        // Port 0: the first socket finds a port, the others must have the same one.
        const wanted = options.port === 0 ? (bound[0]?.port ?? 0) : options.port
        try {
          bound.push(port.bind({ address, port: wanted, ...common }))
        } catch (error) {
          if (!isAny || !isMissingFamily(error) || (bound.length === 0 && address === addresses.at(-1))) throw error
        }
      }
      return bound
    } catch (error) {
      for (const socket of bound) port.unbind(socket.handle)
      const isRace = options.port === 0 && error instanceof QuicError && error.code === 'ERR_PORT_IN_USE'
      if (!isRace || attempt >= SAME_PORT_ATTEMPTS) throw error
    }
  }
}

/** Machines without IPv6 (or IPv4) serve the family they have. */
function isMissingFamily(error: unknown): boolean {
  return error instanceof QuicError && error.code === 'ERR_ADDRESS'
}
