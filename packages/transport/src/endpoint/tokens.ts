/** Address validation tokens (RFC 9000 §8.1): made and checked with the endpoint's own key, bound to the address. */
import { Reader } from '@quicether/wire'
import type { CryptoPort, RandomSource } from '../ports/crypto.ts'
import type { Micros, PathTuple } from '../ports/datagrams.ts'

const KIND_RETRY = 1
const KIND_NEW = 2
/** A Retry token serves the next flight only; that flight may be repeated for as long as a handshake may last. */
const RETRY_LIFETIME_US = 30_000_000
/** NEW_TOKEN tokens serve later connections. */
const NEW_LIFETIME_US = 24 * 3_600_000_000
/** Endpoints with one key read clocks of their own: a token may come from this far in the future. */
const CLOCK_SKEW_US = 60_000_000

export type TokenVerdict =
  | { readonly kind: 'none' }
  /** From a Retry of ours: the address is validated, these CIDs were involved. */
  | { readonly kind: 'retry'; readonly originalDcid: Uint8Array; readonly retryScid: Uint8Array }
  | { readonly kind: 'new' }
  /** Ours by form but not acceptable: expired or from another address. */
  | { readonly kind: 'invalid' }

const encoder = new TextEncoder()

export class TokenMint {
  readonly #crypto: CryptoPort
  readonly #random: RandomSource
  readonly #epochOffsetUs: Micros

  /** @param epochOffsetUs what added to the endpoint's time gives one shared with all that have the same key. */
  constructor(crypto: CryptoPort, random: RandomSource, epochOffsetUs: Micros = 0) {
    this.#crypto = crypto
    this.#random = random
    this.#epochOffsetUs = epochOffsetUs
  }

  // RFC 9000 §8.1.4: Retry tokens are bound to IP address and port, NEW_TOKEN tokens to the IP address
  // RFC 9000 §8.1.1: "A token sent in a NEW_TOKEN frame or a Retry packet MUST be constructed in a way that allows the server to identify how it was provided to a client": the first byte, bound by separate sealing
  retry(tuple: PathTuple, originalDcid: Uint8Array, retryScid: Uint8Array, nowUs: Micros): Uint8Array {
    const plain = new Uint8Array(11 + originalDcid.length + retryScid.length)
    this.#writeHeader(plain, KIND_RETRY, nowUs)
    plain[9] = originalDcid.length
    plain.set(originalDcid, 10)
    plain[10 + originalDcid.length] = retryScid.length
    plain.set(retryScid, 11 + originalDcid.length)
    return this.#seal(plain, retryAddress(tuple), KIND_RETRY)
  }

  // RFC 9369 §5: "Servers MUST validate the originating version of any session ticket or token": it is part of what is sealed
  fresh(tuple: PathTuple, version: number, nowUs: Micros): Uint8Array {
    const plain = new Uint8Array(9)
    this.#writeHeader(plain, KIND_NEW, nowUs)
    return this.#seal(plain, newAddress(tuple, version), KIND_NEW)
  }

  // RFC 9000 §8.1.3: tokens of Retry and NEW_TOKEN must be told apart
  #seal(plain: Uint8Array, address: Uint8Array, kind: number): Uint8Array {
    const nonce = new Uint8Array(12)
    this.#random.fill(nonce)
    const sealed = this.#crypto.sealToken(plain, address, nonce)
    const token = new Uint8Array(1 + sealed.length)
    token[0] = kind
    token.set(sealed, 1)
    return token
  }

  check(token: Uint8Array, tuple: PathTuple, version: number, nowUs: Micros): TokenVerdict {
    const kind = token[0]
    if (kind !== KIND_RETRY && kind !== KIND_NEW) return { kind: 'none' }
    const address = kind === KIND_RETRY ? retryAddress(tuple) : newAddress(tuple, version)
    const plain = this.#crypto.openToken(token.subarray(1), address)
    if (plain === undefined || plain[0] !== kind || plain.length < 9)
      return kind === KIND_RETRY ? { kind: 'invalid' } : { kind: 'none' }
    const reader = new Reader(plain, 1)
    const ageUs = nowUs + this.#epochOffsetUs - (reader.u32() * 2 ** 32 + reader.u32())
    const lifetimeUs = kind === KIND_RETRY ? RETRY_LIFETIME_US : NEW_LIFETIME_US
    if (ageUs < -CLOCK_SKEW_US || ageUs > lifetimeUs)
      return kind === KIND_RETRY ? { kind: 'invalid' } : { kind: 'none' }
    if (kind === KIND_NEW) return { kind: 'new' }
    const originalLength = reader.u8()
    const originalStart = reader.skip(originalLength)
    const scidLength = reader.u8()
    const scidStart = reader.skip(scidLength)
    return {
      kind: 'retry',
      originalDcid: plain.slice(originalStart, originalStart + originalLength),
      retryScid: plain.slice(scidStart, scidStart + scidLength),
    }
  }

  #writeHeader(plain: Uint8Array, kind: number, nowUs: Micros): void {
    plain[0] = kind
    const view = new DataView(plain.buffer)
    const us = Math.floor(nowUs + this.#epochOffsetUs)
    view.setUint32(1, Math.floor(us / 2 ** 32))
    view.setUint32(5, us >>> 0)
  }
}

function retryAddress(tuple: PathTuple): Uint8Array {
  return encoder.encode(`${tuple.remoteAddress} ${tuple.remotePort}`)
}

function newAddress(tuple: PathTuple, version: number): Uint8Array {
  return encoder.encode(`${tuple.remoteAddress} v${version}`)
}
