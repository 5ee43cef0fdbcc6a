/** The streams of one connection: opens ours when the peer allows it, hands out the peer's, passes events on. */
import {
  type CloseReason,
  type ConnectionEvent,
  QuicError,
  type StreamId,
  type StreamKind,
  type StreamPriority,
  type StreamTransport,
} from '@quicether/transport'
import { describeCloseReason } from '../close-reason.ts'
import { QuicDatagrams } from './datagrams.ts'
import { QuicStream } from './quic-stream.ts'

export interface OpenStreamOptions {
  /** `bidirectional` when absent. */
  readonly kind?: StreamKind
  readonly priority?: StreamPriority
  /** Ends the wait for the peer's stream limit with the signal's reason. */
  readonly signal?: AbortSignal
}

interface Waiting {
  readonly options: OpenStreamOptions
  readonly opened: PromiseWithResolvers<QuicStream>
}

export class StreamHub {
  readonly datagrams: QuicDatagrams
  readonly #transport: StreamTransport
  readonly #role: 'client' | 'server'
  readonly #streams: Map<StreamId, QuicStream>
  /** Of the peer, not handed out yet; the transport's stream limit bounds them. */
  readonly #incoming: QuicStream[]
  readonly #readers: (() => void)[]
  readonly #waiting: Set<Waiting>
  #closeReason: CloseReason | undefined

  constructor(transport: StreamTransport, role: 'client' | 'server') {
    this.datagrams = new QuicDatagrams(transport)
    this.#transport = transport
    this.#role = role
    this.#streams = new Map()
    this.#incoming = []
    this.#readers = []
    this.#waiting = new Set()
    this.#closeReason = undefined
  }

  /** Waits until the peer allows another stream. Rejects with QuicError(ERR_CONNECTION_CLOSED) or the signal's reason. */
  async open(options: OpenStreamOptions): Promise<QuicStream> {
    options.signal?.throwIfAborted()
    if (this.#closeReason !== undefined) throw closedError(this.#closeReason)
    const stream = this.#hasWaiting(options.kind) ? undefined : this.#tryOpen(options)
    if (stream !== undefined) return stream
    const waiting: Waiting = { options, opened: Promise.withResolvers() }
    this.#waiting.add(waiting)
    const onAbort = () => {
      if (this.#waiting.delete(waiting)) waiting.opened.reject(options.signal?.reason)
    }
    options.signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await waiting.opened.promise
    } finally {
      options.signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Streams of the peer as they come; several readers share them. Ends when the connection does. */
  async *incoming(): AsyncGenerator<QuicStream, void, undefined> {
    while (true) {
      const stream = this.#incoming.shift()
      if (stream !== undefined) yield stream
      else if (this.#closeReason !== undefined) return
      else await new Promise<void>((resolve) => this.#readers.push(resolve))
    }
  }

  handleEvent(event: ConnectionEvent): void {
    switch (event.kind) {
      case 'streamOpened':
        this.#incoming.push(this.#add(event.id))
        this.#readers.shift()?.()
        return
      case 'readable':
        this.#streams.get(event.id)?.onReadable()
        return
      case 'writable':
        this.#streams.get(event.id)?.onWritable()
        return
      case 'streamReset':
        this.#streams.get(event.id)?.onReset(event.code)
        return
      case 'streamStopped':
        this.#streams.get(event.id)?.onStopped(event.code)
        return
      case 'streamDelivered':
        this.#streams.get(event.id)?.onDelivered()
        return
      case 'connected':
      case 'earlyDataReady':
      case 'streamsAvailable':
        this.#openWaiting()
        return
      case 'datagram':
        this.datagrams.onDatagram(event.data)
        return
      case 'closed':
        this.#onClosed(event.reason)
        return
      default:
        return
    }
  }

  #hasWaiting(kind: StreamKind = 'bidirectional'): boolean {
    for (const { options } of this.#waiting) if ((options.kind ?? 'bidirectional') === kind) return true
    return false
  }

  #tryOpen({ kind = 'bidirectional', priority }: OpenStreamOptions): QuicStream | undefined {
    const id = this.#transport.openStream(kind)
    if (id === undefined) return undefined
    const stream = this.#add(id)
    if (priority !== undefined) stream.setPriority(priority)
    return stream
  }

  #openWaiting(): void {
    for (const waiting of this.#waiting) {
      const stream = this.#tryOpen(waiting.options)
      if (stream === undefined) continue
      this.#waiting.delete(waiting)
      waiting.opened.resolve(stream)
    }
  }

  #add(id: StreamId): QuicStream {
    const stream = new QuicStream({
      transport: this.#transport,
      id,
      role: this.#role,
      onClosed: () => this.#streams.delete(id),
    })
    this.#streams.set(id, stream)
    return stream
  }

  #onClosed(reason: CloseReason): void {
    this.#closeReason = reason
    for (const stream of [...this.#streams.values()]) stream.onConnectionClosed(reason)
    for (const { opened } of this.#waiting) opened.reject(closedError(reason))
    this.#waiting.clear()
    this.datagrams.onClosed()
    for (const wake of this.#readers.splice(0)) wake()
  }
}

function closedError(reason: CloseReason): QuicError {
  return new QuicError('ERR_CONNECTION_CLOSED', `no stream can be opened: ${describeCloseReason(reason)}`, {
    cause: reason,
  })
}
