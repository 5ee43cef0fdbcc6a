/** One incoming message on a request stream: frames -> header sections and body, with the rules of RFC 9114 §4.1. */
import type { StreamId, StreamTransport } from '@quicether/transport'
import { FieldSectionTooLarge, H3ConnectionError, H3StreamError } from './errors.ts'
import { FrameItem, FrameParser, FrameType, frameName, isHttp2FrameType } from './frames.ts'
import type { HeaderList } from './headers.ts'
import type { QpackDecoder } from './qpack/decoder.ts'
import { parseRequestHead, parseResponseHead, parseTrailers, type RequestHead, type ResponseHead } from './validate.ts'

export type MessageHead = RequestHead | ResponseHead

/** A piece of body, borrowed for the call. The visitor must not call back into the exchange. */
export type BodyVisitor = (chunk: Uint8Array) => void

/** `blocked` = nothing more for now, `onReadable` follows; `finished` = body and trailers are complete. */
export type BodyStatus = 'blocked' | 'finished'

/** 1xx responses that one request may get; a peer could send them for ever. */
const INFORMATIONAL_MAX = 32

export interface InboundOptions {
  readonly expects: 'request' | 'response'
  /** Method of the request that a response answers: HEAD and CONNECT change what may follow its headers. */
  readonly requestMethod: string | undefined
  readonly maxHeaderBytes: number
  /** Requests may carry `:protocol`. */
  readonly allowsProtocol: boolean
  /** The stream may turn out to be one of a WebTransport session, or it must not start like one. */
  readonly allowsWebTransport: boolean
}

/** What was read of a stream that turned out to be no message. */
export interface TakenOver {
  readonly sessionId: number
  readonly received: readonly Uint8Array[]
  readonly isFinished: boolean
}

export class InboundMessage {
  readonly #transport: StreamTransport
  readonly #id: StreamId
  readonly #decoder: QpackDecoder
  readonly #options: InboundOptions
  readonly #parser: FrameParser
  readonly #onChunk: (chunk: Uint8Array) => void
  /** Bytes that came with the headers, or behind a blocked section, and that nobody asked for yet. */
  #leftover: Uint8Array[]
  /** A header section that waits for the peer's encoder stream. */
  #blockedSection: Uint8Array | undefined
  #visit: BodyVisitor | null
  #readMaxBytes: number | undefined
  #visitedBytes: number
  /** Raised inside a transport call, thrown behind it. */
  #failure: unknown
  #isTransportFinished: boolean
  #isCancelled: boolean
  #isTunnel: boolean
  #informationalCount: number
  #hasFrames: boolean
  #sessionId: number | undefined
  /** Final header section. */
  head: MessageHead | undefined
  trailers: HeaderList | undefined
  bodyBytes: number
  /** The message is complete and well-formed. */
  isEnded: boolean
  /** 1xx responses that the owner has not taken yet. */
  readonly informational: ResponseHead[]

  constructor(transport: StreamTransport, id: StreamId, decoder: QpackDecoder, options: InboundOptions) {
    this.#transport = transport
    this.#id = id
    this.#decoder = decoder
    this.#options = options
    this.#parser = new FrameParser()
    this.#onChunk = (chunk) => this.#consume(chunk)
    this.#leftover = []
    this.#blockedSection = undefined
    this.#visit = null
    this.#readMaxBytes = undefined
    this.#visitedBytes = 0
    this.#failure = undefined
    this.#isTransportFinished = false
    this.#isCancelled = false
    this.#isTunnel = false
    this.#informationalCount = 0
    this.#hasFrames = false
    this.#sessionId = undefined
    this.head = undefined
    this.trailers = undefined
    this.bodyBytes = 0
    this.isEnded = false
    this.informational = []
  }

  /**
   * Reads as far as the final header section. Later bytes stay in the transport, so that flow control stops the peer.
   * Throws H3ConnectionError, H3StreamError or FieldSectionTooLarge.
   */
  readHead(): void {
    if (this.head === undefined && !this.isEnded) this.#pump()
  }

  /**
   * Visits what has arrived of the body, about `maxBytes` at most: what came together with the header section may be more.
   * Throws like `readHead`.
   */
  readBody(visit: BodyVisitor, maxBytes?: number): BodyStatus {
    if (!this.isEnded) {
      this.#visit = visit
      this.#readMaxBytes = maxBytes
      try {
        this.#pump()
      } finally {
        this.#visit = null
        this.#readMaxBytes = undefined
      }
    }
    return this.isEnded ? 'finished' : 'blocked'
  }

