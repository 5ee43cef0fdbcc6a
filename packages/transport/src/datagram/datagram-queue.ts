/** Unreliable datagrams (RFC 9221) on their way out: bounded, oldest dropped first. */
import { FrameType, varintLength } from '@quicether/wire'
import type { PathId } from '../events.ts'
import { type Micros, NEVER } from '../ports/datagrams.ts'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import { ANY_PATH } from '../stream/stream-class.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'

/** How a datagram wants to travel. */
export interface DatagramOptions {
  /** Only on this path; dropped when that is over. Default: wherever there is room. */
  readonly path?: PathId
  /** Dropped when it has not left by then (time of the engine, microseconds). Default: never. */
  readonly expiresAtUs?: Micros
}

interface Waiting {
  readonly data: Uint8Array
  readonly path: PathId
  readonly expiresAtUs: Micros
}

export class DatagramQueue {
  readonly #queue: Waiting[] = []
  readonly #max: number
  /** How many are bound to a path. */
  #bound = 0
  /** Whether the path that packets are being built for may carry those that are not bound; kept by the path picker. */
  isAdmitted = true
  /** Largest DATAGRAM frame the peer accepts; 0 = none. */
  peerFrameBytesMax = 0
  sent = 0
  dropped = 0
  lost = 0
  received = 0

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#queue.length
  }

  /** Some go only on one path. */
  get hasBound(): boolean {
    return this.#bound > 0
  }

  /** Some go anywhere. */
  get hasFree(): boolean {
    return this.#queue.length > this.#bound
  }

  /** Whether one waits that the path may carry. */
  hasFor(pathId: PathId): boolean {
    return (this.isAdmitted && this.hasFree) || this.hasBoundTo(pathId)
  }

  hasBoundTo(pathId: PathId): boolean {
    return this.#bound > 0 && this.#queue.some(({ path }) => path === pathId)
  }

  /** Largest payload that fits a packet of `mtuBytes` and the peer's limit. */
  // RFC 8899 §5: the largest payload offered to applications follows the MTU found
  payloadBytesMax(mtuBytes: number): number {
    // Short header with 8-byte CID and 4-byte packet number, tag, frame type and length.
    return Math.max(0, Math.min(this.peerFrameBytesMax, mtuBytes - 29) - 3)
  }

  /** Queues a copy. False when the peer takes no datagrams or none so large; the oldest one goes when the queue is full. */
  push(data: Uint8Array, mtuBytes: number, options: DatagramOptions = {}): boolean {
    const { path = ANY_PATH, expiresAtUs = NEVER } = options
    // RFC 9221 §3: "An endpoint MUST NOT send DATAGRAM frames until it has received the max_datagram_frame_size transport parameter … with a non-zero value" nor larger ones
    if (data.length > this.payloadBytesMax(mtuBytes) || this.#max === 0) return false
    if (1 + varintLength(data.length) + data.length > this.peerFrameBytesMax) return false
    if (this.#queue.length >= this.#max) this.#drop(0)
    this.#queue.push({ data: data.slice(), path, expiresAtUs })
    if (path !== ANY_PATH) this.#bound++
    return true
  }

  /** The path is over: what was bound to it is dropped. */
  onPathGone(pathId: PathId): void {
    for (let i = this.#queue.length - 1; i >= 0 && this.#bound > 0; i--) {
      if (this.#queue[i]?.path === pathId) this.#drop(i)
    }
  }

  #drop(index: number): void {
    this.#remove(index)
    this.dropped++
  }

  #remove(index: number): void {
    if (this.#queue[index]?.path !== ANY_PATH) this.#bound--
    if (index === 0) this.#queue.shift()
    else this.#queue.splice(index, 1)
  }

  /** Writes as many queued datagrams as fit. */
  // RFC 9221 §5.4: datagrams wait for the congestion window; they are delayed, and dropped only when the queue is full
  // RFC 9221 §6: DATAGRAM frames travel in 0-RTT or 1-RTT packets only
  write(packet: PacketWriter, pathId: PathId, nowUs: Micros): void {
    for (let i = 0; i < this.#queue.length; ) {
      const { data, path, expiresAtUs } = this.#queue[i] as Waiting
      if (expiresAtUs <= nowUs) {
        this.#drop(i)
        continue
      }
      if (path === ANY_PATH ? !this.isAdmitted : path !== pathId) {
        // Without any that are bound, the next one fares no better.
        if (this.#bound === 0) return
        i++
        continue
      }
      const needed = 1 + varintLength(data.length) + data.length
      if (needed > packet.limit - packet.at) {
        if (packet.isEliciting || packet.at > packet.payloadStart) return
        // The path's MTU shrank below it: it will never fit.
        this.#drop(i)
        continue
      }
      this.#remove(i)
      packet.byte(FrameType.DatagramLength)
      packet.varint(data.length)
      packet.copy(data)
      packet.receipt(ReceiptKind.Datagram, data.length)
      this.sent++
    }
  }
}
