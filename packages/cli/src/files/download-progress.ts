/** How downloads get on: bytes, and the times in which none came. */

/** A time without a byte for the application while a download was running. */
export interface Gap {
  /** Since the downloads began. */
  readonly atMs: number
  readonly durationMs: number
}

/** Shorter ones are scheduling, not trouble. */
const GAP_MS_MIN = 100
/** Most gaps kept; the longest one is known in any case. */
const GAPS_MAX = 200

export class DownloadProgress {
  receivedBytes = 0
  /** Sum of the announced lengths. */
  expectedBytes = 0
  longestGapMs = 0
  readonly gaps: Gap[] = []
  readonly #now: () => number
  readonly #startMs: number
  #lastMs: number | undefined
  #running = 0

  /** @param now monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#startMs = now()
  }

  /** Since the downloads began. */
  get elapsedMs(): number {
    return this.#now() - this.#startMs
  }

  /** A body of so many bytes begins. */
  begin(expectedBytes: number): void {
    this.expectedBytes += expectedBytes
    if (this.#running++ === 0) this.#lastMs = this.#now()
  }

  /** Bytes came. */
  received(bytes: number): void {
    this.receivedBytes += bytes
    this.#endGap()
  }

  /** A body is over, whole or not. */
  end(): void {
    this.#endGap()
    if (--this.#running === 0) this.#lastMs = undefined
  }

  #endGap(): void {
    const nowMs = this.#now()
    const durationMs = nowMs - (this.#lastMs ?? nowMs)
    this.#lastMs = nowMs
    this.longestGapMs = Math.max(this.longestGapMs, durationMs)
    if (durationMs < GAP_MS_MIN || this.gaps.length >= GAPS_MAX) return
    this.gaps.push({ atMs: nowMs - this.#startMs - durationMs, durationMs })
  }
}
