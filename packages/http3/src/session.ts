/** One HTTP/3 connection (RFC 9114), sans-I/O: events of the transport in, requests and responses out. */
import type { CloseReason, ConnectionEvent, Micros, StreamId, StreamTransport } from '@quicether/transport'
import { type Http3Config, resolveHttp3Config } from './config.ts'
import { ControlStreamReader } from './control-stream.ts'
import { H3ConnectionError, Http3Error, h3ErrorCodes, h3ErrorName } from './errors.ts'
import { Exchange, type ExchangeEvents, type ExchangeHost } from './exchange.ts'
import type { HeaderList } from './headers.ts'
import { HttpDatagrams } from './http-datagrams.ts'
import { checkOutgoingRequest } from './outgoing-check.ts'
import { OwnStreams } from './own-streams.ts'
import { PeerStreams } from './peer-streams.ts'
import { encodePriorityUpdate, type Priority, RequestPriorities } from './priority.ts'
import { QpackDecoder } from './qpack/decoder.ts'
import { QpackEncoder } from './qpack/encoder.ts'
import { ResetGuard } from './reset-guard.ts'
import { type Http3Settings, unsetSettings } from './settings.ts'
import { WebTransportHub, type WebTransportHubOptions } from './webtransport-hub.ts'

export interface Http3SessionOptions {
  readonly role: 'client' | 'server'
  readonly transport: StreamTransport
  readonly config?: Partial<Http3Config>
  /** For `Exchange.timing` and for the reset limit; without it times are NaN. */
  readonly clock?: () => Micros
  /** Whether the TLS handshake is complete; absent = it is. Requests before that are marked as early. */
  readonly isEstablished?: () => boolean
  /** Makes streams of WebTransport sessions; needed with `config.webTransportSessions`. */
  readonly createStream?: WebTransportHubOptions['createStream']
  /** Any non-negative integer below 2^20: selects the reserved codepoints we send to keep peers tolerant. */
  readonly grease?: number
  /** Server: a request's headers have arrived. Set `exchange.events`, then answer now or later. */
  readonly onRequest?: (exchange: Exchange) => void
  /** Client: `request` returned undefined before and may succeed now. */
  readonly onStreamsAvailable?: () => void
  readonly onSettings?: (settings: Http3Settings) => void
  /** The peer shuts down: no new requests; those with an ID of `id` and above were not processed. */
  readonly onGoaway?: (id: number) => void
  /** After `shutdown` or GOAWAY: the last exchange is over, the connection may be closed. */
  readonly onDrained?: () => void
  /** Last call. */
  readonly onClosed?: (error: Http3Error) => void
}

/** Field sections that the peer's decoder may leave unacknowledged before our encoder stops using its table. */
const OUTSTANDING_SECTIONS = 1_024

export class Http3Session {
  readonly role: 'client' | 'server'
  readonly #options: Http3SessionOptions
  readonly #transport: StreamTransport
  readonly #config: Http3Config
  readonly #encoder: QpackEncoder
  readonly #decoder: QpackDecoder
  readonly #host: ExchangeHost
  readonly #exchanges: Map<StreamId, Exchange>
  readonly #peerStreams: PeerStreams
  readonly #resetGuard: ResetGuard
  readonly #own: OwnStreams
  readonly #datagrams: HttpDatagrams
  readonly #priorities: RequestPriorities
  /** Undefined = WebTransport is not turned on. */
  readonly webTransport: WebTransportHub | undefined
  #isStarted: boolean
  #peerSettings: Http3Settings
  #highestRequestId: number
  /** Server: what our GOAWAY said. Client: what the server's said. */
  #goawayId: number
  #isShuttingDown: boolean
  #isDrainedReported: boolean
  #closeError: Http3Error | undefined

