/** HTTP/3 client with promises: many requests on one connection. */
import { QuicStream } from '@quicether/net'
import type { CloseReason, StreamStats } from '@quicether/transport'
import type { Http3Config } from './config.ts'
import { clockUs, type Http3Connection, isEstablished } from './connection.ts'
import { Http3Error, h3ErrorCodes } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { ExchangeTiming } from './exchange-timing.ts'
import { type HeaderLine, type HeaderList, headerValue } from './headers.ts'
import { IncomingBody } from './incoming-body.ts'
import { BodyWriter, knownLength, type OutgoingBody } from './outgoing-body.ts'
import { isSafeMethod } from './methods.ts'
import { formatPriority, type Priority } from './priority.ts'
import { Http3Session } from './session.ts'
import type { Http3Settings } from './settings.ts'
import { Http3Tunnel } from './tunnel.ts'
import { checkCapsuleHeaders, WebTransportSession } from './webtransport-session.ts'
import type { ResponseHead } from './validate.ts'

export interface Http3ClientOptions {
  readonly config?: Partial<Http3Config>
  /** Monotonic microseconds for `timing`; `performance.now` by default. */
  readonly clock?: () => number
}

export interface Http3RequestOptions {
  readonly method: string
  /** Host and port as in the URL, e.g. `example.com:4433`. */
  readonly authority: string
  /** With query; must start with "/". Not used by CONNECT. */
  readonly path?: string
  /** Default `https`. */
  readonly scheme?: string
  /** Names are put into lower case. */
  readonly headers?: HeaderList
  readonly body?: OutgoingBody
  /** Sent after the body; a function is called when the body is through. */
  readonly trailers?: HeaderList | (() => HeaderList | undefined)
  /** Order of the response (RFC 9218), as the header field `priority`; `Http3Response.setPriority` changes it later. */
  readonly priority?: Priority
  /** A longer response body fails with `ERR_HTTP3_BODY_TOO_LARGE`. No limit when absent: what is not read waits at the server. */
  readonly bodyBytesMax?: number
  readonly signal?: AbortSignal
  /** 1xx responses. */
  readonly onInformational?: (head: ResponseHead) => void
  /** When the request got a stream: its ID, for metrics. */
  readonly onStream?: (exchange: Exchange) => void
}

/** A CONNECT: for `protocol` a `path` as well. */
export type Http3ConnectOptions = Omit<Http3RequestOptions, 'method' | 'body' | 'trailers'> & {
  /** Upgrade token of an extended CONNECT (RFC 9220), e.g. `websocket`; absent = a TCP tunnel to `authority`. */
  readonly protocol?: string
}

/** The server answered CONNECT with something else than 2xx. */
export class Http3ConnectError extends Http3Error {
  readonly response: Http3Response

  constructor(response: Http3Response) {
    const details = { by: 'peer' as const, streamId: response.streamId }
    super('ERR_HTTP3_CONNECT_REFUSED', `server answered CONNECT with status ${response.status}`, details)
    this.response = response
  }
}

export interface Http3Response {
  readonly streamId: number
  readonly status: number
  readonly headers: HeaderList
  readonly body: IncomingBody
  /** Settles when the body has been read to its end. */
  readonly trailers: Promise<HeaderList>
  /** When headers, first byte and end were sent and received. */
  readonly timing: ExchangeTiming
  /** Packets, bytes and retransmissions of the stream. */
  stats(): StreamStats | undefined
  /** Sends PRIORITY_UPDATE (RFC 9218 §7). False = not now, or the response is complete. Throws RangeError. */
  setPriority(priority: Priority): boolean
}

interface Opened {
  readonly exchange: Exchange
  readonly body: IncomingBody
  readonly writer: BodyWriter
  readonly closed: Promise<void>
}

interface Waiting {
  readonly lines: HeaderList
  readonly options: Http3RequestOptions
  readonly response: PromiseWithResolvers<Http3Response>
  /** Takes the listener for an abort while waiting off the signal. */
  detach: (() => void) | undefined
  /** Not before the handshake is complete: the method is not safe, or the server has answered 425. */
  mustNotBeEarly: boolean
  readonly onOpened?: (opened: Opened) => void
}

