/** HTTP/3 frames (RFC 9114 §7): types, an incremental parser that never buffers DATA, and writers. */
import { Reader, varintLength, writeVarint } from '@quicether/wire'
import { H3ConnectionError } from './errors.ts'

export const FrameType = {
  Data: 0x00,
  Headers: 0x01,
  CancelPush: 0x03,
  Settings: 0x04,
  PushPromise: 0x05,
  Goaway: 0x07,
  MaxPushId: 0x0d,
  /** WebTransport (draft-ietf-webtrans-http3 §4.2): what would be the length is the session ID. */
  WebTransportStream: 0x41,
  /** RFC 9218 §7.2. */
  PriorityUpdateRequest: 0xf0700,
  PriorityUpdatePush: 0xf0701,
} as const

/** RFC 9114 §7.2.8: PRIORITY, PING, WINDOW_UPDATE and CONTINUATION of HTTP/2 "MUST NOT be sent". */
export function isHttp2FrameType(type: number): boolean {
  return type === 0x02 || type === 0x06 || type === 0x08 || type === 0x09
}

const NAMES: ReadonlyMap<number, string> = new Map([
  [FrameType.Data, 'DATA'],
  [FrameType.Headers, 'HEADERS'],
  [FrameType.CancelPush, 'CANCEL_PUSH'],
  [FrameType.Settings, 'SETTINGS'],
  [FrameType.PushPromise, 'PUSH_PROMISE'],
  [FrameType.Goaway, 'GOAWAY'],
  [FrameType.MaxPushId, 'MAX_PUSH_ID'],
  [FrameType.WebTransportStream, 'WT_STREAM'],
  [FrameType.PriorityUpdateRequest, 'PRIORITY_UPDATE'],
  [FrameType.PriorityUpdatePush, 'PRIORITY_UPDATE'],
])

/** Name of a frame type for error messages. */
export function frameName(type: number): string {
  return NAMES.get(type) ?? `frame type 0x${type.toString(16)}`
}

/** What `FrameParser.next` found. */
export const FrameItem = {
  /** All bytes are consumed; go on with the next chunk. */
  NeedMore: 0,
  /** Type and length of a frame are known (`frameType`, `frameLength`); call `skip` here to pass over its payload. */
  Start: 1,
  /** `bytes[start, end)` is the next piece of a DATA payload, borrowed from the chunk. */
  Data: 2,
  /** `bytes[start, end)` is the whole payload of any other frame, valid until the next call. */
  Frame: 3,
} as const
export type FrameItem = (typeof FrameItem)[keyof typeof FrameItem]

const State = { Header: 0, Data: 1, Payload: 2, Skip: 3 } as const

const EMPTY = new Uint8Array(0)
const headerReader = new Reader(EMPTY)

/**
 * Splits the bytes of one stream into frames, whatever their fragmentation. The caller checks type and length at
 * `Start`, before a payload is gathered: that is where limits belong.
 */
export class FrameParser {
  frameType: number
  frameLength: number
  /** Bytes of the chunk given to `next` that are consumed. */
  offset: number
  bytes: Uint8Array
  start: number
  end: number
  #state: (typeof State)[keyof typeof State]
  #remaining: number
  readonly #header: Uint8Array
  #headerLength: number
  /** Payload gathered over several chunks; grows with what has arrived, never with what was promised. */
  #gathered: Uint8Array
  #gatheredLength: number

  constructor() {
    this.frameType = -1
    this.frameLength = 0
    this.offset = 0
    this.bytes = EMPTY
    this.start = 0
    this.end = 0
    this.#state = State.Header
    this.#remaining = 0
    this.#header = new Uint8Array(16)
    this.#headerLength = 0
    this.#gathered = EMPTY
    this.#gatheredLength = 0
  }

  /** True where a stream may end: no frame is incomplete. */
  get isBetweenFrames(): boolean {
    return this.#state === State.Header && this.#headerLength === 0
  }

