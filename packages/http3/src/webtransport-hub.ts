/** WebTransport streams of one connection: which session they belong to, and those that wait for their session. */
import type { QuicStream, QuicStreamParts } from '@quicether/net'
import {
  type CloseReason,
  type ConnectionEvent,
  concat,
  type StreamId,
  type StreamKind,
  type StreamTransport,
} from '@quicether/transport'
import { Reader, varintLength, writeVarint } from '@quicether/wire'
import { H3ConnectionError, Http3Error } from './errors.ts'
import { fromHttp3Code, toHttp3Code, WT_STREAM_SIGNAL, WT_UNI_STREAM_TYPE, wtErrorCodes } from './webtransport-codes.ts'

/** Streams kept until their session is accepted; further ones are rejected. */
const BUFFERED_STREAMS_MAX = 32

/** What the hub needs of a session; `WebTransportSession` is one. */
export interface WebTransportOwner {
  readonly id: StreamId
  onStream(stream: QuicStream): void
  /** The connection goes away: finish soon. */
  drain(): void
}

export interface WebTransportHubOptions {
  readonly transport: StreamTransport
  readonly role: 'client' | 'server'
  readonly createStream: (parts: QuicStreamParts) => QuicStream
  /** The request that a session is made of may still come, or is being decided on. */
  readonly mayBecomeSession: (id: StreamId) => boolean
}

/** A stream whose header has not arrived completely. */
interface Opening {
  readonly hasSignal: boolean
  bytes: Uint8Array
}

interface Buffered {
  readonly sessionId: StreamId
  readonly parts: QuicStreamParts
}

interface Waiting {
  readonly kind: StreamKind
  readonly sessionId: StreamId
  readonly opened: PromiseWithResolvers<QuicStream>
}

const codes = { toWire: toHttp3Code, fromWire: fromHttp3Code }
const reader = new Reader(new Uint8Array(0))

export class WebTransportHub {
  readonly #options: WebTransportHubOptions
  readonly #sessions: Map<StreamId, WebTransportOwner>
  readonly #streams: Map<StreamId, { readonly stream: QuicStream; readonly sessionId: StreamId }>
  readonly #opening: Map<StreamId, Opening>
  /** Oldest first; events of these streams are remembered by the transport. */
  readonly #buffered: Map<StreamId, Buffered>
  readonly #waiting: Set<Waiting>

  constructor(options: WebTransportHubOptions) {
    this.#options = options
    this.#sessions = new Map()
    this.#streams = new Map()
    this.#opening = new Map()
    this.#buffered = new Map()
    this.#waiting = new Set()
  }

  /** Sessions that are open. */
  get sessionCount(): number {
    return this.#sessions.size
  }