  constructor(options: Http3SessionOptions) {
    this.role = options.role
    this.#options = options
    this.#transport = options.transport
    this.#config = resolveHttp3Config(options.config)
    const { qpackTableBytes, qpackBlockedStreams, maxHeaderBytes, resetBurst, resetRefillPerSecond } = this.#config
    this.#encoder = new QpackEncoder({
      maxTableCapacityBytes: qpackTableBytes,
      maxOutstandingSections: OUTSTANDING_SECTIONS,
    })
    this.#decoder = new QpackDecoder({
      maxTableCapacityBytes: qpackTableBytes,
      maxBlockedStreams: qpackBlockedStreams,
      maxFieldSectionBytes: maxHeaderBytes,
    })
    this.#exchanges = new Map()
    this.#datagrams = new HttpDatagrams({
      transport: options.transport,
      role: options.role,
      isAnnounced: this.#config.datagrams,
      find: (id) => this.#exchanges.get(id),
      mayOpen: (id) => this.#mayOpen(id),
    })
    this.#priorities = new RequestPriorities(options.transport)
    this.webTransport = this.#createWebTransport()
    this.#host = this.#createHost()
    this.#peerStreams = this.#createPeerStreams()
    this.#resetGuard = new ResetGuard(
      { burst: resetBurst, refillPerSecond: resetRefillPerSecond },
      options.clock ?? null,
    )
    this.#own = new OwnStreams({
      transport: options.transport,
      encoder: this.#encoder,
      decoder: this.#decoder,
      settings: {
        qpackMaxTableCapacityBytes: qpackTableBytes,
        qpackBlockedStreams,
        maxFieldSectionBytes: maxHeaderBytes,
        allowsExtendedConnect: options.role === 'server' && this.#config.extendedConnect,
        allowsDatagrams: this.#config.datagrams,
        webTransportSessions: this.#config.webTransportSessions,
      },
      grease: options.grease ?? 0,
    })
    this.#isStarted = false
    this.#peerSettings = unsetSettings
    this.#highestRequestId = -4
    this.#goawayId = Number.POSITIVE_INFINITY
    this.#isShuttingDown = false
    this.#isDrainedReported = false
    this.#closeError = undefined
  }

  get peerSettings(): Http3Settings {
    return this.#peerSettings
  }

  /** Exchanges that are not over. */
  get activeExchanges(): number {
    return this.#exchanges.size
  }

  /** Either side has announced the end: no new requests. */
  get isShuttingDown(): boolean {
    return this.#isShuttingDown
  }

  /** Why the connection is over, once it is. */
  get closeError(): Http3Error | undefined {
    return this.#closeError
  }

  /**
   * Opens the control and QPACK streams. Happens by itself on `connected` and `earlyDataReady`; call it when those
   * events went by before the session was made. May be called again.
   */
  start(): void {
    this.#isStarted = true
    this.#openOwnStreams()
  }

  /**
   * Client: sends a request. Undefined = the peer's stream limit is reached, `onStreamsAvailable` follows.
   * `headers` starts with `:method`, `:scheme`, `:authority`, `:path`. Throws Http3Error for headers that cannot be sent,
   * after GOAWAY and after the end of the connection.
   */
  request(
    headers: HeaderList,
    options: { readonly endStream: boolean; readonly events?: ExchangeEvents; readonly context?: unknown },
  ): Exchange | undefined {
    if (this.role !== 'client') {
      throw new Http3Error('ERR_HTTP3_INVALID_STATE', 'a server session cannot send requests', { by: 'local' })
    }
    if (this.#closeError !== undefined) throw this.#closeError
    if (this.#isShuttingDown) throw goingAway(undefined)
    const head = checkOutgoingRequest(headers)
    // RFC 8441 §3, RFC 9220 §3: not before the server has announced it
    if (head.protocol !== undefined && !this.#peerSettings.allowsExtendedConnect) throw unsupported(head.protocol)
    const id = this.#transport.openStream('bidirectional')
    if (id === undefined) return undefined
    const exchange = new Exchange(this.#host, id, head)
    if (options.events !== undefined) exchange.events = options.events
    exchange.context = options.context
    this.#exchanges.set(id, exchange)
    this.#priorities.onRequest(id, head.headers)
    try {
      exchange.sendRequest(headers, head, options.endStream)
    } catch (error) {
      exchange.cancel('H3_REQUEST_CANCELLED')
      throw error
    }
    return exchange
  }

  /**
   * Announces the end (GOAWAY) and lets what runs finish; `onDrained` follows. A server rejects later requests, which
   * clients may then safely send elsewhere.
   */
  shutdown(): void {
    if (this.#isShuttingDown && this.role === 'server') return
    this.#isShuttingDown = true
    if (this.role === 'server') this.#goawayId = this.#highestRequestId + 4
    this.webTransport?.drainAll()
    // A client names the push it will still take: none was allowed, so 0.
    this.#own.sendGoaway(this.role === 'server' ? this.#goawayId : 0)
    this.#checkDrained()
  }

  /**
   * Server: gives up requests that were opened before `beforeUs` of the session's clock and have not sent their whole header
   * section, so that clients that send it drop by drop do not hold streams for ever. Returns how many.
   */
  rejectUnheard(beforeUs: Micros): number {
    let count = 0
    for (const exchange of [...this.#exchanges.values()]) {
      const { openedUs, headersReceivedUs } = exchange.timing
      if (!Number.isNaN(headersReceivedUs) || !(openedUs < beforeUs)) continue
      // RFC 9114 §8.1: H3_REQUEST_INCOMPLETE, "without containing a fully formed request"
      exchange.cancel('H3_REQUEST_INCOMPLETE')
      count++
    }
    return count
  }

  /** Closes the connection at once; exchanges fail. */
  close(name: keyof typeof h3ErrorCodes = 'H3_NO_ERROR', reason = ''): void {
    this.#close(h3ErrorCodes[name], reason, `connection closed by us: ${reason === '' ? name : reason}`)
  }

  /** Takes one event of the transport. Never throws for what a peer does. */
  handleEvent(event: ConnectionEvent): void {
    if (event.kind === 'closed') {
      this.#onTransportClosed(event.reason)
      return
    }
    if (this.#closeError !== undefined) return
    this.#withConnectionErrors(() => this.#dispatch(event))
  }

  #withConnectionErrors(call: () => void): void {
    try {
      call()
    } catch (error) {
      if (!(error instanceof H3ConnectionError)) throw error
      this.#fail(error)
    }
  }

  #dispatch(event: ConnectionEvent): void {
    if (this.webTransport?.handleEvent(event) === true) return
    switch (event.kind) {
      case 'connected':
      case 'earlyDataReady':
        this.start()
        return
      case 'streamOpened':
        this.#onStreamOpened(event.id)
        return
      case 'readable':
        if (isPeerUnidirectional(event.id, this.role)) {
          this.#peerStreams.handleReadable(event.id)
          return
        }
        this.#exchanges.get(event.id)?.handleReadable()
        return
      case 'writable':
        this.#onWritable(event.id)
        return
      case 'streamReset':
        this.#onStreamReset(event.id, event.code)
        return
      case 'streamStopped':
        this.#onStreamStopped(event.id, event.code)
        return
      case 'streamDelivered':
        this.#exchanges.get(event.id)?.handleDelivered()
        return
      case 'datagram':
        this.#datagrams.handle(event.data)
        return
      case 'streamsAvailable':
        if (event.streamKind === 'unidirectional') {
          this.#openOwnStreams()
          return
        }
        this.#options.onStreamsAvailable?.()
        return
      default:
        return
    }
  }

  // ---- streams of the peer ----

  #onStreamOpened(id: StreamId): void {
    if (isPeerUnidirectional(id, this.role)) {
      this.#peerStreams.handleOpened(id)
      return
    }
    if ((id & 2) !== 0) return
    if (this.role === 'client') {
      // RFC 9114 §6.1: "Clients MUST treat receipt of a server-initiated bidirectional stream as a connection error of
      // type H3_STREAM_CREATION_ERROR unless such an extension has been negotiated"
      if (id % 4 === 1 && this.webTransport !== undefined) this.webTransport.onServerStream(id)
      else if (id % 4 === 1)
        throw new H3ConnectionError('H3_STREAM_CREATION_ERROR', `server opened request stream ${id}`)
      return
    }
    if (id % 4 !== 0) return
    if (id >= this.#goawayId) {
      // RFC 9114 §5.2: requests at and above our GOAWAY are rejected
      this.#transport.stop(id, h3ErrorCodes.H3_REQUEST_REJECTED)
      this.#transport.reset(id, h3ErrorCodes.H3_REQUEST_REJECTED)
      this.#decoder.cancelStream(id)
      this.#flushDecoder()
      return
    }
    if (id > this.#highestRequestId) this.#highestRequestId = id
    const exchange = new Exchange(this.#host, id, undefined)
    this.#exchanges.set(id, exchange)
    this.#datagrams.onOpened(exchange)
  }

  #createWebTransport(): WebTransportHub | undefined {
    const { createStream } = this.#options
    if (this.#config.webTransportSessions === 0 || createStream === undefined) return undefined
    return new WebTransportHub({
      transport: this.#transport,
      role: this.role,
      createStream,
      mayBecomeSession: (id) => this.#exchanges.has(id) || (this.role === 'server' && this.#mayOpen(id)),
    })
  }

  /** Server: a request that has not arrived but may. */
  #mayOpen(id: StreamId): boolean {
    return id > this.#highestRequestId && id < this.#goawayId
  }

  #onStreamReset(id: StreamId, code: number): void {
    // Reading is how the transport learns that the reset was noticed; it frees the stream then.
    this.#transport.read(id, discard)
    if (isPeerUnidirectional(id, this.role)) {
      this.#peerStreams.handleReset(id)
      return
    }
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return
    if (this.role === 'server') this.#countReset(exchange)
    exchange.handleReset(code)
  }

  #onStreamStopped(id: StreamId, code: number): void {
    if (this.#own.isCritical(id)) {
      // RFC 9114 §6.2.1, RFC 9204 §4.2: "the receiver MUST NOT request that the sender close" a critical stream
      throw new H3ConnectionError('H3_CLOSED_CRITICAL_STREAM', `peer stopped our critical stream ${id}`)
    }
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return
    if (this.role === 'server' && code !== h3ErrorCodes.H3_NO_ERROR) this.#countReset(exchange)
    exchange.handleStopped(code)
  }

  /** Reset and stop of one request count once. */
  #countReset(exchange: Exchange): void {
    if (exchange.isCountedAsReset) return
    exchange.isCountedAsReset = true
    if (this.#resetGuard.onReset()) return
    throw new H3ConnectionError('H3_EXCESSIVE_LOAD', 'peer opens requests and resets them at once, too often')
  }

  #createPeerStreams(): PeerStreams {
    const control = new ControlStreamReader(this.role, {
      onSettings: (settings) => this.#onSettings(settings),
      onGoaway: (id) => this.#onGoaway(id),
      onPriorityUpdate: (update) =>
        this.#priorities.onUpdate(update, this.#exchanges.has(update.id), this.#mayOpen(update.id)),
    })
    return new PeerStreams(this.#transport, this.role, {
      onControlBytes: (chunk) => control.push(chunk),
      onEncoderBytes: (chunk) => this.#onEncoderBytes(chunk),
      onDecoderBytes: (chunk) => this.#encoder.onDecoderStream(chunk),
      onWebTransportStream:
        this.#config.webTransportSessions === 0
          ? undefined
          : (id, received, isFinished) => this.webTransport?.onUniStream(id, received, isFinished),
    })
  }

  #onEncoderBytes(chunk: Uint8Array): void {
    this.#decoder.onEncoderStream(chunk)
    for (let id = this.#decoder.pollUnblocked(); id !== undefined; id = this.#decoder.pollUnblocked()) {
      this.#exchanges.get(id)?.handleUnblocked()
    }
    this.#flushDecoder()
  }

  // RFC 9114 §7.2.4.2#8, §7.2.4.2#9: defaults hold until "a server has provided new settings, clients MUST comply with those values"
  #onSettings(settings: Http3Settings): void {
    this.#peerSettings = settings
    this.#datagrams.isAllowedByPeer = settings.allowsDatagrams
    this.#encoder.onPeerSettings({
      maxTableCapacityBytes: settings.qpackMaxTableCapacityBytes,
      maxBlockedStreams: settings.qpackBlockedStreams,
    })
    this.#own.flushEncoder()
    this.#options.onSettings?.(settings)
  }

  #onGoaway(id: number): void {
    this.#isShuttingDown = true
    if (this.role === 'client') {
      this.#goawayId = id
      for (const exchange of [...this.#exchanges.values()]) {
        if (exchange.id < id) continue
        const error = goingAway(exchange.id)
        this.#transport.reset(exchange.id, h3ErrorCodes.H3_REQUEST_CANCELLED)
        this.#transport.stop(exchange.id, h3ErrorCodes.H3_REQUEST_CANCELLED)
        exchange.handleFailure(error)
      }
    }
    this.webTransport?.drainAll()
    this.#options.onGoaway?.(id)
    this.#checkDrained()
  }

  // ---- streams of ours ----

  #openOwnStreams(): void {
    if (this.#isStarted && this.#closeError === undefined) this.#own.open()
  }

  #onWritable(id: StreamId): void {
    if (this.#own.handleWritable(id)) this.#flushDecoder()
    else this.#exchanges.get(id)?.handleWritable()
  }

  #flushDecoder(): void {
    if (this.#closeError !== undefined || this.#own.flushDecoder()) return
    this.#fail(new H3ConnectionError('H3_EXCESSIVE_LOAD', 'peer does not read our QPACK decoder stream'))
  }

  // ---- exchanges ----

  #createHost(): ExchangeHost {
    return {
      role: this.role,
      transport: this.#transport,
      decoder: this.#decoder,
      maxHeaderBytes: this.#config.maxHeaderBytes,
      allowsProtocol: this.#config.extendedConnect,
      datagrams: this.#datagrams,
      setPriority: (id, priority) => this.#setPriority(id, priority),
      isEstablished: this.#options.isEstablished ?? (() => true),
      peerMaxFieldSectionBytes: () => this.#peerSettings.maxFieldSectionBytes,
      nowUs: this.#options.clock ?? (() => Number.NaN),
      encodeSection: (id, lines) => {
        const section = this.#encoder.encode(id, lines)
        this.#own.flushEncoder()
        return section
      },
      flushDecoder: () => this.#flushDecoder(),
      failConnection: (error) => this.#fail(error),
      allowsWebTransport: this.webTransport !== undefined,
      onTakenOver: (exchange, { sessionId, received, isFinished }) => {
        this.#exchanges.delete(exchange.id)
        this.#withConnectionErrors(() => this.webTransport?.onBidiStream(exchange.id, sessionId, received, isFinished))
      },
      onRequestHead: (exchange) => this.#onRequestHead(exchange),
      onExchangeClosed: (exchange) => this.#onExchangeClosed(exchange),
    }
  }

  /** Server: order of the response. Client: PRIORITY_UPDATE, and the order of what is still to be sent. */
  #setPriority(id: StreamId, priority: Priority): boolean {
    if (this.#closeError !== undefined) return false
    if (this.role === 'client' && !this.#own.sendPriorityUpdate(encodePriorityUpdate(id, priority))) return false
    this.#priorities.onResponse(id, priority)
    return true
  }

  #onRequestHead(exchange: Exchange): void {
    this.#priorities.onRequest(exchange.id, exchange.request.headers)
    if (this.#options.onRequest !== undefined) this.#options.onRequest(exchange)
    else exchange.cancel('H3_REQUEST_REJECTED')
  }

  #onExchangeClosed(exchange: Exchange): void {
    this.#exchanges.delete(exchange.id)
    this.webTransport?.onRefused(exchange.id)
    if (exchange.isInboundEnded && !exchange.isCountedAsReset) this.#resetGuard.onCompleted()
    this.#checkDrained()
  }

  #checkDrained(): void {
    if (!this.#isShuttingDown || this.#isDrainedReported || this.#exchanges.size > 0) return
    this.#isDrainedReported = true
    this.#options.onDrained?.()
  }

  // ---- the end ----

  #fail(error: H3ConnectionError): void {
    this.#close(error.h3Code, error.message, `connection closed by us with ${error.h3Name}: ${error.message}`)
  }

  #close(code: number, reason: string, message: string): void {
    if (this.#closeError !== undefined) return
    this.#transport.close(code, reason)
    // What the transport reports of this close later finds the session over already.
    this.#end(new Http3Error('ERR_HTTP3_CONNECTION_CLOSED', message, { by: 'local', h3Code: code }))
  }

  // RFC 9114 §5.4: without a GOAWAY "clients MUST assume that any request that was sent … might have been processed": the
  // error is another than the ERR_HTTP3_GOING_AWAY of requests that may be sent again
  #onTransportClosed(reason: CloseReason): void {
    if (this.#closeError !== undefined) return
    const by = reason.kind === 'transport' || reason.kind === 'application' ? reason.by : 'local'
    const details = reason.kind === 'application' ? { by, h3Code: reason.code, cause: reason } : { by, cause: reason }
    this.#end(new Http3Error('ERR_HTTP3_CONNECTION_CLOSED', describeClose(reason), details))
  }

  #end(error: Http3Error): void {
    this.#closeError = error
    this.webTransport?.onConnectionClosed(closeReasonOf(error))
    for (const exchange of [...this.#exchanges.values()]) {
      exchange.handleFailure(
        new Http3Error(error.code, `stream ${exchange.id}: ${error.message}`, {
          by: error.by,
          streamId: exchange.id,
          ...(error.h3Code === undefined ? {} : { h3Code: error.h3Code }),
          cause: error,
        }),
      )
    }
    this.#exchanges.clear()
    this.#options.onClosed?.(error)
  }
}