  /** Parses from `chunk[offset, end)` up to the next item. */
  next(chunk: Uint8Array, offset: number, end: number): FrameItem {
    this.offset = offset
    while (true) {
      if (this.#state === State.Header) return this.#readHeader(chunk, end)
      const available = Math.min(end - this.offset, this.#remaining)
      if (this.#state === State.Payload) return this.#gather(chunk, available)
      if (available === 0) return FrameItem.NeedMore
      this.start = this.offset
      this.offset += available
      this.#remaining -= available
      const isData = this.#state === State.Data
      if (this.#remaining === 0) this.#state = State.Header
      if (!isData) {
        if (this.offset === end) return FrameItem.NeedMore
        continue
      }
      this.bytes = chunk
      this.end = this.offset
      return FrameItem.Data
    }
  }

  /** After `Start`: passes over the payload of this frame. */
  skip(): void {
    if (this.frameLength > 0) this.#state = State.Skip
    else this.#state = State.Header
  }

  #readHeader(chunk: Uint8Array, end: number): FrameItem {
    while (this.offset < end) {
      this.#header[this.#headerLength++] = chunk[this.offset++] as number
      const typeBytes = 1 << ((this.#header[0] as number) >>> 6)
      if (this.#headerLength <= typeBytes) continue
      const lengthBytes = 1 << ((this.#header[typeBytes] as number) >>> 6)
      if (this.#headerLength < typeBytes + lengthBytes) continue
      headerReader.rewind(this.#header, 0, this.#headerLength)
      this.frameType = headerReader.varintClamped()
      this.frameLength = headerReader.varintClamped()
      if (this.frameLength === Number.MAX_SAFE_INTEGER) {
        throw new H3ConnectionError('H3_FRAME_ERROR', `${frameName(this.frameType)} of 2^53 bytes or more`)
      }
      this.#headerLength = 0
      this.#remaining = this.frameLength
      if (this.frameType !== FrameType.Data) this.#state = State.Payload
      else if (this.frameLength > 0) this.#state = State.Data
      return FrameItem.Start
    }
    return FrameItem.NeedMore
  }

  #gather(chunk: Uint8Array, available: number): FrameItem {
    const from = this.offset
    this.offset += available
    this.#remaining -= available
    if (this.#remaining === 0 && this.#gatheredLength === 0) {
      this.#state = State.Header
      this.bytes = chunk
      this.start = from
      this.end = this.offset
      return FrameItem.Frame
    }
    const needed = this.#gatheredLength + available
    if (needed > this.#gathered.length) {
      const grown = new Uint8Array(Math.min(this.frameLength, Math.max(needed, this.#gathered.length * 2, 256)))
      grown.set(this.#gathered.subarray(0, this.#gatheredLength))
      this.#gathered = grown
    }
    this.#gathered.set(chunk.subarray(from, this.offset), this.#gatheredLength)
    this.#gatheredLength = needed
    if (this.#remaining > 0) return FrameItem.NeedMore
    this.#state = State.Header
    this.bytes = this.#gathered
    this.start = 0
    this.end = needed
    this.#gathered = EMPTY
    this.#gatheredLength = 0
    return FrameItem.Frame
  }
}

/** A whole frame. */
export function encodeFrame(type: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(varintLength(type) + varintLength(payload.length) + payload.length)
  const at = writeVarint(frame, writeVarint(frame, 0, type), payload.length)
  frame.set(payload, at)
  return frame
}

/** Type and length of a frame whose payload follows separately. */
export function encodeFrameHeader(type: number, payloadBytes: number): Uint8Array {
  const header = new Uint8Array(varintLength(type) + varintLength(payloadBytes))
  writeVarint(header, writeVarint(header, 0, type), payloadBytes)
  return header
}

/** A frame whose payload is one integer: GOAWAY, MAX_PUSH_ID, CANCEL_PUSH. */
export function encodeIntegerFrame(type: number, value: number): Uint8Array {
  const payload = new Uint8Array(varintLength(value))
  writeVarint(payload, 0, value)
  return encodeFrame(type, payload)
}

// RFC 9114 §10.8: "An implementation MUST ensure that the length of a frame exactly matches the length of the fields it contains."
/** The single integer that makes up a payload. RFC 9114 §7.1: missing or additional bytes are H3_FRAME_ERROR. */
export function decodeIntegerPayload(type: number, bytes: Uint8Array, start: number, end: number): number {
  const needed = start < end ? 1 << ((bytes[start] as number) >>> 6) : 1
  if (end - start !== needed) {
    throw new H3ConnectionError(
      'H3_FRAME_ERROR',
      `${frameName(type)} with ${end - start} bytes, its integer has ${needed}`,
    )
  }
  headerReader.rewind(bytes, start, end)
  return headerReader.varintClamped()
}
