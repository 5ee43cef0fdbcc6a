/** Endless pseudo-random contents for streams: the reader knows each byte that the writer must have sent. */
import { createSeededRandom } from '@quicether/transport/testing'

/** A prime, so that no packet size or window ever falls in step with the repetition. */
const PERIOD_BYTES = 65_521
/** Longest piece that `slice` hands out. */
export const SLICE_BYTES_MAX = 65_536

const table = makeTable()
const tableView = new DataView(table.buffer)

function makeTable(): Uint8Array {
  const bytes = new Uint8Array(PERIOD_BYTES + SLICE_BYTES_MAX)
  const period = new Uint8Array(PERIOD_BYTES)
  createSeededRandom(0x9a77e49).fill(period)
  for (let at = 0; at < bytes.length; at += PERIOD_BYTES)
    bytes.set(period.subarray(0, Math.min(PERIOD_BYTES, bytes.length - at)), at)
  return bytes
}

/** The contents that belong to one key; reading it costs no copy. */
export class Pattern {
  readonly #start: number

  constructor(key: number) {
    this.#start = (Math.imul(key, 0x9e3779b1) >>> 0) % PERIOD_BYTES
  }

  /** Bytes `[offset, offset + length)`, at most `SLICE_BYTES_MAX`. Shared memory: never write to it. */
  slice(offset: number, length: number): Uint8Array {
    const at = (this.#start + offset) % PERIOD_BYTES
    return table.subarray(at, at + Math.min(length, SLICE_BYTES_MAX))
  }

  /** Index of the first byte of `chunk` that differs from the pattern at `offset`; -1 when all agree. */
  mismatch(offset: number, chunk: Uint8Array): number {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    for (let from = 0; from < chunk.length; from += SLICE_BYTES_MAX) {
      const at = (this.#start + offset + from) % PERIOD_BYTES
      const wrongAt = differsAt(view, from, Math.min(SLICE_BYTES_MAX, chunk.length - from), at)
      if (wrongAt >= 0) return from + wrongAt
    }
    return -1
  }
}

/** Four bytes at a time: every byte of every transfer comes through here. The table is long enough for any slice. */
function differsAt(view: DataView, from: number, length: number, at: number): number {
  let i = 0
  while (i + 4 <= length && view.getInt32(from + i) === tableView.getInt32(at + i)) i += 4
  while (i < length && view.getUint8(from + i) === tableView.getUint8(at + i)) i++
  return i < length ? i : -1
}
