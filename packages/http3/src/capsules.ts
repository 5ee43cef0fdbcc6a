/** Capsules (RFC 9297 §3.2): type, length and value on the data stream of an extended CONNECT. */
import { Reader, varintLength, writeVarint } from '@quicether/wire'
import { Http3Error } from './errors.ts'

/** RFC 9297 §5.4; other protocols have their own. */
export const CapsuleType = { Datagram: 0x00 } as const

export interface Capsule {
  readonly type: number
  readonly value: Uint8Array
}

/** Largest capsule of a known type that is gathered in memory. */
const CAPSULE_BYTES_MAX = 65_536

/** One capsule as bytes. */
export function encodeCapsule(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(varintLength(type) + varintLength(value.length) + value.length)
  bytes.set(value, writeVarint(bytes, writeVarint(bytes, 0, type), value.length))
  return bytes
}

/** Splits a data stream into capsules, whatever its fragmentation; unknown types pass by without being gathered. */
export class CapsuleParser {
  readonly #isKnown: (type: number) => boolean
  readonly #bytesMax: number
  readonly #header: Uint8Array
  readonly #reader: Reader
  #headerLength: number
  #type: number
  /** Bytes of the value still to come; -1 = the header is not complete. */
  #remaining: number
  #value: Uint8Array | undefined
  #valueLength: number

  /** `isKnown` chooses the types that `push` returns; `bytesMax` bounds their values. */
  constructor(isKnown: (type: number) => boolean, bytesMax: number = CAPSULE_BYTES_MAX) {
    this.#isKnown = isKnown
    this.#bytesMax = bytesMax
    this.#header = new Uint8Array(16)
    this.#reader = new Reader(this.#header)
    this.#headerLength = 0
    this.#type = 0
    this.#remaining = -1
    this.#value = undefined
    this.#valueLength = 0
  }

  /** Capsules that `chunk` completes. Throws Http3Error(ERR_HTTP3_MESSAGE) for one that is too long. */
  push(chunk: Uint8Array): Capsule[] {
    const capsules: Capsule[] = []
    let at = 0
    while (at < chunk.length || this.#remaining === 0) {
      if (this.#remaining < 0) {
        this.#readHeader(chunk[at++] as number)
        continue
      }
      const take = Math.min(this.#remaining, chunk.length - at)
      // RFC 9297 §3.2: "Endpoints which receive a Capsule with an unknown Capsule Type MUST silently drop that Capsule"
      if (this.#value !== undefined) this.#gather(this.#value, chunk.subarray(at, at + take))
      at += take
      this.#remaining -= take
      if (this.#remaining > 0) break
      if (this.#value !== undefined)
        capsules.push({ type: this.#type, value: this.#value.subarray(0, this.#valueLength) })
      this.#remaining = -1
      this.#headerLength = 0
      this.#value = undefined
    }
    return capsules
  }

  // RFC 9297 §3.3: "If the receive side of a stream carrying Capsules is terminated cleanly and the last Capsule on the stream was truncated, this MUST be treated as if the message was malformed"
  /** The stream has ended. Throws Http3Error(ERR_HTTP3_MESSAGE) inside a capsule. */
  end(): void {
    if (this.#remaining < 0 && this.#headerLength === 0) return
    throw new Http3Error('ERR_HTTP3_MESSAGE', 'the data stream ends inside a capsule', { by: 'peer' })
  }

  #readHeader(byte: number): void {
    this.#header[this.#headerLength++] = byte
    const typeBytes = 1 << ((this.#header[0] as number) >>> 6)
    if (this.#headerLength <= typeBytes) return
    const lengthBytes = 1 << ((this.#header[typeBytes] as number) >>> 6)
    if (this.#headerLength < typeBytes + lengthBytes) return
    this.#reader.rewind(this.#header, 0, this.#headerLength)
    this.#type = this.#reader.varintClamped()
    this.#remaining = this.#reader.varintClamped()
    this.#valueLength = 0
    if (!this.#isKnown(this.#type)) return
    if (this.#remaining > this.#bytesMax) {
      const what = `capsule 0x${this.#type.toString(16)} of ${this.#remaining} bytes`
      throw new Http3Error('ERR_HTTP3_MESSAGE', `${what} is longer than the ${this.#bytesMax} allowed`, { by: 'peer' })
    }
    this.#value = new Uint8Array(Math.min(this.#remaining, 1_024))
  }

  /** Memory grows with what has arrived, never with what was promised. */
  #gather(value: Uint8Array, piece: Uint8Array): void {
    const needed = this.#valueLength + piece.length
    let target = value
    if (needed > value.length) {
      target = new Uint8Array(Math.max(needed, value.length * 2))
      target.set(value.subarray(0, this.#valueLength))
      this.#value = target
    }
    target.set(piece, this.#valueLength)
    this.#valueLength = needed
  }
}
