/** Opens QUIC packets of versions 1 and 2 for readers of captures (RFC 9001, RFC 9369, RFC 10069 §2.4). */
import { type Cipheriv, createCipheriv, createDecipheriv, createHmac } from 'node:crypto'
import { expandPacketNumber, Version } from '@quicether/wire'

const TAG_BYTES = 16
const SAMPLE_BYTES = 16
/** RFC 9001 §5.2, RFC 9369 §3.3.1. */
const initialSalts: Readonly<Record<number, Buffer>> = {
  [Version.V1]: Buffer.from('38762cf7f55934b34d179ae6a4c80cadccbb7f0a', 'hex'),
  [Version.V2]: Buffer.from('0dede3def700a6db819381be6e269dcbf9bd2ed9', 'hex'),
}

interface Suite {
  readonly aead: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305'
  readonly headerCipher: 'aes-128-ecb' | 'aes-256-ecb' | 'chacha20'
  readonly hash: 'sha256' | 'sha384'
  readonly keyBytes: 16 | 32
}

const aes128: Suite = { aead: 'aes-128-gcm', headerCipher: 'aes-128-ecb', hash: 'sha256', keyBytes: 16 }
const aes256: Suite = { aead: 'aes-256-gcm', headerCipher: 'aes-256-ecb', hash: 'sha384', keyBytes: 32 }
const chacha: Suite = { aead: 'chacha20-poly1305', headerCipher: 'chacha20', hash: 'sha256', keyBytes: 32 }

/** An opened packet. */
export interface Opened {
  readonly packetNumber: number
  readonly firstByte: number
  /** Key updates before this packet; 0 for long headers. */
  readonly generation: number
  readonly payload: Uint8Array
}

/** One packet as it was on the wire. */
export interface Sealed {
  /** `[start, end)` is the packet, nothing coalesced behind it. */
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  /** From `start`. */
  readonly pnOffset: number
  readonly isLong: boolean
  readonly pathId: number
  /** Largest packet number opened so far in this space, -1 = none. */
  readonly largest: number
}

/** Packet protection of one direction at one level; finds out by trying which cipher suite a secret is for. */
export class PacketKeys {
  readonly #version: number
  /** One secret for each suite that is still possible. */
  #candidates: Protection[]

  /** @param secret 32 or 48 bytes of a key log, or an Initial secret. */
  constructor(secret: Uint8Array, version: number) {
    this.#version = version
    // RFC 8446 §B.4: the hash gives the length of the secret; ChaCha20-Poly1305 shares that of AES-128-GCM.
    const suites = secret.length === 48 ? [aes256] : [aes128, chacha]
    this.#candidates = suites.map((suite) => new Protection(suite, secret, this.#version))
  }

  /** Undefined when no key fits. */
  open(sealed: Sealed): Opened | undefined {
    for (const candidate of this.#candidates) {
      const opened = candidate.open(sealed)
      if (opened === undefined) continue
      if (this.#candidates.length > 1) this.#candidates = [candidate]
      return opened
    }
    return undefined
  }
}

/** The Initial keys of both directions (RFC 9001 §5.2); undefined for versions that we do not know. */
export function initialKeys(dcid: Uint8Array, version: number): { client: PacketKeys; server: PacketKeys } | undefined {
  const salt = initialSalts[version]
  if (salt === undefined) return undefined
  const initial = createHmac('sha256', salt).update(dcid).digest()
  return {
    client: new PacketKeys(expandLabel('sha256', initial, 'client in', 32), version),
    server: new PacketKeys(expandLabel('sha256', initial, 'server in', 32), version),
  }
}

/** One suite with its keys: those of the current generation, the one before and the one after (RFC 9001 §6). */
class Protection {
  readonly #suite: Suite
  readonly #version: number
  readonly #headerKey: Buffer
  readonly #ecb: Cipheriv | undefined
  #generation = 0
  #previous: Keys | undefined
  #current: Keys
  #next: Keys | undefined

