/** The peer's unidirectional streams (RFC 9114 §6.2): reads their type and hands their bytes to whom they belong. */
import type { StreamId, StreamTransport } from '@quicether/transport'
import { Reader } from '@quicether/wire'
import { H3ConnectionError, h3ErrorCodes } from './errors.ts'
import { WT_UNI_STREAM_TYPE } from './webtransport-codes.ts'

export const StreamType = { Control: 0x00, Push: 0x01, QpackEncoder: 0x02, QpackDecoder: 0x03 } as const

const NAMES = ['control', 'push', 'QPACK encoder', 'QPACK decoder'] as const

export interface CriticalStreamHandler {
  onControlBytes(chunk: Uint8Array): void
  /** Of the peer's encoder: for our decoder. */
  onEncoderBytes(chunk: Uint8Array): void
  /** Of the peer's decoder: for our encoder. */
  onDecoderBytes(chunk: Uint8Array): void
  /** A stream of a WebTransport session, with what follows its type; undefined = these are unknown here. */
  readonly onWebTransportStream:
    | ((id: StreamId, received: readonly Uint8Array[], isFinished: boolean) => void)
    | undefined
}

/** `type` is -1 until the first bytes have told it. */
interface PeerStream {
  readonly id: StreamId
  type: number
  readonly header: Uint8Array
  headerLength: number
}

const typeReader = new Reader(new Uint8Array(8))

export class PeerStreams {
  readonly #transport: StreamTransport
  readonly #role: 'client' | 'server'
  readonly #handler: CriticalStreamHandler
  readonly #streams: Map<StreamId, PeerStream>
  /** Which critical types exist already, one bit each. */
  #seenTypes: number

  constructor(transport: StreamTransport, role: 'client' | 'server', handler: CriticalStreamHandler) {
    this.#transport = transport
    this.#role = role
    this.#handler = handler
    this.#streams = new Map()
    this.#seenTypes = 0
  }

  handleOpened(id: StreamId): void {
    this.#streams.set(id, { id, type: -1, header: new Uint8Array(8), headerLength: 0 })
  }

  /** Throws H3ConnectionError. */
  handleReadable(id: StreamId): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    // Handlers write to the transport, which must not be called while it reads: these short streams are copied first.
    const chunks: Uint8Array[] = []
    const status = this.#transport.read(id, (chunk) => {
      if (stream.type <= StreamType.QpackDecoder) chunks.push(chunk.slice())
    })
    const received: Uint8Array[] = []
    for (const chunk of chunks) this.#onBytes(stream, chunk, received)
    const { onWebTransportStream } = this.#handler
    if (stream.type === WT_UNI_STREAM_TYPE && onWebTransportStream !== undefined) {
      this.#streams.delete(id)
      onWebTransportStream(id, received, status === 'finished')
      return
    }
    if (stream.type > StreamType.QpackDecoder) {
      this.#streams.delete(id)
      // RFC 9114 §6.2: "The recipient MUST NOT consider unknown stream types to be a connection error of any kind."
      if (status !== 'finished') this.#transport.stop(id, h3ErrorCodes.H3_STREAM_CREATION_ERROR)
      return
    }
    if (status !== 'blocked') this.#onEnded(stream)
  }

  /** Throws H3ConnectionError. */
  handleReset(id: StreamId): void {
    const stream = this.#streams.get(id)
    if (stream !== undefined) this.#onEnded(stream)
  }

  #onEnded(stream: PeerStream): void {
    this.#streams.delete(stream.id)
    // RFC 9114 §6.2: an end before the type is known has to be tolerated
    if (stream.type === -1) return
    // RFC 9114 §6.2.1, RFC 9204 §4.2: closing it "MUST be treated as a connection error of type H3_CLOSED_CRITICAL_STREAM"
    throw new H3ConnectionError('H3_CLOSED_CRITICAL_STREAM', `peer closed its ${NAMES[stream.type]} stream`)
  }

  /** `received` gets what belongs to no critical stream. */
  #onBytes(stream: PeerStream, chunk: Uint8Array, received: Uint8Array[]): void {
    let at = 0
    while (stream.type === -1) {
      if (at === chunk.length) return
      stream.header[stream.headerLength++] = chunk[at++] as number
      if (stream.headerLength < 1 << ((stream.header[0] as number) >>> 6)) continue
      typeReader.rewind(stream.header, 0, stream.headerLength)
      stream.type = typeReader.varintClamped()
      this.#onType(stream.type)
    }
    if (at === chunk.length) return
    const rest = at === 0 ? chunk : chunk.subarray(at)
    if (stream.type === StreamType.Control) this.#handler.onControlBytes(rest)
    else if (stream.type === StreamType.QpackEncoder) this.#handler.onEncoderBytes(rest)
    else if (stream.type === StreamType.QpackDecoder) this.#handler.onDecoderBytes(rest)
    else received.push(rest)
  }

  #onType(type: number): void {
    if (type > StreamType.QpackDecoder) return
    if (type === StreamType.Push) {
      // RFC 9114 §6.2.2: only servers push: H3_STREAM_CREATION_ERROR
      // RFC 9114 §4.6#2: a push ID "that is greater than the client has provided … as a connection error of type H3_ID_ERROR"
      if (this.#role === 'server')
        throw new H3ConnectionError('H3_STREAM_CREATION_ERROR', 'client opened a push stream')
      throw new H3ConnectionError('H3_ID_ERROR', 'push stream, but no MAX_PUSH_ID was sent')
    }
    const bit = 1 << type
    if ((this.#seenTypes & bit) !== 0) {
      // RFC 9114 §6.2.1, RFC 9204 §4.2
      throw new H3ConnectionError('H3_STREAM_CREATION_ERROR', `peer opened a second ${NAMES[type]} stream`)
    }
    this.#seenTypes |= bit
  }
}
