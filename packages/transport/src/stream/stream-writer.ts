/** Ordered output to one transport stream: passes bytes on while the transport takes them, queues the rest. */
import { QuicError } from '../errors.ts'
import type { StreamId, StreamTransport } from '../events.ts'

/** Writes of one stream in order; `flush` on every `writable`. */
export class StreamWriter {
  readonly id: StreamId
  readonly #transport: StreamTransport
  readonly #queue: Uint8Array[]
  #queuedBytes: number
  #isFinishing: boolean
  #isClosed: boolean

  constructor(transport: StreamTransport, id: StreamId) {
    this.id = id
    this.#transport = transport
    this.#queue = []
    this.#queuedBytes = 0
    this.#isFinishing = false
    this.#isClosed = false
  }

  /** Bytes that the transport has not taken. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** False after `finish` or `reset`. */
  get isOpen(): boolean {
    return !this.#isFinishing && !this.#isClosed
  }

  /** True when the end was handed to the transport. */
  get isFinished(): boolean {
    return this.#isFinishing && this.#isClosed
  }

  /** Takes `data` for good (do not change it). False = some of it waits; `flush` on the next `writable`. */
  write(data: Uint8Array): boolean {
    if (this.#isClosed || data.length === 0) return this.#queue.length === 0
    if (this.#queue.length > 0) {
      this.#push(data)
      return false
    }
    const accepted = this.#offer(data)
    if (accepted === data.length) return true
    this.#push(data.subarray(accepted))
    return false
  }

  /** Continues after `writable`. True = nothing is left. */
  flush(): boolean {
    while (this.#queue.length > 0) {
      const data = this.#queue[0] as Uint8Array
      const accepted = this.#offer(data)
      if (this.#isClosed) return true
      this.#queuedBytes -= accepted
      if (accepted < data.length) {
        this.#queue[0] = data.subarray(accepted)
        return false
      }
      this.#queue.shift()
    }
    if (this.#isFinishing && !this.#isClosed) {
      this.#isClosed = true
      this.#unlessGone(() => this.#transport.finish(this.id))
    }
    return true
  }

  /** Ends the stream after what was written. */
  finish(): void {
    if (this.#isFinishing || this.#isClosed) return
    this.#isFinishing = true
    if (this.#queue.length === 0) this.flush()
  }

  /** Drops what waits and takes no more; the caller tells the transport if it has to know. */
  abandon(): void {
    this.#isClosed = true
    this.#isFinishing = false
    this.#queue.length = 0
    this.#queuedBytes = 0
  }

  #offer(data: Uint8Array): number {
    let accepted = data.length
    this.#unlessGone(() => {
      accepted = this.#transport.write(this.id, data)
    })
    return accepted
  }

  /** The stream or the connection may have ended while the event that says so still waits: then nothing is written. */
  #unlessGone(call: () => void): void {
    try {
      call()
    } catch (error) {
      const isGone =
        error instanceof QuicError && (error.code === 'ERR_CONNECTION_CLOSED' || error.code === 'ERR_STREAM_NOT_OPEN')
      if (!isGone) throw error
      this.abandon()
    }
  }

  #push(data: Uint8Array): void {
    this.#queue.push(data)
    this.#queuedBytes += data.length
  }
}
