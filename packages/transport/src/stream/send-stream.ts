/** The sending part of a stream: the state machine of RFC 9000 §3.1 around a send buffer. */
import { SendCredit } from '../flow/credit.ts'
import { SendBuffer } from './send-buffer.ts'

// RFC 9000 §3.1
export const SendState = {
  Ready: 0,
  Send: 1,
  DataSent: 2,
  DataRecvd: 3,
  ResetSent: 4,
  ResetRecvd: 5,
} as const

export class SendStream {
  readonly id: number
  readonly buffer: SendBuffer = new SendBuffer()
  readonly credit: SendCredit
  state: number = SendState.Ready
  /** The application will write no more. */
  isFinished = false
  finSent = false
  finAcked = false
  resetCode = -1
  /** RESET_STREAM / STREAM_DATA_BLOCKED wait to be written. */
  resetPending = false
  blockedPending = false
  /** `write` took less than offered: tell the application when there is room. */
  wantsWritable = false
  /** In the stream scheduler's queue. */
  isQueued = false
  /** In that queue, and the application may write more. */
  isOpenEnded = false
  /** In the queue of retransmissions and bare FINs. */
  isUrgentQueued = false

  constructor(id: number, limit: number) {
    this.id = id
    this.credit = new SendCredit(limit)
  }

  // RFC 9000 §3.3: in a terminal state none of STREAM, STREAM_DATA_BLOCKED and RESET_STREAM is sent; after a reset only RESET_STREAM
  isTerminal(): boolean {
    return this.state === SendState.DataRecvd || this.state === SendState.ResetRecvd
  }

  /** Something could go into a packet now, the connection's credit aside. */
  canSend(): boolean {
    if (this.state >= SendState.DataRecvd) return false
    if (this.buffer.lost.count > 0) return true
    if (this.buffer.sentEnd < this.buffer.end) return this.credit.available > 0
    return this.isFinished && !this.finSent
  }

  /** Needs no connection credit: retransmission, or a bare FIN. */
  canSendWithoutCredit(): boolean {
    if (this.state >= SendState.DataRecvd) return false
    if (this.buffer.lost.count > 0) return true
    return this.isFinished && !this.finSent && this.buffer.sentEnd === this.buffer.end
  }

  /** The range, or the end of the stream, is sent and the peer is not known to have it. */
  isOutstanding(offset: number, length: number, fin: boolean): boolean {
    if (this.state >= SendState.DataRecvd) return false
    return (fin && !this.finAcked) || this.buffer.isOutstanding(offset, offset + length)
  }

  onFrameSent(fin: boolean): void {
    if (this.state === SendState.Ready) this.state = SendState.Send
    if (fin) {
      this.finSent = true
      this.state = SendState.DataSent
    }
  }

  /** Returns true when everything, the end included, has arrived at the peer. */
  onAcked(offset: number, length: number, fin: boolean): boolean {
    if (this.state >= SendState.DataRecvd) return false
    this.buffer.onAcked(offset, length)
    if (fin) this.finAcked = true
    if (this.state === SendState.DataSent && this.finAcked && this.buffer.base === this.buffer.end) {
      this.state = SendState.DataRecvd
      return true
    }
    return false
  }

  onLost(offset: number, length: number, fin: boolean): void {
    if (this.state >= SendState.DataRecvd) return
    this.buffer.onLost(offset, length)
    if (fin && !this.finAcked) this.finSent = false
  }

  // RFC 9000 §3.1: "An endpoint MAY send a RESET_STREAM from any of the Ready, Send or Data Sent states"
  /** Returns false when there is nothing left to abandon. */
  reset(code: number): boolean {
    if (this.state >= SendState.DataRecvd) return false
    this.state = SendState.ResetSent
    this.resetCode = code
    this.resetPending = true
    this.blockedPending = false
    this.wantsWritable = false
    this.buffer.discard()
    return true
  }

  /** Final size a RESET_STREAM must state: bytes of new data ever sent (RFC 9000 §4.5). */
  // RFC 9000 §13.3: "The content of a RESET_STREAM frame MUST NOT change when it is sent again": bytes ever sent do not grow after a reset
  get finalSize(): number {
    return this.credit.used
  }
}