  /** The peer's encoder stream delivered what a blocked section waited for. Throws like `readHead`. */
  onUnblocked(): void {
    const section = this.#blockedSection
    if (section === undefined) return
    this.#blockedSection = undefined
    this.#onSection(section, 0, section.length)
    if (this.head === undefined) this.#pump()
    else this.#checkEnd()
  }

  /** The rest of the message is not wanted or will not come: frees what is held, tells the peer's encoder once. */
  abandon(): void {
    this.#leftover = []
    this.#blockedSection = undefined
    if (this.isEnded || this.#isCancelled) return
    this.#isCancelled = true
    // RFC 9204 §2.2.2.2
    this.#decoder.cancelStream(this.#id)
  }

  /** The stream belongs to a WebTransport session: its bytes, for their owner. This object is done with it. */
  takeOver(): TakenOver | undefined {
    if (this.#sessionId === undefined) return undefined
    return { sessionId: this.#sessionId, received: this.#leftover, isFinished: this.#isTransportFinished }
  }

  get #isPaused(): boolean {
    if (this.#sessionId !== undefined) return true
    return this.#blockedSection !== undefined || (this.head !== undefined && this.#visit === null)
  }

  #pump(): void {
    const leftover = this.#leftover
    this.#leftover = []
    for (const chunk of leftover) this.#consume(chunk)
    while (
      this.#failure === undefined &&
      !this.#isPaused &&
      !this.#isTransportFinished &&
      this.#leftover.length === 0
    ) {
      const bodyBefore = this.bodyBytes
      this.#visitedBytes = 0
      const status = this.#transport.read(this.#id, this.#onChunk, this.#readMaxBytes)
      if (status === 'finished') this.#isTransportFinished = true
      // A limited read that found nothing but framing: there may be more, and no event would tell.
      else if (this.#visitedBytes !== this.#readMaxBytes || this.bodyBytes > bodyBefore) break
    }
    if (this.#failure !== undefined) {
      const failure = this.#failure
      this.#failure = undefined
      throw failure
    }
    this.#checkEnd()
  }

  /** Runs inside a transport call: touches only this object and the decoder, keeps exceptions for later. */
  #consume(chunk: Uint8Array): void {
    this.#visitedBytes += chunk.length
    if (this.#failure !== undefined) return
    let offset = 0
    try {
      if (!this.#isPaused) offset = this.#parse(chunk)
    } catch (error) {
      this.#failure = error
      return
    }
    if (offset < chunk.length) this.#leftover.push(chunk.slice(offset))
  }

  #parse(chunk: Uint8Array): number {
    const parser = this.#parser
    let offset = 0
    while (!this.#isPaused) {
      const item = parser.next(chunk, offset, chunk.length)
      offset = parser.offset
      if (item === FrameItem.NeedMore) break
      if (item === FrameItem.Start) this.#onFrameStart()
      else if (item === FrameItem.Data) this.#onData(parser.bytes, parser.start, parser.end)
      else this.#onSection(parser.bytes, parser.start, parser.end)
    }
    return offset
  }

  /** RFC 9114 §4.1 and §7.2: which frames may come now. */
  #onFrameStart(): void {
    const parser = this.#parser
    const type = parser.frameType
    const isFirst = !this.#hasFrames
    this.#hasFrames = true
    if (type === FrameType.WebTransportStream && this.#options.allowsWebTransport) {
      this.#onWebTransport(isFirst)
      return
    }
    if (type === FrameType.Data) {
      // RFC 9114 §7.2.1: "DATA frames MUST be associated with an HTTP request or response"
      if (this.head === undefined) this.#unexpected('before the header section')
      if (this.trailers !== undefined) this.#unexpected('after the trailer section')
      return
    }
    if (type === FrameType.Headers) {
      if (this.trailers !== undefined) this.#unexpected('after the trailer section')
      // RFC 9114 §4.4: "Once the CONNECT method has completed, only DATA frames are permitted to be sent on the stream."
      if (this.#isTunnel) this.#unexpected('in a CONNECT tunnel')
      if (parser.frameLength > this.#options.maxHeaderBytes)
        throw new FieldSectionTooLarge(this.#options.maxHeaderBytes)
      return
    }
    if (type === FrameType.PushPromise && this.#options.expects === 'response') {
      // RFC 9114 §7.2.5: a push ID above the MAX_PUSH_ID we sent is H3_ID_ERROR; we sent none.
      throw new H3ConnectionError('H3_ID_ERROR', 'PUSH_PROMISE, but no MAX_PUSH_ID was sent')
    }
    if (isKnownFrameType(type) || isHttp2FrameType(type)) this.#unexpected('on a request stream')
    // RFC 9114 §9: "Implementations MUST ignore unknown or unsupported values"
    parser.skip()
  }

  // draft-ietf-webtrans-http3 §4.2: "Receiving this frame type in any other circumstances MUST be treated as a connection error of type H3_FRAME_ERROR."
  #onWebTransport(isFirst: boolean): void {
    if (!isFirst || this.#options.expects === 'response') {
      throw new H3ConnectionError('H3_FRAME_ERROR', 'WT_STREAM inside a request stream')
    }
    this.#sessionId = this.#parser.frameLength
  }

  #unexpected(where: string): never {
    throw new H3ConnectionError('H3_FRAME_UNEXPECTED', `${frameName(this.#parser.frameType)} ${where}`)
  }

  #onData(bytes: Uint8Array, start: number, end: number): void {
    this.bodyBytes += end - start
    const head = this.head as MessageHead
    if (!this.#isTunnel) {
      if (head.contentLength !== undefined && this.bodyBytes > head.contentLength && !this.#hasNoContent(head)) {
        throw new H3StreamError('H3_MESSAGE_ERROR', `body is longer than its content-length of ${head.contentLength}`)
      }
      if (this.#hasNoContent(head)) throw new H3StreamError('H3_MESSAGE_ERROR', 'content in a response that has none')
    }
    this.#visit?.(bytes.subarray(start, end))
  }

  #onSection(bytes: Uint8Array, start: number, end: number): void {
    const lines = this.#decoder.decode(this.#id, bytes, start, end)
    if (lines === undefined) {
      this.#blockedSection = bytes.slice(start, end)
      return
    }
    if (this.head !== undefined) {
      this.trailers = parseTrailers(lines)
      return
    }
    if (this.#options.expects === 'request') {
      const head = parseRequestHead(lines, this.#options.allowsProtocol)
      this.#isTunnel = head.method === 'CONNECT'
      this.head = head
      return
    }
    const head = parseResponseHead(lines)
    if (head.status >= 200) {
      this.#isTunnel = this.#options.requestMethod === 'CONNECT' && head.status < 300
      this.head = head
      return
    }
    if (++this.#informationalCount > INFORMATIONAL_MAX) {
      throw new H3StreamError('H3_EXCESSIVE_LOAD', `more than ${INFORMATIONAL_MAX} informational responses`)
    }
    this.informational.push(head)
  }

  /** RFC 9110 §6.4.1: responses to HEAD, 204 and 304 never have content, whatever content-length says. */
  #hasNoContent(head: MessageHead): boolean {
    return (
      head.kind === 'response' && (this.#options.requestMethod === 'HEAD' || head.status === 204 || head.status === 304)
    )
  }

  #checkEnd(): void {
    if (!this.#isTransportFinished || this.isEnded || this.#sessionId !== undefined) return
    if (this.#leftover.length > 0 || this.#blockedSection !== undefined) return
    if (!this.#parser.isBetweenFrames) {
      // RFC 9114 §7.1: "When a stream terminates cleanly, if the last frame on the stream was truncated, this MUST be
      // treated as a connection error of type H3_FRAME_ERROR"
      throw new H3ConnectionError('H3_FRAME_ERROR', `stream ends inside ${frameName(this.#parser.frameType)}`)
    }
    const head = this.head
    if (head === undefined) {
      if (this.#options.expects === 'response')
        throw new H3StreamError('H3_MESSAGE_ERROR', 'stream ends without a response')
      throw new H3StreamError('H3_REQUEST_INCOMPLETE', 'stream ends without a request')
    }
    if (!this.#isTunnel && head.contentLength !== undefined && !this.#hasNoContent(head)) {
      if (head.contentLength !== this.bodyBytes) {
        const got = `body has ${this.bodyBytes} bytes, content-length says ${head.contentLength}`
        throw new H3StreamError('H3_MESSAGE_ERROR', got)
      }
    }
    this.isEnded = true
  }
}

function isKnownFrameType(type: number): boolean {
  return (
    type === FrameType.CancelPush ||
    type === FrameType.Settings ||
    type === FrameType.PushPromise ||
    type === FrameType.Goaway ||
    type === FrameType.MaxPushId ||
    type === FrameType.PriorityUpdateRequest ||
    type === FrameType.PriorityUpdatePush
  )
}