  constructor(suite: Suite, secret: Uint8Array, version: number) {
    this.#suite = suite
    this.#version = version
    this.#headerKey = expandLabel(suite.hash, secret, `${prefix(version)} hp`, suite.keyBytes)
    this.#ecb =
      suite.headerCipher === 'chacha20' ? undefined : createCipheriv(suite.headerCipher, this.#headerKey, null)
    this.#current = new Keys(suite, secret, version)
  }

  open(sealed: Sealed): Opened | undefined {
    const { bytes, start, end, pnOffset, isLong, pathId, largest } = sealed
    const pnAt = start + pnOffset
    const sampleAt = pnAt + 4
    if (sampleAt + SAMPLE_BYTES > end) return undefined
    const mask = this.#mask(bytes.subarray(sampleAt, sampleAt + SAMPLE_BYTES))
    const firstByte = (bytes[start] as number) ^ ((mask[0] as number) & (isLong ? 0x0f : 0x1f))
    const pnLength = (firstByte & 3) + 1
    const header = Uint8Array.prototype.slice.call(bytes, start, pnAt + pnLength)
    header[0] = firstByte
    let truncated = 0
    for (let index = 0; index < pnLength; index++) {
      const byte = (bytes[pnAt + index] as number) ^ (mask[1 + index] as number)
      header[pnOffset + index] = byte
      truncated = truncated * 256 + byte
    }
    const packetNumber = expandPacketNumber(largest, truncated, pnLength * 8)
    const body = bytes.subarray(pnAt + pnLength, end)
    const result = this.#openBody(isLong ? -1 : (firstByte >>> 2) & 1, pathId, packetNumber, header, body)
    if (result === undefined) return undefined
    return { packetNumber, firstByte, generation: result.generation, payload: result.payload }
  }

  #openBody(
    phase: number,
    pathId: number,
    packetNumber: number,
    header: Uint8Array,
    body: Uint8Array,
  ): { payload: Uint8Array; generation: number } | undefined {
    const generation = this.#generation
    if (phase < 0 || phase === (generation & 1)) {
      const payload = this.#current.open(pathId, packetNumber, header, body)
      return payload === undefined ? undefined : { payload, generation }
    }
    // RFC 9001 §6.3: a phase that differs is the next one, or the one before for a packet that comes late.
    this.#next ??= this.#current.updated(this.#suite, this.#version)
    const payload = this.#next.open(pathId, packetNumber, header, body)
    if (payload !== undefined) {
      this.#previous = this.#current
      this.#current = this.#next
      this.#next = undefined
      this.#generation++
      return { payload, generation: generation + 1 }
    }
    const late = this.#previous?.open(pathId, packetNumber, header, body)
    return late === undefined ? undefined : { payload: late, generation: generation - 1 }
  }

  /** RFC 9001 §5.4. */
  #mask(sample: Uint8Array): Uint8Array {
    if (this.#ecb !== undefined) return this.#ecb.update(sample)
    return createCipheriv('chacha20', this.#headerKey, sample).update(Buffer.alloc(5))
  }
}

/** AEAD key and IV of one generation. */
class Keys {
  readonly #suite: Suite
  readonly #secret: Uint8Array
  readonly #key: Buffer
  readonly #iv: Buffer

  constructor(suite: Suite, secret: Uint8Array, version: number) {
    this.#suite = suite
    this.#secret = secret
    this.#key = expandLabel(suite.hash, secret, `${prefix(version)} key`, suite.keyBytes)
    this.#iv = expandLabel(suite.hash, secret, `${prefix(version)} iv`, 12)
  }

  /** RFC 9001 §6.1. */
  updated(suite: Suite, version: number): Keys {
    return new Keys(suite, expandLabel(suite.hash, this.#secret, `${prefix(version)} ku`, this.#secret.length), version)
  }

  open(pathId: number, packetNumber: number, header: Uint8Array, body: Uint8Array): Uint8Array | undefined {
    const textLength = body.length - TAG_BYTES
    if (textLength < 0) return undefined
    const decipher = createDecipheriv(this.#suite.aead as 'aes-128-gcm', this.#key, this.#nonce(pathId, packetNumber), {
      authTagLength: TAG_BYTES,
    })
    decipher.setAAD(header, { plaintextLength: textLength })
    decipher.setAuthTag(body.subarray(textLength))
    const payload = decipher.update(body.subarray(0, textLength))
    try {
      decipher.final()
      return payload
    } catch {
      return undefined // the tag does not fit: other keys, or damaged on the way
    }
  }

  /** RFC 10069 §2.4: 32 bits of path ID, two zero bits, 62 bits of packet number; path 0 as in RFC 9001 §5.3. */
  #nonce(pathId: number, packetNumber: number): Buffer {
    const nonce = Buffer.from(this.#iv)
    nonce.writeUInt32BE((nonce.readUInt32BE(0) ^ pathId) >>> 0, 0)
    nonce.writeUInt32BE((nonce.readUInt32BE(4) ^ Math.floor(packetNumber / 0x1_0000_0000)) >>> 0, 4)
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ (packetNumber >>> 0)) >>> 0, 8)
    return nonce
  }
}

const prefix = (version: number): string => (version === Version.V2 ? 'quicv2' : 'quic')

/** HKDF-Expand-Label of RFC 8446 §7.1 with an empty context. */
function expandLabel(hash: Suite['hash'], secret: Uint8Array, label: string, length: number): Buffer {
  const full = `tls13 ${label}`
  const info = Buffer.from([length >> 8, length & 0xff, full.length, ...Buffer.from(full, 'latin1'), 0])
  // HKDF-Expand alone: one or two blocks of HMAC
  const blocks: Buffer[] = []
  let block: Buffer = Buffer.alloc(0)
  for (let made = 0, index = 1; made < length; made += block.length, index++) {
    block = createHmac(hash, secret)
      .update(block)
      .update(info)
      .update(Buffer.from([index]))
      .digest()
    blocks.push(block)
  }
  return Buffer.concat(blocks).subarray(0, length)
}
