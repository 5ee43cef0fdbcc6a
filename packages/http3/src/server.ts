/** HTTP/3 server side of one connection with promises: calls a handler for each request. */
import { QuicStream } from '@quicether/net'
import type { CloseReason, StreamStats } from '@quicether/transport'
import type { Http3Config } from './config.ts'
import { clockUs, type Http3Connection, isEstablished } from './connection.ts'
import { type H3ErrorName, Http3Error, h3ErrorCodes } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { ExchangeTiming } from './exchange-timing.ts'
import { type HeaderLine, type HeaderList, headerValue } from './headers.ts'
import { IncomingBody } from './incoming-body.ts'
import { BodyWriter, knownLength, type OutgoingBody } from './outgoing-body.ts'
import { isSafeMethod } from './methods.ts'
import type { Priority } from './priority.ts'
import { Http3Session } from './session.ts'
import { Http3Tunnel } from './tunnel.ts'
import type { WebTransportHub } from './webtransport-hub.ts'
import { checkCapsuleHeaders, WebTransportSession } from './webtransport-session.ts'
import type { RequestHead } from './validate.ts'

/** Answers one request. When its promise settles, an unfinished response is ended, or reset if it failed. */
export type Http3Handler = (request: ServerRequest, response: ServerResponse) => void | Promise<void>

export interface ServeHttp3Options {
  readonly config?: Partial<Http3Config>
  /** Monotonic microseconds for `timing`; `performance.now` by default. */
  readonly clock?: () => number
  /** A handler threw, or returned without a response. The client has got 500 or a reset. */
  readonly onError?: (error: unknown, request: ServerRequest) => void
  /** After `shutdown` and the last response: how long the client may take to close before we do. */
  readonly closeGraceMs?: number
  /**
   * Requests that arrived as 0-RTT data, which an attacker may replay: `safe` (when absent) answers those with an unsafe
   * method with 425 and hands the others over marked `isEarly`; `all` hands over everything.
   */
  readonly earlyData?: 'safe' | 'all'
  /** Longer request bodies are answered with 413, tunnels excepted. No limit when absent: what is not read waits at the client. */
  readonly bodyBytesMax?: number
}

export const serveDefaults = { closeGraceMs: 1_000, earlyData: 'safe' } as const satisfies ServeHttp3Options

/** A request as its handler sees it. */
export class ServerRequest {
  readonly streamId: number
  readonly method: string
  /** Of an extended CONNECT (RFC 9220), e.g. `websocket`; answer with `response.accept` or a status. */
  readonly protocol: string | undefined
  readonly scheme: string | undefined
  readonly authority: string | undefined
  /** With query; undefined for CONNECT without `protocol`. */
  readonly path: string | undefined
  readonly headers: HeaderList
  readonly contentLength: number | undefined
  readonly body: IncomingBody
  /** Arrived as 0-RTT data: it might be a replay (RFC 8470). Answer 425 where that would do harm. */
  readonly isEarly: boolean
  readonly #exchange: Exchange
  #abort: AbortController | undefined
  #abortedBy: Http3Error | undefined

  constructor(exchange: Exchange, head: RequestHead, body: IncomingBody) {
    this.streamId = exchange.id
    this.method = head.method
    this.protocol = head.protocol
    this.isEarly = exchange.isEarly
    this.scheme = head.scheme
    this.authority = head.authority
    this.path = head.path
    this.headers = head.headers
    this.contentLength = head.contentLength
    this.body = body
    this.#exchange = exchange
    this.#abort = undefined
    this.#abortedBy = undefined
  }

  /** Settles when the body has been read to its end. */
  get trailers(): Promise<HeaderList> {
    return this.body.trailers
  }

  /** Aborts when the client gives the request up or the connection ends; the reason is an Http3Error. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#abortedBy !== undefined) this.#abort.abort(this.#abortedBy)
    }
    return this.#abort.signal
  }

  get timing(): ExchangeTiming {
    return this.#exchange.timing
  }

  get bodyBytesReceived(): number {
    return this.#exchange.bodyBytesReceived
  }

  get bodyBytesSent(): number {
    return this.#exchange.bodyBytesSent
  }

  /** Packets, bytes and retransmissions of the stream. */
  stats(): StreamStats | undefined {
    return this.#exchange.stats()
  }

  /** Called by the connection. */
  onAborted(error: Http3Error): void {
    if (this.#abortedBy !== undefined) return
    this.#abortedBy = error
    this.#abort?.abort(error)
  }
}

interface ResponseParts {
  readonly exchange: Exchange
  readonly writer: BodyWriter
  readonly body: IncomingBody
  readonly closed: Promise<void>
  readonly webTransport: WebTransportHub | undefined
}

/** The answer to one request. Methods throw, and promises reject with, `Http3Error`. */
export class ServerResponse {
  /** Resolves when everything is acknowledged or given up; never rejects. */
  readonly closed: Promise<void>
  readonly #exchange: Exchange
  readonly #writer: BodyWriter
  readonly #body: IncomingBody
  readonly #webTransport: WebTransportHub | undefined
  #tunnel: Http3Tunnel | undefined

