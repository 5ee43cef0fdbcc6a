/** The bytes both ways behind an accepted CONNECT (RFC 9114 §4.4, RFC 9220), with its HTTP Datagrams (RFC 9297). */
import type { StreamStats } from '@quicether/transport'
import type { H3ErrorName } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { HeaderList } from './headers.ts'
import { HELD_DATAGRAMS_MAX } from './http-datagrams.ts'
import type { IncomingBody } from './incoming-body.ts'
import type { BodyWriter } from './outgoing-body.ts'

export interface TunnelParts {
  readonly exchange: Exchange
  readonly body: IncomingBody
  readonly writer: BodyWriter
  /** Of the peer: of the request on a server, of the response on a client. */
  readonly headers: HeaderList
  readonly closed: Promise<void>
}

/** Made by `Http3Client.connect` and `ServerResponse.accept`. Promises reject with `Http3Error`. */
export class Http3Tunnel implements AsyncDisposable {
  readonly streamId: number
  /** Of an extended CONNECT, e.g. `websocket`; undefined for a plain CONNECT. */
  readonly protocol: string | undefined
  readonly headers: HeaderList
  /** What the peer sends; one reader only. `readable` is the same as a web stream. */
  readonly body: IncomingBody
  readonly datagrams: TunnelDatagrams
  /** Resolves when both directions are over and all is acknowledged or given up; never rejects. */
  readonly closed: Promise<void>
  readonly #exchange: Exchange
  readonly #writer: BodyWriter
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined
  #writable: WritableStream<Uint8Array> | undefined

  constructor({ exchange, body, writer, headers, closed }: TunnelParts) {
    this.streamId = exchange.id
    this.protocol = exchange.request.protocol
    this.headers = headers
    this.body = body
    this.datagrams = new TunnelDatagrams(exchange, closed)
    this.closed = closed
    this.#exchange = exchange
    this.#writer = writer
    this.#readable = undefined
    this.#writable = undefined
  }

  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= this.body.readable()
    return this.#readable
  }

  /** Chunks are taken for good: do not change them afterwards. Closing it ends our direction only. */
  get writable(): WritableStream<Uint8Array> {
    this.#writable ??= new WritableStream<Uint8Array>({
      write: (chunk) => this.write(chunk),
      close: () => this.end(),
      abort: () => this.#exchange.reset('H3_REQUEST_CANCELLED'),
    })
    return this.#writable
  }

  /** Resolves when the next piece is welcome; `data` is taken for good. */
  write(data: Uint8Array): Promise<void> {
    return this.#writer.write(data)
  }

  /** Ends our direction; the peer's goes on. */
  end(): void {
    this.#exchange.finish()
  }

  /** Gives up both directions: the peer sees a reset with this code. */
  abort(code: H3ErrorName = 'H3_REQUEST_CANCELLED'): void {
    this.body.cancel('H3_REQUEST_CANCELLED')
    this.#exchange.cancel(code)
  }

  /** Packets, bytes and retransmissions of the stream. */
  stats(): StreamStats | undefined {
    return this.#exchange.stats()
  }

  /** Ends our direction, drops what the peer still sends, and waits until all is acknowledged. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#exchange.isWritable) this.#exchange.finish()
    this.body.cancel('H3_NO_ERROR')
    await this.closed
  }
}

/** HTTP Datagrams of one tunnel: unreliable, unordered, at most 64 waiting for a slow reader. */
export class TunnelDatagrams implements AsyncIterable<Uint8Array> {
  readonly #exchange: Exchange
  readonly #queue: Uint8Array[]
  #onArrival: (() => void) | undefined
  #isClosed: boolean
  #dropped: number
  #readable: ReadableStream<Uint8Array> | undefined

  constructor(exchange: Exchange, closed: Promise<void>) {
    this.#exchange = exchange
    this.#queue = [...exchange.takeHeldDatagrams()]
    this.#onArrival = undefined
    this.#isClosed = false
    this.#dropped = 0
    this.#readable = undefined
    exchange.events.onDatagram = (payload) => this.#take(payload)
    void closed.then(() => this.#close())
  }

  /** Largest payload that can be sent now; 0 = datagrams are not negotiated with `config.datagrams` on both sides. */
  get bytesMax(): number {
    return this.#exchange.datagramBytesMax
  }

  /** Dropped here because nobody read them. */
  get dropped(): number {
    return this.#dropped
  }

  /** False = not negotiated, too large, or the tunnel is over; a full queue drops its oldest. */
  send(payload: Uint8Array): boolean {
    return this.#exchange.datagramBytesMax > 0 && this.#exchange.sendDatagram(payload)
  }

  /** The same datagrams as a web stream, one chunk each; use either this or iteration. */
  get readable(): ReadableStream<Uint8Array> {
    const iterator = this[Symbol.asyncIterator]()
    this.#readable ??= new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await iterator.next()
          if (done === true) controller.close()
          else controller.enqueue(value)
        },
        cancel: async () => {
          await iterator.return(undefined)
        },
      },
      { highWaterMark: 0 },
    )
    return this.#readable
  }

  /** Ends when the tunnel does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (true) {
      const payload = this.#queue.shift()
      if (payload !== undefined) yield payload
      else if (this.#isClosed) return
      else {
        await new Promise<void>((resolve) => {
          this.#onArrival = resolve
        })
      }
    }
  }

  #take(payload: Uint8Array): void {
    if (this.#queue.length >= HELD_DATAGRAMS_MAX) {
      this.#queue.shift()
      this.#dropped++
    }
    this.#queue.push(payload)
    this.#wake()
  }

  #close(): void {
    this.#isClosed = true
    this.#wake()
  }

  #wake(): void {
    const onArrival = this.#onArrival
    this.#onArrival = undefined
    onArrival?.()
  }
}
