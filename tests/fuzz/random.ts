/** Seeded randomness: the same seed gives the same inputs on every machine. */

/** sfc32 after a short warm-up: 32-bit numbers, good enough to choose mutations. */
export class Random {
  #a: number
  #b = 0x9e3779b9
  #c = 0x243f6a88
  #counter = 1

  constructor(seed: number) {
    this.#a = seed >>> 0
    for (let round = 0; round < 12; round++) this.u32()
  }

  u32(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** 0 to `bound` - 1; `bound` is at least 1. */
  below(bound: number): number {
    return this.u32() % bound
  }

  /** One of a non-empty list. */
  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item
  }
}
