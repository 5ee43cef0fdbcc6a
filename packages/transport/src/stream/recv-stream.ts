/** The receiving part of a stream: the state machine of RFC 9000 §3.2 around reassembly and flow control. */
import { TransportError } from '@quicether/wire'
import { ReceiveWindow } from '../flow/credit.ts'
import { RecvBuffer } from './recv-buffer.ts'

// RFC 9000 §3.2; DataRead and ResetRead mean that the application knows.
export const RecvState = { Recv: 0, SizeKnown: 1, DataRecvd: 2, DataRead: 3, ResetRecvd: 4, ResetRead: 5 } as const

export class RecvStream {
  readonly id: number
  readonly buffer: RecvBuffer = new RecvBuffer()
  readonly window: ReceiveWindow
  state: number = RecvState.Recv
  /** Total size, -1 until a FIN or reset told it. */
  finalSize = -1
  resetCode = -1
  /** STOP_SENDING was asked for; data that still arrives is dropped. */
  isStopped = false
  stopCode = 0
  stopPending = false
  /** A `readable` event is queued or the application has not read to the end of it yet. */
  isReadableSignalled = false
  /** In the queue of streams with a MAX_STREAM_DATA or STOP_SENDING to write. */
  isControlQueued = false

  constructor(id: number, windowBytes: number, windowMaxBytes: number) {
    this.id = id
    this.window = new ReceiveWindow(windowBytes, windowMaxBytes)
  }

  isTerminal(): boolean {
    return this.state === RecvState.DataRead || this.state === RecvState.ResetRead
  }

  /**
   * Takes a STREAM frame. Returns by how many bytes the highest received offset grew: the connection's window is
   * charged with that. Throws on violations of final size and flow control.
   */
  onStream(offset: number, bytes: Uint8Array, start: number, end: number, fin: boolean): number {
    const frameEnd = offset + (end - start)
    this.#checkFinalSize(frameEnd, fin)
    const growth = Math.max(0, frameEnd - this.window.received)
    if (growth > 0) this.window.onReceived(growth, `stream ${this.id}`)
    if (fin && this.state === RecvState.Recv) {
      this.finalSize = frameEnd
      this.state = RecvState.SizeKnown
    }
    if (this.state <= RecvState.SizeKnown && !this.isStopped) this.buffer.write(offset, bytes, start, end)
    this.#checkComplete()
    return growth
  }

  // RFC 9000 §4.5: "If a RESET_STREAM or STREAM frame is received indicating a change in the final size for the stream, an endpoint SHOULD respond with an error of type FINAL_SIZE_ERROR"
  #checkFinalSize(frameEnd: number, fin: boolean): void {
    if (this.finalSize >= 0 && (frameEnd > this.finalSize || (fin && frameEnd !== this.finalSize))) {
      throw new TransportError(
        'FINAL_SIZE_ERROR',
        0,
        `stream ${this.id}: ends at ${frameEnd}, final size is ${this.finalSize}`,
      )
    }
    if (fin && frameEnd < this.window.received) {
      throw new TransportError('FINAL_SIZE_ERROR', 0, `stream ${this.id}: final size ${frameEnd} below data received`)
    }
  }

  #checkComplete(): void {
    if (this.state !== RecvState.SizeKnown) return
    if (this.isStopped || this.buffer.readOffset + this.buffer.readableBytes === this.finalSize) {
      this.state = this.isStopped ? RecvState.DataRead : RecvState.DataRecvd
    }
  }

  /** RESET_STREAM. Returns by how many bytes the highest received offset grew; -1 when it changes nothing. */
  onReset(code: number, finalSize: number): number {
    this.#checkFinalSize(finalSize, true)
    const growth = Math.max(0, finalSize - this.window.received)
    if (growth > 0) this.window.onReceived(growth, `stream ${this.id}`)
    this.finalSize = finalSize
    // RFC 9000 §3.2: a reset in "Data Recvd" may be ignored; the data is complete
    if (this.state >= RecvState.DataRecvd) return -1
    this.state = RecvState.ResetRecvd
    this.resetCode = code
    this.stopPending = false
    this.buffer.discard()
    return growth
  }

  /** Bytes received but not handed to the application when it will never take them: returned to the connection's window. */
  get unreadBytes(): number {
    return this.window.received - this.window.consumed
  }

  /** The application wants no more. Returns false when there is nothing to stop. */
  stop(code: number): boolean {
    if (this.isStopped || this.state >= RecvState.DataRead) return false
    this.isStopped = true
    this.stopCode = code
    // RFC 9000 §3.5: "STOP_SENDING SHOULD only be sent for a stream that has not been reset by the peer" nor fully received
    this.stopPending = this.state === RecvState.Recv || this.state === RecvState.SizeKnown
    this.buffer.discard()
    if (this.state === RecvState.DataRecvd) this.state = RecvState.DataRead
    else this.#checkComplete()
    return true
  }

  isReadable(): boolean {
    if (this.state === RecvState.ResetRecvd) return true
    if (this.isStopped) return false
    return this.buffer.readableBytes > 0 || (this.state === RecvState.DataRecvd && !this.isReadableSignalled)
  }
}
