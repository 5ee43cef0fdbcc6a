/** Answers that need no connection: Version Negotiation, Retry, stateless reset, refusals. Bounded and rate-limited. */
import { type HeaderView, encodeRetryWithoutTag, encodeVersionNegotiation, retryPseudoPacket } from '@quicether/wire'
import type { CryptoPort, RandomSource } from '../ports/crypto.ts'
import { Ecn, type Micros, type PathTuple, type TransmitBatch } from '../ports/datagrams.ts'

const QUEUE_MAX = 64
/** Stateless resets per second: enough for peers of a restarted server, too few to be an amplifier of anything. */
const RESETS_PER_SECOND = 100
/** RFC 9000 §10.3: a reset looks like a short header packet of at least 21 bytes. */
const RESET_BYTES_MIN = 21
const RESET_BYTES_MAX = 42

interface Answer {
  readonly tuple: PathTuple
  readonly bytes: Uint8Array
}

export class StatelessAnswers {
  readonly #queue: Answer[] = []
  readonly #crypto: CryptoPort
  readonly #random: RandomSource
  #resetsLeft = RESETS_PER_SECOND
  #resetEpochUs: Micros = 0
  versionNegotiations = 0
  retries = 0
  resets = 0
  dropped = 0

  constructor(crypto: CryptoPort, random: RandomSource) {
    this.#crypto = crypto
    this.#random = random
  }

  get hasAnswers(): boolean {
    return this.#queue.length > 0
  }

  #push(tuple: PathTuple, bytes: Uint8Array): boolean {
    if (this.#queue.length >= QUEUE_MAX) {
      this.dropped++
      return false
    }
    this.#queue.push({ tuple, bytes })
    return true
  }

  // RFC 9000 §6.1: "A server MUST NOT send more than one Version Negotiation packet in response to a single UDP datagram."
  versionNegotiation(bytes: Uint8Array, header: HeaderView, tuple: PathTuple, versions: readonly number[]): void {
    const random = new Uint8Array(5)
    this.#random.fill(random)
    // RFC 9000 §6.3: a reserved version in the list exercises version negotiation
    const grease =
      (((random[1] as number) << 24) |
        ((random[2] as number) << 16) |
        ((random[3] as number) << 8) |
        (random[4] as number)) >>>
      0
    const reserved = ((grease & 0xf0f0_f0f0) | 0x0a0a_0a0a) >>> 0
    // RFC 8999 §6: the client's connection IDs return swapped, and the list does not depend on its version
    const dcid = bytes.slice(header.scidOffset, header.scidOffset + header.scidLength)
    const scid = bytes.slice(header.dcidOffset, header.dcidOffset + header.dcidLength)
    const packet = encodeVersionNegotiation(dcid, scid, [...versions, reserved], random[0] as number)
    if (this.#push(tuple, packet)) this.versionNegotiations++
  }

  retry(
    version: number,
    clientScid: Uint8Array,
    originalDcid: Uint8Array,
    retryScid: Uint8Array,
    token: Uint8Array,
    tuple: PathTuple,
  ): void {
    const unused = new Uint8Array(1)
    this.#random.fill(unused)
    const body = encodeRetryWithoutTag(version, clientScid, retryScid, token, unused[0] as number)
    const tag = this.#crypto.retryIntegrityTag(version, retryPseudoPacket(originalDcid, body))
    const packet = new Uint8Array(body.length + 16)
    packet.set(body)
    packet.set(tag, body.length)
    if (this.#push(tuple, packet)) this.retries++
  }

  /** RFC 9000 §10.3: for a short-header datagram of `receivedBytes` sent to a CID we do not know. */
  reset(cid: Uint8Array, receivedBytes: number, tuple: PathTuple, nowUs: Micros): void {
    // RFC 9000 §10.3.3: "An endpoint MUST ensure that every Stateless Reset that it sends is smaller than the packet that triggered it"
    const length = Math.min(RESET_BYTES_MAX, receivedBytes - 1)
    if (length < RESET_BYTES_MIN || !this.#takeReset(nowUs)) return
    const packet = new Uint8Array(length)
    this.#random.fill(packet)
    packet[0] = 0x40 | ((packet[0] as number) & 0x3f)
    // RFC 9000 §21.11: only for connection IDs that no connection of this endpoint uses
    packet.set(this.#crypto.statelessResetToken(cid), length - 16)
    if (this.#push(tuple, packet)) this.resets++
  }

  #takeReset(nowUs: Micros): boolean {
    if (nowUs - this.#resetEpochUs > 1_000_000) {
      this.#resetEpochUs = nowUs
      this.#resetsLeft = RESETS_PER_SECOND
    }
    if (this.#resetsLeft === 0) return false
    this.#resetsLeft--
    return true
  }

  pollTransmit(out: TransmitBatch): boolean {
    const answer = this.#queue.shift()
    if (answer === undefined) return false
    out.bytes.set(answer.bytes)
    out.tuple = answer.tuple
    out.length = answer.bytes.length
    out.segmentSize = answer.bytes.length
    out.count = 1
    out.ecn = Ecn.NotEct
    return true
  }
}
