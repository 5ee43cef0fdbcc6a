/** All streams of a connection: creation by either side, limits, frames in, events out. */
import { TransportError } from '@quicether/wire'
import type { EventQueue } from '../event-queue.ts'
import { QuicError } from '../errors.ts'
import type { ErrorCode, PathId, ReadStatus, StreamId, StreamKind, StreamStats } from '../events.ts'
import { ReceiveWindow, SendCredit } from '../flow/credit.ts'
import { RecvState, RecvStream } from './recv-stream.ts'
import { SendState, SendStream } from './send-stream.ts'
import { Stream, isServerInitiated, isUnidirectional } from './stream.ts'
import { StreamLimits } from './stream-limits.ts'
import { StreamOutbox, type StreamPolicy } from './stream-outbox.ts'
import { type StreamPriority, checkPriority } from './stream-priority.ts'
import { RoundRobinScheduler } from './stream-scheduler.ts'

/** Growth of the send buffers with the congestion windows ends here, for one stream and for all together. */
/** Round trips of the slowest path that send buffers hold. */
const SEND_BUFFER_ROUNDS = 4
const SEND_BUFFER_MAX_BYTES = 64 * 1024 * 1024

/** Statistics of finished streams are kept for this many streams. */
const FINISHED_STATS_MAX = 256
/** What each stream may buffer for sending even when the connection's share is used up: streams must not starve. */
const SEND_BUFFER_FLOOR_BYTES = 65_536

export interface StreamSetOptions {
  readonly role: 'client' | 'server'
  readonly streamWindowBytes: number
  readonly streamWindowMaxBytes: number
  readonly connectionWindowBytes: number
  readonly connectionWindowMaxBytes: number
  readonly maxStreamsBidi: number
  readonly maxStreamsUni: number
  readonly sendBufferBytes: number
  readonly connectionSendBufferBytes: number
  /** Default: all streams in turn. */
  readonly policy?: Omit<StreamPolicy, 'streamOf'>
}

/** Peer's initial per-stream limits, from its transport parameters. */
export interface PeerStreamLimits {
  readonly initialMaxData: number
  readonly initialMaxStreamDataBidiLocal: number
  readonly initialMaxStreamDataBidiRemote: number
  readonly initialMaxStreamDataUni: number
  readonly initialMaxStreamsBidi: number
  readonly initialMaxStreamsUni: number
}

export class StreamSet {
  readonly credit: SendCredit = new SendCredit(0)
  readonly window: ReceiveWindow
  readonly limits: StreamLimits
  readonly outbox: StreamOutbox
  /** Bytes one stream may buffer for sending; follows the congestion windows. */
  #sendBufferBytes: number
  /** Bytes all streams together may buffer for sending, the floor of each aside. */
  #sendPoolBytes: number
  /** Smoothed RTT and time of the current call, for window tuning. */
  rttUs = 100_000
  nowUs = 0
  readonly #streams: Map<number, Stream> = new Map()
  readonly #finished: Map<number, StreamStats> = new Map()
  readonly #events: EventQueue
  readonly #options: StreamSetOptions
  readonly #isServer: boolean
  /** Bytes written to all streams and not acknowledged. */
  #bufferedBytes = 0
  /** Bytes written to all streams and not dropped by a reset; as many as `credit.used` once all are sent. */
  #writtenBytes = 0
  #peer: PeerStreamLimits | undefined

  constructor(options: StreamSetOptions, events: EventQueue) {
    this.#options = options
    this.#isServer = options.role === 'server'
    this.#events = events
    this.window = new ReceiveWindow(options.connectionWindowBytes, options.connectionWindowMaxBytes)
    this.limits = new StreamLimits(options.maxStreamsBidi, options.maxStreamsUni)
    const { policy } = options
    this.outbox = new StreamOutbox(this.credit, {
      createStreamOrder: () => policy?.createStreamOrder() ?? new RoundRobinScheduler(),
      isInteractive: (priority, unsentBytes) => policy?.isInteractive?.(priority, unsentBytes) ?? false,
      streamOf: (id) => this.#streams.get(id),
    })
    this.#sendBufferBytes = options.sendBufferBytes
    this.#sendPoolBytes = options.connectionSendBufferBytes
  }

