/** Bytes of one stream or CRYPTO flow on their way out: pending, in flight, lost, acknowledged. */
import { RangeSet } from '../ranges.ts'

const HEAD_COMPACT = 64

export class SendBuffer {
  /** Offset behind the last byte written by the application. */
  end = 0
  /** Offset of the next byte never sent. */
  sentEnd = 0
  /** Everything below is acknowledged and released. */
  base = 0
  /** Sent, declared lost, to be sent again. */
  readonly lost: RangeSet = new RangeSet()
  readonly #acked: RangeSet = new RangeSet()
  readonly #chunks: Uint8Array[] = []
  readonly #chunkStarts: number[] = []
  #head = 0
  /** Chunk that holds the byte read last; sequential reads start there. */
  #cursor = 0

  /** Bytes written and not yet acknowledged. */
  get bufferedBytes(): number {
    return this.end - this.base
  }

  // RFC 9000 §2.2: the bytes at an offset never change: a retransmission copies from the same chunk
  /** Keeps `data` by reference. */
  write(data: Uint8Array): void {
    if (data.length === 0) return
    this.#chunks.push(data)
    this.#chunkStarts.push(this.end)
    this.end += data.length
  }

  /** Copies `[offset, offset + length)` to `target` at `at`. The range is written and not released. */
  copyTo(target: Uint8Array, at: number, offset: number, length: number): void {
    let index = this.#find(offset)
    let from = offset
    let to = at
    let left = length
    while (left > 0) {
      const chunk = this.#chunks[index] as Uint8Array
      const inChunk = from - (this.#chunkStarts[index] as number)
      const take = Math.min(left, chunk.length - inChunk)
      if (take < 24) for (let i = 0; i < take; i++) target[to + i] = chunk[inChunk + i] as number
      else target.set(inChunk === 0 && take === chunk.length ? chunk : chunk.subarray(inChunk, inChunk + take), to)
      from += take
      to += take
      left -= take
      if (left > 0) index++
    }
    this.#cursor = index
  }

  #find(offset: number): number {
    const starts = this.#chunkStarts
    const cursor = this.#cursor
    if (cursor >= this.#head && cursor < starts.length && (starts[cursor] as number) <= offset) {
      if (cursor + 1 >= starts.length || (starts[cursor + 1] as number) > offset) return cursor
      if (cursor + 2 >= starts.length || (starts[cursor + 2] as number) > offset) return cursor + 1
    }
    let low = this.#head
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((starts[middle] as number) <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  /** The peer has `[offset, offset + length)`. */
  onAcked(offset: number, length: number): void {
    if (length === 0) return
    const end = offset + length
    if (this.lost.count > 0) this.lost.remove(offset, end)
    if (offset <= this.base && this.#acked.count === 0) {
      if (end > this.base) this.#release(end)
      return
    }
    this.#acked.add(offset, end)
    const contiguous = this.#acked.contiguousEnd(this.base)
    if (contiguous > this.base) {
      this.#acked.remove(0, contiguous)
      this.#release(contiguous)
    }
  }

  /** A packet with `[offset, offset + length)` is lost; parts acknowledged meanwhile stay acknowledged. */
  onLost(offset: number, length: number): void {
    const start = Math.max(offset, this.base)
    const end = offset + length
    if (start >= end) return
    this.lost.add(start, end)
    const { starts, ends } = this.#acked
    for (let i = 0; i < starts.length && (starts[i] as number) < end; i++) {
      this.lost.remove(starts[i] as number, ends[i] as number)
    }
  }

  /** Whether any byte of `[start, end)` is not acknowledged. */
  isOutstanding(start: number, end: number): boolean {
    if (end <= this.base) return false
    const { starts, ends } = this.#acked
    for (let i = 0; i < starts.length; i++) {
      if ((starts[i] as number) <= Math.max(start, this.base)) {
        if ((ends[i] as number) >= end) return false
      } else break
    }
    return true
  }

  /** Everything counts as never sent. Only valid while nothing is acknowledged. */
  rewind(): void {
    this.sentEnd = this.base
    this.lost.clear()
  }

  /** Forgets what is not acknowledged: the stream was reset. */
  discard(): void {
    this.#chunks.length = 0
    this.#chunkStarts.length = 0
    this.#head = 0
    this.#cursor = 0
    this.lost.clear()
    this.#acked.clear()
    this.base = this.end
    // Nothing is new any more: a stream that still stands in a queue has no bytes to fill packets with.
    this.sentEnd = this.end
  }

  #release(base: number): void {
    this.base = base
    const { length } = this.#chunkStarts
    while (this.#head < length) {
      const start = this.#chunkStarts[this.#head] as number
      if (start + (this.#chunks[this.#head] as Uint8Array).length > base) break
      this.#chunks[this.#head] = EMPTY
      this.#head++
    }
    if (this.#head >= HEAD_COMPACT && this.#head * 2 >= length) {
      this.#chunks.splice(0, this.#head)
      this.#chunkStarts.splice(0, this.#head)
      this.#cursor = Math.max(0, this.#cursor - this.#head)
      this.#head = 0
    }
  }
}

const EMPTY = new Uint8Array(0)
