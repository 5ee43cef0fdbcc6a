/** Deterministic cryptography for tests and the virtual world; it also polices the engine's use of keys. */
import {
  DESCRIPTOR_WORDS,
  type CryptoPort,
  type KeyId,
  type KeyLimits,
  type KeyPair,
  Level,
  NO_KEY,
  OpenFailure,
  OpenIn,
  OpenOut,
  Seal,
} from '../ports/crypto.ts'
import {
  type AeadKey,
  FakeAead,
  SAMPLE_BYTES,
  TAG_BYTES,
  expandKey,
  headerMask,
  packetNumberMask,
} from './fake-aead.ts'
import { createSeededRandom } from './random.ts'
import { equalBytes } from '../bytes.ts'
import { ToyHash, toyDigest } from './toy-hash.ts'

const TWO_32 = 4_294_967_296
const TOKEN_NONCE_BYTES = 12

export interface FakeCryptoOptions {
  /** Limits of 1-RTT keys, small in tests that want key updates. Defaults: those of AES-128-GCM. */
  readonly confidentialityPackets?: number
  readonly integrityPackets?: number
}

/** What the fake offers beyond the port: key installation for the fake TLS, and counters for checkers. */
export interface FakeCrypto extends CryptoPort {
  /** Makes keys from secrets that both sides derived; undefined = this direction does not exist. */
  installKeys(level: Level, rxSecret: Uint8Array | undefined, txSecret: Uint8Array | undefined): KeyPair
  /** Keys and spaces not closed yet: zero when every connection is gone. */
  openKeys(): number
  openSpaces(): number
  packetsSealed(): number
  packetsOpened(): number
  /** Packets that did not authenticate. */
  packetsRefused(): number
}

/**
 * Toy cryptography with the port's exact semantics. Two instances understand each other whatever their seeds;
 * the seed only enters what belongs to one endpoint (tokens, reset tokens).
 * Misuse throws: a packet number that does not grow (nonce reuse), a closed key, a wrong key phase, no room for a sample.
 */
export function createFakeCrypto(seed: number, options: FakeCryptoOptions = {}): FakeCrypto {
  return new Fake(seed, options)
}

class FakeKey {
  readonly level: Level
  readonly isTx: boolean
  readonly headerKey: AeadKey
  secret: Uint8Array
  current: AeadKey
  previous: AeadKey | undefined = undefined
  next: AeadKey | undefined
  generation = 0
  /** Largest packet number sealed, by path ID. */
  readonly sealed: number[] = []

  constructor(level: Level, isTx: boolean, secret: Uint8Array) {
    this.level = level
    this.isTx = isTx
    this.secret = secret
    this.current = expandKey(toyDigest('key', secret))
    // RFC 9001 §6.1: "The header protection key is not updated."
    this.headerKey = expandKey(toyDigest('hp', secret))
    this.next = level === Level.OneRtt ? expandKey(toyDigest('key', toyDigest('ku', secret))) : undefined
  }

  rotate(): void {
    this.secret = toyDigest('ku', this.secret)
    this.previous = this.isTx ? undefined : this.current
    this.current = expandKey(toyDigest('key', this.secret))
    this.next = expandKey(toyDigest('key', toyDigest('ku', this.secret)))
    this.generation++
  }
}

class FakeSpace {
  largest = -1
  /** Key generation that `lowest` speaks of; `lowestNext` speaks of the one after. */
  generation = 0
  lowest = Infinity
  lowestNext = Infinity

  alignTo(generation: number): void {
    if (this.generation === generation) return
    this.lowest = this.generation + 1 === generation ? this.lowestNext : Infinity
    this.lowestNext = Infinity
    this.generation = generation
  }
}

class Fake implements FakeCrypto {
  readonly #keys: (FakeKey | undefined)[] = []
  readonly #spaces: (FakeSpace | undefined)[] = []
  readonly #aead = new FakeAead()
  readonly #endpointKey = new Uint8Array(32)
  readonly #limits: KeyLimits
  readonly #handshakeLimits: KeyLimits
  #sealSlab: Uint8Array = new Uint8Array(0)
  #sealView: DataView = new DataView(this.#sealSlab.buffer)
  #openSlab: Uint8Array = new Uint8Array(0)
  #openView: DataView = new DataView(this.#openSlab.buffer)
  #keysOpen = 0
  #spacesOpen = 0
  #sealedCount = 0
  #openedCount = 0
  #refusedCount = 0

