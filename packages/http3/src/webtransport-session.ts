/** One WebTransport session over HTTP/3, as both sides use it: streams, datagrams, and an end with code and reason. */
import type { QuicStream } from '@quicether/net'
import type { StreamId, StreamKind } from '@quicether/transport'
import { CapsuleParser, encodeCapsule } from './capsules.ts'
import { Http3Error } from './errors.ts'
import type { HeaderList } from './headers.ts'
import type { Http3Tunnel, TunnelDatagrams } from './tunnel.ts'
import { WtCapsule } from './webtransport-codes.ts'
import type { WebTransportHub, WebTransportOwner } from './webtransport-hub.ts'

/** How a session ended. */
export interface WebTransportClose {
  /** 32 bits, the application's; 0 = it said nothing. */
  readonly code: number
  readonly reason: string
  readonly by: 'local' | 'peer'
  /** False = the stream or the connection broke: nobody closed the session. */
  readonly isClean: boolean
}

export interface WebTransportTarget {
  readonly authority: string | undefined
  readonly path: string | undefined
}

/** A reason takes this much, as UTF-8 (§6). */
const REASON_BYTES_MAX = 1_024
/** Streams of the peer that nobody has taken yet; flow control of the connection bounds them as well. */
const INCOMING_MAX = 1_024

/** Made by `ServerResponse.acceptWebTransport` and `Http3Client.webTransport`. */
export class WebTransportSession implements WebTransportOwner, AsyncDisposable {
  readonly id: StreamId
  readonly authority: string | undefined
  /** With query. */
  readonly path: string | undefined
  /** Of the peer: of the request on a server, of the response on a client. Browsers send `origin`: check it. */
  readonly headers: HeaderList
  readonly datagrams: TunnelDatagrams
  /** Resolves when the session is over; never rejects. */
  readonly closed: Promise<WebTransportClose>
  /** Resolves when the peer asks to finish soon, or the connection is going away. */
  readonly draining: Promise<void>
  readonly #tunnel: Http3Tunnel
  readonly #hub: WebTransportHub
  readonly #incoming: Record<StreamKind, IncomingStreams>
  readonly #resolveClosed: (close: WebTransportClose) => void
  readonly #resolveDraining: () => void
  #close: WebTransportClose | undefined

  constructor(tunnel: Http3Tunnel, hub: WebTransportHub, { authority, path }: WebTransportTarget) {
    const closed = Promise.withResolvers<WebTransportClose>()
    const draining = Promise.withResolvers<void>()
    this.id = tunnel.streamId
    this.authority = authority
    this.path = path
    this.headers = tunnel.headers
    this.datagrams = tunnel.datagrams
    this.closed = closed.promise
    this.draining = draining.promise
    this.#tunnel = tunnel
    this.#hub = hub
    this.#incoming = { bidirectional: new IncomingStreams(), unidirectional: new IncomingStreams() }
    this.#resolveClosed = closed.resolve
    this.#resolveDraining = draining.resolve
    this.#close = undefined
    hub.register(this)
    void this.#readCapsules()
  }

  /** Streams that the peer opens for both directions; ends with the session. */
  get incomingBidirectionalStreams(): AsyncIterableIterator<QuicStream> {
    return this.#incoming.bidirectional.iterate()
  }

  /** Streams that only the peer sends on; ends with the session. */
  get incomingUnidirectionalStreams(): AsyncIterableIterator<QuicStream> {
    return this.#incoming.unidirectional.iterate()
  }

  /** Waits until the peer allows another stream. Rejects with Http3Error(ERR_HTTP3_INVALID_STATE) once the session is over. */
  createBidirectionalStream(options: { readonly signal?: AbortSignal } = {}): Promise<QuicStream> {
    return this.#hub.open(this.id, 'bidirectional', options.signal)
  }

  /** Like `createBidirectionalStream`; only we send on it. */
  createUnidirectionalStream(options: { readonly signal?: AbortSignal } = {}): Promise<QuicStream> {
    return this.#hub.open(this.id, 'unidirectional', options.signal)
  }

