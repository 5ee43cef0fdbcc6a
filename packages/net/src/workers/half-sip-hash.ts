/** HalfSipHash-1-3: a keyed hash of 32-bit words, small enough for a classic BPF program. */

/** One operation on the state; `rotated` turns `of` left by `by` bits and mixes in `with`, where there is one. */
type Operation =
  | { readonly kind: 'add'; readonly to: number; readonly from: number }
  | { readonly kind: 'turn'; readonly of: number; readonly by: number; readonly with?: number }

/** The round of SipHash, as data: a program for the kernel is made from it, too. */
export const halfSipRound: readonly Operation[] = [
  { kind: 'add', to: 0, from: 1 },
  { kind: 'turn', of: 1, by: 5, with: 0 },
  { kind: 'turn', of: 0, by: 16 },
  { kind: 'add', to: 2, from: 3 },
  { kind: 'turn', of: 3, by: 8, with: 2 },
  { kind: 'add', to: 0, from: 3 },
  { kind: 'turn', of: 3, by: 7, with: 0 },
  { kind: 'add', to: 2, from: 1 },
  { kind: 'turn', of: 1, by: 13, with: 2 },
  { kind: 'turn', of: 2, by: 16 },
]

/** Rounds for each word and at the end. */
export const HALF_SIP_ROUNDS = { word: 1, end: 3 } as const
/** The end of the input: its length in the high byte. Inputs are always two words here. */
export const HALF_SIP_LENGTH_WORD: number = 8 << 24

/** The state that a key begins with. */
export function halfSipStart(key0: number, key1: number): readonly [number, number, number, number] {
  return [key0 | 0, key1 | 0, (key0 ^ 0x6c796765) | 0, (key1 ^ 0x74656462) | 0]
}

/** Unsigned 32-bit hash of two words under a key of two. */
export function halfSipHash(key0: number, key1: number, word0: number, word1: number): number {
  let v0 = key0 | 0
  let v1 = key1 | 0
  let v2 = (key0 ^ 0x6c796765) | 0
  let v3 = (key1 ^ 0x74656462) | 0
  const rounds = 2 * HALF_SIP_ROUNDS.word + HALF_SIP_ROUNDS.word + HALF_SIP_ROUNDS.end
  for (let round = 0; round < rounds; round++) {
    const word = round === 0 ? word0 : round === 1 ? word1 : round === 2 ? HALF_SIP_LENGTH_WORD : 0
    if (round === 3) v2 ^= 0xff
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  return (v1 ^ v3) >>> 0
}
