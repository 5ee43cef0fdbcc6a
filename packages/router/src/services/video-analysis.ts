/** What can be told about a video stream from its frames and their arrival: jitter, bit rate, gaps, damage. */
import { createHash } from 'node:crypto'
import { JitterEstimator } from '../metrics/jitter.ts'
import { FrameParser, type VideoFrame } from './video-framing.ts'

export interface VideoReport {
  readonly frames: number
  readonly bytes: number
  readonly chunks: number
  readonly durationMs: number
  readonly bitsPerSecond: number
  readonly framesPerSecond: number
  /** RFC 3550 style over frames, with their capture times. Null below two frames. */
  readonly frameJitterMs: number | null
  /** The same over the chunks as the network delivered them. */
  readonly chunkJitterMs: number | null
  readonly longestGapMs: number
  /** Frame numbers that were skipped, and frames that came late or twice. */
  readonly framesMissing: number
  readonly framesOutOfOrder: number
  readonly framesDamaged: number
  readonly sha256: string
}

/** Feed it chunks as they arrive; times are monotonic milliseconds. */
export class VideoAnalysis {
  readonly #parser = new FrameParser((frame) => this.#onFrame(frame))
  readonly #hash = createHash('sha256')
  readonly #frameJitter = new JitterEstimator()
  readonly #chunkJitter = new JitterEstimator()
  #nowMs = 0
  #firstMs = Number.NaN
  #bytes = 0
  #chunks = 0
  #frames = 0
  #expected = 0
  #missing = 0
  #outOfOrder = 0
  #damaged = 0

  /** Throws when the bytes are not in the framing. */
  push(chunk: Uint8Array, nowMs: number): void {
    if (Number.isNaN(this.#firstMs)) this.#firstMs = nowMs
    this.#nowMs = nowMs
    this.#bytes += chunk.length
    this.#chunks++
    this.#hash.update(chunk)
    this.#chunkJitter.onArrival(nowMs)
    this.#parser.push(chunk)
  }

  /** Throws when the stream ended inside a frame. */
  finish(): VideoReport {
    if (!this.#parser.isAtBoundary()) throw new Error(`the stream ends inside frame ${this.#expected}`)
    const durationMs = Number.isNaN(this.#firstMs) ? 0 : this.#nowMs - this.#firstMs
    const seconds = Math.max(durationMs, 1) / 1000
    return {
      frames: this.#frames,
      bytes: this.#bytes,
      chunks: this.#chunks,
      durationMs,
      bitsPerSecond: Math.round((this.#bytes * 8) / seconds),
      framesPerSecond: this.#frames / seconds,
      frameJitterMs: this.#frameJitter.jitterMs() ?? null,
      chunkJitterMs: this.#chunkJitter.jitterMs() ?? null,
      longestGapMs: this.#chunkJitter.maxGapMs(),
      framesMissing: this.#missing,
      framesOutOfOrder: this.#outOfOrder,
      framesDamaged: this.#damaged,
      sha256: this.#hash.digest('hex'),
    }
  }

  #onFrame(frame: VideoFrame): void {
    this.#frames++
    if (!frame.isIntact) this.#damaged++
    if (frame.sequence > this.#expected) this.#missing += frame.sequence - this.#expected
    if (frame.sequence < this.#expected) this.#outOfOrder++
    else this.#expected = frame.sequence + 1
    this.#frameJitter.onArrival(this.#nowMs, frame.sentAtUs / 1000)
  }
}
