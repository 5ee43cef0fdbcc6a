/** Keys of all levels, key phases and AEAD limits (RFC 9001 §4.9, §6). */
import { TransportError } from '@quicether/wire'
import { type CryptoPort, type KeyLimits, type KeyPair, Level, NO_KEY } from './ports/crypto.ts'
import { type Micros, NEVER } from './ports/datagrams.ts'

/** Start an update this far before the confidentiality limit. */
const LIMIT_MARGIN = 0.9

export class KeyRing {
  readonly #crypto: CryptoPort
  readonly #pairs: (KeyPair | undefined)[] = [undefined, undefined, undefined, undefined]
  #limits: KeyLimits | undefined
  /** Key updates done so far; the key phase bit is its lowest bit. */
  generation = 0
  /** 1-RTT packets sealed with the current keys. */
  sealedPackets = 0
  /** Packets that failed authentication, all levels. */
  failedPackets = 0
  /** The current phase was acknowledged: another update is allowed. */
  #isPhaseAcked = false
  #isUpdateWanted = false
  /** The peer updated and no ACK has told it yet that we followed. */
  #isConfirmationOwed = false
  /** We updated and no packet of the new phase has come back: the peer may still seal with the old keys. */
  #isPeerBehind = false
  /** When the previous receive key goes, NEVER when there is none or the peer is behind. */
  previousDropAtUs: Micros = NEVER
  readonly #updatePackets: number

  constructor(crypto: CryptoPort, updatePackets: number) {
    this.#crypto = crypto
    this.#updatePackets = updatePackets
  }

  get phase(): number {
    return this.generation & 1
  }

  install(level: Level, keys: KeyPair): void {
    const old = this.#pairs[level]
    // Server and client get 0-RTT keys for one direction each; a second pair of a level replaces the first (Retry).
    if (old !== undefined) this.#close(old)
    this.#pairs[level] = keys
    if (level === Level.OneRtt) this.#limits = this.#crypto.keyLimits(keys.tx)
  }

  /** Like `install`, but hands the old pair back instead of closing it. */
  swap(level: Level, keys: KeyPair): KeyPair | undefined {
    const old = this.#pairs[level]
    this.#pairs[level] = keys
    return old
  }

  rx(level: Level): number {
    return this.#pairs[level]?.rx ?? NO_KEY
  }

  tx(level: Level): number {
    return this.#pairs[level]?.tx ?? NO_KEY
  }

  has(level: Level): boolean {
    return this.#pairs[level] !== undefined
  }

  // RFC 9001 §4.9: "an endpoint MUST discard" Initial and Handshake keys when they are no longer needed
  discard(level: Level): void {
    const pair = this.#pairs[level]
    if (pair === undefined) return
    this.#close(pair)
    this.#pairs[level] = undefined
  }

  #close(pair: KeyPair): void {
    this.#crypto.closeKey(pair.rx)
    this.#crypto.closeKey(pair.tx)
  }

  /** Asks for a key update as soon as the rules allow one. */
  requestUpdate(): void {
    this.#isUpdateWanted = true
  }

  /** Accounts `count` sealed 1-RTT packets. */
  onSealed(count: number): void {
    this.sealedPackets += count
    const limit = (this.#limits as KeyLimits).confidentialityPackets
    if (this.sealedPackets >= Math.min(this.#updatePackets, limit * LIMIT_MARGIN)) this.#isUpdateWanted = true
    // RFC 9001 §6.6: "endpoints MUST stop using those keys" at the confidentiality limit
    if (this.sealedPackets >= limit) throw new TransportError('AEAD_LIMIT_REACHED', 0, 'confidentiality limit reached')
  }

  /** Counts a forgery. RFC 9001 §6.6: "If the total number of received packets that fail authentication … exceeds the integrity limit … the endpoint MUST immediately close the connection with a connection error of type AEAD_LIMIT_REACHED". */
  onFailed(): void {
    this.failedPackets++
    if (this.#limits !== undefined && this.failedPackets > this.#limits.integrityPackets) {
      throw new TransportError('AEAD_LIMIT_REACHED', 0, 'integrity limit reached')
    }
  }

  // RFC 9001 §6.1: "An endpoint MUST NOT initiate a key update prior to having confirmed the handshake", nor a second one before a packet of the current phase was acknowledged
  /** Performs a wanted update when allowed; true when the keys changed. */
  maybeUpdate(isConfirmed: boolean, ptoUs: Micros, nowUs: Micros): boolean {
    if (!this.#isUpdateWanted || !isConfirmed) return false
    if (this.generation > 0 && !this.#isPhaseAcked) return false
    // RFC 9001 §6.5: wait three PTOs after an update so that old packets can still be opened
    if (this.previousDropAtUs !== NEVER || this.#isPeerBehind) return false
    this.#rotate()
    this.#isPeerBehind = true
    return true
  }

  /** A packet was opened with keys of `generation`. Returns true when this made us follow the peer's update. */
  onOpened(generation: number, ptoUs: Micros, nowUs: Micros): boolean {
    if (generation === this.generation && this.#isPeerBehind) this.#expirePrevious(ptoUs, nowUs)
    if (generation <= this.generation) return false
    // RFC 9001 §6.2: "An endpoint MAY treat such consecutive key updates as a connection error of type KEY_UPDATE_ERROR": it bounds updates to one per round trip
    if (generation > this.generation + 1 || this.#isConfirmationOwed) {
      throw new TransportError('KEY_UPDATE_ERROR', 0, 'a second key update before the first was acknowledged')
    }
    this.#rotate()
    this.#expirePrevious(ptoUs, nowUs)
    this.#isConfirmationOwed = true
    return true
  }

  // RFC 9001 §6.5: "An endpoint SHOULD retain old read keys for no more than three times the PTO after having received a packet protected using the new keys."
  // Not from our own update on: a peer that is cut off until later would never be understood again.
  #expirePrevious(ptoUs: Micros, nowUs: Micros): void {
    this.#isPeerBehind = false
    this.previousDropAtUs = nowUs + 3 * ptoUs
  }

  #rotate(): void {
    this.#crypto.rotate(this.#pairs[Level.OneRtt] as KeyPair)
    this.generation++
    this.sealedPackets = 0
    this.#isPhaseAcked = false
    this.#isUpdateWanted = false
  }

  /** An ACK left in a 1-RTT packet of the current phase: the peer may update again once it has it. */
  onAckSent(): void {
    this.#isConfirmationOwed = false
  }

  /** A packet sealed in the current phase was acknowledged. */
  onPhaseAcked(): void {
    this.#isPhaseAcked = true
  }

  onTimeout(nowUs: Micros): void {
    if (nowUs < this.previousDropAtUs) return
    this.previousDropAtUs = NEVER
    this.#crypto.dropPrevious(this.rx(Level.OneRtt))
  }

  close(): void {
    // RFC 9001 §4.9.3: 0-RTT keys go when the handshake is confirmed, 1-RTT keys with the connection
    for (const level of [Level.Initial, Level.ZeroRtt, Level.Handshake, Level.OneRtt]) this.discard(level)
  }
}
