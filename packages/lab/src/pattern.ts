/** Endless pseudo-random contents for streams: the reader knows each byte that the writer must have sent. */
import { createSeededRandom } from '@quicether/transport/testing'

/** A prime, so that no packet size or window ever falls in step with the repetition. */
const PERIOD_BYTES = 65_521
/** Longest piece that `slice` hands out. */
export const SLICE_BYTES_MAX = 65_536

const table = makeTable()

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
    let at = (this.#start + offset) % PERIOD_BYTES
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] !== table[at]) return i
      if (++at === PERIOD_BYTES) at = 0
    }
    return -1
  }
}