  constructor({ exchange, writer, body, closed, webTransport }: ResponseParts) {
    this.#exchange = exchange
    this.#writer = writer
    this.#body = body
    this.#webTransport = webTransport
    this.#tunnel = undefined
    this.closed = closed
  }

  get headersSent(): boolean {
    return this.#exchange.areHeadersSent
  }

  /** `end` was called, or the response was given up. */
  get isEnded(): boolean {
    return this.#exchange.areHeadersSent && !this.#exchange.isWritable
  }

  /** What `accept` returned. */
  get tunnel(): Http3Tunnel | undefined {
    return this.#tunnel
  }

  /** Answers CONNECT with 2xx. The tunnel is its owner's from now on, also when the handler has returned. */
  accept(headers: HeaderList = [], status = 200): Http3Tunnel {
    const { request } = this.#exchange
    if (request.method !== 'CONNECT' || status < 200 || status > 299) {
      const message = `stream ${this.#exchange.id}: only CONNECT is accepted, with 2xx; this is ${request.method}, ${status}`
      throw new Http3Error('ERR_HTTP3_INVALID_ARGUMENT', message, { by: 'local', streamId: this.#exchange.id })
    }
    this.#exchange.respond(status, lowerCase(headers))
    this.#tunnel = new Http3Tunnel({
      exchange: this.#exchange,
      body: this.#body,
      writer: this.#writer,
      headers: request.headers,
      closed: this.closed,
    })
    return this.#tunnel
  }

  /**
   * Answers a CONNECT whose `protocol` is `webtransport` with 200. Needs `config.webTransportSessions`. Check the `origin` of
   * browsers before (draft-ietf-webtrans-http3 §3.2).
   */
  acceptWebTransport(headers: HeaderList = []): WebTransportSession {
    const { request, id } = this.#exchange
    const hub = this.#webTransport
    if (request.protocol !== 'webtransport' || hub === undefined) {
      const message = `stream ${id}: no WebTransport here; the request is ${request.method} ${request.protocol ?? ''}, config.webTransportSessions ${hub === undefined ? 'is 0' : 'is set'}`
      throw new Http3Error('ERR_HTTP3_INVALID_ARGUMENT', message, { by: 'local', streamId: id })
    }
    // Browsers of draft 2 want to read which one it is.
    const isDraft2 = headerValue(request.headers, 'sec-webtransport-http3-draft02') !== undefined
    const draft: HeaderList = isDraft2 ? [['sec-webtransport-http3-draft', 'draft02']] : []
    checkCapsuleHeaders({
      headers: request.headers,
      streamId: id,
      abort: () => this.#exchange.cancel('H3_MESSAGE_ERROR'),
    })
    return new WebTransportSession(this.accept([...draft, ...headers]), hub, request)
  }

  /** A 1xx response, e.g. 103 Early Hints. */
  sendInformational(status: number, headers: HeaderList = []): void {
    this.#exchange.sendInformational(status, lowerCase(headers))
  }

  /** Sends the headers. Throws Http3Error when they cannot be sent. */
  writeHead(status: number, headers: HeaderList = []): void {
    this.#exchange.respond(status, lowerCase(headers))
  }

  /** A piece of body; resolves when the next one is welcome, rejects once the client takes no more. */
  write(data: Uint8Array): Promise<void> {
    return this.#writer.write(data)
  }

  /** Ends the response. */
  end(trailers?: HeaderList): void {
    this.#exchange.finish(trailers === undefined ? undefined : lowerCase(trailers))
  }

  /** Headers, body and end in one; content-length is added where it is known. */
  async send(
    status: number,
    headers: HeaderList,
    body: OutgoingBody,
    trailers?: HeaderList | (() => HeaderList | undefined),
  ): Promise<void> {
    const lines = lowerCase(headers)
    const length = knownLength(body)
    const mayHaveLength = status !== 204 && status !== 304 && headerValue(lines, 'content-length') === undefined
    if (length !== undefined && mayHaveLength) lines.push(['content-length', String(length)])
    if (this.#exchange.request.method === 'HEAD') {
      this.#exchange.respond(status, lines, { endStream: true })
      return
    }
    this.#exchange.respond(status, lines, { endStream: length === 0 && trailers === undefined })
    await this.#writer.writeAll(body, trailers)
  }

  /** Order of this response among others; the request, or `priority` in the headers, said it until now. Throws RangeError. */
  setPriority(priority: Priority): void {
    this.#exchange.setPriority(priority)
  }

