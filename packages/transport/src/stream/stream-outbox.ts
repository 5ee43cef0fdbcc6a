/** Writes STREAM frames and per-stream control frames into packets, streams in the order of the scheduler. */
import { FrameType, varintLength } from '@quicether/wire'
import type { SendCredit } from '../flow/credit.ts'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'
import { RecvState } from './recv-stream.ts'
import type { SendStream } from './send-stream.ts'
import type { Stream } from './stream.ts'
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'

/** A STREAM frame is not started in less room than this, unless it ends the stream. */
const STREAM_ROOM_MIN = 16
const CONTROL_ROOM_MIN = 32

export class StreamOutbox {
  /** DATA_BLOCKED waits to be written. */
  dataBlockedPending = false
  /** How often connection flow control has stopped us. */
  stalls = 0
  readonly scheduler: StreamScheduler
  /** Retransmissions and bare FINs: need no connection credit and go first. */
  readonly #urgent: StreamScheduler = new RoundRobinScheduler()
  readonly #control: Stream[] = []
  readonly #credit: SendCredit

  constructor(credit: SendCredit, scheduler: StreamScheduler) {
    this.scheduler = scheduler
    this.#credit = credit
  }

  /** The stream may have something to send: queue it where it belongs. */
  activate(stream: Stream): void {
    const send = stream.send
    if (send === undefined) return
    if (send.canSendWithoutCredit()) {
      if (send.isUrgentQueued) return
      send.isUrgentQueued = true
      this.#urgent.add(stream)
    } else if (!send.isQueued && send.canSend()) {
      send.isQueued = true
      this.scheduler.add(stream)
    }
  }

  queueControl(stream: Stream): void {
    if (!this.#control.includes(stream)) this.#control.push(stream)
  }

  hasData(): boolean {
    return this.#urgent.size > 0 || (this.scheduler.size > 0 && this.#credit.available > 0)
  }

  hasControl(): boolean {
    return this.#control.length > 0
  }

  /** Streams wait for connection credit and the peer has not been told. */
  isBlockedByConnection(): boolean {
    return this.scheduler.size > 0 && this.#credit.available === 0 && this.#credit.blockedAt !== this.#credit.limit
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

  /** Fills the rest of the packet with STREAM frames. */
  writeData(packet: PacketWriter): void {
    for (let stream = this.#urgent.peek(); stream !== undefined; stream = this.#urgent.peek()) {
      const send = stream.send as SendStream
      if (send.canSendWithoutCredit()) {
        if (packet.room < STREAM_ROOM_MIN || !this.#writeFrame(stream, send, packet)) return
        if (send.canSendWithoutCredit()) continue
      }
      this.#urgent.remove()
      send.isUrgentQueued = false
      this.activate(stream)
    }
    this.#writeNew(packet)
  }

  #writeNew(packet: PacketWriter): void {
    for (let stream = this.scheduler.peek(); stream !== undefined; stream = this.scheduler.peek()) {
      const send = stream.send as SendStream
      if (!send.canSend()) {
        this.#park(stream, send)
        continue
      }
      if (this.#credit.available <= 0) return
      if (packet.room < STREAM_ROOM_MIN || !this.#writeFrame(stream, send, packet)) return
      if (!send.canSend()) this.#park(stream, send)
      else if (packet.room < STREAM_ROOM_MIN) this.scheduler.rotate()
    }
  }

  #park(stream: Stream, send: SendStream): void {
    this.scheduler.remove()
    send.isQueued = false
    // RFC 9000 §4.1: "A sender SHOULD send a STREAM_DATA_BLOCKED … frame to indicate … that it has data to write but is blocked by flow control limits"
    const { buffer, credit } = send
    if (buffer.sentEnd < buffer.end && credit.available === 0 && credit.blockedAt !== credit.limit) {
      credit.blockedAt = credit.limit
      send.blockedPending = true
      this.queueControl(stream)
    }
  }

  /** Writes one STREAM frame; false when nothing fits. */
  #writeFrame(stream: Stream, send: SendStream, packet: PacketWriter): boolean {
    const { buffer } = send
    const isRetransmission = buffer.lost.count > 0
    const offset = isRetransmission ? (buffer.lost.starts[0] as number) : buffer.sentEnd
    // RFC 9000 §2.2: "An endpoint MUST NOT send data on any stream without ensuring that it is within the flow control limits set by its peer."
    // RFC 9000 §19.9: the sum over all streams stays within MAX_DATA
    const available = isRetransmission
      ? (buffer.lost.ends[0] as number) - offset
      : Math.min(buffer.end - offset, send.credit.available, this.#credit.available)
    const header = 1 + varintLength(stream.id) + (offset > 0 ? varintLength(offset) : 0)
    let length = Math.min(available, packet.room - header)
    if (length < 0) return false
    // A frame that does not fill the packet carries its length, so that something can follow.
    const withLength = length < packet.room - header
    if (withLength) length = Math.min(length, packet.room - header - varintLength(length))
    const end = offset + length
    const fin = send.isFinished && end === buffer.end && !(send.finSent && send.finAcked)
    if (length <= 0 && !fin) return false
    packet.byte(FrameType.Stream | (offset > 0 ? 4 : 0) | (withLength ? 2 : 0) | (fin ? 1 : 0))
    packet.varint(stream.id)
    if (offset > 0) packet.varint(offset)
    if (withLength) packet.varint(length)
    if (length > 0) buffer.copyTo(packet.bytes, packet.at, offset, length)
    packet.at += length
    packet.receipt(ReceiptKind.Stream, stream.id, offset, length * 2 + (fin ? 1 : 0))
    this.#account(stream, send, isRetransmission, offset, length)
    send.onFrameSent(fin)
    return true
  }

  #account(stream: Stream, send: SendStream, isRetransmission: boolean, offset: number, length: number): void {
    const { buffer } = send
    if (isRetransmission) {
      buffer.lost.remove(offset, offset + length)
      stream.retransmissions++
    } else {
      buffer.sentEnd = offset + length
      send.credit.used += length
      this.#credit.used += length
      stream.bytesSent += length
    }
    stream.packetsSent++
    stream.packetBytesSent += length
  }
}
