/** One QUIC stream as applications use it: promises, async iteration and web streams over the engine's calls. */
import {
  type CloseReason,
  type ErrorCode,
  gather,
  PieceJoiner,
  QuicError,
  type StreamId,
  type StreamKind,
  type StreamPriority,
  type StreamStats,
  type StreamTransport,
  StreamWriter,
} from '@quicether/transport'
import { describeCloseReason } from '../close-reason.ts'

/** What ended a stream before its end: who did it and with which code. */
export class QuicStreamError extends QuicError {
  readonly streamId: StreamId
  /** `peer` = it reset or stopped the stream; `local` = we did, or the connection was lost. */
  readonly by: 'local' | 'peer'
  /** The application's error code of a reset or stop; undefined when the connection ended. */
  readonly applicationCode: ErrorCode | undefined

  constructor(
    code: string,
    message: string,
    details: { streamId: StreamId; by: 'local' | 'peer'; applicationCode?: ErrorCode; cause?: unknown },
  ) {
    super(code, message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'QuicStreamError'
    this.streamId = details.streamId
    this.by = details.by
    this.applicationCode = details.applicationCode
  }
}

/** Translates application error codes where an application protocol has a range of its own for them. */
export interface StreamCodes {
  toWire(code: ErrorCode): ErrorCode
  /** Undefined = the peer's code means nothing to the application. */
  fromWire(code: ErrorCode): ErrorCode | undefined
}

export interface QuicStreamParts {
  readonly transport: StreamTransport
  readonly id: StreamId
  readonly role: 'client' | 'server'
  /** Bytes that were read already, and whether they are all. */
  readonly received?: readonly Uint8Array[]
  readonly isReceiveFinished?: boolean
  /** Written before everything else. */
  readonly prefix?: Uint8Array
  readonly codes?: StreamCodes
  /** Both directions are over. */
  readonly onClosed?: (stream: QuicStream) => void
}

const SAME: StreamCodes = { toWire: (code) => code, fromWire: (code) => code }

/**
 * Made by `QuicConnection.openStream` and `incomingStreams`. One reader only: iteration, `readable`, `bytes` and `text` are
 * ways to the same bytes. Not reading slows the peer down (flow control). Promises reject with `QuicStreamError`
 * (`ERR_STREAM_RESET`, `ERR_CONNECTION_CLOSED`, `ERR_SESSION_CLOSED`) or `QuicError` (`ERR_STREAM_DIRECTION`, `ERR_STREAM_FINISHED`, `ERR_STREAM_READER`).
 */
export class QuicStream implements AsyncIterable<Uint8Array<ArrayBuffer>>, AsyncDisposable {
  readonly id: StreamId
  readonly kind: StreamKind
  /** Who opened it. */
  readonly initiator: 'local' | 'peer'
  /** Resolves when both directions are over and what we sent is acknowledged or given up; never rejects. */
  readonly closed: Promise<void>
  readonly #transport: StreamTransport
  readonly #codes: StreamCodes
  readonly #onClosed: ((stream: QuicStream) => void) | undefined
  readonly #joiner: PieceJoiner
  readonly #writer: StreamWriter
  #isSendOver: boolean
  #isReceiveOver: boolean
  #isTransportFinished: boolean
  #isClosed: boolean
  #isClaimed: boolean
  #isReadInto: boolean
  #sendError: QuicStreamError | undefined
  #receiveError: QuicStreamError | undefined
  #waiter: (() => void) | undefined
  #drain: PromiseWithResolvers<void> | undefined
  #resolveClosed!: () => void
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined
  #writable: WritableStream<Uint8Array> | undefined

  constructor(parts: QuicStreamParts) {
    this.id = parts.id
    this.kind = (parts.id & 2) === 0 ? 'bidirectional' : 'unidirectional'
    this.initiator = (parts.id & 1) === (parts.role === 'client' ? 0 : 1) ? 'local' : 'peer'
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
    this.#transport = parts.transport
    this.#codes = parts.codes ?? SAME
    this.#onClosed = parts.onClosed
    this.#joiner = new PieceJoiner()
    this.#writer = new StreamWriter(parts.transport, parts.id)
    this.#isSendOver = this.kind === 'unidirectional' && this.initiator === 'peer'
    this.#isReceiveOver = this.kind === 'unidirectional' && this.initiator === 'local'
    this.#isTransportFinished = parts.isReceiveFinished ?? false
    this.#isClosed = false
    this.#isClaimed = false
    this.#isReadInto = false
    if (parts.prefix !== undefined) this.#writer.write(parts.prefix)
    for (const chunk of parts.received ?? []) this.#joiner.take(chunk)
    this.#joiner.end()
  }

  /** `write` and `end` are possible. */
  get isWritable(): boolean {
    return !this.#isSendOver && this.#writer.isOpen
  }

  /** More may come. */
  get isReadable(): boolean {
    return !this.#isReceiveOver
  }