  /** Asks the peer to finish soon; nothing else changes. */
  drain(): void {
    this.#resolveDraining()
    if (this.#close === undefined) void this.#send(encodeCapsule(WtCapsule.DrainSession, new Uint8Array(0)))
  }

  /** Ends the session and its streams. Throws Http3Error for a code above 32 bits or a reason of more than 1,024 bytes. */
  close(code = 0, reason = ''): Promise<WebTransportClose> {
    const text = new TextEncoder().encode(reason)
    if (!Number.isInteger(code) || code < 0 || code > 0xffffffff || text.length > REASON_BYTES_MAX) {
      const message = `session ${this.id}: a close takes a code of 32 bits and a reason of ${REASON_BYTES_MAX} bytes`
      throw new Http3Error('ERR_HTTP3_INVALID_ARGUMENT', message, { by: 'local', streamId: this.id })
    }
    if (this.#close !== undefined) return this.closed
    const value = new Uint8Array(4 + text.length)
    new DataView(value.buffer).setUint32(0, code)
    value.set(text, 4)
    if (code !== 0 || reason !== '') void this.#send(encodeCapsule(WtCapsule.CloseSession, value))
    this.#end({ code, reason, by: 'local', isClean: true })
    return this.closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
    await this.#tunnel.closed
  }

  /** Called by the hub. */
  onStream(stream: QuicStream): void {
    if (this.#incoming[stream.kind].push(stream)) return
    stream.abort(0)
  }

  async #send(capsule: Uint8Array): Promise<void> {
    // The session may end any moment; `closed` tells.
    await this.#tunnel.write(capsule).catch(() => undefined)
  }

  async #readCapsules(): Promise<void> {
    const parser = new CapsuleParser(
      (type) => type === WtCapsule.CloseSession || type === WtCapsule.DrainSession,
      4 + REASON_BYTES_MAX,
    )
    try {
      for await (const chunk of this.#tunnel.body) {
        for (const { type, value } of parser.push(chunk)) {
          if (type === WtCapsule.DrainSession) this.#onDrainCapsule(value)
          else {
            this.#onCloseCapsule(value)
            return
          }
        }
      }
      parser.end()
      this.#end({ code: 0, reason: '', by: 'peer', isClean: true })
    } catch (error) {
      if (this.#close !== undefined) return
      if (error instanceof Http3Error && error.code === 'ERR_HTTP3_MESSAGE') this.#tunnel.abort('H3_MESSAGE_ERROR')
      const by = error instanceof Http3Error ? error.by : 'local'
      this.#end({ code: 0, reason: error instanceof Error ? error.message : String(error), by, isClean: false })
    }
  }

  // RFC 9297 §3.3: "Each Capsule's payload MUST contain exactly the fields identified in its description."
  #onDrainCapsule(value: Uint8Array): void {
    if (value.length === 0) return this.#resolveDraining()
    throw new Http3Error('ERR_HTTP3_MESSAGE', `drain of session ${this.id} with a value`, { by: 'peer' })
  }

  #onCloseCapsule(value: Uint8Array): void {
    if (value.length < 4) {
      throw new Http3Error('ERR_HTTP3_MESSAGE', `close of session ${this.id} without a code`, { by: 'peer' })
    }
    const code = new DataView(value.buffer, value.byteOffset).getUint32(0)
    this.#end({ code, reason: new TextDecoder().decode(value.subarray(4)), by: 'peer', isClean: true })
  }

  #end(close: WebTransportClose): void {
    if (this.#close !== undefined) return
    this.#close = close
    this.#hub.unregister(this.id)
    for (const incoming of Object.values(this.#incoming)) incoming.end()
    // §6: the other side answers a close with the end of its own direction.
    this.#tunnel.end()
    if (close.by === 'local') this.#tunnel.body.cancel('H3_NO_ERROR')
    this.#resolveDraining()
    this.#resolveClosed(close)
  }
}

/** Fields that say what content is: there is none beside capsules. */
const CONTENT_FIELDS: ReadonlySet<string> = new Set(['content-length', 'content-type', 'transfer-encoding'])

// RFC 9297 §3.2: "The Capsule Protocol MUST NOT be used with messages that contain Content-Length, Content-Type, or Transfer-Encoding header fields."
// RFC 9297 §3.2: "A receiver that observes a violation of these requirements MUST treat the HTTP message as malformed."
/** Throws Http3Error(ERR_HTTP3_MESSAGE), the stream given up, when a message that begins capsules speaks of content. */
export function checkCapsuleHeaders(message: Pick<Http3Tunnel, 'headers' | 'streamId' | 'abort'>): void {
  const wrong = message.headers.find(([name]) => CONTENT_FIELDS.has(name))
  if (wrong === undefined) return
  const { streamId } = message
  message.abort('H3_MESSAGE_ERROR')
  const text = `stream ${streamId}: ${wrong[0]} on a message that capsules follow`
  throw new Http3Error('ERR_HTTP3_MESSAGE', text, { by: 'peer', streamId })
}

/** Streams of one kind until somebody takes them. */
class IncomingStreams {
  readonly #queue: QuicStream[]
  readonly #readers: (() => void)[]
  #isEnded: boolean

  constructor() {
    this.#queue = []
    this.#readers = []
    this.#isEnded = false
  }

  push(stream: QuicStream): boolean {
    if (this.#isEnded || this.#queue.length >= INCOMING_MAX) return false
    this.#queue.push(stream)
    this.#readers.shift()?.()
    return true
  }

  end(): void {
    this.#isEnded = true
    for (const wake of this.#readers.splice(0)) wake()
  }

  async *iterate(): AsyncGenerator<QuicStream, void, undefined> {
    while (true) {
      const stream = this.#queue.shift()
      if (stream !== undefined) yield stream
      else if (this.#isEnded) return
      else await new Promise<void>((resolve) => this.#readers.push(resolve))
    }
  }
}
