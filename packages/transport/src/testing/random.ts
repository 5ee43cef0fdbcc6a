/** Seeded random numbers for tests and the virtual world: the same seed gives the same run, on any machine. */
import type { RandomSource } from '../ports/crypto.ts'
import { scramble } from './toy-hash.ts'

/** A deterministic generator (xoshiro128**). Never use it for keys that guard anything. */
export interface SeededRandom extends RandomSource {
  /** Next 32 random bits as an unsigned integer. */
  uint32(): number
  /** Uniform in [0, 1) with 32 bits of resolution. */
  fraction(): number
  /** Uniform integer in [low, high], both ends included. */
  between(low: number, high: number): number
  /** True with the given probability; always consumes one draw. */
  chance(probability: number): boolean
  /** One of the items, uniformly; throws on an empty list. */
  pick<T>(items: readonly T[]): T
  /** An independent generator, so that drawing more here does not shift draws there. */
  fork(label: string): SeededRandom
}

export function createSeededRandom(seed: number): SeededRandom {
  return new Xoshiro128(seed)
}

class Xoshiro128 implements SeededRandom {
  #a: number
  #b: number
  #c: number
  #d: number
  readonly #seed: number

  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) throw new RangeError(`seed must be a safe integer, got ${seed}`)
    this.#seed = seed
    const low = seed | 0
    const high = Math.floor(seed / 4_294_967_296) | 0
    this.#a = scramble(low ^ 0x243f6a88)
    this.#b = scramble(this.#a + high + 0x13198a2e)
    this.#c = scramble(this.#b ^ 0x03707344)
    // The state must not be all zero.
    this.#d = scramble(this.#c ^ 0x299f31d0) | 1
  }

  uint32(): number {
    const product = Math.imul(this.#b, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const shifted = this.#b << 9
    this.#c ^= this.#a
    this.#d ^= this.#b
    this.#b ^= this.#c
    this.#a ^= this.#d
    this.#c ^= shifted
    this.#d = (this.#d << 11) | (this.#d >>> 21)
    return result
  }

  fraction(): number {
    return this.uint32() / 4_294_967_296
  }

  between(low: number, high: number): number {
    if (high < low) throw new RangeError(`between(${low}, ${high}): the range is empty`)
    return low + Math.floor(this.fraction() * (high - low + 1))
  }

  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError('pick() needs at least one item')
    return items[this.between(0, items.length - 1)] as T
  }

  fill(bytes: Uint8Array): void {
    let word = 0
    for (let i = 0; i < bytes.length; i++) {
      if ((i & 3) === 0) word = this.uint32()
      bytes[i] = word & 0xff
      word >>>= 8
    }
  }

  fork(label: string): SeededRandom {
    let mixed = scramble(this.#seed | 0)
    for (let i = 0; i < label.length; i++) mixed = scramble(mixed ^ label.charCodeAt(i) ^ Math.imul(i + 1, 0x9e3779b1))
    const high = scramble(mixed ^ Math.floor(this.#seed / 4_294_967_296)) & 0x1fffff
    return new Xoshiro128(high * 4_294_967_296 + (mixed >>> 0))
  }
}
