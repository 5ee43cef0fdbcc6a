/** Samples of a stream's throughput over its life, in bounded memory. */

/** Samples kept per stream; when they are full, neighbours merge and the interval doubles. */
const samplesMax = 64
const firstIntervalMs = 50

export interface ThroughputSample {
  /** Milliseconds from the start of the stream to the start of the sample. */
  readonly atMs: number
  readonly bytesPerSecond: number
}

/** Counts bytes into equal intervals from the start of a stream. */
export class ThroughputSampler {
  readonly #startMs: number
  readonly #bytes = new Float64Array(samplesMax)
  #intervalMs = firstIntervalMs
  #used = 0
  #endMs: number

  constructor(startMs: number) {
    this.#startMs = startMs
    this.#endMs = startMs
  }

  onBytes(bytes: number, nowMs: number): void {
    let slot = Math.floor((nowMs - this.#startMs) / this.#intervalMs)
    while (slot >= samplesMax) {
      this.#halve()
      slot = Math.floor((nowMs - this.#startMs) / this.#intervalMs)
    }
    if (slot < 0) slot = 0
    this.#bytes[slot] = (this.#bytes[slot] ?? 0) + bytes
    this.#used = Math.max(this.#used, slot + 1)
    this.#endMs = Math.max(this.#endMs, nowMs)
  }

  /** The last sample is measured against the time that has really passed in it, but never less than 1 ms. */
  samples(): ThroughputSample[] {
    const result: ThroughputSample[] = []
    for (let slot = 0; slot < this.#used; slot++) {
      const isLast = slot === this.#used - 1
      const passedMs = isLast ? this.#endMs - this.#startMs - slot * this.#intervalMs : this.#intervalMs
      const bytesPerSecond = ((this.#bytes[slot] ?? 0) * 1000) / Math.max(1, passedMs)
      result.push({ atMs: slot * this.#intervalMs, bytesPerSecond: Math.round(bytesPerSecond) })
    }
    return result
  }

  #halve(): void {
    for (let slot = 0; slot < samplesMax / 2; slot++) {
      this.#bytes[slot] = (this.#bytes[2 * slot] ?? 0) + (this.#bytes[2 * slot + 1] ?? 0)
    }
    this.#bytes.fill(0, samplesMax / 2)
    this.#used = Math.ceil(this.#used / 2)
    this.#intervalMs *= 2
  }
}