  /** A session has been accepted: it gets the streams that were there before it. */
  register(session: WebTransportOwner): void {
    this.#sessions.set(session.id, session)
    for (const [id, { sessionId, parts }] of [...this.#buffered]) {
      if (sessionId !== session.id) continue
      this.#buffered.delete(id)
      session.onStream(this.#adopt(sessionId, parts))
    }
  }

  // §6: the streams of a session that ends are given up with WT_SESSION_GONE
  unregister(sessionId: StreamId): void {
    this.#sessions.delete(sessionId)
    for (const { stream, sessionId: of } of [...this.#streams.values()]) {
      if (of === sessionId) stream.onSessionClosed(wtErrorCodes.WT_SESSION_GONE)
    }
    for (const waiting of [...this.#waiting]) {
      if (waiting.sessionId !== sessionId) continue
      this.#waiting.delete(waiting)
      waiting.opened.reject(sessionOver(sessionId))
    }
    this.onRefused(sessionId)
  }

  /** The request has become no session: its streams are not kept any longer. */
  onRefused(sessionId: StreamId): void {
    for (const [id, buffered] of [...this.#buffered]) {
      if (buffered.sessionId !== sessionId) continue
      this.#buffered.delete(id)
      this.#giveUp(id, wtErrorCodes.WT_SESSION_GONE)
    }
  }

  drainAll(): void {
    for (const session of [...this.#sessions.values()]) session.drain()
  }

  /** Opens a stream of a session as soon as the peer allows one more. */
  async open(sessionId: StreamId, kind: StreamKind, signal: AbortSignal | undefined): Promise<QuicStream> {
    signal?.throwIfAborted()
    if (!this.#sessions.has(sessionId)) throw sessionOver(sessionId)
    const stream = this.#waiting.size === 0 ? this.#tryOpen(sessionId, kind) : undefined
    if (stream !== undefined) return stream
    const waiting: Waiting = { kind, sessionId, opened: Promise.withResolvers() }
    this.#waiting.add(waiting)
    const onAbort = () => {
      if (this.#waiting.delete(waiting)) waiting.opened.reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await waiting.opened.promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** A unidirectional stream of the peer of type 0x54; `received` follows its type. Throws H3ConnectionError. */
  onUniStream(id: StreamId, received: readonly Uint8Array[], isFinished: boolean): void {
    this.#onHeader(id, { hasSignal: false, bytes: concat(received) }, isFinished)
  }

  /** Client: the server has opened a bidirectional stream. */
  onServerStream(id: StreamId): void {
    this.#opening.set(id, { hasSignal: true, bytes: new Uint8Array(0) })
  }

  /** Server: a request stream turned out to be one of a session. Throws H3ConnectionError. */
  onBidiStream(id: StreamId, sessionId: StreamId, received: readonly Uint8Array[], isFinished: boolean): void {
    this.#associate(id, sessionId, received, isFinished)
  }

  /** True = the event was for a WebTransport stream. Throws H3ConnectionError. */
  handleEvent(event: ConnectionEvent): boolean {
    switch (event.kind) {
      case 'readable':
        return this.#onReadable(event.id)
      case 'writable':
        return this.#with(event.id, (stream) => stream.onWritable())
      case 'streamDelivered':
        return this.#with(event.id, (stream) => stream.onDelivered())
      case 'streamStopped':
        return this.#with(event.id, (stream) => stream.onStopped(event.code)) || this.#buffered.has(event.id)
      case 'streamReset':
        return this.#onReset(event.id, event.code)
      case 'streamsAvailable':
        this.#openWaiting()
        return false
      default:
        return false
    }
  }

  onConnectionClosed(reason: CloseReason): void {
    for (const { stream } of [...this.#streams.values()]) stream.onConnectionClosed(reason)
    for (const { opened, sessionId } of this.#waiting) opened.reject(sessionOver(sessionId))
    this.#waiting.clear()
    this.#buffered.clear()
    this.#opening.clear()
  }

  #with(id: StreamId, call: (stream: QuicStream) => void): boolean {
    const entry = this.#streams.get(id)
    if (entry === undefined) return false
    call(entry.stream)
    return true
  }

  #onReadable(id: StreamId): boolean {
    if (this.#with(id, (stream) => stream.onReadable())) return true
    const opening = this.#opening.get(id)
    if (opening === undefined) return this.#buffered.has(id)
    const chunks: Uint8Array[] = [opening.bytes]
    const status = this.#options.transport.read(id, (chunk) => chunks.push(chunk.slice()))
    this.#onHeader(id, { hasSignal: opening.hasSignal, bytes: concat(chunks) }, status === 'finished')
    return true
  }

  #onReset(id: StreamId, code: number): boolean {
    if (this.#with(id, (stream) => stream.onReset(code))) return true
    if (!this.#opening.delete(id) && !this.#buffered.delete(id)) return false
    this.#options.transport.read(id, () => undefined)
    if ((id & 2) === 0) this.#options.transport.reset(id, wtErrorCodes.WT_SESSION_GONE)
    return true
  }

  #onHeader(id: StreamId, opening: Opening, isFinished: boolean): void {
    const { bytes, hasSignal } = opening
    let at = 0
    if (hasSignal) {
      at = varintEnd(bytes, 0)
      if (at > 0 && varintAt(bytes, 0, at) !== WT_STREAM_SIGNAL) {
        // RFC 9114 §6.1: server-initiated bidirectional streams exist for WebTransport only
        throw new H3ConnectionError('H3_STREAM_CREATION_ERROR', `server opened stream ${id}, not for WebTransport`)
      }
    }
    const end = hasSignal && at === 0 ? 0 : varintEnd(bytes, at)
    if (end > 0) {
      this.#opening.delete(id)
      this.#associate(id, varintAt(bytes, at, end), [bytes.subarray(end)], isFinished)
    } else if (isFinished) {
      this.#opening.delete(id)
      if ((id & 2) === 0) this.#options.transport.reset(id, wtErrorCodes.WT_SESSION_GONE)
    } else this.#opening.set(id, opening)
  }

  #associate(id: StreamId, sessionId: StreamId, received: readonly Uint8Array[], isReceiveFinished: boolean): void {
    // §4: "the endpoint MUST close the connection with an H3_ID_ERROR error code"
    if (sessionId % 4 !== 0) {
      throw new H3ConnectionError('H3_ID_ERROR', `WebTransport stream ${id} names session ${sessionId}, no request`)
    }
    const { transport, role } = this.#options
    const parts = { transport, id, role, received, isReceiveFinished, codes }
    const session = this.#sessions.get(sessionId)
    if (session !== undefined) session.onStream(this.#adopt(sessionId, parts))
    else if (!this.#options.mayBecomeSession(sessionId)) this.#giveUp(id, wtErrorCodes.WT_SESSION_GONE)
    else if (this.#buffered.size >= BUFFERED_STREAMS_MAX) this.#giveUp(id, wtErrorCodes.WT_BUFFERED_STREAM_REJECTED)
    else this.#buffered.set(id, { sessionId, parts })
  }

  #adopt(sessionId: StreamId, parts: QuicStreamParts): QuicStream {
    const { id } = parts
    const stream = this.#options.createStream({ ...parts, onClosed: () => this.#streams.delete(id) })
    this.#streams.set(id, { stream, sessionId })
    // Nobody says which stream of a session comes first: they take turns.
    stream.setPriority({ isIncremental: true })
    return stream
  }

  #giveUp(id: StreamId, code: number): void {
    this.#options.transport.stop(id, code)
    if ((id & 2) === 0) this.#options.transport.reset(id, code)
  }

  #tryOpen(sessionId: StreamId, kind: StreamKind): QuicStream | undefined {
    const { transport, role } = this.#options
    const id = transport.openStream(kind)
    if (id === undefined) return undefined
    const first = kind === 'bidirectional' ? WT_STREAM_SIGNAL : WT_UNI_STREAM_TYPE
    const prefix = new Uint8Array(varintLength(first) + varintLength(sessionId))
    writeVarint(prefix, writeVarint(prefix, 0, first), sessionId)
    return this.#adopt(sessionId, { transport, id, role, prefix, codes })
  }

  #openWaiting(): void {
    for (const waiting of this.#waiting) {
      const stream = this.#tryOpen(waiting.sessionId, waiting.kind)
      if (stream === undefined) continue
      this.#waiting.delete(waiting)
      waiting.opened.resolve(stream)
    }
  }
}

function sessionOver(id: StreamId): Http3Error {
  return new Http3Error('ERR_HTTP3_INVALID_STATE', `WebTransport session ${id} is over`, { by: 'local', streamId: id })
}

function varintEnd(bytes: Uint8Array, at: number): number {
  if (at >= bytes.length) return 0
  const end = at + (1 << ((bytes[at] as number) >>> 6))
  return end <= bytes.length ? end : 0
}

function varintAt(bytes: Uint8Array, at: number, end: number): number {
  reader.rewind(bytes, at, end)
  return reader.varintClamped()
}