/** Requests and tunnels of one connection. `signal`s, GOAWAY and 0-RTT are taken care of. */
export class Http3Client implements AsyncDisposable {
  readonly session: Http3Session
  readonly #connection: Http3Connection
  /** Requests that wait for a stream, oldest first. */
  readonly #waiting: Set<Waiting>
  readonly #drained: PromiseWithResolvers<void>
  readonly #settings: PromiseWithResolvers<Http3Settings>
  readonly #closing: PromiseWithResolvers<void>

  constructor(connection: Http3Connection, options: Http3ClientOptions = {}) {
    this.#connection = connection
    this.#waiting = new Set()
    this.#drained = Promise.withResolvers()
    this.#settings = Promise.withResolvers()
    this.#closing = Promise.withResolvers()
    this.#settings.promise.catch(() => undefined)
    const session = new Http3Session({
      role: 'client',
      transport: connection.transport,
      clock: options.clock ?? clockUs,
      isEstablished: () => isEstablished(connection),
      createStream: (parts) => new QuicStream(parts),
      ...(options.config === undefined ? {} : { config: options.config }),
      onSettings: (settings) => this.#settings.resolve(settings),
      onStreamsAvailable: () => this.#openWaiting(),
      onGoaway: () => {
        this.#closing.resolve()
        this.#failWaiting()
      },
      onDrained: () => {
        this.#drained.resolve()
        // RFC 9114 §5.2: nothing runs and nothing new may start; the server waits for this before it goes.
        void connection.close(h3ErrorCodes.H3_NO_ERROR, '')
      },
      onClosed: (error) => {
        this.#settings.reject(error)
        this.#closing.resolve()
        this.#failWaiting()
        this.#drained.resolve()
      },
    })
    this.session = session
    connection.onEvent = (event) => {
      session.handleEvent(event)
      if (event.kind === 'connected' || event.kind === 'earlyDataReady') this.#openWaiting()
    }
    session.start()
  }

  /** True when new requests cannot be sent on this connection any more. */
  get isClosing(): boolean {
    return this.session.isShuttingDown || this.session.closeError !== undefined
  }

  /** Resolves when `isClosing` becomes true by the server's doing or the connection's end. */
  get closing(): Promise<void> {
    return this.#closing.promise
  }

  /** Requests that wait for the peer's stream limit. */
  get waitingRequests(): number {
    return this.#waiting.size
  }

  /**
   * Sends a request; resolves with the response's headers. Rejects with Http3Error; `ERR_HTTP3_GOING_AWAY` means that the
   * server did not process it.
   */
  request(options: Http3RequestOptions): Promise<Http3Response> {
    return this.#send(options)
  }

  /** SETTINGS of the server, once they have arrived. Rejects when the connection ends before. */
  get serverSettings(): Promise<Http3Settings> {
    return this.#settings.promise
  }

