/** Unreliable datagrams (RFC 9221) on their way out: bounded, oldest dropped first. */
import { FrameType, varintLength } from '@quicether/wire'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'

export class DatagramQueue {
  readonly #queue: Uint8Array[] = []
  readonly #max: number
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

  /** Largest payload that fits a packet of `mtuBytes` and the peer's limit. */
  // RFC 8899 §5: the largest payload offered to applications follows the MTU found
  payloadBytesMax(mtuBytes: number): number {
    // Short header with 8-byte CID and 4-byte packet number, tag, frame type and length.
    return Math.max(0, Math.min(this.peerFrameBytesMax, mtuBytes - 29) - 3)
  }

  /** Queues a copy. False when the peer takes no datagrams or none so large; the oldest one goes when the queue is full. */
  push(data: Uint8Array, mtuBytes: number): boolean {
    // RFC 9221 §3: "An endpoint MUST NOT send DATAGRAM frames until it has received the max_datagram_frame_size transport parameter … with a non-zero value" nor larger ones
    if (data.length > this.payloadBytesMax(mtuBytes) || this.#max === 0) return false
    if (1 + varintLength(data.length) + data.length > this.peerFrameBytesMax) return false
    if (this.#queue.length >= this.#max) {
      this.#queue.shift()
      this.dropped++
    }
    this.#queue.push(data.slice())
    return true
  }

  /** Writes as many queued datagrams as fit. */
  // RFC 9221 §5.4: datagrams wait for the congestion window; they are delayed, and dropped only when the queue is full
  // RFC 9221 §6: DATAGRAM frames travel in 0-RTT or 1-RTT packets only
  write(packet: PacketWriter): void {
    for (let data = this.#queue[0]; data !== undefined; data = this.#queue[0]) {
      const needed = 1 + varintLength(data.length) + data.length
      if (needed > packet.limit - packet.at) {
        if (packet.isEliciting || packet.at > packet.payloadStart) return
        // The path's MTU shrank below it: it will never fit.
        this.#queue.shift()
        this.dropped++
        continue
      }
      this.#queue.shift()
      packet.byte(FrameType.DatagramLength)
      packet.varint(data.length)
      packet.copy(data)
      packet.receipt(ReceiptKind.Datagram, data.length)
      this.sent++
    }
  }
}
