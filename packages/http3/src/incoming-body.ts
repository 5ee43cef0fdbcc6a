/** A message body as it arrives: async iteration that reads from the transport only on demand. */
import { gather, PieceJoiner } from '@quicether/transport'
import { Http3Error } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { HeaderList } from './headers.ts'

/** What `bytes` and `text` gather unless told otherwise. */
const GATHER_BYTES_MAX = 64 * 1_048_576

interface Waiter {
  readonly resolve: () => void
}

/**
 * Async iterable of the body's bytes; every chunk is the reader's own copy. One reader only. Not reading slows the peer
 * down (flow control). Leaving the loop early cancels the incoming message.
 */
export class IncomingBody implements AsyncIterable<Uint8Array<ArrayBuffer>> {
  readonly #exchange: Exchange
  readonly #joiner: PieceJoiner
  #state: 'open' | 'finished' | 'failed'
  #error: Http3Error | undefined
  #isClaimed: boolean
  #isReadInto: boolean
  #waiter: Waiter | undefined
  #trailers: PromiseWithResolvers<HeaderList> | undefined

  constructor(exchange: Exchange) {
    this.#exchange = exchange
    this.#joiner = new PieceJoiner()
    this.#state = 'open'
    this.#error = undefined
    this.#isClaimed = false
    this.#isReadInto = false
    this.#waiter = undefined
    this.#trailers = undefined
    if (exchange.isInboundEnded) this.#finish()
  }

  /** The message arrived whole and was read to its end. */
  get isFinished(): boolean {
    return this.#state === 'finished' && this.#joiner.length === 0
  }

  /** Trailers, empty if there are none. Settles when the body has been read to its end, rejects if it fails. */
  get trailers(): Promise<HeaderList> {
    if (this.#trailers === undefined) {
      this.#trailers = Promise.withResolvers()
      this.#settleTrailers()
    }
    return this.#trailers.promise
  }

  /** Reads to the end. Throws Http3Error(ERR_HTTP3_INVALID_STATE) beyond `maxBytes` (default 64 MiB) and cancels. */
  async bytes(maxBytes: number = GATHER_BYTES_MAX): Promise<Uint8Array<ArrayBuffer>> {
    const details = { by: 'local' as const, streamId: this.#exchange.id }
    const tooLong = (): Http3Error =>
      new Http3Error('ERR_HTTP3_INVALID_STATE', `body is longer than the ${maxBytes} bytes asked for`, details)
    return await gather(this, maxBytes, tooLong)
  }

  /** Reads to the end as UTF-8. */
  async text(maxBytes?: number): Promise<string> {
    return new TextDecoder().decode(await this.bytes(maxBytes))
  }

  /** The same bytes as a web stream; use either this or iteration. */
  readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const iterator = this[Symbol.asyncIterator]()
    return new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        pull: async (controller) => {
          const { done, value } = await iterator.next()
          if (done === true) controller.close()
          else controller.enqueue(value)
        },
        cancel: async () => {
          await iterator.return?.(undefined)
        },
      },
      { highWaterMark: 0 },
    )
  }

  /** Gives up the rest: the peer is told to stop. */
  cancel(name: 'H3_NO_ERROR' | 'H3_REQUEST_CANCELLED' = 'H3_REQUEST_CANCELLED'): void {
    if (this.#state !== 'open') return
    this.#exchange.stopReading(name)
    this.fail(
      new Http3Error('ERR_HTTP3_ABORTED', `stream ${this.#exchange.id}: reading was given up`, {
        by: 'local',
        streamId: this.#exchange.id,
      }),
    )
  }

  /**
   * Copies what has arrived into `target`, waiting for the first byte; returns how many bytes, 0 at the end of the body.
   * The way for bulk: no memory is allocated per piece. Not together with iteration, and one call at a time. To stop
   * early, call `cancel`.
   */
  async readInto(target: Uint8Array): Promise<number> {
    if ((this.#isClaimed && !this.#isReadInto) || target.length === 0) {
      const why = target.length === 0 ? 'readInto needs room for a byte' : 'body has a reader already'
      const details = { by: 'local' as const, streamId: this.#exchange.id }
      throw new Http3Error('ERR_HTTP3_INVALID_STATE', `stream ${this.#exchange.id}: ${why}`, details)
    }
    this.#isClaimed = true
    this.#isReadInto = true
    while (true) {
      const held = this.#joiner.drainInto(target)
      if (held > 0) return held
      const read = this.#state === 'open' ? this.#pullInto(target) : 0
      if (read > 0) return read
      if (this.#state === 'finished') return 0
      if (this.#error !== undefined) throw this.#error
      await new Promise<void>((resolve) => {
        this.#waiter = { resolve }
      })
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    if (this.#isClaimed) {
      const details = { by: 'local' as const, streamId: this.#exchange.id }
      throw new Http3Error('ERR_HTTP3_INVALID_STATE', `stream ${this.#exchange.id}: body has a reader already`, details)
    }
    this.#isClaimed = true
    return this.#iterate()
  }

  // ---- called by the owner of the exchange ----

  onReadable(): void {
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.resolve()
  }

  fail(error: Http3Error): void {
    if (this.#state !== 'open') return
    this.#state = 'failed'
    this.#error = error
    this.#settleTrailers()
    this.onReadable()
  }

  async *#iterate(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    let isDone = false
    try {
      while (true) {
        const piece = this.#joiner.shift()
        if (piece !== undefined) {
          yield piece
          continue
        }
        if (this.#state === 'open') this.#pull()
        if (this.#joiner.length > 0) continue
        if (this.#state === 'finished') {
          isDone = true
          return
        }
        if (this.#error !== undefined) throw this.#error
        await new Promise<void>((resolve) => {
          this.#waiter = { resolve }
        })
      }
    } finally {
      if (!isDone) this.cancel()
    }
  }

  #pull(): void {
    const status = this.#exchange.readBody(this.#joiner.take)
    this.#joiner.end()
    // After an error `fail` was called first and the state is not open any more.
    if (status === 'finished' && this.#state === 'open') this.#finish()
  }

  #pullInto(target: Uint8Array): number {
    let used = 0
    const status = this.#exchange.readBody((chunk) => {
      const fits = Math.min(chunk.length, target.length - used)
      target.set(fits === chunk.length ? chunk : chunk.subarray(0, fits), used)
      used += fits
      if (fits < chunk.length) this.#joiner.take(chunk.subarray(fits))
    }, target.length)
    this.#joiner.end()
    if (status === 'finished' && this.#state === 'open') this.#finish()
    return used
  }

  #finish(): void {
    this.#state = 'finished'
    this.#settleTrailers()
  }

  #settleTrailers(): void {
    if (this.#trailers === undefined || this.#state === 'open') return
    if (this.#state === 'finished') this.#trailers.resolve(this.#exchange.trailers ?? [])
    else this.#trailers.reject(this.#error)
  }
}