  /**
   * CONNECT: resolves with the tunnel when the server accepts. Rejects with `Http3ConnectError`, which has the response,
   * when it does not, and with `ERR_HTTP3_UNSUPPORTED` where `protocol` needs RFC 9220 and the server has not announced it.
   * `signal` ends the tunnel, too.
   */
  async connect(options: Http3ConnectOptions): Promise<Http3Tunnel> {
    if (options.protocol !== undefined) await unlessAborted(this.#settings.promise, options.signal)
    let opened: Opened | undefined
    const response = await this.#send({ ...options, method: 'CONNECT' }, (parts) => {
      opened = parts
    })
    if (opened === undefined) throw new Error('a response without a request')
    if (response.status > 299) {
      opened.exchange.finish()
      throw new Http3ConnectError(response)
    }
    return new Http3Tunnel({ ...opened, headers: response.headers })
  }

  /** Lets running requests finish, then closes. */
  async close(): Promise<CloseReason> {
    this.#closing.resolve()
    this.session.shutdown()
    this.#failWaiting()
    await this.#drained.promise
    return this.#connection.close(h3ErrorCodes.H3_NO_ERROR, '')
  }

  /**
   * Opens a WebTransport session; needs `config.webTransportSessions`. Rejects like `connect`, with `ERR_HTTP3_UNSUPPORTED`
   * as well where the server has not announced WebTransport.
   */
  async webTransport(options: Omit<Http3ConnectOptions, 'protocol'>): Promise<WebTransportSession> {
    const hub = this.session.webTransport
    const settings = await unlessAborted(this.#settings.promise, options.signal)
    if (hub === undefined || settings.webTransportSessions === 0 || !settings.allowsDatagrams) {
      const who = hub === undefined ? 'config.webTransportSessions is 0' : 'the server has not announced it'
      throw new Http3Error('ERR_HTTP3_UNSUPPORTED', `no WebTransport on this connection: ${who}`, { by: 'local' })
    }
    const headers: HeaderList = [['sec-webtransport-http3-draft02', '1'], ...(options.headers ?? [])]
    const tunnel = await this.connect({ ...options, headers, protocol: 'webtransport' })
    checkCapsuleHeaders(tunnel)
    return new WebTransportSession(tunnel, hub, { authority: options.authority, path: options.path ?? '/' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #send(
    options: Http3RequestOptions & { readonly protocol?: string },
    onOpened?: Waiting['onOpened'],
  ): Promise<Http3Response> {
    const response = Promise.withResolvers<Http3Response>()
    try {
      if (options.signal?.aborted === true) throw aborted(undefined, options.signal)
      const waiting: Waiting = {
        lines: requestLines(options),
        options,
        response,
        detach: undefined,
        // RFC 9114 §10.9, RFC 8470 §4: "Absent other information, clients MAY send requests with safe HTTP methods in early data … and MUST NOT send unsafe methods"
        mustNotBeEarly: !isSafeMethod(options.method),
        ...(onOpened === undefined ? {} : { onOpened }),
      }
      this.#openOrWait(waiting)
    } catch (error) {
      response.reject(error)
    }
    return response.promise
  }

  #openOrWait(waiting: Waiting): void {
    const isQueueing = this.#waiting.size > 0 && isEstablished(this.#connection)
    if (isQueueing || this.#isTooEarly(waiting) || !this.#open(waiting)) this.#wait(waiting)
  }

  #isTooEarly(waiting: Waiting): boolean {
    return waiting.mustNotBeEarly && !isEstablished(this.#connection) && this.session.closeError === undefined
  }

  #wait(waiting: Waiting): void {
    this.#waiting.add(waiting)
    const signal = waiting.options.signal
    if (signal === undefined) return
    const onAbort = () => {
      if (this.#waiting.delete(waiting)) waiting.response.reject(aborted(undefined, signal))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    waiting.detach = () => signal.removeEventListener('abort', onAbort)
  }

  #openWaiting(): void {
    for (const waiting of this.#waiting) {
      if (this.#isTooEarly(waiting)) continue
      try {
        if (!this.#open(waiting)) return
      } catch (error) {
        waiting.response.reject(error)
      }
      this.#waiting.delete(waiting)
    }
  }

  #failWaiting(): void {
    for (const waiting of this.#waiting) {
      this.#waiting.delete(waiting)
      const closed = this.session.closeError
      const message = 'connection is shutting down; the request was not sent'
      waiting.response.reject(closed ?? new Http3Error('ERR_HTTP3_GOING_AWAY', message, { by: 'local' }))
    }
  }

  /** False = no stream now. Throws for requests that cannot be sent. */
  #open(waiting: Waiting): boolean {
    const { lines, options, response } = waiting
    const hasBody = options.body !== null && options.body !== undefined
    const endStream = !hasBody && options.trailers === undefined && options.method !== 'CONNECT'
    const exchange = this.session.request(lines, { endStream })
    if (exchange === undefined) return false
    waiting.detach?.()
    if (options.bodyBytesMax !== undefined) exchange.bodyBytesMax = options.bodyBytesMax
    const body = new IncomingBody(exchange)
    const writer = new BodyWriter(exchange)
    const closed = this.#attach(exchange, body, writer, waiting)
    waiting.onOpened?.({ exchange, body, writer, closed })
    options.onStream?.(exchange)
    if (!endStream && (hasBody || options.trailers !== undefined)) void this.#upload(exchange, body, writer, waiting)
    const onAbort = () => {
      const error = aborted(exchange.id, options.signal)
      response.reject(error)
      writer.fail(error)
      body.fail(error)
      exchange.cancel('H3_REQUEST_CANCELLED')
    }
    if (options.signal !== undefined) {
      options.signal.addEventListener('abort', onAbort, { once: true })
      const detach = () => options.signal?.removeEventListener('abort', onAbort)
      exchange.context = detach
    }
    return true
  }

  /** Returns what resolves when the exchange is over. */
  #attach(exchange: Exchange, body: IncomingBody, writer: BodyWriter, waiting: Waiting): Promise<void> {
    const { options, response } = waiting
    const closed = Promise.withResolvers<void>()
    exchange.events = {
      onInformational: (head) => options.onInformational?.(head),
      onResponse: (head) => {
        if (head.status === 425 && this.#sendAgain(exchange, body, waiting)) return
        response.resolve(createResponse(exchange, head, body))
      },
      onReadable: () => body.onReadable(),
      onDrain: () => writer.onDrain(),
      onOutboundError: (error) => writer.fail(error),
      onInboundError: (error) => {
        response.reject(error)
        body.fail(error)
        // RFC 9114 §4.1.1: without a response the rest of the request serves no purpose.
        exchange.reset('H3_REQUEST_CANCELLED')
        writer.fail(error)
      },
      onClosed: () => {
        if (typeof exchange.context === 'function') exchange.context()
        closed.resolve()
      },
    }
    return closed.promise
  }

  // RFC 8470 §5.2: "A user agent that sends a request in early data … can retry it automatically" after 425 (Too Early)
  #sendAgain(exchange: Exchange, body: IncomingBody, waiting: Waiting): boolean {
    const { options } = waiting
    const isReplayable = knownLength(options.body) !== undefined && options.signal?.aborted !== true
    if (!exchange.isEarly || !isReplayable) return false
    body.cancel('H3_NO_ERROR')
    waiting.mustNotBeEarly = true
    try {
      this.#openOrWait(waiting)
    } catch (error) {
      waiting.response.reject(error)
    }
    return true
  }

  async #upload(exchange: Exchange, body: IncomingBody, writer: BodyWriter, waiting: Waiting): Promise<void> {
    try {
      await writer.writeAll(waiting.options.body, waiting.options.trailers)
    } catch (error) {
      // The server needs no more of the request (early response), or its side is told by onInboundError.
      if (error === writer.error) return
      const failure = new Http3Error(
        'ERR_HTTP3_ABORTED',
        `stream ${exchange.id}: request body failed: ${text(error)}`,
        {
          by: 'local',
          streamId: exchange.id,
          cause: error,
        },
      )
      waiting.response.reject(failure)
      body.fail(failure)
      exchange.cancel('H3_REQUEST_CANCELLED')
    }
  }
}