  /** Packets, bytes and retransmissions; undefined once the engine has forgotten the stream. */
  stats(): StreamStats | undefined {
    return this.#transport.streamStats(this.id)
  }

  /** What the peer sends, as a web stream. Cancelling it is `stop(0)`. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= this.#createReadable()
    return this.#readable
  }

  /** What we send, as a web stream; chunks are taken for good. Closing it ends our direction, aborting it is `reset(0)`. */
  get writable(): WritableStream<Uint8Array> {
    this.#mustSend('writable')
    this.#writable ??= new WritableStream<Uint8Array>({
      write: (chunk) => this.write(chunk),
      close: () => this.end(),
      abort: () => this.reset(0),
    })
    return this.#writable
  }

  /**
   * Takes `data` for good (do not change it) and resolves when the next piece is welcome. Throws at once for a call that is
   * wrong: `ERR_STREAM_DIRECTION`, `ERR_STREAM_FINISHED`.
   */
  write(data: Uint8Array): Promise<void> {
    if (this.#sendError !== undefined) return handled(Promise.reject(this.#sendError))
    this.#mustSend('write')
    if (!this.#writer.isOpen)
      throw new QuicError('ERR_STREAM_FINISHED', `stream ${this.id}: our side has ended already`)
    if (this.#writer.write(data)) return Promise.resolve()
    if (this.#drain === undefined) {
      this.#drain = Promise.withResolvers()
      handled(this.#drain.promise)
    }
    return this.#drain.promise
  }

  /** Ends our direction, with a last piece if given. The peer's goes on. */
  end(data?: Uint8Array): void {
    if (data !== undefined) void this.write(data)
    if (!this.#isSendOver) this.#writer.finish()
  }

  /** Gives up our direction: the peer sees an error, not a short stream (RESET_STREAM). */
  reset(code: ErrorCode = 0): void {
    if (this.#isSendOver) return
    this.#transport.reset(this.id, this.#codes.toWire(code))
    this.#failSend(this.#error('we reset', code, 'local'))
  }

  /** Gives up the peer's direction: it is told to stop, what was not read is dropped (STOP_SENDING). */
  stop(code: ErrorCode = 0): void {
    if (this.#isReceiveOver) return
    if (!this.#isTransportFinished) this.#transport.stop(this.id, this.#codes.toWire(code))
    this.#failReceive(this.#error('we stopped', code, 'local'))
  }

  /** Gives up both directions. */
  abort(code: ErrorCode = 0): void {
    this.reset(code)
    this.stop(code)
  }

  /** Order or share of what we send (see `StreamPriority`); false when our direction is over. */
  setPriority(priority: StreamPriority): boolean {
    return !this.#isSendOver && this.#transport.setStreamPriority(this.id, priority)
  }

  /** Reads to the end; more than `maxBytes` (64 MiB when absent) stops the stream and throws `ERR_STREAM_TOO_LONG`. */
  async bytes(maxBytes = 64 * 1_048_576): Promise<Uint8Array<ArrayBuffer>> {
    const tooLong = (): QuicError =>
      new QuicError('ERR_STREAM_TOO_LONG', `stream ${this.id} is longer than the ${maxBytes} bytes asked for`)
    return await gather(this, maxBytes, tooLong)
  }

  /** Reads to the end as UTF-8. */
  async text(maxBytes?: number): Promise<string> {
    return new TextDecoder().decode(await this.bytes(maxBytes))
  }

  /**
   * Copies what has arrived into `target`, waiting for the first byte; returns how many bytes, 0 at the end. The way for
   * bulk: no memory is allocated per piece. Not together with iteration, one call at a time. To stop early, call `stop`.
   * Throws like iteration, and a RangeError for an empty `target`.
   */
  async readInto(target: Uint8Array): Promise<number> {
    if (target.length === 0) throw new RangeError('target is empty: readInto needs room for a byte')
    if (!this.#isReadInto) this.#claim()
    this.#isReadInto = true
    while (true) {
      const read = this.#isReceiveOver ? 0 : this.#pullInto(target)
      if (read > 0) return read
      if (this.#receiveError !== undefined) throw this.#receiveError
      if (this.#isTransportFinished) return 0
      await new Promise<void>((resolve) => {
        this.#waiter = resolve
      })
    }
  }

  /** Leaving the loop early stops the stream. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    this.#claim()
    return this.#iterate()
  }

  #claim(): void {
    if (this.kind === 'unidirectional' && this.initiator === 'local') throw this.#directionError('reading')
    if (this.#isClaimed) throw new QuicError('ERR_STREAM_READER', `stream ${this.id} has a reader already`)
    this.#isClaimed = true
  }

  /** Ends our direction, drops what the peer still sends, and waits until all is acknowledged. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isWritable) this.end()
    this.stop(0)
    await this.closed
  }

  // ---- called by the owner of the connection's events

  onReadable(): void {
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.()
  }

  onWritable(): void {
    if (this.#isSendOver || !this.#writer.flush()) return
    const drain = this.#drain
    this.#drain = undefined
    drain?.resolve()
  }

  onReset(code: ErrorCode): void {
    this.#transport.read(this.id, discard)
    this.#failReceive(this.#error('the peer reset', this.#codes.fromWire(code), 'peer'))
  }

  onStopped(code: ErrorCode): void {
    this.#failSend(this.#error('the peer stopped', this.#codes.fromWire(code), 'peer'))
  }

  onDelivered(): void {
    this.#isSendOver = true
    this.#maybeClose()
  }

  /** The session of an application protocol that the stream belongs to is over; `wireCode` tells the peer. */
  onSessionClosed(wireCode: ErrorCode): void {
    const message = `stream ${this.id}: its session is over`
    const error = new QuicStreamError('ERR_SESSION_CLOSED', message, { streamId: this.id, by: 'local' })
    if (!this.#isSendOver) this.#transport.reset(this.id, wireCode)
    if (!this.#isReceiveOver && !this.#isTransportFinished) this.#transport.stop(this.id, wireCode)
    this.#failSend(error)
    this.#failReceive(error)
  }

  onConnectionClosed(reason: CloseReason): void {
    const by = reason.kind === 'transport' || reason.kind === 'application' ? reason.by : 'local'
    const message = `stream ${this.id}: ${describeCloseReason(reason)}`
    const error = new QuicStreamError('ERR_CONNECTION_CLOSED', message, { streamId: this.id, by, cause: reason })
    this.#failReceive(error)
    this.#failSend(error)
  }

  // ---- internals

  async *#iterate(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    let isDone = false
    try {
      while (true) {
        const piece = this.#joiner.shift()
        if (piece !== undefined) {
          yield piece
          continue
        }
        if (!this.#isReceiveOver) this.#pull()
        if (this.#joiner.length > 0) continue
        if (this.#receiveError !== undefined) throw this.#receiveError
        if (this.#isTransportFinished) {
          isDone = true
          return
        }
        await new Promise<void>((resolve) => {
          this.#waiter = resolve
        })
      }
    } finally {
      if (!isDone) this.stop(0)
    }
  }

  #pullInto(target: Uint8Array): number {
    let used = 0
    if (!this.#isTransportFinished) {
      const status = this.#transport.read(
        this.id,
        (chunk) => {
          target.set(chunk, used)
          used += chunk.length
        },
        target.length,
      )
      if (status === 'finished') this.#isTransportFinished = true
    }
    if (this.#isTransportFinished) this.#endReceive()
    return used
  }

  #pull(): void {
    if (!this.#isTransportFinished) {
      const status = this.#transport.read(this.id, this.#joiner.take)
      this.#joiner.end()
      // 'reset' has an event of its own, which says why.
      if (status === 'finished') this.#isTransportFinished = true
    }
    if (this.#isTransportFinished) this.#endReceive()
  }

  #endReceive(): void {
    this.#isReceiveOver = true
    this.#maybeClose()
  }

  #failReceive(error: QuicStreamError): void {
    if (this.#isReceiveOver) return
    this.#receiveError = error
    this.#joiner.clear()
    this.#endReceive()
    this.onReadable()
  }

  #failSend(error: QuicStreamError): void {
    if (this.#isSendOver) return
    this.#sendError = error
    this.#isSendOver = true
    this.#writer.abandon()
    const drain = this.#drain
    this.#drain = undefined
    drain?.reject(error)
    this.#maybeClose()
  }

  #maybeClose(): void {
    if (this.#isClosed || !this.#isSendOver || !this.#isReceiveOver) return
    this.#isClosed = true
    this.#resolveClosed()
    this.#onClosed?.(this)
  }

  #createReadable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const iterator = this[Symbol.asyncIterator]()
    return new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        pull: async (controller) => {
          const { done, value } = await iterator.next()
          if (done === true) controller.close()
          else controller.enqueue(value)
        },
        cancel: () => {
          this.stop(0)
        },
      },
      { highWaterMark: 0 },
    )
  }

  #mustSend(what: string): void {
    if (this.kind === 'unidirectional' && this.initiator === 'peer') throw this.#directionError(what)
  }

  #directionError(what: string): QuicError {
    const side = this.initiator === 'peer' ? 'the peer sends' : 'we send'
    return new QuicError('ERR_STREAM_DIRECTION', `${what} on stream ${this.id}: it is unidirectional, only ${side}`)
  }

  #error(did: string, code: ErrorCode | undefined, by: 'local' | 'peer'): QuicStreamError {
    const suffix = code === undefined ? 'without a code of the application' : `with code ${code}`
    const details = { streamId: this.id, by, ...(code === undefined ? {} : { applicationCode: code }) }
    return new QuicStreamError('ERR_STREAM_RESET', `${did} stream ${this.id} ${suffix}`, details)
  }
}

function discard(): void {}

/** A caller who does not wait for his write must not end the process: the failure shows on the next call. */
function handled(promise: Promise<void>): Promise<void> {
  promise.catch(() => undefined)
  return promise
}
