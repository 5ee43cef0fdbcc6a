/** One request and its response on one stream, from either side: headers, body, trailers, errors, times. */
import { type Micros, type StreamId, type StreamStats, type StreamTransport, StreamWriter } from '@quicether/transport'
import {
  FieldSectionTooLarge,
  H3ConnectionError,
  type H3ErrorName,
  H3StreamError,
  Http3Error,
  h3ErrorCodes,
  h3ErrorName,
} from './errors.ts'
import { createTiming, type ExchangeTiming, type MutableTiming } from './exchange-timing.ts'
import { encodeFrame, encodeFrameHeader, FrameType } from './frames.ts'
import { HELD_DATAGRAMS_MAX, type HttpDatagrams } from './http-datagrams.ts'
import { fieldSectionBytes, type HeaderList } from './headers.ts'
import {
  type BodyStatus,
  type BodyVisitor,
  InboundMessage,
  type MessageHead,
  type TakenOver,
} from './inbound-message.ts'
import { checkOutgoing } from './outgoing-check.ts'
import { type Priority, priorityOf } from './priority.ts'
import type { QpackDecoder } from './qpack/decoder.ts'
import { parseResponseHead, parseTrailers, type RequestHead, type ResponseHead } from './validate.ts'

/** What an application hears of an exchange. All optional; calls come from `Http3Session.handleEvent`. */
export interface ExchangeEvents {
  /** Client: a 1xx response. */
  onInformational?(head: ResponseHead): void
  /** Client: the response's headers. `isEnded` = there is no body and there are no trailers. */
  onResponse?(head: ResponseHead, isEnded: boolean): void
  /** Call `readBody` until it answers 'blocked' or 'finished'. */
  onReadable?(): void
  /** All that `writeBody` had to queue is with the transport. */
  onDrain?(): void
  /** An HTTP Datagram; the bytes are the listener's own. Those that came before it listened are kept, 64 at most. */
  onDatagram?(payload: Uint8Array): void
  /** The incoming message will not be completed. */
  onInboundError?(error: Http3Error): void
  /** The peer takes no more of the outgoing message; with H3_NO_ERROR it merely needs no more. */
  onOutboundError?(error: Http3Error): void
  /** Last call: both directions are over, and what we sent is acknowledged or given up. May come inside `readBody`. */
  onClosed?(): void
}

/** What an exchange needs of its session. */
export interface ExchangeHost {
  readonly role: 'client' | 'server'
  readonly transport: StreamTransport
  readonly decoder: QpackDecoder
  readonly maxHeaderBytes: number
  /** Requests may carry `:protocol`. */
  readonly allowsProtocol: boolean
  readonly datagrams: HttpDatagrams
  peerMaxFieldSectionBytes(): number
  nowUs(): Micros
  setPriority(id: StreamId, priority: Priority): boolean
  /** The TLS handshake is complete: what arrives now cannot be a replay. */
  isEstablished(): boolean
  /** Encodes a section and writes the instructions it depends on first. */
  encodeSection(id: StreamId, lines: HeaderList): Uint8Array
  /** Writes decoder instructions that reading left. */
  flushDecoder(): void
  failConnection(error: H3ConnectionError): void
  readonly allowsWebTransport: boolean
  onRequestHead(exchange: Exchange): void
  /** Server: the stream is one of a WebTransport session; the exchange is forgotten. */
  onTakenOver(exchange: Exchange, taken: TakenOver): void
  onExchangeClosed(exchange: Exchange): void
}

const NO_EVENTS: ExchangeEvents = {}

export class Exchange {
  readonly id: StreamId
  /** Set by the application. */
  events: ExchangeEvents
  /** For the application: whatever belongs to this exchange. */
  context: unknown
  /** For the session's limit of resets. */
  isCountedAsReset: boolean
  /** Server: the request arrived as 0-RTT data and might be a replay. Client: it was sent so. RFC 8470 §3, §4. */
  isEarly: boolean
  /** A longer incoming body ends in `ERR_HTTP3_BODY_TOO_LARGE`. */
  bodyBytesMax: number
  readonly #host: ExchangeHost
  readonly #inbound: InboundMessage
  readonly #writer: StreamWriter
  readonly #timing: MutableTiming
  #request: RequestHead | undefined
  #sendState: 'idle' | 'body' | 'ended'
  #announcedBytes: number | undefined
  #bodyBytesSent: number
  #isOutboundOver: boolean
  #isInboundOver: boolean
  #isClosed: boolean
  #isHeadDelivered: boolean
  #finalStats: StreamStats | undefined
  #heldDatagrams: Uint8Array[]

