/** Toy authenticated encryption with the shape of RFC 9001 §5: fast integer arithmetic, no security whatsoever. */
import { scramble } from './toy-hash.ts'

export const TAG_BYTES = 16
export const SAMPLE_BYTES = 16

/** One directional secret expanded to the words that the cipher mixes in. */
export interface AeadKey {
  readonly a: number
  readonly b: number
  readonly c: number
}

export function expandKey(secret: Uint8Array): AeadKey {
  const view = new DataView(secret.buffer, secret.byteOffset, secret.byteLength)
  return {
    a: scramble(view.getInt32(0, true) ^ view.getInt32(12, true)),
    b: scramble(view.getInt32(4, true) ^ view.getInt32(16, true)),
    c: scramble(view.getInt32(8, true) ^ view.getInt32(20, true)),
  }
}

/** Cipher over a slab. Holds scratch words so that a packet costs no allocation. */
export class FakeAead {
  #streamSeed = 0
  #streamKey = 0
  #macA = 0
  #macB = 0

  /** Encrypts `[payloadAt, tagAt)` in place and writes 16 bytes of tag at `tagAt`; `[headerAt, payloadAt)` is bound. */
  seal(
    view: DataView,
    key: AeadKey,
    pathId: number,
    pnLow: number,
    pnHigh: number,
    headerAt: number,
    payloadAt: number,
    tagAt: number,
  ): void {
    this.#begin(view, key, pathId, pnLow, pnHigh, headerAt, payloadAt)
    this.#crypt(view, payloadAt, tagAt, false)
    for (let i = 0; i < 4; i++) view.setInt32(tagAt + 4 * i, this.#tagWord(key, i), true)
  }

  /** Inverse of `seal`. False = the tag does not match; the bytes are then as they were. */
  open(
    view: DataView,
    key: AeadKey,
    pathId: number,
    pnLow: number,
    pnHigh: number,
    headerAt: number,
    payloadAt: number,
    tagAt: number,
  ): boolean {
    this.#begin(view, key, pathId, pnLow, pnHigh, headerAt, payloadAt)
    this.#crypt(view, payloadAt, tagAt, true)
    let difference = 0
    for (let i = 0; i < 4; i++) difference |= view.getInt32(tagAt + 4 * i, true) ^ this.#tagWord(key, i)
    if (difference === 0) return true
    this.#begin(view, key, pathId, pnLow, pnHigh, headerAt, payloadAt)
    this.#crypt(view, payloadAt, tagAt, false)
    return false
  }

  #begin(
    view: DataView,
    key: AeadKey,
    pathId: number,
    pnLow: number,
    pnHigh: number,
    headerAt: number,
    payloadAt: number,
  ): void {
    // RFC 10069 §2.4: the nonce binds path ID and packet number.
    const nonce = scramble(pnLow ^ scramble(pnHigh ^ scramble(pathId ^ key.a)))
    this.#streamSeed = nonce ^ key.b
    this.#streamKey = scramble(nonce + key.c)
    this.#macA = nonce ^ key.c
    this.#macB = (nonce + key.a) | 0
    for (let i = headerAt; i < payloadAt; i++) this.#absorb(view.getUint8(i))
    this.#absorb(payloadAt - headerAt)
  }

  #absorb(word: number): void {
    const a = Math.imul(this.#macA ^ word, 0x9e3779b1)
    this.#macA = (a << 13) | (a >>> 19)
    const b = Math.imul((this.#macB + word) ^ this.#macA, 0x85ebca77)
    this.#macB = (b << 17) | (b >>> 15)
  }

  #crypt(view: DataView, start: number, end: number, opening: boolean): void {
    let counter = this.#streamSeed
    const key = this.#streamKey
    let macA = this.#macA
    let macB = this.#macB
    const wordsEnd = start + ((end - start) & ~3)
    let at = start
    for (; at < wordsEnd; at += 4) {
      counter = (counter + 0x6d2b79f5) | 0
      const stream = Math.imul(counter ^ (counter >>> 15), key | 1) ^ (key >>> 3)
      const input = view.getInt32(at, true)
      const output = input ^ stream ^ (stream >>> 14)
      view.setInt32(at, output, true)
      const plain = opening ? output : input
      macA = Math.imul(macA ^ plain, 0x9e3779b1)
      macA = (macA << 13) | (macA >>> 19)
      macB = Math.imul((macB + plain) ^ macA, 0x85ebca77)
      macB = (macB << 17) | (macB >>> 15)
    }
    this.#macA = macA
    this.#macB = macB
    for (; at < end; at++) {
      counter = (counter + 0x6d2b79f5) | 0
      const input = view.getUint8(at)
      const output = (input ^ scramble(counter ^ key)) & 0xff
      view.setUint8(at, output)
      this.#absorb(opening ? output : input)
    }
    this.#absorb(end - start)
  }

  #tagWord(key: AeadKey, index: number): number {
    return scramble(this.#macA ^ scramble(this.#macB ^ scramble(key.b ^ Math.imul(index + 1, 0x27d4eb2f))))
  }
}

/**
 * Header protection mask word: bits 0 to 7 for the first byte, `packetNumberMask` for the packet number.
 * RFC 9001 §5.4.1: five mask bytes come from a 16-byte sample.
 */
export function headerMask(view: DataView, sampleAt: number, key: AeadKey): number {
  const low = view.getInt32(sampleAt, true) ^ Math.imul(view.getInt32(sampleAt + 4, true), 0x9e3779b1)
  const high = view.getInt32(sampleAt + 8, true) ^ Math.imul(view.getInt32(sampleAt + 12, true), 0x85ebca77)
  return scramble(low ^ scramble(high ^ key.a) ^ key.c)
}

/** The four mask bytes of the packet number, from the word of `headerMask`; byte 0 in the low bits. */
export function packetNumberMask(mask: number): number {
  return scramble(mask ^ 0x5bd1e995)
}
