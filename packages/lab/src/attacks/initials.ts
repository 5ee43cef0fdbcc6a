/** Initial packets as an attacker makes them: real ClientHellos, any connection ID, any source address. */
import { DESCRIPTOR_WORDS, Seal } from '@quicether/transport'
import { createFakeCrypto, createFakeTls, type FakeCrypto } from '@quicether/transport/testing'
import {
  defaultTransportParameters,
  encodeTransportParameters,
  PacketType,
  patchLongHeaderLength,
  Version,
  writeLongHeader,
  writePacketNumber,
} from '@quicether/wire'
import { Frames } from './frames.ts'

const TAG_BYTES = 16
const INITIAL_BYTES = 1_200

/** Makes Initial packets; all carry the same valid ClientHello unless told otherwise. */
export class InitialForge {
  readonly crypto: FakeCrypto
  /** Source connection ID of all packets: the ClientHello names it. */
  readonly scid: Uint8Array
  readonly clientHello: Uint8Array
  readonly #slab: Uint8Array = new Uint8Array(2_048)
  readonly #words: Int32Array = new Int32Array(DESCRIPTOR_WORDS)

  constructor(seed: number) {
    this.crypto = createFakeCrypto(seed)
    this.scid = cid(seed)
    const tls = createFakeTls({ crypto: this.crypto, seed })
    const session = tls.client.createSession({
      version: Version.V1,
      serverName: 'victim.test',
      alpn: ['test'],
      transportParameters: encodeTransportParameters({ ...defaultTransportParameters(), initialSourceCid: this.scid }),
      earlyData: false,
    })
    const step = session.next()
    if (step?.kind !== 'crypto') throw new Error('the fake TLS has no ClientHello')
    this.clientHello = step.data.slice()
  }

  /** One datagram with one Initial packet of `datagramBytes`, padded. */
  make(dcid: Uint8Array, options: ForgeOptions = {}): Uint8Array {
    const { scid } = this
    const slab = this.#slab
    const { token = new Uint8Array(0), datagramBytes = INITIAL_BYTES, packetNumber = 0 } = options
    const frames = options.frames ?? new Frames(2_000).crypto(0, this.clientHello)
    const pnAt = writeLongHeader(slab, 0, { type: PacketType.Initial, version: Version.V1, dcid, scid, token }, 4, 1)
    const payloadAt = writePacketNumber(slab, pnAt, packetNumber, 4)
    const length = Math.max(datagramBytes, payloadAt + frames.length + TAG_BYTES)
    slab.fill(0, payloadAt, length)
    slab.set(frames.bytes(), payloadAt)
    patchLongHeaderLength(slab, pnAt, length - pnAt)
    const keys = this.crypto.initialKeys(Version.V1, options.keysFor ?? dcid, 'client')
    const words = this.#words
    words[Seal.Offset] = 0
    words[Seal.HeaderLength] = payloadAt
    words[Seal.Length] = length
    words[Seal.PnLow] = packetNumber
    words[Seal.PnHigh] = 0
    words[Seal.KeyId] = keys.tx
    words[Seal.PathId] = 0
    words[Seal.PnLength] = 4
    this.crypto.seal(slab, words, 1)
    this.crypto.closeKey(keys.tx)
    this.crypto.closeKey(keys.rx)
    return slab.slice(0, length)
  }
}

export interface ForgeOptions {
  readonly frames?: Frames
  readonly token?: Uint8Array
  readonly datagramBytes?: number
  readonly packetNumber?: number
  /** Connection ID the keys derive from, when it is not the destination. */
  readonly keysFor?: Uint8Array
}

/** An 8-byte connection ID that differs for each number. */
export function cid(number: number): Uint8Array {
  const bytes = new Uint8Array(8).fill(0xa7)
  new DataView(bytes.buffer).setUint32(0, number)
  return bytes
}

/** A source address that differs for each number. */
export function bogusAddress(number: number): string {
  return `172.${16 + ((number >>> 16) & 15)}.${(number >>> 8) & 255}.${number & 255}:${1_024 + (number % 60_000)}`
}