  constructor(host: ExchangeHost, id: StreamId, request: RequestHead | undefined) {
    this.id = id
    this.events = NO_EVENTS
    this.context = undefined
    this.isCountedAsReset = false
    this.bodyBytesMax = Number.POSITIVE_INFINITY
    this.isEarly = request !== undefined && !host.isEstablished()
    this.#host = host
    this.#request = request
    this.#inbound = new InboundMessage(host.transport, id, host.decoder, {
      expects: host.role === 'server' ? 'request' : 'response',
      requestMethod: request?.method,
      maxHeaderBytes: host.maxHeaderBytes,
      allowsProtocol: host.allowsProtocol,
      allowsWebTransport: host.allowsWebTransport,
    })
    this.#writer = new StreamWriter(host.transport, id)
    this.#timing = createTiming(host.nowUs())
    this.#sendState = 'idle'
    this.#announcedBytes = undefined
    this.#bodyBytesSent = 0
    this.#isOutboundOver = false
    this.#isInboundOver = false
    this.#isClosed = false
    this.#isHeadDelivered = false
    this.#finalStats = undefined
    this.#heldDatagrams = []
  }

  /** The request, known from the start on a client and from `onRequest` on a server. */
  get request(): RequestHead {
    if (this.#request === undefined) throw this.#stateError('the request has not arrived')
    return this.#request
  }

  get response(): ResponseHead | undefined {
    return this.#inbound.head?.kind === 'response' ? this.#inbound.head : undefined
  }

  /** Trailers of the incoming message, once `readBody` has answered 'finished'. */
  get trailers(): HeaderList | undefined {
    return this.#inbound.isEnded ? this.#inbound.trailers : undefined
  }

  /** The incoming message is complete. */
  get isInboundEnded(): boolean {
    return this.#inbound.isEnded
  }

  /** Nothing more comes: complete, failed or stopped. */
  get isInboundOver(): boolean {
    return this.#isInboundOver
  }

  /** Headers (of a final response, or of the request) were sent. */
  get areHeadersSent(): boolean {
    return this.#sendState !== 'idle'
  }

  /** `writeBody` and `finish` are possible. */
  get isWritable(): boolean {
    return this.#sendState === 'body' && !this.#isOutboundOver
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get bodyBytesSent(): number {
    return this.#bodyBytesSent
  }

  get bodyBytesReceived(): number {
    return this.#inbound.bodyBytes
  }

  /** Bytes that `writeBody` took and the transport has not. */
  get queuedBytes(): number {
    return this.#writer.queuedBytes
  }

  get timing(): ExchangeTiming {
    return this.#timing
  }

  /** Packets and retransmissions of the stream, from the transport; after the end, as they were then. */
  stats(): StreamStats | undefined {
    return this.#finalStats ?? this.#host.transport.streamStats(this.id)
  }

  /**
   * Visits the body as far as it has arrived. Not calling it leaves the bytes in the transport: the peer is slowed down
   * by flow control. After an error it answers 'finished'; `onInboundError` has told why.
   */
  readBody(visit: BodyVisitor, maxBytes?: number): BodyStatus {
    if (this.#isInboundOver) return 'finished'
    const before = this.#inbound.bodyBytes
    let status: BodyStatus = 'finished'
    this.#guard(() => {
      status = this.#inbound.readBody(visit, maxBytes)
    })
    if (before === 0 && this.#inbound.bodyBytes > 0) this.#timing.firstBodyReceivedUs = this.#host.nowUs()
    this.#host.flushDecoder()
    if (this.#inbound.bodyBytes > this.bodyBytesMax) this.#failBodyTooLarge()
    this.#noteInboundEnd()
    return this.#isInboundOver ? 'finished' : status
  }

  /** Server: a 1xx response before the final one. 101 does not exist in HTTP/3. */
  sendInformational(status: number, headers: HeaderList): void {
    if (this.#sendState !== 'idle') throw this.#stateError('the final response was sent already')
    const lines: HeaderList = [[':status', String(status)], ...headers]
    if (status < 100 || status > 199) throw this.#argumentError(`informational status ${status} is not 1xx`)
    this.#check(() => parseResponseHead(lines))
    this.#sendSection(lines)
  }

  /** Server: the final response's headers. Throws Http3Error when they cannot be sent. */
  respond(status: number, headers: HeaderList, options?: { readonly endStream?: boolean }): void {
    if (this.#sendState !== 'idle') throw this.#stateError('the response was sent already')
    if (status < 200 || status > 599) throw this.#argumentError(`response status ${status} is not in 200..599`)
    const lines: HeaderList = [[':status', String(status)], ...headers]
    const head = this.#check(() => parseResponseHead(lines))
    // RFC 9218 §5, §8: what a response says of its priority comes before what the request said
    const priority = priorityOf(head.headers)
    if (priority.urgency !== undefined || priority.isIncremental !== undefined) this.setPriority(priority)
    const hasNoContent = this.#request?.method === 'HEAD' || status === 204 || status === 304
    this.#sendHead(lines, hasNoContent ? undefined : head.contentLength, options?.endStream === true)
  }

  /** Client, called by the session: the request's headers, which it has checked. */
  sendRequest(lines: HeaderList, head: RequestHead, endStream: boolean): void {
    this.#sendHead(lines, head.contentLength, endStream)
  }

  /**
   * A piece of body; `data` is taken for good, do not change it. False = part of it waits in memory: stop until
   * `onDrain`. After the peer stopped the stream, pieces are dropped.
   */
  writeBody(data: Uint8Array): boolean {
    if (this.#isOutboundOver) return true
    if (this.#sendState !== 'body')
      throw this.#stateError(this.#sendState === 'idle' ? 'send headers first' : 'the message is finished')
    if (data.length === 0) return this.#writer.queuedBytes === 0
    if (this.#bodyBytesSent === 0) this.#timing.firstBodySentUs = this.#host.nowUs()
    this.#bodyBytesSent += data.length
    if (this.#announcedBytes !== undefined && this.#bodyBytesSent > this.#announcedBytes) this.#wrongLength()
    this.#writer.write(encodeFrameHeader(FrameType.Data, data.length))
    return this.#writer.write(data)
  }

  /** Ends the outgoing message, with trailers if given. */
  finish(trailers?: HeaderList): void {
    if (this.#isOutboundOver || this.#sendState === 'ended') return
    if (this.#sendState === 'idle') throw this.#stateError('send headers first')
    if (this.#announcedBytes !== undefined && this.#announcedBytes !== this.#bodyBytesSent) this.#wrongLength()
    if (trailers !== undefined && trailers.length > 0) {
      this.#check(() => parseTrailers(trailers))
      this.#sendSection(trailers)
    }
    this.#endStream()
  }

  /** Largest HTTP Datagram that can be sent now; 0 = not negotiated, or the request defines none. */
  get datagramBytesMax(): number {
    return this.#request?.protocol === undefined ? 0 : this.#host.datagrams.payloadBytesMax(this.id)
  }

  /**
   * Sends an HTTP Datagram, unreliably; `payload` may be changed afterwards. False = not negotiated, too large, or the
   * stream's send side is over. Throws for requests other than extended CONNECT.
   */
  sendDatagram(payload: Uint8Array): boolean {
    // RFC 9297 §2: "HTTP Datagrams MUST only be sent with an association to an HTTP request that explicitly supports them."
    if (this.#request?.protocol === undefined) throw this.#stateError('only extended CONNECT carries datagrams')
    // RFC 9297 §2.1: "HTTP/3 Datagrams MUST NOT be sent unless the corresponding stream's send side is open."
    if (this.#isOutboundOver || this.#sendState !== 'body') return false
    return this.#host.datagrams.send(this.id, payload)
  }

  /**
   * Changes the priority: a server the order of the response, a client by PRIORITY_UPDATE (RFC 9218 §7) and for what it
   * sends itself. False = not now: the exchange is over or the control stream is blocked. Throws RangeError.
   */
  setPriority(priority: Priority): boolean {
    return !this.#isClosed && this.#host.setPriority(this.id, priority)
  }

  /** Passes the datagrams that came before `events.onDatagram` was set. */
  takeHeldDatagrams(): readonly Uint8Array[] {
    const held = this.#heldDatagrams
    this.#heldDatagrams = []
    return held
  }

  /** Gives up the outgoing message (RESET_STREAM). */
  reset(name: H3ErrorName): void {
    if (this.#isOutboundOver) return
    this.#host.transport.reset(this.id, h3ErrorCodes[name])
    this.#endOutbound()
  }

  /** Gives up the incoming message (STOP_SENDING); unread bytes are dropped. */
  stopReading(name: H3ErrorName): void {
    if (this.#isInboundOver) return
    this.#host.transport.stop(this.id, h3ErrorCodes[name])
    this.#endInbound()
  }

  /** Gives up both directions (RFC 9114 §4.1.1). */
  cancel(name: H3ErrorName = 'H3_REQUEST_CANCELLED'): void {
    this.reset(name)
    this.stopReading(name)
  }

  // ---- called by the session ----

  handleReadable(): void {
    if (this.#isInboundOver) return
    if (this.#isHeadDelivered) {
      this.events.onReadable?.()
      return
    }
    this.#guard(() => this.#inbound.readHead())
    this.#host.flushDecoder()
    this.#deliverHead()
  }

  handleUnblocked(): void {
    if (this.#isInboundOver) return
    this.#guard(() => this.#inbound.onUnblocked())
    this.#host.flushDecoder()
    if (!this.#isHeadDelivered) this.#deliverHead()
    else if (!this.#isInboundOver) this.events.onReadable?.()
  }

  handleWritable(): void {
    if (this.#isOutboundOver || !this.#writer.flush()) return
    if (this.#sendState === 'body') this.events.onDrain?.()
  }

  handleDatagram(payload: Uint8Array): void {
    // RFC 9297 §2.1: "If a datagram is received after the corresponding stream's receive side is closed, the received datagrams MUST be silently dropped."
    if (this.#isInboundOver) return
    const request = this.#request
    if (request !== undefined && request.protocol === undefined) this.#refuseDatagrams(request)
    else if (this.events.onDatagram !== undefined) this.events.onDatagram(payload)
    else {
      if (this.#heldDatagrams.length >= HELD_DATAGRAMS_MAX) this.#heldDatagrams.shift()
      this.#heldDatagrams.push(payload)
    }
  }

  handleReset(code: number): void {
    this.#failInbound(
      new Http3Error('ERR_HTTP3_STREAM_RESET', `peer reset stream ${this.id} with ${h3ErrorName(code)}`, {
        by: 'peer',
        streamId: this.id,
        h3Code: code,
      }),
    )
  }

  handleStopped(code: number): void {
    if (this.#isOutboundOver) return
    const error = new Http3Error('ERR_HTTP3_STREAM_RESET', `peer stopped stream ${this.id} with ${h3ErrorName(code)}`, {
      by: 'peer',
      streamId: this.id,
      h3Code: code,
    })
    this.#writer.abandon()
    this.#isOutboundOver = true
    this.events.onOutboundError?.(error)
    this.#maybeClose()
  }

  handleDelivered(): void {
    this.#timing.deliveredUs = this.#host.nowUs()
    this.#endOutbound()
  }

  /** The connection is gone, or the server will not process this request. */
  handleFailure(error: Http3Error): void {
    if (this.#isClosed) return
    if (!this.#isOutboundOver) {
      this.#writer.abandon()
      this.#isOutboundOver = true
      if (this.#sendState !== 'ended') this.events.onOutboundError?.(error)
    }
    this.#failInbound(error)
    this.#maybeClose()
  }

  // ---- internals ----

  #deliverHead(): void {
    const informational = this.#inbound.informational
    while (informational.length > 0 && !this.#isClosed) {
      const head = informational.shift()
      if (head !== undefined) this.events.onInformational?.(head)
    }
    const taken = this.#inbound.takeOver()
    if (taken !== undefined && !this.#isClosed) return this.#onTakenOver(taken)
    const head: MessageHead | undefined = this.#inbound.head
    if (head === undefined || this.#isHeadDelivered || this.#isInboundOver) return
    this.#isHeadDelivered = true
    this.#timing.headersReceivedUs = this.#host.nowUs()
    if (head.kind === 'request') {
      this.#request = head
      this.isEarly = !this.#host.isEstablished()
      if (head.protocol === undefined && this.#heldDatagrams.length > 0) this.#refuseDatagrams(head)
      if (this.#isInboundOver) return
      this.#host.onRequestHead(this)
    } else {
      this.events.onResponse?.(head, this.#inbound.isEnded)
    }
    this.#noteInboundEnd()
    // What came together with the headers raises no further event of the transport.
    if (!this.#isInboundOver) this.events.onReadable?.()
  }

  #onTakenOver(taken: TakenOver): void {
    this.#isInboundOver = true
    this.#isOutboundOver = true
    this.#isClosed = true
    this.#host.onTakenOver(this, taken)
  }

  /** The one place where the peer's violations on this stream are caught. */
  #guard(read: () => void): void {
    try {
      read()
    } catch (error) {
      if (error instanceof H3ConnectionError) this.#host.failConnection(error)
      else if (error instanceof H3StreamError) this.#failStream(error)
      else if (error instanceof FieldSectionTooLarge) this.#failTooLarge(error)
      else throw error
    }
  }

  #failStream(error: H3StreamError): void {
    const failure = new Http3Error(
      'ERR_HTTP3_MESSAGE',
      `stream ${this.id}: peer's message is malformed: ${error.message}`,
      {
        by: 'local',
        streamId: this.id,
        h3Code: error.h3Code,
        cause: error,
      },
    )
    this.#host.transport.stop(this.id, error.h3Code)
    if (!this.#isOutboundOver) {
      this.#host.transport.reset(this.id, error.h3Code)
      this.#writer.abandon()
      this.#isOutboundOver = true
    }
    this.#failInbound(failure)
  }

  #failTooLarge(error: FieldSectionTooLarge): void {
    const failure = new Http3Error('ERR_HTTP3_HEADERS_TOO_LARGE', `stream ${this.id}: ${error.message}`, {
      by: 'local',
      streamId: this.id,
      h3Code: h3ErrorCodes.H3_EXCESSIVE_LOAD,
      cause: error,
    })
    const answer: HeaderList = [['content-length', '0']]
    const answerBytes = fieldSectionBytes([[':status', '431'], ...answer])
    const isAnswerTaken = answerBytes <= this.#host.peerMaxFieldSectionBytes()
    const canAnswer = this.#host.role === 'server' && !this.#isHeadDelivered && isAnswerTaken
    // RFC 9114 §4.2.2: a server may answer 431; §4.1: a complete response comes with H3_NO_ERROR for the rest.
    this.#host.transport.stop(this.id, canAnswer ? h3ErrorCodes.H3_NO_ERROR : h3ErrorCodes.H3_EXCESSIVE_LOAD)
    if (canAnswer) this.respond(431, answer, { endStream: true })
    else this.reset('H3_EXCESSIVE_LOAD')
    this.#failInbound(failure)
  }

  // RFC 9297 §2: "the receiver MUST terminate the request; if HTTP/3 is in use, the request stream MUST be aborted with H3_DATAGRAM_ERROR"
  #refuseDatagrams({ method }: RequestHead): void {
    this.#failStream(new H3StreamError('H3_DATAGRAM_ERROR', `${method} defines no datagrams`))
  }

  #failBodyTooLarge(): void {
    if (this.#isInboundOver) return
    const message = `stream ${this.id}: the body is longer than the ${this.bodyBytesMax} bytes allowed`
    // RFC 9114 §4.1: a server that answers without the rest says H3_NO_ERROR
    this.#host.transport.stop(this.id, h3ErrorCodes[this.#host.role === 'server' ? 'H3_NO_ERROR' : 'H3_EXCESSIVE_LOAD'])
    this.#failInbound(new Http3Error('ERR_HTTP3_BODY_TOO_LARGE', message, { by: 'local', streamId: this.id }))
  }

  #failInbound(error: Http3Error): void {
    if (this.#isInboundOver) return
    this.#inbound.abandon()
    this.#isInboundOver = true
    this.#host.flushDecoder()
    this.events.onInboundError?.(error)
    this.#maybeClose()
  }

  #noteInboundEnd(): void {
    if (!this.#inbound.isEnded || this.#isInboundOver) return
    this.#timing.receiveFinishedUs = this.#host.nowUs()
    this.#isInboundOver = true
    this.#maybeClose()
  }

  #endInbound(): void {
    this.#inbound.abandon()
    this.#isInboundOver = true
    this.#host.flushDecoder()
    this.#maybeClose()
  }

  #endOutbound(): void {
    if (this.#isOutboundOver) return
    this.#writer.abandon()
    this.#isOutboundOver = true
    this.#sendState = 'ended'
    this.#maybeClose()
  }

  #maybeClose(): void {
    if (this.#isClosed || !this.#isInboundOver || !this.#isOutboundOver) return
    this.#isClosed = true
    this.#finalStats = this.#host.transport.streamStats(this.id)
    this.#host.onExchangeClosed(this)
    this.events.onClosed?.()
  }

  #sendHead(lines: HeaderList, announcedBytes: number | undefined, endStream: boolean): void {
    if (endStream && announcedBytes !== undefined && announcedBytes > 0) {
      throw this.#argumentError(`content-length ${announcedBytes} on a message without a body`)
    }
    this.#sendSection(lines)
    this.#announcedBytes = announcedBytes
    this.#sendState = 'body'
    this.#timing.headersSentUs = this.#host.nowUs()
    if (endStream) this.#endStream()
  }

  #endStream(): void {
    this.#sendState = 'ended'
    this.#timing.sendFinishedUs = this.#host.nowUs()
    this.#writer.finish()
  }

  #sendSection(lines: HeaderList): void {
    if (this.#isOutboundOver) return
    // RFC 9114 §7.2.4.2#1: nothing that is invalid by "its current understanding of the peer's settings"
    const limitBytes = this.#host.peerMaxFieldSectionBytes()
    const sectionBytes = fieldSectionBytes(lines)
    if (sectionBytes > limitBytes) {
      // RFC 9114 §4.2.2: "SHOULD NOT send an HTTP message header that exceeds the indicated size"
      const message = `stream ${this.id}: headers have ${sectionBytes} bytes, the peer takes at most ${limitBytes}`
      throw new Http3Error('ERR_HTTP3_HEADERS_TOO_LARGE', message, { by: 'local', streamId: this.id })
    }
    this.#writer.write(encodeFrame(FrameType.Headers, this.#host.encodeSection(this.id, lines)))
  }

  /** A message of another length than announced would be malformed: the peer gets a reset instead. */
  #wrongLength(): never {
    const text = `content-length says ${this.#announcedBytes} bytes, the body has ${this.#bodyBytesSent}`
    this.reset('H3_INTERNAL_ERROR')
    throw this.#stateError(text)
  }

  /** Runs the checks for incoming messages on an outgoing one. */
  #check<T>(parse: () => T): T {
    return checkOutgoing(parse, this.id)
  }

  #argumentError(message: string): Http3Error {
    return new Http3Error('ERR_HTTP3_INVALID_ARGUMENT', `stream ${this.id}: ${message}`, {
      by: 'local',
      streamId: this.id,
    })
  }

  #stateError(message: string): Http3Error {
    return new Http3Error('ERR_HTTP3_INVALID_STATE', `stream ${this.id}: ${message}`, {
      by: 'local',
      streamId: this.id,
    })
  }
}
