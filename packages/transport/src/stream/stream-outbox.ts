/** Writes STREAM frames and per-stream control frames into packets, streams in the order of the send policy. */
import { FrameType, varintLength, writeVarint } from '@quicether/wire'
import type { PathId } from '../events.ts'
import type { SendCredit } from '../flow/credit.ts'
import { ReceiptKind, type SentPackets } from '../recovery/sent-packets.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'
import { Copies } from './copies.ts'
import { RecvState } from './recv-stream.ts'
import type { SendStream } from './send-stream.ts'
import type { Stream } from './stream.ts'
import { ANY_PATH, StreamClass } from './stream-class.ts'
import { PRIORITIES } from './stream-priority.ts'
import type { StreamScheduler } from './stream-scheduler.ts'

/** A STREAM frame is not started in less room than this, unless it ends the stream. */
const STREAM_ROOM_MIN = 16
const CONTROL_ROOM_MIN = 32
/** More streams than there can be; a small integer, since Infinity would be allocated. */
const STREAMS_ALL = 0x3fff_ffff

/** What the outbox asks of the send policy, and of the streams. */
export interface StreamPolicy {
  createStreamOrder(): StreamScheduler
  /** Whether a stream of this priority with so many bytes to send is interactive; left out = none is. */
  isInteractive?(priority: number, unsentBytes: number): boolean
  streamOf(id: number): Stream | undefined
}

export class StreamOutbox {
  /** DATA_BLOCKED waits to be written. */
  dataBlockedPending = false
  /** How often connection flow control has stopped us. */
  stalls = 0
  /** The first one is there from the start, for streams without any wish. Bounded: one more per path, and the interactive one. */
  readonly classes: StreamClass[]
  /** What is to be repeated on each path; empty unless the policy sends data twice. Bounded by the number of paths. */
  readonly copies: Copies[] = []
  readonly #policy: StreamPolicy
  readonly #control: Stream[] = []
  readonly #credit: SendCredit
  /** Streams in queues of new data that may get more. */
  #openEnded = 0
  /** Serves classes of the same urgency in turn. */
  #turn = 0
  /** Path of the packet being written: it owes itself nothing. */
  #writingFor: PathId = ANY_PATH
  /** Bytes sent a second time by policy, not for a loss. */
  copiedBytes = 0

  constructor(credit: SendCredit, policy: StreamPolicy) {
    this.#policy = policy
    this.#credit = credit
    this.classes = [new StreamClass(policy.createStreamOrder(), ANY_PATH, false)]
  }

  /** Nothing is bound to a path, set apart or sent twice: every path may carry whatever waits. */
  get isPlain(): boolean {
    return this.classes.length === 1 && this.copies.length === 0
  }

  /** The stream may have something to send: queue it where it belongs. */
  activate(stream: Stream): void {
    const send = stream.send
    if (send === undefined) return
    this.#countOpenEnded(send)
    if (stream.queuedIn !== undefined && this.classes.length > 1) this.#reclassify(stream, send)
    if (send.canSendWithoutCredit()) {
      if (send.isUrgentQueued) return
      stream.queuedIn ??= this.#classOf(stream, send)
      send.isUrgentQueued = true
      stream.queuedIn.urgent.add(stream)
    } else if (!send.isQueued && send.canSend()) {
      stream.queuedIn ??= this.#classOf(stream, send)
      send.isQueued = true
      stream.queuedIn.fresh.add(stream)
      this.#countOpenEnded(send)
    }
  }

