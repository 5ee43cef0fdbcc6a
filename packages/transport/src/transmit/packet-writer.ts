/** The packet being built: where its frames go and what its receipts will say. One object, reused for every packet. */
import { writeVarint } from '@quicether/wire'
import type { PacketSpace } from '../recovery/packet-space.ts'

export class PacketWriter {
  bytes: Uint8Array = new Uint8Array(0)
  /** Where the next byte goes. */
  at = 0
  /** Frames must end at or before this offset; the AEAD tag follows. */
  limit = 0
  /** A frame that elicits an acknowledgment was written. */
  isEliciting = false
  level = 0
  /** Where the frames of this packet begin. */
  payloadStart = 0
  #space: PacketSpace | undefined

  begin(bytes: Uint8Array, at: number, limit: number, level: number, space: PacketSpace): void {
    this.bytes = bytes
    this.at = at
    this.limit = limit
    this.isEliciting = false
    this.level = level
    this.payloadStart = at
    this.#space = space
  }

  get space(): PacketSpace {
    return this.#space as PacketSpace
  }

  get room(): number {
    return this.limit - this.at
  }

  byte(value: number): void {
    this.bytes[this.at++] = value
  }

  varint(value: number): void {
    this.at = writeVarint(this.bytes, this.at, value)
  }

  copy(data: Uint8Array): void {
    this.bytes.set(data, this.at)
    this.at += data.length
  }

  /** Notes an ack-eliciting frame that was just written, for its owner to learn its fate. */
  receipt(kind: number, a = 0, b = 0, c = 0): void {
    this.isEliciting = true
    this.space.sent.pushReceipt(kind, a, b, c)
  }

  /** Notes a frame that elicits nothing by itself (ACK). */
  quietReceipt(kind: number, a = 0, b = 0, c = 0): void {
    this.space.sent.pushReceipt(kind, a, b, c)
  }
}
