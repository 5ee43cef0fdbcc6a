/**
 * The framing of the demo's video streams: a 24-byte header, then the payload.
 *
 * | bytes | field                                                     |
 * |-------|-----------------------------------------------------------|
 * | 0-3   | `QVF1`                                                    |
 * | 4-7   | frame number, from 0, big endian                          |
 * | 8-15  | capture time in microseconds, big endian double           |
 * | 16-19 | payload bytes, big endian                                 |
 * | 20-23 | Adler-32 of the payload, big endian                       |
 */

export const frameHeaderBytes = 24
/** A longer frame is refused: the parser holds at most one. */
export const framePayloadBytesMax = 4 * 1024 * 1024
const magic = 0x51_56_46_31

export interface VideoFrame {
  readonly sequence: number
  readonly sentAtUs: number
  readonly payloadBytes: number
  readonly isIntact: boolean
}

/** One frame, header and payload. The payload is a pattern made from the frame number and `seed`. */
export function encodeFrame(sequence: number, sentAtUs: number, payloadBytes: number, seed = 0): Uint8Array {
  const frame = new Uint8Array(frameHeaderBytes + payloadBytes)
  const payload = frame.subarray(frameHeaderBytes)
  fillPattern(payload, sequence ^ seed)
  const view = new DataView(frame.buffer)
  view.setUint32(0, magic)
  view.setUint32(4, sequence)
  view.setFloat64(8, sentAtUs)
  view.setUint32(16, payloadBytes)
  view.setUint32(20, adler32(payload))
  return frame
}

/** Cuts a byte stream into frames, however it is fragmented. Holds at most one frame. */
export class FrameParser {
  readonly #onFrame: (frame: VideoFrame) => void
  readonly #header = new Uint8Array(frameHeaderBytes)
  #headerUsed = 0
  #payload: Uint8Array | undefined
  #payloadUsed = 0

  constructor(onFrame: (frame: VideoFrame) => void) {
    this.#onFrame = onFrame
  }

  /** Throws when the bytes are not in this framing. */
  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#payload === undefined) {
        const take = Math.min(frameHeaderBytes - this.#headerUsed, chunk.length - at)
        this.#header.set(chunk.subarray(at, at + take), this.#headerUsed)
        this.#headerUsed += take
        at += take
        if (this.#headerUsed === frameHeaderBytes) this.#beginPayload()
        continue
      }
      const take = Math.min(this.#payload.length - this.#payloadUsed, chunk.length - at)
      this.#payload.set(chunk.subarray(at, at + take), this.#payloadUsed)
      this.#payloadUsed += take
      at += take
      if (this.#payloadUsed === this.#payload.length) this.#finishFrame(this.#payload)
    }
  }

  /** True when the stream may end here. */
  isAtBoundary(): boolean {
    return this.#headerUsed === 0 && this.#payload === undefined
  }

  #beginPayload(): void {
    const view = new DataView(this.#header.buffer)
    if (view.getUint32(0) !== magic) throw new Error('the body is not a video stream: a frame does not begin with QVF1')
    const payloadBytes = view.getUint32(16)
    if (payloadBytes > framePayloadBytesMax)
      throw new Error(`a frame of ${payloadBytes} bytes is larger than ${framePayloadBytesMax}`)
    this.#payload = new Uint8Array(payloadBytes)
    this.#payloadUsed = 0
    if (payloadBytes === 0) this.#finishFrame(this.#payload)
  }

  #finishFrame(payload: Uint8Array): void {
    const view = new DataView(this.#header.buffer)
    this.#payload = undefined
    this.#headerUsed = 0
    this.#onFrame({
      sequence: view.getUint32(4),
      sentAtUs: view.getFloat64(8),
      payloadBytes: payload.length,
      isIntact: view.getUint32(20) === adler32(payload),
    })
  }
}

function fillPattern(bytes: Uint8Array, seed: number): void {
  let state = (seed + 0x9e37_79b9) | 0
  for (let at = 0; at < bytes.length; at++) {
    if ((at & 3) === 0) state = Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x6d2b_79f5
    bytes[at] = state >>> ((at & 3) * 8)
  }
}

function adler32(bytes: Uint8Array): number {
  let a = 1
  let b = 0
  for (let at = 0; at < bytes.length; ) {
    // 5552 is the longest run before the sums could pass 2^32.
    const end = Math.min(at + 5_552, bytes.length)
    for (; at < end; at++) {
      a += bytes[at] ?? 0
      b += a
    }
    a %= 65_521
    b %= 65_521
  }
  return ((b << 16) | a) >>> 0
}