  /** Number of open streams. */
  get count(): number {
    return this.#streams.size
  }

  get(id: StreamId): Stream | undefined {
    return this.#streams.get(id)
  }

  // ---- limits of the peer

  /** Applies the peer's transport parameters (remembered ones for 0-RTT first, then the real ones). */
  applyPeerLimits(peer: PeerStreamLimits): void {
    this.#peer = peer
    this.credit.raise(peer.initialMaxData)
    this.limits.raisePeer(true, peer.initialMaxStreamsBidi, this.#events)
    this.limits.raisePeer(false, peer.initialMaxStreamsUni, this.#events)
    for (const stream of this.#streams.values()) {
      if (stream.send?.credit.raise(this.#initialSendLimit(stream.id))) this.outbox.activate(stream)
    }
  }

  /** The server rejected 0-RTT: nothing we sent has arrived, and its real limits count from the start. */
  rewind(peer: PeerStreamLimits): void {
    this.#peer = peer
    this.credit.limit = peer.initialMaxData
    this.credit.used = 0
    this.#writtenBytes = 0
    for (const stream of this.#streams.values()) {
      const { send } = stream
      if (send === undefined || send.resetCode >= 0) continue
      send.buffer.rewind()
      this.#writtenBytes += send.buffer.end
      send.credit.limit = this.#initialSendLimit(stream.id)
      send.credit.used = 0
      send.finSent = false
      send.state = SendState.Ready
      this.outbox.activate(stream)
    }
  }

  #initialSendLimit(id: StreamId): number {
    if (this.#peer === undefined) return 0
    if (isUnidirectional(id)) return this.#peer.initialMaxStreamDataUni
    return this.#isLocal(id) ? this.#peer.initialMaxStreamDataBidiRemote : this.#peer.initialMaxStreamDataBidiLocal
  }

  #isLocal(id: StreamId): boolean {
    return isServerInitiated(id) === this.#isServer
  }

  // ---- application side

  open(kind: StreamKind): StreamId | undefined {
    const isBidi = kind === 'bidirectional'
    const index = this.limits.takeLocal(isBidi)
    if (index < 0) return undefined
    const id = index * 4 + (isBidi ? 0 : 2) + (this.#isServer ? 1 : 0)
    this.#create(id)
    return id
  }

  write(id: StreamId, data: Uint8Array): number {
    const stream = this.#sendable(id, 'write')
    const send = stream.send as SendStream
    if (send.resetCode >= 0) return 0
    if (send.isFinished)
      throw new QuicError('ERR_STREAM_FINISHED', `stream ${id} was finished; write() needs an open send side`)
    const accepted = Math.min(this.#sendRoom(send), data.length)
    if (accepted < data.length) send.wantsWritable = true
    if (accepted === 0) return 0
    send.buffer.write(accepted === data.length ? data : data.subarray(0, accepted))
    this.#bufferedBytes += accepted
    this.#writtenBytes += accepted
    this.outbox.activate(stream)
    return accepted
  }

  /** Bytes `write` takes now. A peer that reads nothing on many streams must not make us hold a full buffer for each. */
  #sendRoom(send: SendStream): number {
    const own = send.buffer.bufferedBytes
    const shared = this.#sendPoolBytes - this.#bufferedBytes
    return Math.max(0, Math.min(this.#sendBufferBytes - own, Math.max(SEND_BUFFER_FLOOR_BYTES - own, shared)))
  }

  #abandon(stream: Stream, code: ErrorCode): void {
    const send = stream.send as SendStream
    const { bufferedBytes } = send.buffer
    const unsentBytes = send.buffer.end - send.buffer.sentEnd
    if (!send.reset(code)) return
    this.#writtenBytes -= unsentBytes
    this.#bufferedBytes -= bufferedBytes
    this.outbox.queueControl(stream)
  }

  /** Every stream that waits with new data has its end written, too. */
  get isEnding(): boolean {
    return this.outbox.isEnding
  }

  /** Bytes written and never sent. */
  get queuedBytes(): number {
    return this.#writtenBytes - this.credit.used
  }

  /** Order and share of a stream under the stream schedulers that have them. False when the stream is not open. */
  setPriority(id: StreamId, wanted: StreamPriority): boolean {
    checkPriority(wanted)
    const stream = this.#streams.get(id)
    if (stream?.send === undefined) return false
    this.outbox.requeue(stream, () => {
      stream.weight = wanted.weight ?? stream.weight
      stream.priority = wanted.priority ?? stream.priority
      stream.isIncremental = wanted.isIncremental ?? stream.isIncremental
    })
    return true
  }

  /** Binds what we send on a stream to a path, or to none (ANY_PATH). False when the stream is not open for sending. */
  bind(id: StreamId, pathId: PathId): boolean {
    const stream = this.#streams.get(id)
    if (stream?.send === undefined) return false
    this.outbox.requeue(stream, () => {
      stream.boundTo = pathId
    })
    return true
  }

  finish(id: StreamId): void {
    const stream = this.#sendable(id, 'finish')
    const send = stream.send as SendStream
    if (send.isFinished || send.resetCode >= 0) return
    send.isFinished = true
    send.wantsWritable = false
    this.outbox.activate(stream)
  }

  reset(id: StreamId, code: ErrorCode): void {
    const stream = this.#streams.get(id)
    if (stream?.send === undefined) return
    this.#abandon(stream, code)
  }

  stop(id: StreamId, code: ErrorCode): void {
    const stream = this.#streams.get(id)
    const recv = stream?.recv
    if (stream === undefined || recv === undefined) return
    if (recv.state === RecvState.ResetRecvd) {
      // RFC 9000 §3.5: nothing is left to stop; the application has said that the reset is no news to it.
      recv.state = RecvState.ResetRead
      return this.#maybeRetire(stream)
    }
    const unread = recv.unreadBytes
    if (!recv.stop(code)) return
    recv.window.consumed += unread
    this.#consumed(unread)
    if (recv.stopPending) this.outbox.queueControl(stream)
    this.#maybeRetire(stream)
  }

  read(id: StreamId, visit: (chunk: Uint8Array) => void, maxBytes?: number): ReadStatus {
    const stream = this.#streams.get(id)
    const recv = stream?.recv
    if (stream === undefined || recv === undefined) return 'finished'
    recv.isReadableSignalled = false
    if (recv.state >= RecvState.ResetRecvd && !recv.isStopped) {
      recv.state = RecvState.ResetRead
      this.#maybeRetire(stream)
      return 'reset'
    }
    const bytes = recv.isStopped ? 0 : recv.buffer.read(visit, maxBytes)
    if (bytes > 0) {
      recv.window.onConsumed(bytes, this.rttUs, this.nowUs)
      // RFC 9000 §4.1: no more credit is of use once the final size is known
      if (recv.window.needsAnnouncement && recv.finalSize < 0) this.outbox.queueControl(stream)
      this.#consumed(bytes)
    }
    if (recv.state === RecvState.DataRecvd && recv.buffer.readOffset === recv.finalSize) {
      recv.state = RecvState.DataRead
      this.#maybeRetire(stream)
    }
    return recv.state === RecvState.DataRead ? 'finished' : 'blocked'
  }

  /**
   * Lets send buffers follow what the paths carry: room for four times that, so that neither the application's pauses nor
   * a loss on the slowest path (a round trip until it is known, another one until its repeat has arrived) empty the
   * pipe. Never less than configured; growth ends at 64 MiB.
   */
  fitSendBuffers(pipeBytes: number): void {
    const wanted = Math.min(SEND_BUFFER_ROUNDS * pipeBytes, SEND_BUFFER_MAX_BYTES)
    this.#sendBufferBytes = Math.max(this.#options.sendBufferBytes, wanted)
    this.#sendPoolBytes = Math.max(this.#options.connectionSendBufferBytes, wanted)
  }

  stats(id: StreamId): StreamStats | undefined {
    return this.#streams.get(id)?.snapshot() ?? this.#finished.get(id)
  }

  #sendable(id: StreamId, verb: string): Stream {
    const stream = this.#streams.get(id)
    if (stream?.send === undefined) {
      throw new QuicError(
        'ERR_STREAM_NOT_OPEN',
        `stream ${id} is closed or has no send side; ${verb}() needs an open one`,
      )
    }
    return stream
  }

  #consumed(bytes: number): void {
    if (bytes > 0) this.window.onConsumed(bytes, this.rttUs, this.nowUs)
  }

  // ---- frames from the peer

  onStream(
    id: StreamId,
    offset: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    fin: boolean,
    packetBytes: number,
  ): void {
    const stream = this.#forReceiving(id)
    if (stream === undefined) return
    const recv = stream.recv as RecvStream
    const growth = recv.onStream(offset, bytes, start, end, fin)
    stream.bytesReceived += growth
    stream.packetsReceived++
    stream.packetBytesReceived += packetBytes
    this.#received(growth, recv)
    if (recv.isStopped) return this.#maybeRetire(stream)
    this.#signalReadable(recv)
  }

  #signalReadable(recv: RecvStream): void {
    if (recv.isReadableSignalled || !recv.isReadable()) return
    recv.isReadableSignalled = true
    this.#events.push({ kind: 'readable', id: recv.id })
  }

  #received(growth: number, recv: RecvStream): void {
    if (growth <= 0) return
    this.window.onReceived(growth, 'connection')
    if (recv.isStopped) {
      recv.window.consumed += growth
      this.#consumed(growth)
    }
  }

  onResetStream(id: StreamId, code: number, finalSize: number): void {
    const stream = this.#forReceiving(id)
    if (stream === undefined) return
    const recv = stream.recv as RecvStream
    const growth = recv.onReset(code, finalSize)
    if (growth < 0) return
    if (growth > 0) this.window.onReceived(growth, 'connection')
    // RFC 9000 §4.4: the connection's flow control counts the final size of a reset stream, too
    const unread = recv.unreadBytes
    recv.window.consumed += unread
    this.#consumed(unread)
    if (recv.isStopped) recv.state = RecvState.ResetRead
    else {
      recv.isReadableSignalled = true
      this.#events.push({ kind: 'streamReset', id, code })
    }
    this.#maybeRetire(stream)
  }

  onStopSending(id: StreamId, code: number): void {
    const stream = this.#forSending(id, 'STOP_SENDING')
    const send = stream?.send
    if (stream === undefined || send === undefined || send.isTerminal() || send.resetCode >= 0) return
    // RFC 9000 §3.5: "An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream is in the "Ready" or "Send" state"
    this.#abandon(stream, code)
    this.#events.push({ kind: 'streamStopped', id, code })
  }

  onMaxStreamData(id: StreamId, limit: number): void {
    const stream = this.#forSending(id, 'MAX_STREAM_DATA')
    const send = stream?.send
    if (stream === undefined || send === undefined || !send.credit.raise(limit)) return
    send.blockedPending = false
    this.outbox.activate(stream)
  }

  onStreamDataBlocked(id: StreamId): void {
    this.#forReceiving(id)
  }

  // RFC 9000 §13.3: outdated limits are accepted and ignored
  onMaxData(limit: number): void {
    if (this.credit.raise(limit)) this.outbox.dataBlockedPending = false
  }

  // RFC 9000 §19.4, §19.13: RESET_STREAM and STREAM_DATA_BLOCKED for a send-only stream are STREAM_STATE_ERROR
  /** The stream a frame about our receiving part means; undefined when it is closed already. */
  #forReceiving(id: StreamId): Stream | undefined {
    // RFC 9000 §19.8: "An endpoint MUST terminate the connection with error STREAM_STATE_ERROR if it receives a STREAM frame for a locally initiated stream that has not yet been created, or for a send-only stream."
    // RFC 9000 §19.13: "An endpoint that receives a STREAM_DATA_BLOCKED frame for a send-only stream MUST terminate the connection with error STREAM_STATE_ERROR."
    if (this.#isLocal(id) && isUnidirectional(id)) {
      throw new TransportError('STREAM_STATE_ERROR', 0, `stream ${id} only sends, yet the peer sent on it`)
    }
    return this.#lookUp(id)
  }

