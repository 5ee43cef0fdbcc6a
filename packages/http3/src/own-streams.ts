/** Our unidirectional streams (RFC 9114 §6.2): control, QPACK encoder and decoder, and one of a reserved type. */
import { type StreamId, type StreamTransport, StreamWriter } from '@quicether/transport'
import { varintLength, writeVarint } from '@quicether/wire'
import { encodeFrame, encodeIntegerFrame, FrameType } from './frames.ts'
import { StreamType } from './peer-streams.ts'
import type { QpackDecoder } from './qpack/decoder.ts'
import type { QpackEncoder } from './qpack/encoder.ts'
import { encodeSettings, type Http3Settings, reservedCodepoint } from './settings.ts'

/** Instructions that a peer keeps us from sending, by withholding credit, before that counts as an attack. */
const INSTRUCTION_BACKLOG_BYTES = 65_536

export interface OwnStreamsOptions {
  readonly transport: StreamTransport
  readonly encoder: QpackEncoder
  readonly decoder: QpackDecoder
  /** What we announce. */
  readonly settings: Http3Settings
  /** Selects the reserved codepoints. */
  readonly grease: number
}

export class OwnStreams {
  readonly #options: OwnStreamsOptions
  #control: StreamWriter | undefined
  #encoderStream: StreamWriter | undefined
  #decoderStream: StreamWriter | undefined
  #isReservedSent: boolean
  #goawayId: number | undefined

  constructor(options: OwnStreamsOptions) {
    this.#options = options
    this.#control = undefined
    this.#encoderStream = undefined
    this.#decoderStream = undefined
    this.#isReservedSent = false
    this.#goawayId = undefined
    // Without its stream, no instruction may be relied upon.
    options.encoder.canInsert = false
  }

  /** Opens what is missing, as far as the peer's stream limit goes. Call again when it rises. */
  open(): void {
    this.#openControl()
    if (this.#control === undefined) return
    this.#encoderStream ??= this.#openStream(StreamType.QpackEncoder)
    if (this.#encoderStream === undefined) return
    this.#options.encoder.canInsert = this.#encoderStream.queuedBytes === 0
    this.flushEncoder()
    this.#decoderStream ??= this.#openStream(StreamType.QpackDecoder)
    if (this.#decoderStream === undefined) return
    this.flushDecoder()
    if (!this.#isReservedSent) this.#sendReserved()
  }

  /** Whether `id` is one that lives as long as the connection. */
  isCritical(id: StreamId): boolean {
    return this.#writer(id) !== undefined
  }

  /** False = the stream is not one of these. */
  handleWritable(id: StreamId): boolean {
    const writer = this.#writer(id)
    if (writer === undefined) return false
    writer.flush()
    this.#options.encoder.canInsert = this.#encoderStream?.queuedBytes === 0
    return true
  }

  /** Sends GOAWAY, when the control stream is open or as soon as it is. */
  sendGoaway(id: number): void {
    this.#goawayId = id
    this.#control?.write(encodeIntegerFrame(FrameType.Goaway, id))
  }

  /** Client: sends PRIORITY_UPDATE. False = the control stream is not open or blocked; the next one may go through. */
  sendPriorityUpdate(frame: Uint8Array): boolean {
    if (this.#control === undefined || this.#control.queuedBytes > 0) return false
    this.#control.write(frame)
    return true
  }

  /** Writes pending encoder instructions; do so before the section that relies on them. */
  flushEncoder(): void {
    if (this.#encoderStream === undefined) return
    const instructions = this.#options.encoder.takeInstructions()
    if (instructions === undefined) return
    // RFC 9204 §2.1.3: no further insertions while flow control holds these back
    this.#options.encoder.canInsert = this.#encoderStream.write(instructions)
  }

  /** Writes pending decoder instructions. False = the peer has kept us from it for too long. */
  flushDecoder(): boolean {
    const stream = this.#decoderStream
    const backlog = (stream?.queuedBytes ?? 0) + this.#options.decoder.pendingInstructionBytes
    if (backlog > INSTRUCTION_BACKLOG_BYTES) return false
    if (stream === undefined || stream.queuedBytes > 0) return true
    const instructions = this.#options.decoder.takeInstructions()
    if (instructions !== undefined) stream.write(instructions)
    return true
  }

  #openControl(): void {
    if (this.#control !== undefined) return
    this.#control = this.#openStream(StreamType.Control)
    if (this.#control === undefined) return
    const { settings, grease } = this.#options
    // RFC 9114 §3.2#3, §7.2.4.2#3, §7.2.4.2#4: "settings MUST be sent as soon as the transport is ready to send data", without
    // waiting for the peer's
    // RFC 9114 §6.2.1: each side MUST "send its SETTINGS frame as the first frame on this stream"
    this.#control.write(encodeFrame(FrameType.Settings, encodeSettings(settings, grease)))
    // RFC 9114 §7.2.8: a reserved frame, which the peer ignores
    this.#control.write(encodeFrame(reservedCodepoint(grease + 1), new Uint8Array(3)))
    if (this.#goawayId !== undefined) this.sendGoaway(this.#goawayId)
  }

  /** RFC 9114 §6.2.3: a stream of a reserved type, which the peer ignores. */
  #sendReserved(): void {
    this.#isReservedSent = true
    this.#openStream(reservedCodepoint(this.#options.grease + 2))?.finish()
  }

  #openStream(type: number): StreamWriter | undefined {
    const id = this.#options.transport.openStream('unidirectional')
    if (id === undefined) return undefined
    const writer = new StreamWriter(this.#options.transport, id)
    const header = new Uint8Array(varintLength(type))
    writeVarint(header, 0, type)
    writer.write(header)
    return writer
  }

  #writer(id: StreamId): StreamWriter | undefined {
    if (id === this.#control?.id) return this.#control
    if (id === this.#encoderStream?.id) return this.#encoderStream
    return id === this.#decoderStream?.id ? this.#decoderStream : undefined
  }
}