  constructor(seed: number, options: FakeCryptoOptions) {
    createSeededRandom(seed).fork('fake-crypto').fill(this.#endpointKey)
    // RFC 9001 §6.6: limits of AEAD_AES_128_GCM.
    const standard = {
      confidentialityPackets: 2 ** 23,
      integrityPackets: 2 ** 52,
      cipherSuite: 'TLS_AES_128_GCM_SHA256',
    }
    this.#handshakeLimits = standard
    this.#limits = {
      confidentialityPackets: options.confidentialityPackets ?? standard.confidentialityPackets,
      integrityPackets: options.integrityPackets ?? standard.integrityPackets,
      cipherSuite: standard.cipherSuite,
    }
  }

  seal(bytes: Uint8Array, descriptors: Int32Array, count: number): void {
    if (bytes !== this.#sealSlab) {
      this.#sealSlab = bytes
      this.#sealView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
    for (let i = 0; i < count; i++) this.#sealOne(this.#sealView, descriptors, i * DESCRIPTOR_WORDS)
    this.#sealedCount += count
  }

  #sealOne(view: DataView, words: Int32Array, base: number): void {
    const offset = word(words, base + Seal.Offset)
    const headerLength = word(words, base + Seal.HeaderLength)
    const length = word(words, base + Seal.Length)
    const pnLow = word(words, base + Seal.PnLow)
    const pnHigh = word(words, base + Seal.PnHigh)
    const pathId = word(words, base + Seal.PathId)
    const pnLength = word(words, base + Seal.PnLength)
    const key = this.#key(word(words, base + Seal.KeyId), 'seal')
    if (offset < 0 || offset + length > view.byteLength) {
      throw new RangeError(
        `seal: packet [${offset}, ${offset + length}) lies outside a slab of ${view.byteLength} bytes`,
      )
    }
    if (pnLength < 1 || pnLength > 4) throw new RangeError(`seal: packet number length ${pnLength}, must be 1 to 4`)
    // RFC 9001 §5.4.2: "the combined lengths of the encoded packet number and protected payload is at least 4 bytes longer than the sample"
    if (length - (headerLength - pnLength) < 4 + SAMPLE_BYTES) {
      throw new RangeError(
        `seal: ${length - headerLength} bytes after a header of ${headerLength} leave no room for a header protection sample`,
      )
    }
    if (!key.isTx) throw new Error('seal: this key only opens')
    const first = view.getUint8(offset)
    if (key.level === Level.OneRtt && ((first >>> 2) & 1) !== (key.generation & 1)) {
      throw new Error(`seal: key phase bit ${(first >>> 2) & 1}, but the key was updated ${key.generation} times`)
    }
    if ((first & 3) + 1 !== pnLength) {
      throw new Error(`seal: first byte says ${(first & 3) + 1} packet number bytes, the descriptor ${pnLength}`)
    }
    const pn = pnHigh * TWO_32 + (pnLow >>> 0)
    const last = key.sealed[pathId]
    if (last !== undefined && pn <= last) {
      throw new Error(`seal: nonce reuse: packet number ${pn} on path ${pathId} after ${last} with the same key`)
    }
    key.sealed[pathId] = pn
    const pnAt = offset + headerLength - pnLength
    for (let i = 0; i < pnLength; i++) {
      if (view.getUint8(pnAt + i) !== ((pnLow >>> (8 * (pnLength - 1 - i))) & 0xff)) {
        throw new Error(`seal: the header does not carry the low ${pnLength} bytes of packet number ${pn}`)
      }
    }
    this.#aead.seal(
      view,
      key.current,
      pathId,
      pnLow,
      pnHigh,
      offset,
      offset + headerLength,
      offset + length - TAG_BYTES,
    )
    const mask = headerMask(view, pnAt + 4, key.headerKey)
    maskFirstByte(view, offset, mask)
    maskPacketNumber(view, pnAt, pnLength, mask)
  }

  open(bytes: Uint8Array, descriptors: Int32Array, count: number): void {
    if (bytes !== this.#openSlab) {
      this.#openSlab = bytes
      this.#openView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
    for (let i = 0; i < count; i++) this.#openOne(this.#openView, descriptors, i * DESCRIPTOR_WORDS)
  }

  #openOne(view: DataView, words: Int32Array, base: number): void {
    const offset = word(words, base + OpenIn.Offset)
    const length = word(words, base + OpenIn.Length)
    const pnOffset = word(words, base + OpenIn.PnOffset)
    const keyId = word(words, base + OpenIn.KeyId)
    const pathId = word(words, base + OpenIn.PathId)
    const space = this.#space(word(words, base + OpenIn.Space))
    if (offset < 0 || length < 0 || offset + length > view.byteLength) {
      throw new RangeError(
        `open: packet [${offset}, ${offset + length}) lies outside a slab of ${view.byteLength} bytes`,
      )
    }
    if (keyId === NO_KEY) return this.#refuse(words, base, OpenFailure.NoKey)
    const key = this.#key(keyId, 'open')
    if (key.isTx) throw new Error('open: this key only seals')
    if (length - pnOffset < 4 + SAMPLE_BYTES) return this.#refuse(words, base, OpenFailure.TooShort)

    const pnAt = offset + pnOffset
    const mask = headerMask(view, pnAt + 4, key.headerKey)
    maskFirstByte(view, offset, mask)
    const first = view.getUint8(offset)
    const pnLength = (first & 3) + 1
    const truncated = maskPacketNumber(view, pnAt, pnLength, mask)
    const pn = expandPacketNumber(space.largest, truncated, pnLength)
    const pnLow = pn | 0
    const pnHigh = Math.floor(pn / TWO_32)
    const shift = key.level === Level.OneRtt ? this.#shift(key, space, first, pn) : 0
    const aeadKey = shift === 0 ? key.current : shift < 0 ? key.previous : key.next
    const payloadAt = pnAt + pnLength
    const tagAt = offset + length - TAG_BYTES
    if (
      aeadKey === undefined ||
      payloadAt > tagAt ||
      !this.#aead.open(view, aeadKey, pathId, pnLow, pnHigh, offset, payloadAt, tagAt)
    ) {
      // Packet number first: its mask undoes itself, and its length must be read before the first byte changes back.
      maskPacketNumber(view, pnAt, pnLength, mask)
      maskFirstByte(view, offset, mask)
      return this.#refuse(words, base, OpenFailure.Authentication)
    }
    if (pn > space.largest) space.largest = pn
    if (shift === 0 && pn < space.lowest) space.lowest = pn
    if (shift > 0 && pn < space.lowestNext) space.lowestNext = pn
    this.#openedCount++
    words[base + OpenOut.PayloadOffset] = payloadAt
    words[base + OpenOut.PayloadLength] = tagAt - payloadAt
    words[base + OpenOut.PnLow] = pnLow
    words[base + OpenOut.PnHigh] = pnHigh
    words[base + OpenOut.FirstByte] = first
    words[base + OpenOut.Generation] = (key.generation + shift) & 0x7fffffff
  }

  /** Which key a 1-RTT packet wants: -1 previous, 0 current, 1 next (RFC 9001 §6.3 and §6.5). */
  #shift(key: FakeKey, space: FakeSpace, first: number, pn: number): -1 | 0 | 1 {
    space.alignTo(key.generation)
    if (((first >>> 2) & 1) === (key.generation & 1)) return 0
    return key.previous !== undefined && pn < space.lowest ? -1 : 1
  }

  #refuse(words: Int32Array, base: number, failure: number): void {
    this.#refusedCount++
    words[base + OpenOut.PayloadLength] = failure
  }

  initialKeys(version: number, destinationCid: Uint8Array, side: 'client' | 'server'): KeyPair {
    const secret = new ToyHash()
      .text('initial')
      .word(version | 0)
      .bytes(destinationCid)
      .digest()
    const fromClient = toyDigest('client in', secret)
    const fromServer = toyDigest('server in', secret)
    return side === 'client'
      ? this.installKeys(Level.Initial, fromServer, fromClient)
      : this.installKeys(Level.Initial, fromClient, fromServer)
  }

  installKeys(level: Level, rxSecret: Uint8Array | undefined, txSecret: Uint8Array | undefined): KeyPair {
    return { rx: this.#install(level, false, rxSecret), tx: this.#install(level, true, txSecret) }
  }

  #install(level: Level, isTx: boolean, secret: Uint8Array | undefined): KeyId {
    if (secret === undefined) return NO_KEY
    this.#keysOpen++
    return this.#keys.push(new FakeKey(level, isTx, secret)) - 1
  }

  keyLimits(key: KeyId): KeyLimits {
    return this.#key(key, 'keyLimits').level === Level.OneRtt ? this.#limits : this.#handshakeLimits
  }

  rotate(keys: KeyPair): void {
    const rx = this.#key(keys.rx, 'rotate')
    const tx = this.#key(keys.tx, 'rotate')
    if (rx.level !== Level.OneRtt || tx.level !== Level.OneRtt) throw new Error('rotate: only 1-RTT keys are updated')
    rx.rotate()
    tx.rotate()
  }

  dropPrevious(rx: KeyId): void {
    this.#key(rx, 'dropPrevious').previous = undefined
  }

  closeKey(key: KeyId): void {
    if (key === NO_KEY || this.#keys[key] === undefined) return
    this.#keys[key] = undefined
    this.#keysOpen--
  }

  createSpace(): number {
    this.#spacesOpen++
    return this.#spaces.push(new FakeSpace()) - 1
  }

  closeSpace(space: number): void {
    if (this.#spaces[space] === undefined) return
    this.#spaces[space] = undefined
    this.#spacesOpen--
  }

  retryIntegrityTag(version: number, pseudoPacket: Uint8Array): Uint8Array {
    return new ToyHash()
      .text('retry')
      .word(version | 0)
      .bytes(pseudoPacket)
      .digest(16)
  }

  sealToken(plaintext: Uint8Array, associated: Uint8Array, nonce: Uint8Array): Uint8Array {
    if (nonce.length !== TOKEN_NONCE_BYTES)
      throw new RangeError(`sealToken: nonce of ${nonce.length} bytes, must be 12`)
    const token = new Uint8Array(TOKEN_NONCE_BYTES + plaintext.length + TAG_BYTES)
    token.set(nonce)
    const stream = this.#tokenHash('token stream', nonce).digest(plaintext.length)
    for (let i = 0; i < plaintext.length; i++) {
      token[TOKEN_NONCE_BYTES + i] = (plaintext[i] as number) ^ (stream[i] as number)
    }
    token.set(this.#tokenTag(nonce, plaintext, associated), TOKEN_NONCE_BYTES + plaintext.length)
    return token
  }

  openToken(token: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
    if (token.length < TOKEN_NONCE_BYTES + TAG_BYTES) return undefined
    const nonce = token.subarray(0, TOKEN_NONCE_BYTES)
    const plaintext = token.slice(TOKEN_NONCE_BYTES, token.length - TAG_BYTES)
    const stream = this.#tokenHash('token stream', nonce).digest(plaintext.length)
    for (let i = 0; i < plaintext.length; i++) plaintext[i] = (plaintext[i] as number) ^ (stream[i] as number)
    const tag = this.#tokenTag(nonce, plaintext, associated)
    return equalBytes(tag, token.subarray(token.length - TAG_BYTES)) ? plaintext : undefined
  }

  #tokenTag(nonce: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array {
    return this.#tokenHash('token tag', nonce).bytes(associated).bytes(plaintext).digest(TAG_BYTES)
  }

  #tokenHash(label: string, nonce: Uint8Array): ToyHash {
    return new ToyHash().text(label).bytes(this.#endpointKey).bytes(nonce)
  }

  statelessResetToken(cid: Uint8Array): Uint8Array {
    return new ToyHash().text('reset').bytes(this.#endpointKey).bytes(cid).digest(16)
  }

  openKeys(): number {
    return this.#keysOpen
  }

  openSpaces(): number {
    return this.#spacesOpen
  }

  packetsSealed(): number {
    return this.#sealedCount
  }

  packetsOpened(): number {
    return this.#openedCount
  }

  packetsRefused(): number {
    return this.#refusedCount
  }

  #key(id: KeyId, verb: string): FakeKey {
    const key = this.#keys[id]
    if (key === undefined)
      throw new Error(`${verb}: key ${id} was ${id >= 0 && id < this.#keys.length ? 'closed' : 'never made'}`)
    return key
  }

  #space(id: number): FakeSpace {
    const space = this.#spaces[id]
    if (space === undefined)
      throw new Error(`open: space ${id} was ${id >= 0 && id < this.#spaces.length ? 'closed' : 'never made'}`)
    return space
  }
}