function discard(): void {}

function closeReasonOf({ by, h3Code, message, cause }: Http3Error): CloseReason {
  if (h3Code !== undefined) return { kind: 'application', by, code: h3Code, reason: message }
  return cause !== undefined && isCloseReason(cause) ? cause : { kind: 'application', by, code: 0, reason: message }
}

function isCloseReason(cause: object | unknown): cause is CloseReason {
  return typeof cause === 'object' && cause !== null && 'kind' in cause
}

function isPeerUnidirectional(id: StreamId, role: 'client' | 'server'): boolean {
  return id % 4 === (role === 'client' ? 3 : 2)
}

function goingAway(streamId: StreamId | undefined): Http3Error {
  const details = streamId === undefined ? { by: 'peer' as const } : { by: 'peer' as const, streamId }
  const message = 'server is shutting down and did not process the request; send it on another connection'
  return new Http3Error('ERR_HTTP3_GOING_AWAY', message, details)
}

function unsupported(protocol: string): Http3Error {
  const message = `the server has not announced extended CONNECT (RFC 9220); "${protocol}" cannot be asked for`
  return new Http3Error('ERR_HTTP3_UNSUPPORTED', message, { by: 'local' })
}

/** Who, what, why, in one sentence. */
export function describeClose(reason: CloseReason): string {
  switch (reason.kind) {
    case 'application':
      return `connection closed by ${who(reason.by)} with ${h3ErrorName(reason.code)}${why(reason.reason)}`
    case 'transport':
      return `connection closed by ${who(reason.by)} with ${reason.name}${why(reason.reason)}`
    case 'idle':
      return `connection lost: nothing was heard for ${Math.round(reason.afterUs / 1000)} ms`
    case 'reset':
      return 'connection lost: the peer does not know it any more (stateless reset)'
    case 'version':
      return `no common QUIC version; peer offers ${reason.offered.map((version) => `0x${version.toString(16)}`).join(', ')}`
  }
}

function who(by: 'local' | 'peer'): string {
  return by === 'local' ? 'us' : 'the peer'
}

function why(reason: string): string {
  return reason === '' ? '' : `: ${reason}`
}
