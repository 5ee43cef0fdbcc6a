/** Moves bytes between CRYPTO frames and the TLS session, installs keys, and says when the handshake is done. */
import {
  CRYPTO_ERROR_BASE,
  FrameType,
  TransportError,
  type TransportParameters,
  decodeTransportParameters,
  varintLength,
} from '@quicether/wire'
import type { KeyRing } from './key-ring.ts'
import { Level, NO_KEY, type TlsSession } from './ports/crypto.ts'
import { ReceiptKind } from './recovery/sent-packets.ts'
import { RecvBuffer } from './stream/recv-buffer.ts'
import { SendBuffer } from './stream/send-buffer.ts'
import type { PacketWriter } from './transmit/packet-writer.ts'

/** A TLS alert of ours, to be sent as CRYPTO_ERROR (RFC 9001 §4.8). */
export class CryptoError extends Error {
  readonly code: number

  constructor(alert: number, reason: string) {
    super(reason)
    this.name = 'CryptoError'
    this.code = CRYPTO_ERROR_BASE + alert
  }
}

export interface HandshakeHost {
  /** Keys of a level were installed. */
  onKeys(level: Level): void
  onPeerParameters(parameters: TransportParameters): void
  /** TLS has finished on this side. */
  onHandshakeComplete(): void
}

// RFC 9002 §6.2.3: earlier than a PTO only "for a limited number of times per connection"
const REPEATS_MAX = 3

/** One handshake over CRYPTO streams of all levels; buffers are bounded by the configuration. */
export class Handshake {
  readonly tls: TlsSession
  isComplete = false
  readonly #keys: KeyRing
  readonly #host: HandshakeHost
  readonly #isServer: boolean
  readonly #bufferBytesMax: number
  readonly #send: (SendBuffer | undefined)[] = [undefined, undefined, undefined, undefined]
  readonly #receive: (RecvBuffer | undefined)[] = [undefined, undefined, undefined, undefined]
  /** Level TLS reads from now. */
  #readLevel: Level = Level.Initial
  #hasParameters = false
  #repeatsLeft = REPEATS_MAX

  constructor(tls: TlsSession, keys: KeyRing, host: HandshakeHost, isServer: boolean, bufferBytesMax: number) {
    this.tls = tls
    this.#keys = keys
    this.#host = host
    this.#isServer = isServer
    this.#bufferBytesMax = bufferBytesMax
  }

