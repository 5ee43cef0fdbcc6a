/** The test body that every peer can make and check by itself: blocks of 8192 bytes, each led by its number. */
import { createHash } from 'node:crypto'

const BLOCK_BYTES = 8192

const baseBlock = makeBaseBlock()

function makeBaseBlock(): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES)
  for (let index = 0; index < BLOCK_BYTES / 32; index += 1) {
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(index)
    block.set(createHash('sha256').update('interop').update(counter).digest(), index * 32)
  }
  return block
}

/** Bytes `[offset, offset + length)` of the test body. */
export function bodyPart(offset: number, length: number): Uint8Array {
  const out = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const at = offset + done
    const index = Math.floor(at / BLOCK_BYTES)
    const block = Uint8Array.from(baseBlock)
    new DataView(block.buffer).setBigUint64(0, BigInt(index))
    const within = at - index * BLOCK_BYTES
    const part = block.subarray(within, within + Math.min(BLOCK_BYTES - within, length - done))
    out.set(part, done)
    done += part.length
  }
  return out
}

/** Yields the test body of `sizeBytes` in chunks; `onChunk` sees the size of each. */
export function* bodyChunks(sizeBytes: number, chunkBytes = 65_536): Generator<Uint8Array> {
  for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
    yield bodyPart(offset, Math.min(chunkBytes, sizeBytes - offset))
  }
}

const knownSha256 = new Map<number, string>()

/** SHA-256 in hex of the test body of `sizeBytes`. */
export function bodySha256(sizeBytes: number): string {
  const known = knownSha256.get(sizeBytes)
  if (known !== undefined) return known
  const hash = createHash('sha256')
  for (const chunk of bodyChunks(sizeBytes)) hash.update(chunk)
  const digest = hash.digest('hex')
  knownSha256.set(sizeBytes, digest)
  return digest
}
