/** Joins the unread tail of earlier chunks with the next chunk, so that instructions may be split anywhere. */
import type { QpackReader } from './primitives.ts'

export class PendingBytes {
  readonly #maxBytes: number
  #bytes: Uint8Array
  #length: number

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#bytes = new Uint8Array(0)
    this.#length = 0
  }

  /** Points `reader` at everything unread, the new chunk last. */
  begin(chunk: Uint8Array, reader: QpackReader): void {
    if (this.#length === 0) {
      reader.rewind(chunk, 0, chunk.length)
      return
    }
    const needed = this.#length + chunk.length
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2, 256))
      grown.set(this.#bytes.subarray(0, this.#length))
      this.#bytes = grown
    }
    this.#bytes.set(chunk, this.#length)
    this.#length = needed
    reader.rewind(this.#bytes, 0, needed)
  }

  /** Keeps what `reader` has not consumed. False = it is more than the limit. */
  end(reader: QpackReader): boolean {
    const rest = reader.end - reader.offset
    if (rest > this.#maxBytes) return false
    if (reader.bytes === this.#bytes) {
      this.#bytes.copyWithin(0, reader.offset, reader.end)
      this.#length = rest
      // One large burst must not hold its memory for the life of the connection.
      if (rest === 0 && this.#bytes.length > 4096) this.#bytes = new Uint8Array(0)
      return true
    }
    if (rest > 0) {
      if (this.#bytes.length < rest) this.#bytes = new Uint8Array(Math.max(rest, 64))
      this.#bytes.set(reader.bytes.subarray(reader.offset, reader.end), 0)
    }
    this.#length = rest
    return true
  }
}
