/** A transport whose peer is the fuzz input: it keeps the transport's contract and checks that callers keep theirs. */
import type {
  ConnectionEvent,
  ReadStatus,
  StreamId,
  StreamKind,
  StreamTransport,
} from '../../../packages/transport/src/events.ts'
import { promise } from '../target.ts'

const STREAMS_MAX = 64

interface ScriptedStream {
  incoming: Uint8Array[]
  isIncomingEnded: boolean
  isIncomingOver: boolean
  isOutgoingOver: boolean
  bytesWritten: number
}

export class ScriptedTransport implements StreamTransport {
  /** Events for the session, in order. */
  readonly events: ConnectionEvent[] = []
  closedWith: number | undefined
  /** Bytes that streams may still write before they block. */
  creditBytes = 100_000
  streamsLeft: number
  writtenBytes = 0
  readonly #role: 'client' | 'server'
  readonly #streams = new Map<StreamId, ScriptedStream>()
  #nextBidirectional: number
  #nextUnidirectional: number
  #isReading = false

  constructor(role: 'client' | 'server', streamsLeft: number) {
    this.#role = role
    this.streamsLeft = streamsLeft
    this.#nextBidirectional = role === 'client' ? 0 : 1
    this.#nextUnidirectional = role === 'client' ? 2 : 3
  }

  // ---- what the peer does

  /** Bytes of the peer; opens the stream if the peer may. False = there is no such stream to send on. */
  arrive(id: StreamId, bytes: Uint8Array, isEnd: boolean): boolean {
    const stream = this.#streams.get(id) ?? this.#openByPeer(id)
    if (stream === undefined || stream.isIncomingOver || stream.isIncomingEnded) return false
    if (bytes.length > 0) stream.incoming.push(bytes)
    stream.isIncomingEnded = isEnd
    this.events.push({ kind: 'readable', id })
    return true
  }

  resetByPeer(id: StreamId, code: number): void {
    const stream = this.#streams.get(id) ?? this.#openByPeer(id)
    if (stream === undefined || stream.isIncomingOver) return
    stream.isIncomingOver = true
    stream.incoming = []
    this.events.push({ kind: 'streamReset', id, code })
  }

  stopByPeer(id: StreamId, code: number): void {
    const stream = this.#streams.get(id)
    if (stream === undefined || stream.isOutgoingOver) return
    stream.isOutgoingOver = true
    this.events.push({ kind: 'streamStopped', id, code })
  }

  /** Credit arrives: every stream that may wait is told. */
  grant(bytes: number): void {
    this.creditBytes += bytes
    for (const [id, stream] of this.#streams) if (!stream.isOutgoingOver) this.events.push({ kind: 'writable', id })
  }

  acknowledgeAll(): void {
    for (const [id, stream] of this.#streams) {
      if (stream.isOutgoingOver && stream.bytesWritten > 0) this.events.push({ kind: 'streamDelivered', id })
    }
  }

  get openStreams(): readonly StreamId[] {
    return [...this.#streams.keys()]
  }

  #openByPeer(id: StreamId): ScriptedStream | undefined {
    const isOurs = id % 2 === (this.#role === 'client' ? 0 : 1)
    if (isOurs || this.#streams.size >= STREAMS_MAX) return undefined
    const stream = this.#create((id & 2) !== 0)
    this.#streams.set(id, stream)
    this.events.push({ kind: 'streamOpened', id })
    return stream
  }

  #create(isOneWayIn: boolean): ScriptedStream {
    return { incoming: [], isIncomingEnded: false, isIncomingOver: false, isOutgoingOver: isOneWayIn, bytesWritten: 0 }
  }

  // ---- what the session calls

  openStream(kind: StreamKind): StreamId | undefined {
    this.#called('openStream')
    if (this.streamsLeft === 0) return undefined
    this.streamsLeft--
    const id = kind === 'bidirectional' ? this.#nextBidirectional : this.#nextUnidirectional
    if (kind === 'bidirectional') this.#nextBidirectional += 4
    else this.#nextUnidirectional += 4
    const stream = this.#create(false)
    stream.isIncomingOver = kind === 'unidirectional'
    this.#streams.set(id, stream)
    return id
  }

  write(id: StreamId, data: Uint8Array): number {
    this.#called('write')
    const stream = this.#known(id)
    promise(!stream.isOutgoingOver, `write on stream ${id}, whose sending part is over`)
    const accepted = Math.min(data.length, this.creditBytes)
    this.creditBytes -= accepted
    stream.bytesWritten += accepted
    this.writtenBytes += accepted
    return accepted
  }

  read(id: StreamId, visit: (chunk: Uint8Array) => void): ReadStatus {
    this.#called('read')
    const stream = this.#known(id)
    if (stream.isIncomingOver) return 'reset'
    const chunks = stream.incoming
    stream.incoming = []
    this.#isReading = true
    try {
      for (const chunk of chunks) {
        const borrowed = chunk.slice()
        visit(borrowed)
        borrowed.fill(0xee)
      }
    } finally {
      this.#isReading = false
    }
    if (!stream.isIncomingEnded) return 'blocked'
    stream.isIncomingOver = true
    return 'finished'
  }

  finish(id: StreamId): void {
    this.#called('finish')
    this.#known(id).isOutgoingOver = true
  }

  reset(id: StreamId, code: number): void {
    this.#called('reset')
    this.#checkCode(code)
    this.#known(id).isOutgoingOver = true
  }

  stop(id: StreamId, code: number): void {
    this.#called('stop')
    this.#checkCode(code)
    const stream = this.#known(id)
    stream.isIncomingOver = true
    stream.incoming = []
  }

  readonly datagramBytesMax = 1_000

  sendDatagram(): boolean {
    this.#called('sendDatagram')
    return true
  }

  setStreamPriority(id: StreamId): boolean {
    this.#called('setStreamPriority')
    return !this.#known(id).isOutgoingOver
  }

  close(code: number): void {
    promise(!this.#isReading, 'close was called from inside a read')
    this.#checkCode(code)
    this.closedWith ??= code
  }

  streamStats(): undefined {
    return undefined
  }

  #called(verb: string): void {
    promise(!this.#isReading, `${verb} was called from inside a read`)
  }

  #known(id: StreamId): ScriptedStream {
    const stream = this.#streams.get(id)
    promise(stream !== undefined, `stream ${id} was never opened`)
    return stream
  }

  #checkCode(code: number): void {
    promise(
      Number.isSafeInteger(code) && (code >= 0x100 || code === 0x33),
      `0x${code.toString(16)} is no HTTP/3 error code`,
    )
  }
}
