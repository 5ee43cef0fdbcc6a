/** QUIC DATAGRAMs (RFC 9221) of one connection as applications use them. */
import type { DatagramOptions, StreamTransport } from '@quicether/transport'

/** Datagrams that wait for a slow reader; the oldest go first. */
const WAITING_MAX = 256

/** Unreliable and unordered messages; iterate to receive, each datagram goes to one reader. */
export class QuicDatagrams implements AsyncIterable<Uint8Array> {
  readonly #transport: StreamTransport
  readonly #queue: Uint8Array[]
  readonly #waiters: (() => void)[]
  #isClosed: boolean
  #dropped: number
  #readable: ReadableStream<Uint8Array> | undefined

  constructor(transport: StreamTransport) {
    this.#transport = transport
    this.#queue = []
    this.#waiters = []
    this.#isClosed = false
    this.#dropped = 0
    this.#readable = undefined
  }

  /** Largest payload that can be sent now; 0 = the peer takes none, or has not said so yet. */
  get bytesMax(): number {
    return this.#transport.datagramBytesMax
  }

  /** Dropped here because nobody read them in time. */
  get dropped(): number {
    return this.#dropped
  }

  /** False = too large, not negotiated, or the connection is over; a full queue drops its oldest. The engine keeps `data`. */
  send(data: Uint8Array, options?: DatagramOptions): boolean {
    return this.#transport.sendDatagram(data, options)
  }

  /** The same datagrams as a web stream, one chunk each. */
  get readable(): ReadableStream<Uint8Array> {
    this.#readable ??= ReadableStream.from<Uint8Array>(this)
    return this.#readable
  }

  /** Ends when the connection does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (true) {
      const data = this.#queue.shift()
      if (data !== undefined) yield data
      else if (this.#isClosed) return
      else await new Promise<void>((resolve) => this.#waiters.push(resolve))
    }
  }

  /** Called by the connection. */
  onDatagram(data: Uint8Array): void {
    if (this.#queue.length >= WAITING_MAX) {
      this.#queue.shift()
      this.#dropped++
    }
    this.#queue.push(data)
    this.#waiters.shift()?.()
  }

  /** Called by the connection. */
  onClosed(): void {
    this.#isClosed = true
    for (const wake of this.#waiters.splice(0)) wake()
  }
}
