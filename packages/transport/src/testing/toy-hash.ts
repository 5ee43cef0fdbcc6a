/** A small, fast, insecure hash: enough to make fakes deterministic and to notice every flipped bit. */

/** Bytes of a digest. */
export const DIGEST_BYTES = 32

/** Avalanche of one 32-bit word; a bijection. */
export function scramble(word: number): number {
  let mixed = word | 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

/** Incremental hash; `digest` does not end it, so it can serve as a running transcript. */
export class ToyHash {
  #a = 0x6a09e667
  #b = 0x3c6ef372
  #length = 0

  word(value: number): this {
    this.#a = rotate(Math.imul(this.#a ^ value, 0x9e3779b1), 13)
    this.#b = rotate(Math.imul((this.#b + value) ^ this.#a, 0x85ebca77), 17)
    this.#length++
    return this
  }

  bytes(data: Uint8Array): this {
    this.word(data.length)
    for (const byte of data) this.word(byte)
    return this
  }

  text(value: string): this {
    this.word(value.length)
    for (let i = 0; i < value.length; i++) this.word(value.charCodeAt(i))
    return this
  }

  digest(lengthBytes: number = DIGEST_BYTES): Uint8Array {
    const out = new Uint8Array(lengthBytes)
    let word = 0
    for (let i = 0; i < lengthBytes; i++) {
      if ((i & 3) === 0)
        word = scramble(this.#a ^ scramble(this.#b ^ scramble(this.#length + Math.imul(i + 1, 0x27d4eb2f))))
      out[i] = word & 0xff
      word >>>= 8
    }
    return out
  }
}

/** Digest of a label and any number of byte strings, each bound to its length. */
export function toyDigest(label: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = new ToyHash().text(label)
  for (const part of parts) hash.bytes(part)
  return hash.digest()
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}
