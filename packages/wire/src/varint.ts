/** Variable-length integers of RFC 9000 §16, read and written without objects or BigInt. */
import { TransportError } from './errors.ts'

/** Largest value a varint can carry, 2^62 - 1, as the nearest double below what we ever send. */
export const VARINT_MAX_EXACT = Number.MAX_SAFE_INTEGER

const TWO_32 = 2 ** 32

/** Bytes `writeVarint` will use: 1, 2, 4 or 8. `value` is a non-negative safe integer. */
export function varintLength(value: number): number {
  if (value < 0x40) return 1
  if (value < 0x4000) return 2
  if (value < 0x4000_0000) return 4
  return 8
}

/** Writes `value` in the shortest form at `offset` and returns the offset behind it. The caller has made room. */
export function writeVarint(bytes: Uint8Array, offset: number, value: number): number {
  if (value < 0x40) {
    bytes[offset] = value
    return offset + 1
  }
  if (value < 0x4000) {
    bytes[offset] = 0x40 | (value >>> 8)
    bytes[offset + 1] = value & 0xff
    return offset + 2
  }
  if (value < 0x4000_0000) {
    bytes[offset] = 0x80 | (value >>> 24)
    bytes[offset + 1] = (value >>> 16) & 0xff
    bytes[offset + 2] = (value >>> 8) & 0xff
    bytes[offset + 3] = value & 0xff
    return offset + 4
  }
  const high = Math.floor(value / TWO_32)
  const low = value >>> 0
  bytes[offset] = 0xc0 | (high >>> 24)
  bytes[offset + 1] = (high >>> 16) & 0xff
  bytes[offset + 2] = (high >>> 8) & 0xff
  bytes[offset + 3] = high & 0xff
  bytes[offset + 4] = low >>> 24
  bytes[offset + 5] = (low >>> 16) & 0xff
  bytes[offset + 6] = (low >>> 8) & 0xff
  bytes[offset + 7] = low & 0xff
  return offset + 8
}

/** Writes a 2-byte varint whatever the value (0..16383), for lengths filled in later. */
export function writeVarint2(bytes: Uint8Array, offset: number, value: number): number {
  bytes[offset] = 0x40 | (value >>> 8)
  bytes[offset + 1] = value & 0xff
  return offset + 2
}

/** A cursor over `bytes[offset, end)`. Reading past the end throws FRAME_ENCODING_ERROR naming `what`. */
export class Reader {
  bytes: Uint8Array
  offset: number
  end: number
  /** Type of the frame being read, for error messages. */
  frameType: number

  constructor(bytes: Uint8Array, offset = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.offset = offset
    this.end = end
    this.frameType = 0
  }

  /** Points the cursor elsewhere; lets one reader serve every packet. */
  rewind(bytes: Uint8Array, offset: number, end: number): void {
    this.bytes = bytes
    this.offset = offset
    this.end = end
    this.frameType = 0
  }

  get remaining(): number {
    return this.end - this.offset
  }

  u8(): number {
    if (this.offset >= this.end) this.#short(1)
    return this.bytes[this.offset++] as number
  }

  u16(): number {
    return this.u8() * 256 + this.u8()
  }

  u32(): number {
    return this.u16() * 65_536 + this.u16()
  }

  /** Moves past `length` bytes and returns the offset where they start. */
  skip(length: number): number {
    const start = this.offset
    if (length > this.end - start) this.#short(length)
    this.offset = start + length
    return start
  }

  /** A varint that must be below 2^53; larger ones are FRAME_ENCODING_ERROR. */
  varint(): number {
    const value = this.varintClamped()
    if (value >= VARINT_MAX_EXACT) {
      throw new TransportError('FRAME_ENCODING_ERROR', this.frameType, 'integer of 2^53 or more')
    }
    return value
  }

  /** A varint where a peer may legally send up to 2^62-1 as "no limit": values of 2^53 and more become 2^53-1. */
  varintClamped(): number {
    const bytes = this.bytes
    const offset = this.offset
    if (offset >= this.end) this.#short(1)
    const first = bytes[offset] as number
    if (first < 0x40) {
      this.offset = offset + 1
      return first
    }
    const length = 1 << (first >>> 6)
    if (offset + length > this.end) this.#short(length)
    this.offset = offset + length
    if (length === 2) return ((first & 0x3f) << 8) | (bytes[offset + 1] as number)
    const high =
      (((first & 0x3f) << 24) |
        ((bytes[offset + 1] as number) << 16) |
        ((bytes[offset + 2] as number) << 8) |
        (bytes[offset + 3] as number)) >>>
      0
    if (length === 4) return high
    const low =
      (((bytes[offset + 4] as number) << 24) |
        ((bytes[offset + 5] as number) << 16) |
        ((bytes[offset + 6] as number) << 8) |
        (bytes[offset + 7] as number)) >>>
      0
    const value = high * TWO_32 + low
    return value > VARINT_MAX_EXACT ? VARINT_MAX_EXACT : value
  }

  #short(needed: number): never {
    throw new TransportError('FRAME_ENCODING_ERROR', this.frameType, `needs ${needed} bytes, ${this.remaining} left`)
  }
}
