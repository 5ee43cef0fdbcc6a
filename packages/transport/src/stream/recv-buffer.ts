/** Reassembly of one ordered byte flow: out-of-order pieces land in fixed blocks, reading takes them in order. */
import { TransportError } from '@quicether/wire'
import { RangeSet } from '../ranges.ts'

export const BLOCK_BYTES = 16_384
const POOL_MAX = 256
const pool: Uint8Array[] = []

/** Gaps a peer may leave in one flow; more is an attack on our memory of ranges. */
export const GAPS_MAX = 4096

function takeBlock(): Uint8Array {
  return pool.pop() ?? new Uint8Array(BLOCK_BYTES)
}

function returnBlock(block: Uint8Array): void {
  if (pool.length < POOL_MAX) pool.push(block)
}

export class RecvBuffer {
  /** Offset of the next byte to read. */
  readOffset = 0
  /** Received ranges at or above `readOffset`. */
  readonly #received: RangeSet = new RangeSet()
  /** Blocks by block number minus `#firstBlock`; undefined where nothing arrived yet. */
  readonly #blocks: (Uint8Array | undefined)[] = []
  #firstBlock = 0

  /** Stores `bytes[start, end)` at `offset`; returns how many bytes were new. Throws when gaps are too many. */
  write(offset: number, bytes: Uint8Array, start: number, end: number): number {
    let from = offset
    let source = start
    if (from < this.readOffset) {
      source += this.readOffset - from
      from = this.readOffset
    }
    if (source >= end) return 0
    const to = from + (end - source)
    const added = this.#received.add(from, to)
    if (this.#received.count > GAPS_MAX) {
      throw new TransportError('INTERNAL_ERROR', 0, `more than ${GAPS_MAX} gaps in one stream`)
    }
    if (added > 0) this.#copy(from, bytes, source, end)
    return added
  }

  #copy(offset: number, bytes: Uint8Array, start: number, end: number): void {
    let at = offset
    let source = start
    while (source < end) {
      const number = Math.floor(at / BLOCK_BYTES)
      const index = number - this.#firstBlock
      const inBlock = at - number * BLOCK_BYTES
      const take = Math.min(end - source, BLOCK_BYTES - inBlock)
      let block = this.#blocks[index]
      if (block === undefined) {
        block = takeBlock()
        while (this.#blocks.length < index) this.#blocks.push(undefined)
        this.#blocks[index] = block
      }
      block.set(bytes.subarray(source, source + take), inBlock)
      at += take
      source += take
    }
  }

  /** Bytes readable in order now. */
  get readableBytes(): number {
    return this.#received.contiguousEnd(this.readOffset) - this.readOffset
  }

  // RFC 9000 §2.2: "Endpoints MUST be able to deliver stream data to an application as an ordered byte stream."
  /** Visits what is readable, at most `maxBytes`, block by block, and releases it. Returns the bytes visited. */
  read(visit: (chunk: Uint8Array) => void, maxBytes = Infinity): number {
    const end = Math.min(this.#received.contiguousEnd(this.readOffset), this.readOffset + maxBytes)
    const total = end - this.readOffset
    while (this.readOffset < end) {
      const inBlock = this.readOffset - this.#firstBlock * BLOCK_BYTES
      const take = Math.min(end - this.readOffset, BLOCK_BYTES - inBlock)
      const block = this.#blocks[0] as Uint8Array
      // Advance before visiting: a visitor that throws must not see the bytes again.
      this.readOffset += take
      const isBlockDone = inBlock + take === BLOCK_BYTES
      if (isBlockDone) {
        this.#blocks.shift()
        this.#firstBlock++
      }
      try {
        visit(block.subarray(inBlock, inBlock + take))
      } finally {
        if (isBlockDone) returnBlock(block)
        this.#received.remove(0, this.readOffset)
      }
    }
    this.#releaseIdleBlock()
    return total
  }

  /** A drained buffer keeps no block: idle streams cost nothing. */
  #releaseIdleBlock(): void {
    if (this.#received.count > 0) return
    for (const block of this.#blocks) if (block !== undefined) returnBlock(block)
    this.#blocks.length = 0
    this.#firstBlock = Math.floor(this.readOffset / BLOCK_BYTES)
  }

  /** Drops everything unread. */
  discard(): void {
    this.#received.clear()
    this.#releaseIdleBlock()
  }

  /** Bytes held in blocks, for the limits tests. */
  get heldBytes(): number {
    let held = 0
    for (const block of this.#blocks) if (block !== undefined) held += BLOCK_BYTES
    return held
  }
}
