/** An attacker that has taken over an established connection: sends any payload, reads what the victim sends. */
import { DESCRIPTOR_WORDS, Level, OpenIn, OpenOut, Seal } from '@quicether/transport'
import {
  AckElicitingBit,
  decodeFrames,
  HeaderStatus,
  HeaderView,
  PacketType,
  writePacketNumber,
  writeShortHeader,
} from '@quicether/wire'
import { type Frames, FrameTally } from './frames.ts'
import type { SpyCrypto } from './spy-crypto.ts'

const TAG_BYTES = 16
const PN_BYTES = 4

export class RawPeer {
  readonly tally: FrameTally = new FrameTally()
  /** 1-RTT packets of the victim that were opened, those that elicit acknowledgment, and their numbers. */
  packetsReceived = 0
  elicitingReceived = 0
  bytesReceived = 0
  bytesSent = 0
  readonly receivedNumbers: number[] = []
  nextPacketNumber: number
  generation = 0
  readonly #crypto: SpyCrypto
  /** What the attacker calls the victim. */
  #dcid: Uint8Array
  readonly #cidLength: number
  readonly #out: (bytes: Uint8Array) => void
  readonly #slab: Uint8Array = new Uint8Array(2_048)
  readonly #words: Int32Array = new Int32Array(DESCRIPTOR_WORDS)
  readonly #header: HeaderView = new HeaderView()

  /** `cidLength`: length of the connection IDs the victim uses towards us; `out` puts a datagram on the wire. */
  constructor(crypto: SpyCrypto, dcid: Uint8Array, cidLength: number, out: (bytes: Uint8Array) => void) {
    this.#crypto = crypto
    this.#dcid = dcid
    this.#cidLength = cidLength
    this.#out = out
    this.nextPacketNumber = crypto.captured.packetNumber
  }

  useDcid(dcid: Uint8Array): void {
    this.#dcid = dcid
  }

  /** Seals `frames` into one 1-RTT packet and sends it; returns its packet number. */
  send(frames: Frames, out: (bytes: Uint8Array) => void = this.#out): number {
    const packetNumber = this.nextPacketNumber
    this.nextPacketNumber += 1
    const bytes = this.seal(frames, packetNumber)
    this.bytesSent += bytes.length
    out(bytes)
    return packetNumber
  }

  /** A copy of the sealed packet, not sent. */
  seal(frames: Frames, packetNumber: number): Uint8Array {
    const slab = this.#slab
    const pnAt = writeShortHeader(slab, 0, this.#dcid, PN_BYTES, this.generation & 1, 1, 0)
    const payloadAt = writePacketNumber(slab, pnAt, packetNumber, PN_BYTES)
    slab.set(frames.bytes(), payloadAt)
    const length = payloadAt + frames.length + TAG_BYTES
    const words = this.#words
    words[Seal.Offset] = 0
    words[Seal.HeaderLength] = payloadAt
    words[Seal.Length] = length
    words[Seal.PnLow] = packetNumber | 0
    words[Seal.PnHigh] = Math.floor(packetNumber / 2 ** 32)
    words[Seal.KeyId] = this.#crypto.captured.keys.tx
    words[Seal.PathId] = 0
    words[Seal.PnLength] = PN_BYTES
    this.#crypto.seal(slab, words, 1)
    return slab.slice(0, length)
  }

  /** Error code of the CONNECTION_CLOSE received, undefined while there was none. */
  closeCode(): number | undefined {
    return this.tally.closed?.code
  }

  closeReason(): string {
    return this.tally.closed?.reason ?? ''
  }

  updateKeys(): void {
    this.#crypto.rotate(this.#crypto.captured.keys)
    this.generation += 1
  }

  /** Takes one datagram of the victim; long headers and what does not open are skipped. */
  receive(datagram: Uint8Array): void {
    const bytes = datagram.slice()
    this.bytesReceived += bytes.length
    const header = this.#header
    if (header.parse(bytes, 0, bytes.length, this.#cidLength) !== HeaderStatus.Ok) return
    if (header.type !== PacketType.OneRtt) return
    const words = this.#words
    words[OpenIn.Offset] = 0
    words[OpenIn.Length] = bytes.length
    words[OpenIn.PnOffset] = header.pnOffset
    words[OpenIn.KeyId] = this.#crypto.captured.keys.rx
    words[OpenIn.PathId] = 0
    words[OpenIn.Space] = this.#crypto.captured.space
    this.#crypto.open(bytes, words, 1)
    const length = words[OpenOut.PayloadLength] ?? -1
    if (length < 0) return
    const start = words[OpenOut.PayloadOffset] ?? 0
    this.packetsReceived += 1
    this.receivedNumbers.push((words[OpenOut.PnHigh] ?? 0) * 2 ** 32 + ((words[OpenOut.PnLow] ?? 0) >>> 0))
    this.tally.bytes = bytes
    const bits = decodeFrames(bytes, start, start + length, Level.OneRtt, false, this.tally)
    if ((bits & AckElicitingBit) !== 0) this.elicitingReceived += 1
  }
}