function createResponse(exchange: Exchange, head: ResponseHead, body: IncomingBody): Http3Response {
  return {
    streamId: exchange.id,
    status: head.status,
    headers: head.headers,
    body,
    get trailers() {
      return body.trailers
    },
    timing: exchange.timing,
    stats: () => exchange.stats(),
    setPriority: (priority) => exchange.setPriority(priority),
  }
}

/** Pseudo-header fields first, names in lower case, content-length where it is known. */
function requestLines(options: Http3RequestOptions & { readonly protocol?: string }): HeaderList {
  const hasTarget = options.method !== 'CONNECT' || options.protocol !== undefined
  const lines: HeaderLine[] = [[':method', options.method]]
  if (options.protocol !== undefined) lines.push([':protocol', options.protocol])
  if (hasTarget) lines.push([':scheme', options.scheme ?? 'https'])
  lines.push([':authority', options.authority])
  if (hasTarget) lines.push([':path', options.path ?? '/'])
  for (const [name, value] of options.headers ?? []) lines.push([name.toLowerCase(), value])
  const priority = options.priority === undefined ? undefined : formatPriority(options.priority)
  if (priority !== undefined) lines.push(['priority', priority])
  const length = knownLength(options.body)
  const isEmpty = options.body === null || options.body === undefined
  if (!isEmpty && length !== undefined && headerValue(lines, 'content-length') === undefined) {
    lines.push(['content-length', String(length)])
  }
  return lines
}

function aborted(streamId: number | undefined, signal: AbortSignal | undefined): Http3Error {
  const where = streamId === undefined ? 'request' : `stream ${streamId}`
  const details = { by: 'local' as const, cause: signal?.reason }
  return new Http3Error(
    'ERR_HTTP3_ABORTED',
    `${where}: aborted by the caller`,
    streamId === undefined ? details : { ...details, streamId },
  )
}

/** Settles like `promise`, unless `signal` fires first. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  const abort = Promise.withResolvers<never>()
  const onAbort = () => abort.reject(aborted(undefined, signal))
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, abort.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
