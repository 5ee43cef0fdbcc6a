/** The peer's control stream (RFC 9114 §6.2.1, §7.2): which frames may come, and what they say. */
import { H3ConnectionError } from './errors.ts'
import { decodeIntegerPayload, FrameItem, FrameParser, FrameType, frameName, isHttp2FrameType } from './frames.ts'
import { decodePriorityUpdate, type PriorityUpdate } from './priority.ts'
import { decodeSettings, type Http3Settings } from './settings.ts'

export interface ControlHandler {
  onSettings(settings: Http3Settings): void
  /** The identifier has been checked. */
  onGoaway(id: number): void
  /** Server: the client gives a request, which may not have arrived yet, another priority. */
  onPriorityUpdate(update: PriorityUpdate): void
}

/** Largest SETTINGS frame read; all known settings take less than 100 bytes. */
const SETTINGS_BYTES_MAX = 4096
const PRIORITY_UPDATE_BYTES_MAX = 1024

export class ControlStreamReader {
  readonly #role: 'client' | 'server'
  readonly #handler: ControlHandler
  readonly #parser: FrameParser
  #hasSettings: boolean
  #goawayId: number
  #maxPushId: number

  /** `role` is ours, not the peer's. */
  constructor(role: 'client' | 'server', handler: ControlHandler) {
    this.#role = role
    this.#handler = handler
    this.#parser = new FrameParser()
    this.#hasSettings = false
    this.#goawayId = Number.POSITIVE_INFINITY
    this.#maxPushId = -1
  }

  /** Takes the next bytes of the stream. Throws H3ConnectionError. */
  push(chunk: Uint8Array): void {
    const parser = this.#parser
    let offset = 0
    while (true) {
      const item = parser.next(chunk, offset, chunk.length)
      offset = parser.offset
      if (item === FrameItem.NeedMore) return
      if (item === FrameItem.Start) this.#onStart(parser.frameType, parser.frameLength)
      else if (item === FrameItem.Frame) this.#onFrame(parser.frameType, parser.bytes, parser.start, parser.end)
    }
  }

  #onStart(type: number, length: number): void {
    if (!this.#hasSettings && type !== FrameType.Settings) {
      // RFC 9114 §6.2.1: "If the first frame of the control stream is any other frame type, this MUST be treated as a
      // connection error of type H3_MISSING_SETTINGS"
      throw new H3ConnectionError('H3_MISSING_SETTINGS', `control stream starts with ${frameName(type)}`)
    }
    switch (type) {
      case FrameType.Settings:
        // RFC 9114 §7.2.4: a second SETTINGS is H3_FRAME_UNEXPECTED
        if (this.#hasSettings) throw new H3ConnectionError('H3_FRAME_UNEXPECTED', 'second SETTINGS')
        if (length > SETTINGS_BYTES_MAX) throw new H3ConnectionError('H3_EXCESSIVE_LOAD', `SETTINGS of ${length} bytes`)
        return
      case FrameType.MaxPushId:
        // RFC 9114 §7.2.7: "A client MUST treat the receipt of a MAX_PUSH_ID frame as … H3_FRAME_UNEXPECTED"
        if (this.#role === 'client') throw new H3ConnectionError('H3_FRAME_UNEXPECTED', 'MAX_PUSH_ID from a server')
        requireInteger(type, length)
        return
      case FrameType.CancelPush:
      case FrameType.Goaway:
        requireInteger(type, length)
        return
      case FrameType.PriorityUpdateRequest:
      case FrameType.PriorityUpdatePush:
        // RFC 9218 §7.2: only clients send it
        if (this.#role === 'client') throw new H3ConnectionError('H3_FRAME_UNEXPECTED', 'PRIORITY_UPDATE from a server')
        if (length > PRIORITY_UPDATE_BYTES_MAX) this.#parser.skip()
        return
      case FrameType.Data:
      case FrameType.Headers:
      case FrameType.PushPromise:
        // RFC 9114 §7.2.1, §7.2.2: on a control stream, "the recipient MUST respond with a connection error of type H3_FRAME_UNEXPECTED"
        throw new H3ConnectionError('H3_FRAME_UNEXPECTED', `${frameName(type)} on the control stream`)
      default:
        // RFC 9114 §7.2.8
        if (isHttp2FrameType(type)) throw new H3ConnectionError('H3_FRAME_UNEXPECTED', `HTTP/2 ${frameName(type)}`)
        this.#parser.skip()
    }
  }

  #onFrame(type: number, bytes: Uint8Array, start: number, end: number): void {
    switch (type) {
      case FrameType.Settings:
        this.#hasSettings = true
        this.#handler.onSettings(decodeSettings(bytes, start, end))
        return
      case FrameType.Goaway:
        this.#onGoaway(decodeIntegerPayload(type, bytes, start, end))
        return
      case FrameType.MaxPushId:
        this.#onMaxPushId(decodeIntegerPayload(type, bytes, start, end))
        return
      case FrameType.CancelPush:
        this.#onCancelPush(decodeIntegerPayload(type, bytes, start, end))
        return
      default:
        this.#handler.onPriorityUpdate(decodePriorityUpdate(type, bytes, start, end))
        return
    }
  }

  #onGoaway(id: number): void {
    // RFC 9114 §7.2.6: to a client it names a request stream, anything else is H3_ID_ERROR. The largest value, 2^62-4,
    // arrives clamped to 2^53-1.
    const isStreamId = id % 4 === 0 || id === Number.MAX_SAFE_INTEGER
    if (this.#role === 'client' && !isStreamId) {
      throw new H3ConnectionError('H3_ID_ERROR', `GOAWAY names stream ${id}, which is not a request`)
    }
    // RFC 9114 §5.2: "a GOAWAY containing a larger identifier than previously received MUST be treated as … H3_ID_ERROR"
    if (id > this.#goawayId) throw new H3ConnectionError('H3_ID_ERROR', `GOAWAY rises from ${this.#goawayId} to ${id}`)
    this.#goawayId = id
    this.#handler.onGoaway(id)
  }

  #onMaxPushId(id: number): void {
    // RFC 9114 §7.2.7: "A MAX_PUSH_ID frame cannot reduce the maximum Push ID"
    if (id < this.#maxPushId)
      throw new H3ConnectionError('H3_ID_ERROR', `MAX_PUSH_ID falls from ${this.#maxPushId} to ${id}`)
    this.#maxPushId = id
  }

  #onCancelPush(id: number): void {
    // RFC 9114 §7.2.3: beyond the client's MAX_PUSH_ID, or never promised: H3_ID_ERROR. We neither allow nor promise.
    throw new H3ConnectionError('H3_ID_ERROR', `CANCEL_PUSH of push ${id}, which was never promised`)
  }
}

function requireInteger(type: number, length: number): void {
  if (length === 0 || length > 8) throw new H3ConnectionError('H3_FRAME_ERROR', `${frameName(type)} of ${length} bytes`)
}