  /** Gives the response up: the client sees a failed, not a short message. */
  reset(name: H3ErrorName = 'H3_INTERNAL_ERROR'): void {
    this.#exchange.reset(name)
  }
}

export interface Http3ServerConnection {
  readonly session: Http3Session
  readonly closed: Promise<CloseReason>
  /** GOAWAY: running requests finish, later ones are rejected; then the connection closes. */
  shutdown(): Promise<CloseReason>
}

/** Serves the requests of one connection until it closes. */
export function serveHttp3(
  connection: Http3Connection,
  handler: Http3Handler,
  options: ServeHttp3Options = {},
): Http3ServerConnection {
  const drained = Promise.withResolvers<void>()
  const session = new Http3Session({
    role: 'server',
    transport: connection.transport,
    clock: options.clock ?? clockUs,
    isEstablished: () => isEstablished(connection),
    createStream: (parts) => new QuicStream(parts),
    ...(options.config === undefined ? {} : { config: options.config }),
    onRequest: (exchange) => serveRequest(exchange, handler, options, session.webTransport),
    onDrained: () => drained.resolve(),
    onClosed: () => drained.resolve(),
  })
  connection.onEvent = (event) => session.handleEvent(event)
  session.start()
  const shutdown = async (): Promise<CloseReason> => {
    session.shutdown()
    await drained.promise
    await withGrace(connection.closed, options.closeGraceMs ?? serveDefaults.closeGraceMs)
    return connection.close(h3ErrorCodes.H3_NO_ERROR, '')
  }
  return { session, closed: connection.closed, shutdown }
}

function serveRequest(
  exchange: Exchange,
  handler: Http3Handler,
  options: ServeHttp3Options,
  webTransport: WebTransportHub | undefined,
): void {
  const policy = options.earlyData ?? serveDefaults.earlyData
  if (exchange.isEarly && policy === 'safe' && !isSafeMethod(exchange.request.method)) {
    // RFC 8470 §5.2: the client sends it again after the handshake
    return refuse(exchange, 425)
  }
  const { bodyBytesMax = Number.POSITIVE_INFINITY } = options
  if (exchange.request.method !== 'CONNECT') exchange.bodyBytesMax = bodyBytesMax
  if ((exchange.request.contentLength ?? 0) > exchange.bodyBytesMax) return refuse(exchange, 413)
  const sessionsMax = options.config?.webTransportSessions ?? 0
  if (exchange.request.protocol === 'webtransport' && (webTransport?.sessionCount ?? 0) >= sessionsMax) {
    return refuse(exchange, sessionsMax === 0 ? 501 : 429)
  }
  const body = new IncomingBody(exchange)
  const writer = new BodyWriter(exchange)
  const closed = Promise.withResolvers<void>()
  const request = new ServerRequest(exchange, exchange.request, body)
  const response = new ServerResponse({ exchange, writer, body, closed: closed.promise, webTransport })
  exchange.events = {
    onReadable: () => body.onReadable(),
    onDrain: () => writer.onDrain(),
    onInboundError: (error) => {
      body.fail(error)
      request.onAborted(error)
    },
    onOutboundError: (error) => {
      writer.fail(error)
      request.onAborted(error)
    },
    onClosed: () => closed.resolve(),
  }
  void runHandler(exchange, handler, request, response, options)
}

/** Answers without a handler; the rest of the request is not wanted (RFC 9114 §4.1). */
function refuse(exchange: Exchange, status: number): void {
  exchange.respond(status, [['content-length', '0']], { endStream: true })
  exchange.stopReading('H3_NO_ERROR')
}

async function runHandler(
  exchange: Exchange,
  handler: Http3Handler,
  request: ServerRequest,
  response: ServerResponse,
  options: ServeHttp3Options,
): Promise<void> {
  try {
    await handler(request, response)
    if (response.tunnel !== undefined) return
    if (!exchange.areHeadersSent && !exchange.isClosed) {
      throw new Http3Error('ERR_HTTP3_INVALID_STATE', `stream ${exchange.id}: the handler sent no response`, {
        by: 'local',
        streamId: exchange.id,
      })
    }
    if (exchange.isWritable) exchange.finish()
  } catch (error) {
    giveUp(exchange, error instanceof Http3Error && error.code === 'ERR_HTTP3_BODY_TOO_LARGE' ? 413 : 500)
    options.onError?.(error, request)
  }
  // RFC 9114 §4.1: "The error code H3_NO_ERROR SHOULD be used when requesting that the client stop sending on the request
  // stream."
  request.body.cancel('H3_NO_ERROR')
}

/** `status` if nothing was said yet, else a reset: a cut response must not look complete. */
function giveUp(exchange: Exchange, status: number): void {
  if (exchange.isClosed) return
  if (!exchange.areHeadersSent) exchange.respond(status, [['content-length', '0']], { endStream: true })
  else if (exchange.isWritable) exchange.reset('H3_INTERNAL_ERROR')
}

async function withGrace(closed: Promise<CloseReason>, graceMs: number): Promise<void> {
  const grace = Promise.withResolvers<void>()
  const timer = setTimeout(() => grace.resolve(), graceMs)
  await Promise.race([closed, grace.promise])
  clearTimeout(timer)
}

function lowerCase(headers: HeaderList): HeaderLine[] {
  return headers.map(([name, value]): HeaderLine => [name.toLowerCase(), value])
}