  /** Lets TLS produce what it can; call once at the start and after each input. */
  advance(): void {
    for (let step = this.tls.next(); step !== undefined; step = this.tls.next()) {
      if (step.kind === 'crypto') this.#sendBuffer(step.level).write(step.data)
      else this.#install(step.level, step.keys.rx, step.keys.tx)
    }
    if (this.#isServer || !this.tls.isHandshaking()) this.#takeParameters()
    if (!this.isComplete && !this.tls.isHandshaking()) {
      this.isComplete = true
      this.#host.onHandshakeComplete()
    }
  }

  #install(level: Level, rx: number, tx: number): void {
    // Transport parameters first: keys allow packets whose handling needs them. A client's TLS may still show the
    // parameters remembered for 0-RTT until the server's Finished has been read.
    if (this.#isServer || level === Level.OneRtt) this.#takeParameters()
    this.#keys.install(level, { rx, tx })
    if (level !== Level.ZeroRtt && rx !== NO_KEY) {
      const buffered = this.#receive[this.#readLevel]
      // RFC 9001 §4.1.3: data buffered at the old level when TLS moves on is a PROTOCOL_VIOLATION
      if (buffered !== undefined && buffered.readableBytes > 0) {
        throw new TransportError(
          'PROTOCOL_VIOLATION',
          FrameType.Crypto,
          'CRYPTO data left at the level TLS has moved on from',
        )
      }
      if (this.#readLevel < level && !(this.#isServer && level === Level.OneRtt)) this.#readLevel = level
    }
    this.#host.onKeys(level)
  }

  /** Hands over the peer's transport parameters once TLS has authenticated enough of them to be acted on. */
  #takeParameters(): void {
    if (this.#hasParameters) return
    const raw = this.tls.peerTransportParameters()
    if (raw === undefined) {
      // RFC 9001 §8.2: endpoints that receive no quic_transport_parameters extension MUST close with error 0x016d
      if (!this.tls.isHandshaking()) throw new CryptoError(109, 'the peer sent no transport parameters')
      return
    }
    this.#hasParameters = true
    this.#host.onPeerParameters(decodeTransportParameters(raw, this.#isServer ? 'client' : 'server'))
  }

  /** CRYPTO frame. Throws TransportError or CryptoError. */
  onCrypto(level: Level, offset: number, bytes: Uint8Array, start: number, end: number): void {
    const buffer = this.#receiveBuffer(level)
    const frameEnd = offset + (end - start)
    // RFC 9000 §7.5: "Endpoints MUST support buffering at least 4096 bytes"; beyond the bound: CRYPTO_BUFFER_EXCEEDED
    if (frameEnd > buffer.readOffset + this.#bufferBytesMax) {
      throw new TransportError(
        'CRYPTO_BUFFER_EXCEEDED',
        FrameType.Crypto,
        `CRYPTO data ${frameEnd - buffer.readOffset} bytes ahead`,
      )
    }
    const added = buffer.write(offset, bytes, start, end)
    if (added === 0) return this.#onRepeated(end - start)
    // RFC 9001 §4.1.3: new data at a level that TLS has left is a PROTOCOL_VIOLATION
    if (level < this.#readLevel) {
      throw new TransportError('PROTOCOL_VIOLATION', FrameType.Crypto, 'new CRYPTO data at an earlier encryption level')
    }
    if (buffer.readableBytes === 0) return
    buffer.read((chunk) => this.#feed(level, chunk))
    this.advance()
  }

  // RFC 9002 §6.2.3: "When a server receives an Initial packet containing duplicate CRYPTO data, it can assume the client did not receive all of the server's CRYPTO data"
  /** The peer repeats itself: our answer was probably lost, and is sent again before our own probe timeout. */
  #onRepeated(length: number): void {
    if (length === 0 || this.#repeatsLeft === 0) return
    const isUnanswered = (level: Level): boolean =>
      (this.#send[level]?.bufferedBytes ?? 0) > 0 && !this.hasCrypto(level)
    if (!isUnanswered(Level.Initial) && !isUnanswered(Level.Handshake)) return
    this.#repeatsLeft--
    this.repeat(Level.Initial)
    this.repeat(Level.Handshake)
  }

  #feed(level: Level, chunk: Uint8Array): void {
    const failure = this.tls.read(level, chunk)
    if (failure === undefined) return
    // What TLS wrote before it failed may matter to the peer; the alert itself travels in CONNECTION_CLOSE.
    throw new CryptoError(failure.alert, failure.message)
  }

  hasCrypto(level: Level): boolean {
    const buffer = this.#send[level]
    return buffer !== undefined && (buffer.lost.count > 0 || buffer.sentEnd < buffer.end)
  }

  // RFC 9001 §4: CRYPTO data is retransmitted with the keys of its own level
  /** Writes CRYPTO frames of the packet's level: lost ranges first. */
  write(packet: PacketWriter): void {
    const buffer = this.#send[packet.level]
    if (buffer === undefined) return
    while (buffer.lost.count > 0 || buffer.sentEnd < buffer.end) {
      const isLost = buffer.lost.count > 0
      const offset = isLost ? (buffer.lost.starts[0] as number) : buffer.sentEnd
      const available = (isLost ? (buffer.lost.ends[0] as number) : buffer.end) - offset
      const room = packet.room - 1 - varintLength(offset) - 2
      const length = Math.min(available, room, 16_383)
      if (length <= 0) return
      packet.byte(FrameType.Crypto)
      packet.varint(offset)
      packet.varint(length)
      buffer.copyTo(packet.bytes, packet.at, offset, length)
      packet.at += length
      packet.receipt(ReceiptKind.Crypto, packet.level, offset, length)
      if (isLost) buffer.lost.remove(offset, offset + length)
      else buffer.sentEnd = offset + length
    }
  }

  /**
   * A probe with nothing new to say repeats what is not acknowledged: a bare PING as second probe may be the first to
   * arrive, and a server may want CRYPTO in the first Initial it sees (RFC 9000 §17.2.2).
   */
  repeat(level: Level): void {
    const buffer = level === Level.OneRtt ? undefined : this.#send[level]
    if (buffer !== undefined && !this.hasCrypto(level)) buffer.onLost(buffer.base, buffer.sentEnd - buffer.base)
  }

  onAcked(level: Level, offset: number, length: number): void {
    this.#send[level]?.onAcked(offset, length)
  }

  onLost(level: Level, offset: number, length: number): void {
    this.#send[level]?.onLost(offset, length)
  }

  /** Keys of a level are gone: so is its CRYPTO data. */
  discard(level: Level): void {
    this.#send[level] = undefined
    this.#receive[level]?.discard()
    this.#receive[level] = undefined
  }

  /** A Retry: the first flight goes out again from the start. */
  restartInitial(): void {
    const buffer = this.#sendBuffer(Level.Initial)
    buffer.lost.clear()
    buffer.sentEnd = 0
  }

  #sendBuffer(level: Level): SendBuffer {
    const buffer = this.#send[level] ?? new SendBuffer()
    this.#send[level] = buffer
    return buffer
  }

  #receiveBuffer(level: Level): RecvBuffer {
    const buffer = this.#receive[level] ?? new RecvBuffer()
    this.#receive[level] = buffer
    return buffer
  }
}