  /** The stream a frame about our sending part means; undefined when it is closed already. */
  #forSending(id: StreamId, frame: string): Stream | undefined {
    // RFC 9000 §19.5, §19.10: receive-only streams and locally initiated streams not yet created are STREAM_STATE_ERROR
    if (!this.#isLocal(id) && isUnidirectional(id)) {
      throw new TransportError('STREAM_STATE_ERROR', 0, `${frame} for stream ${id}, which only the peer sends on`)
    }
    return this.#lookUp(id)
  }

  #lookUp(id: StreamId): Stream | undefined {
    const stream = this.#streams.get(id)
    if (stream !== undefined) return stream
    const isBidi = !isUnidirectional(id)
    const index = Math.floor(id / 4)
    if (this.#isLocal(id)) {
      if (index >= this.limits.localOpened(isBidi)) {
        throw new TransportError('STREAM_STATE_ERROR', 0, `stream ${id} was not opened by us`)
      }
      return undefined
    }
    return this.#openByPeer(id, index, isBidi)
  }

  // RFC 9000 §3.2: "Before a stream is created, all streams of the same type with lower-numbered stream IDs MUST be created."
  #openByPeer(id: StreamId, index: number, isBidi: boolean): Stream | undefined {
    const opened = this.limits.peerOpened(isBidi)
    if (index < opened) return undefined
    this.limits.takePeer(isBidi, index, id)
    let stream: Stream | undefined
    for (let i = opened; i <= index; i++) {
      const lowerId = i * 4 + (id % 4)
      stream = this.#create(lowerId)
      this.#events.push({ kind: 'streamOpened', id: lowerId })
    }
    return stream
  }

  #create(id: StreamId): Stream {
    const isUni = isUnidirectional(id)
    const isLocal = this.#isLocal(id)
    const { streamWindowBytes, streamWindowMaxBytes } = this.#options
    const send = isUni && !isLocal ? undefined : new SendStream(id, this.#initialSendLimit(id))
    const recv = isUni && isLocal ? undefined : new RecvStream(id, streamWindowBytes, streamWindowMaxBytes)
    const stream = new Stream(id, send, recv)
    this.#streams.set(id, stream)
    return stream
  }

  // ---- fate of what we sent

  onStreamAcked(id: StreamId, offset: number, lengthAndFin: number): void {
    const stream = this.#streams.get(id)
    const send = stream?.send
    if (stream === undefined || send === undefined) return
    const { bufferedBytes } = send.buffer
    const isDelivered = send.onAcked(offset, Math.floor(lengthAndFin / 2), lengthAndFin % 2 === 1)
    this.#bufferedBytes -= bufferedBytes - send.buffer.bufferedBytes
    if (isDelivered) {
      this.#events.push({ kind: 'streamDelivered', id })
      this.#maybeRetire(stream)
      return
    }
    if (send.wantsWritable && this.#sendRoom(send) >= send.buffer.bufferedBytes) {
      send.wantsWritable = false
      this.#events.push({ kind: 'writable', id })
    }
  }

  onStreamLost(id: StreamId, offset: number, lengthAndFin: number): void {
    const stream = this.#streams.get(id)
    const send = stream?.send
    if (stream === undefined || send === undefined) return
    stream.framesLost++
    send.onLost(offset, Math.floor(lengthAndFin / 2), lengthAndFin % 2 === 1)
    this.outbox.activate(stream)
  }

  onResetAcked(id: StreamId): void {
    const stream = this.#streams.get(id)
    if (stream?.send === undefined) return
    stream.send.state = SendState.ResetRecvd
    this.#maybeRetire(stream)
  }

  onControlLost(id: StreamId, what: 'reset' | 'stop' | 'maxStreamData' | 'blocked'): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    const { send, recv } = stream
    if (what === 'reset' && send !== undefined && !send.isTerminal()) send.resetPending = true
    else if (what === 'stop' && recv !== undefined && recv.state <= RecvState.SizeKnown) recv.stopPending = true
    else if (what === 'maxStreamData' && recv !== undefined && recv.state === RecvState.Recv) {
      recv.window.needsAnnouncement = true
    } else if (what === 'blocked' && send !== undefined && send.credit.available === 0) send.blockedPending = true
    else return
    this.outbox.queueControl(stream)
  }

  // RFC 9000 §4.6: closed streams make room for new ones of the peer
  #maybeRetire(stream: Stream): void {
    if (!stream.isTerminal() || !this.#streams.delete(stream.id)) return
    this.#finished.set(stream.id, stream.snapshot())
    if (this.#finished.size > FINISHED_STATS_MAX) this.#finished.delete(this.#finished.keys().next().value as number)
    if (!this.#isLocal(stream.id)) this.limits.onPeerStreamClosed(!isUnidirectional(stream.id))
  }
}
