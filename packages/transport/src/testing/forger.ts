/** Speaks in the name of one endpoint of a `Pair`: seals packets of any content, so that the other side meets violations. */
import {
  PacketType,
  patchLongHeaderLength,
  varintLength,
  writeLongHeader,
  writePacketNumber,
  writeShortHeader,
  writeVarint,
} from '@quicether/wire'
import { DESCRIPTOR_WORDS, type KeyPair, Level, Seal } from '../ports/crypto.ts'
import type { Connection } from '../connection.ts'
import type { PathTuple } from '../ports/datagrams.ts'
import { type FakeCrypto, createFakeCrypto } from './fake-crypto.ts'
import { forwardingCrypto } from './forwarding-crypto.ts'
import { Pair, type PairOptions, clientTuple, serverTuple } from './pair.ts'

const TAG_BYTES = 16
const PN_BYTES = 4

/** Numbers become variable-length integers, arrays are taken as they are. */
export type FramePart = number | Uint8Array

/** Bytes of frames written part by part, without any check. */
export function frameBytes(...parts: readonly FramePart[]): Uint8Array {
  let length = 0
  for (const part of parts) length += typeof part === 'number' ? varintLength(part) : part.length
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    if (typeof part === 'number') at = writeVarint(bytes, at, part)
    else {
      bytes.set(part, at)
      at += part.length
    }
  }
  return bytes
}

/** How a forged packet differs from an honest one. */
export interface ForgeOptions {
  /** Bits set in the first byte before protection. */
  readonly firstByte?: number
  /** Defaults to the next number the endpoint would use, which its own next packet uses again. */
  readonly packetNumber?: number
  /** The QUIC bit (0x40) is 0 instead of 1. */
  readonly isQuicBitClear?: boolean
  /** 1-RTT packets: path whose number space and connection ID are used; 0 by default. */
  readonly pathId?: number
  /** 1-RTT packets: another destination connection ID than the endpoint used last on that path. */
  readonly dcid?: Uint8Array
  /** Token of an Initial packet. */
  readonly token?: Uint8Array
}

interface Connected {
  version: number
  dcid: Uint8Array
  scid: Uint8Array
}

/** Give `crypto` to the endpoint (`PairOptions.wrapCrypto`), then `forge` packets in its name. */
export class Forger {
  /** The endpoint's cryptography, watched. */
  readonly crypto: FakeCrypto
  /** Seals with the same keys; a second instance, since the first one polices packet numbers. */
  readonly #twin: FakeCrypto = createFakeCrypto(77)
  readonly #keys: (KeyPair | undefined)[] = []
  readonly #levels: Map<number, Level> = new Map()
  readonly #nextNumbers: number[] = [0, 0, 0, 0]
  readonly #long: Connected = { version: 1, dcid: new Uint8Array(0), scid: new Uint8Array(0) }
  /** Last connection ID and next number of 1-RTT packets, by path ID. */
  readonly #paths: Map<number, { readonly dcid: Uint8Array; readonly next: number }> = new Map()
  #generation = 0
  /** The 1-RTT packet that the endpoint sealed last. */
  readonly last: { pathId: number; packetNumber: number } = { pathId: 0, packetNumber: -1 }

  constructor(inner: FakeCrypto) {
    this.crypto = {
      ...forwardingCrypto(inner),
      installKeys: (level, rx, tx) => {
        this.#keys[level] = this.#twin.installKeys(level, rx, tx)
        return this.#learn(level, inner.installKeys(level, rx, tx))
      },
      initialKeys: (version, cid, role) => {
        this.#keys[Level.Initial] = this.#twin.initialKeys(version, cid, role)
        return this.#learn(Level.Initial, inner.initialKeys(version, cid, role))
      },
      seal: (bytes, words, count) => {
        for (let i = 0; i < count; i++) this.#watch(bytes, words, i * DESCRIPTOR_WORDS)
        inner.seal(bytes, words, count)
      },
    }
  }