function word(words: Int32Array, index: number): number {
  const value = words[index]
  if (value === undefined) throw new RangeError(`descriptor word ${index} lies outside the array`)
  return value
}

/** RFC 9001 §5.4.1: four low bits of a long header's first byte are masked, five of a short one. */
function maskFirstByte(view: DataView, at: number, mask: number): void {
  const first = view.getUint8(at)
  view.setUint8(at, first ^ (mask & ((first & 0x80) !== 0 ? 0x0f : 0x1f)))
}

/** Masks (or unmasks) the packet number bytes and returns the number they now spell. */
function maskPacketNumber(view: DataView, at: number, length: number, mask: number): number {
  let bits = packetNumberMask(mask)
  let value = 0
  for (let i = 0; i < length; i++) {
    const byte = view.getUint8(at + i) ^ (bits & 0xff)
    view.setUint8(at + i, byte)
    value = value * 256 + byte
    bits >>>= 8
  }
  return value
}

/** RFC 9000 appendix A.3: the packet number nearest to the largest one opened so far plus one. */
function expandPacketNumber(largest: number, truncated: number, lengthBytes: number): number {
  const expected = largest + 1
  const window = 2 ** (8 * lengthBytes)
  const half = window / 2
  const candidate = expected - (expected % window) + truncated
  if (candidate <= expected - half && candidate + window < 2 ** 53) return candidate + window
  return candidate > expected + half && candidate >= window ? candidate - window : candidate
}