  #countOpenEnded(send: SendStream): void {
    const isOpenEnded = send.isQueued && !send.isFinished
    if (isOpenEnded === send.isOpenEnded) return
    send.isOpenEnded = isOpenEnded
    this.#openEnded += isOpenEnded ? 1 : -1
  }

  /** Of all streams that wait with new data the end is written, too. */
  get isEnding(): boolean {
    return this.#openEnded === 0
  }

  /** From now on everything sent elsewhere is repeated on the path. */
  repeatOn(pathId: PathId): void {
    if (!this.copies.some((each) => each.pathId === pathId)) this.copies.push(new Copies(pathId))
  }

  /** Takes the stream out of its queues, lets `change` its order or wishes, and queues it anew. */
  requeue(stream: Stream, change: () => void): void {
    if (stream.send !== undefined) this.#takeOut(stream, stream.send)
    change()
    this.activate(stream)
  }

  /** The path is over: streams bound to it go wherever there is room. */
  onPathGone(pathId: PathId): void {
    const index = this.classes.findIndex((each) => each.pathId === pathId)
    const at = this.copies.findIndex((each) => each.pathId === pathId)
    if (at >= 0) this.copies.splice(at, 1)
    if (index < 1) return
    const [gone] = this.classes.splice(index, 1)
    for (const queue of [gone?.urgent, gone?.fresh]) {
      for (let stream = queue?.peek(); stream !== undefined; stream = queue?.peek()) {
        if (stream.send !== undefined) this.#takeOut(stream, stream.send)
        stream.boundTo = ANY_PATH
        this.activate(stream)
      }
    }
  }

  #takeOut(stream: Stream, send: SendStream): void {
    const { queuedIn } = stream
    if (send.isUrgentQueued) queuedIn?.urgent.take(stream)
    if (send.isQueued) queuedIn?.fresh.take(stream)
    send.isUrgentQueued = false
    send.isQueued = false
    stream.queuedIn = undefined
    this.#countOpenEnded(send)
  }

  /** A stream that has written much is interactive no more. */
  #reclassify(stream: Stream, send: SendStream): void {
    if (stream.queuedIn !== this.#classOf(stream, send)) this.#takeOut(stream, send)
  }

  #classOf(stream: Stream, send: SendStream): StreamClass {
    const any = this.classes[0] as StreamClass
    if (stream.boundTo !== ANY_PATH) return this.#classFor(stream.boundTo, false)
    const unsentBytes = send.buffer.end - send.buffer.sentEnd
    if (this.#policy.isInteractive?.(stream.priority, unsentBytes) !== true) return any
    return this.#classFor(ANY_PATH, true)
  }

  #classFor(pathId: PathId, isInteractive: boolean): StreamClass {
    for (const each of this.classes) if (each.pathId === pathId && each.isInteractive === isInteractive) return each
    const made = new StreamClass(this.#policy.createStreamOrder(), pathId, isInteractive)
    this.classes.push(made)
    return made
  }

  hasData(): boolean {
    const hasCredit = this.#credit.available > 0
    for (const each of this.classes) if (each.hasData(hasCredit)) return true
    for (const each of this.copies) if (each.size > 0) return true
    return false
  }

  /** Whether something waits that the path may carry; classes are admitted to it by now. */
  hasDataFor(pathId: PathId): boolean {
    const hasCredit = this.#credit.available > 0
    for (const each of this.classes) if (each.isAdmitted && each.hasData(hasCredit)) return true
    for (const each of this.copies) if (each.pathId === pathId && each.size > 0) return true
    return false
  }

  /** Whether something waits to go out again. */
  get hasUrgent(): boolean {
    for (const each of this.classes) if (each.urgent.size > 0) return true
    return false
  }

  /** Whether streams that keep to the path wait. */
  hasBoundTo(pathId: PathId): boolean {
    const hasCredit = this.#credit.available > 0
    for (const each of this.classes) if (each.pathId === pathId && each.hasData(hasCredit)) return true
    return false
  }

  /** Whether streams wait that are not interactive. */
  get hasBulk(): boolean {
    for (const each of this.classes) if (!each.isInteractive && !each.isEmpty) return true
    return false
  }

  /** Whether interactive streams wait. */
  get hasInteractive(): boolean {
    for (const each of this.classes) if (each.isInteractive && !each.isEmpty) return true
    return false
  }

  hasControl(): boolean {
    return this.#control.length > 0
  }

  /** Streams wait for connection credit and the peer has not been told. */
  isBlockedByConnection(): boolean {
    const { available, blockedAt, limit } = this.#credit
    if (available > 0 || blockedAt === limit) return false
    for (const each of this.classes) if (each.fresh.size > 0) return true
    return false
  }

  queueControl(stream: Stream): void {
    if (!this.#control.includes(stream)) this.#control.push(stream)
  }

  /** RESET_STREAM, STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED as they wait. */
  writeControl(packet: PacketWriter): void {
    while (this.#control.length > 0 && packet.room >= CONTROL_ROOM_MIN) {
      const stream = this.#control[this.#control.length - 1] as Stream
      this.#writeControlOf(stream, packet)
      if (packet.room < CONTROL_ROOM_MIN && this.#hasControlOf(stream)) return
      this.#control.pop()
    }
  }

  #hasControlOf(stream: Stream): boolean {
    const { send, recv } = stream
    return (send?.resetPending ?? false) || (recv?.stopPending ?? false) || (recv?.window.needsAnnouncement ?? false)
  }

  #writeControlOf(stream: Stream, packet: PacketWriter): void {
    const { send, recv, id } = stream
    if (send?.resetPending && packet.room >= CONTROL_ROOM_MIN) {
      send.resetPending = false
      packet.byte(FrameType.ResetStream)
      packet.varint(id)
      packet.varint(send.resetCode)
      packet.varint(send.finalSize)
      packet.receipt(ReceiptKind.ResetStream, id)
    }
    if (recv?.stopPending && packet.room >= CONTROL_ROOM_MIN) {
      recv.stopPending = false
      packet.byte(FrameType.StopSending)
      packet.varint(id)
      packet.varint(recv.stopCode)
      packet.receipt(ReceiptKind.StopSending, id)
    }
    if (recv?.window.needsAnnouncement && packet.room >= CONTROL_ROOM_MIN) {
      recv.window.needsAnnouncement = false
      if (recv.state === RecvState.Recv && !recv.isStopped) {
        packet.byte(FrameType.MaxStreamData)
        packet.varint(id)
        packet.varint(recv.window.limit)
        packet.receipt(ReceiptKind.MaxStreamData, id)
      }
    }
    if (send?.blockedPending && packet.room >= CONTROL_ROOM_MIN) {
      send.blockedPending = false
      packet.byte(FrameType.StreamDataBlocked)
      packet.varint(id)
      packet.varint(send.credit.limit)
      packet.receipt(ReceiptKind.StreamDataBlocked, id)
    }
  }

  /** Fills the rest of a packet of the path with STREAM frames: what is owed to it, then lost data, then new data. */
  writeData(packet: PacketWriter, pathId: PathId): void {
    this.#writingFor = pathId
    if (this.copies.length > 0 && !this.#writeCopies(packet, pathId)) return
    for (const each of this.classes) if (each.isAdmitted && !this.#writeUrgent(each, packet)) return
    if (this.classes.length === 1) return void this.#writeNew(this.classes[0] as StreamClass, packet, STREAMS_ALL)
    for (let next = this.#nextClass(); next !== undefined; next = this.#nextClass()) {
      if (!this.#writeNew(next, packet, 1)) return
    }
  }

  // ---- whole packets

  /** Nothing but new data of one class waits, and it may leave on the path being served. */
  get isBulk(): boolean {
    const only = this.classes[0] as StreamClass
    return this.isPlain && only.isAdmitted && only.urgent.size === 0 && this.#control.length === 0
  }

  /** The stream whose turn it is, if its new data more than fills `room` bytes: it neither ends nor blocks with them. */
  nextFilling(room: number): Stream | undefined {
    const stream = (this.classes[0] as StreamClass).fresh.peek()
    const send = stream?.send
    if (send === undefined || send.buffer.lost.count > 0) return undefined
    const { buffer, credit } = send
    const isMore = buffer.end - buffer.sentEnd > room && credit.available > room && this.#credit.available > room
    return isMore ? stream : undefined
  }

  // RFC 9000 §19.8: a STREAM frame without a length extends to the end of the packet
  /** Fills `room` bytes at `at` with one STREAM frame of what `nextFilling` has returned. */
  writeFilling(stream: Stream, bytes: Uint8Array, at: number, room: number, sent: SentPackets): void {
    const send = stream.send as SendStream
    const { buffer } = send
    const offset = buffer.sentEnd
    bytes[at] = FrameType.Stream | (offset > 0 ? 4 : 0)
    let data = writeVarint(bytes, at + 1, stream.id)
    if (offset > 0) data = writeVarint(bytes, data, offset)
    const length = at + room - data
    buffer.copyTo(bytes, data, offset, length)
    sent.pushReceipt(ReceiptKind.Stream, stream.id, offset, length * 2)
    this.#onFreshWritten(stream, send, length)
    stream.packetsSent++
    stream.packetBytesSent += length
    send.onFrameSent(false)
    ;(this.classes[0] as StreamClass).fresh.rotate()
  }

  #onFreshWritten(stream: Stream, send: SendStream, length: number): void {
    send.buffer.sentEnd += length
    send.credit.used += length
    this.#credit.used += length
    stream.bytesSent += length
  }

  /** Admitted, with new data: interactive ones first, then by urgency, equals in turn. */
  #nextClass(): StreamClass | undefined {
    const { classes } = this
    let best: StreamClass | undefined
    let bestUrgency = Infinity
    for (let i = 0; i < classes.length; i++) {
      const each = classes[(this.#turn + i) % classes.length] as StreamClass
      if (!each.isAdmitted || each.fresh.size === 0) continue
      const urgency = each.fresh.urgency - (each.isInteractive ? PRIORITIES : 0)
      if (urgency >= bestUrgency) continue
      best = each
      bestUrgency = urgency
    }
    this.#turn = (this.#turn + 1) % classes.length
    return best
  }

  /** False when the packet is full. */
  #writeUrgent({ urgent }: StreamClass, packet: PacketWriter): boolean {
    for (let stream = urgent.peek(); stream !== undefined; stream = urgent.peek()) {
      const send = stream.send as SendStream
      if (send.canSendWithoutCredit()) {
        if (packet.room < STREAM_ROOM_MIN || !this.#writeLost(stream, send, packet)) return false
        if (send.canSendWithoutCredit()) continue
      }
      urgent.remove()
      send.isUrgentQueued = false
      if (!send.isQueued) stream.queuedIn = undefined
      this.activate(stream)
    }
    return true
  }

  /** New data of one class, of at most `streams` streams. False when the packet is full or credit is used up. */
  #writeNew({ fresh }: StreamClass, packet: PacketWriter, streams: number): boolean {
    let left = streams
    for (let stream = fresh.peek(); stream !== undefined && left > 0; stream = fresh.peek()) {
      const send = stream.send as SendStream
      if (!send.canSend()) {
        this.#park(stream, send, fresh)
        continue
      }
      if (this.#credit.available <= 0) return false
      if (packet.room < STREAM_ROOM_MIN || !this.#writeFresh(stream, send, packet)) return false
      left--
      if (!send.canSend()) this.#park(stream, send, fresh)
      else if (packet.room < STREAM_ROOM_MIN) fresh.rotate()
    }
    return true
  }

  #park(stream: Stream, send: SendStream, fresh: StreamScheduler): void {
    fresh.remove()
    send.isQueued = false
    this.#countOpenEnded(send)
    if (!send.isUrgentQueued) stream.queuedIn = undefined
    // RFC 9000 §4.1: "A sender SHOULD send a STREAM_DATA_BLOCKED … frame to indicate … that it has data to write but is blocked by flow control limits"
    const { buffer, credit } = send
    if (buffer.sentEnd < buffer.end && credit.available === 0 && credit.blockedAt !== credit.limit) {
      credit.blockedAt = credit.limit
      send.blockedPending = true
      this.queueControl(stream)
    }
  }

  /** Repeats on the path what others have carried. False when the packet is full. */
  #writeCopies(packet: PacketWriter, pathId: PathId): boolean {
    for (const copies of this.copies) {
      if (copies.pathId !== pathId) continue
      while (copies.size > 0) {
        const stream = this.#policy.streamOf(copies.streamId)
        const send = stream?.send
        const { offset, lengthAndFin } = copies
        const length = Math.floor(lengthAndFin / 2)
        if (stream === undefined || send === undefined || !send.isOutstanding(offset, length, lengthAndFin % 2 === 1)) {
          copies.shift()
          continue
        }
        if (offset < send.buffer.base) {
          copies.trim(send.buffer.base - offset)
          continue
        }
        if (packet.room < STREAM_ROOM_MIN) return false
        const isLast = lengthAndFin % 2 === 1
        const written = writeFrame(stream, send, packet, offset, length, isLast)
        if (written < 0) return false
        stream.packetsSent++
        stream.packetBytesSent += written
        this.copiedBytes += written
        if (written < length) copies.trim(written)
        else copies.shift()
      }
    }
    return true
  }

  #writeLost(stream: Stream, send: SendStream, packet: PacketWriter): boolean {
    const { buffer } = send
    if (buffer.lost.count === 0) return this.#writeFresh(stream, send, packet)
    const offset = buffer.lost.starts[0] as number
    const end = buffer.lost.ends[0] as number
    const isLast = send.isFinished && end === buffer.end && !(send.finSent && send.finAcked)
    const written = writeFrame(stream, send, packet, offset, end - offset, isLast)
    if (written < 0) return false
    buffer.lost.remove(offset, offset + written)
    stream.retransmissions++
    this.#onWritten(stream, send, offset, written, isLast && offset + written === end)
    return true
  }

  // RFC 9000 §2.2: "An endpoint MUST NOT send data on any stream without ensuring that it is within the flow control limits set by its peer."
  // RFC 9000 §19.9: the sum over all streams stays within MAX_DATA
  #writeFresh(stream: Stream, send: SendStream, packet: PacketWriter): boolean {
    const { buffer } = send
    // A stream with losses in the queue of new data sends those first.
    if (buffer.lost.count > 0) return this.#writeLost(stream, send, packet)
    const offset = buffer.sentEnd
    const length = Math.min(buffer.end - offset, send.credit.available, this.#credit.available)
    const isLast = send.isFinished && offset + length === buffer.end && !(send.finSent && send.finAcked)
    const written = writeFrame(stream, send, packet, offset, length, isLast)
    if (written < 0) return false
    this.#onFreshWritten(stream, send, written)
    this.#onWritten(stream, send, offset, written, isLast && offset + written === buffer.end)
    return true
  }

  #onWritten(stream: Stream, send: SendStream, offset: number, length: number, fin: boolean): void {
    stream.packetsSent++
    stream.packetBytesSent += length
    send.onFrameSent(fin)
    if (this.copies.length > 0 && stream.boundTo === ANY_PATH) this.#oweCopies(stream.id, offset, length, fin)
  }

  #oweCopies(streamId: number, offset: number, length: number, fin: boolean): void {
    for (const copies of this.copies) {
      if (copies.pathId !== this.#writingFor) copies.push(streamId, offset, length * 2 + (fin ? 1 : 0))
    }
  }
}

/** Writes one STREAM frame with as much of the range as fits; returns the bytes written, -1 when nothing fits. */
function writeFrame(
  stream: Stream,
  { buffer }: SendStream,
  packet: PacketWriter,
  offset: number,
  available: number,
  isLast: boolean,
): number {
  const header = 1 + varintLength(stream.id) + (offset > 0 ? varintLength(offset) : 0)
  let length = Math.min(available, packet.room - header)
  if (length < 0) return -1
  // A frame that does not fill the packet carries its length, so that something can follow.
  const withLength = length < packet.room - header
  if (withLength) length = Math.min(length, packet.room - header - varintLength(length))
  const fin = isLast && length === available
  if (length <= 0 && !fin) return -1
  packet.byte(FrameType.Stream | (offset > 0 ? 4 : 0) | (withLength ? 2 : 0) | (fin ? 1 : 0))
  packet.varint(stream.id)
  if (offset > 0) packet.varint(offset)
  if (withLength) packet.varint(length)
  if (length > 0) buffer.copyTo(packet.bytes, packet.at, offset, length)
  packet.at += length
  packet.receipt(ReceiptKind.Stream, stream.id, offset, length * 2 + (fin ? 1 : 0))
  return length
}