  #learn(level: Level, keys: KeyPair): KeyPair {
    this.#levels.set(keys.tx, level)
    return keys
  }

  #watch(bytes: Uint8Array, words: Int32Array, base: number): void {
    const level = this.#levels.get(words[base + Seal.KeyId] as number)
    if (level === undefined) return
    const at = words[base + Seal.Offset] as number
    const space = level === Level.ZeroRtt ? Level.OneRtt : level
    const next = ((words[base + Seal.PnLow] as number) >>> 0) + 1
    const pathId = words[base + Seal.PathId] as number
    if (pathId === 0) this.#nextNumbers[space] = next
    if (((bytes[at] as number) & 0x80) === 0) {
      const dcidEnd = (words[base + Seal.HeaderLength] as number) - (words[base + Seal.PnLength] as number)
      this.last.pathId = pathId
      this.last.packetNumber = next - 1
      this.#paths.set(pathId, { dcid: bytes.slice(at + 1, at + dcidEnd), next })
      return
    }
    const dcidEnd = at + 6 + (bytes[at + 5] as number)
    this.#long.version = new DataView(bytes.buffer, bytes.byteOffset + at + 1).getUint32(0)
    this.#long.dcid = bytes.slice(at + 6, dcidEnd)
    this.#long.scid = bytes.slice(dcidEnd + 1, dcidEnd + 1 + (bytes[dcidEnd] as number))
  }

  /** From now on packets are sealed with the keys of the next phase. */
  updateKeys(): void {
    this.#twin.rotate(this.#keys[Level.OneRtt] as KeyPair)
    this.#generation++
  }

  /** One sealed packet of `level` with `frames` as its payload. Throws when the endpoint has no such keys yet. */
  forge(level: Level, frames: Uint8Array, options: ForgeOptions = {}): Uint8Array {
    const keys = this.#keys[level]
    if (keys === undefined) throw new Error(`no keys of level ${level} to forge with`)
    const pathId = options.pathId ?? 0
    const number = options.packetNumber ?? this.#nextNumber(level, pathId)
    const slab = new Uint8Array(4_096)
    const pnAt =
      level === Level.OneRtt
        ? this.#shortHeader(slab, pathId, options.dcid)
        : this.#longHeader(slab, level, options.token)
    slab[0] = (slab[0] as number) | (options.firstByte ?? 0)
    if (options.isQuicBitClear === true) slab[0] &= ~0x40
    const payloadAt = writePacketNumber(slab, pnAt, number, PN_BYTES)
    slab.set(frames, payloadAt)
    const length = payloadAt + frames.length + TAG_BYTES
    if (level !== Level.OneRtt) patchLongHeaderLength(slab, pnAt, length - pnAt)
    const words = new Int32Array(DESCRIPTOR_WORDS)
    words[Seal.HeaderLength] = payloadAt
    words[Seal.Length] = length
    words[Seal.PnLow] = number | 0
    words[Seal.KeyId] = keys.tx
    words[Seal.PathId] = pathId
    words[Seal.PnLength] = PN_BYTES
    this.#twin.seal(slab, words, 1)
    return slab.slice(0, length)
  }

  #nextNumber(level: Level, pathId: number): number {
    if (pathId > 0) return this.#paths.get(pathId)?.next ?? 0
    return this.#nextNumbers[level === Level.ZeroRtt ? Level.OneRtt : level] as number
  }

  #shortHeader(slab: Uint8Array, pathId: number, dcid?: Uint8Array): number {
    const usual = this.#paths.get(pathId)?.dcid ?? this.#long.dcid
    return writeShortHeader(slab, 0, dcid ?? usual, PN_BYTES, this.#generation & 1, 1, 0)
  }

  #longHeader(slab: Uint8Array, level: Level, token: Uint8Array = new Uint8Array(0)): number {
    const types = [PacketType.Initial, PacketType.ZeroRtt, PacketType.Handshake]
    const type = types[level] as PacketType
    return writeLongHeader(slab, 0, { type, ...this.#long, token }, PN_BYTES, 1)
  }
}

/** A pair one side of which can be made to break rules. */
export interface ForgedPair {
  readonly pair: Pair
  readonly forger: Forger
  /** Puts a forged packet on the wire, as if the side had sent it. */
  send(level: Level, frames: Uint8Array, options?: ForgeOptions, tuple?: PathTuple): void
  /** The side's next 1-RTT packet, a PING asked for now, says `frames` instead: its number is really used. */
  say(frames: Uint8Array): void
  /**
   * Error code with which the other side closes, by what it reports and by what arrived over the wire. Throws when
   * it does not close or the two differ.
   */
  verdict(): { readonly name: string; readonly code: number; readonly reason: string }
}

/** A pair whose `side` breaks rules; not connected yet. */
export function forgedPair(side: 'client' | 'server', options: PairOptions = {}): ForgedPair {
  const forgers: Forger[] = []
  const pair = new Pair({
    ...options,
    wrapCrypto: (whose, crypto) => {
      const wrapped = options.wrapCrypto?.(whose, crypto) ?? crypto
      if (whose !== side) return wrapped
      const made = new Forger(wrapped)
      forgers.push(made)
      return made.crypto
    },
  })
  const forger = forgers[0] as Forger
  const victim = side === 'client' ? 'server' : 'client'
  return {
    pair,
    forger,
    send(level, frames, forgeOptions, over) {
      const tuple = over ?? (side === 'client' ? clientTuple() : serverTuple())
      const bytes = forger.forge(level, frames, forgeOptions)
      pair.inject({ from: side, bytes, tuple, ecn: 0, atUs: pair.nowUs + 10_000 })
    },
    say(frames) {
      const end = side === 'client' ? pair.connection : (pair.accepted as Connection)
      const before = pair.filter
      let isSaid = false
      pair.filter = (datagram) => {
        if (isSaid || datagram.from !== side) return before(datagram)
        isSaid = true
        datagram.bytes = forger.forge(Level.OneRtt, frames, forger.last)
        return before(datagram)
      }
      end.core.pingPending = true
      // Wakes it up; without a path of that ID nothing else happens.
      end.setPathStatus(-1, 'available')
      pair.run(() => isSaid)
      pair.filter = before
    },
    verdict() {
      pair.run(() => pair.event(victim, 'closed') !== undefined && pair.event(side, 'closed') !== undefined, 20_000_000)
      const told = pair.event(victim, 'closed')?.reason
      const heard = pair.event(side, 'closed')?.reason
      if (told?.kind !== 'transport' || heard?.kind !== 'transport') {
        throw new Error(`closed with ${JSON.stringify(told)}, heard ${JSON.stringify(heard)}`)
      }
      if (told.by !== 'local' || heard.by !== 'peer' || told.code !== heard.code) {
        throw new Error(`closed with ${JSON.stringify(told)}, heard ${JSON.stringify(heard)}`)
      }
      return { name: heard.name, code: told.code, reason: told.reason }
    },
  }
}
