/** Latencies of the last seconds per service, for a live view. */
import { round } from '../metrics/distribution.ts'

export interface LatencyWindow {
  readonly count: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly maxMs: number
}

interface Sample {
  readonly atMs: number
  readonly durationMs: number
}

const samplesMax = 512
const windowMs = 10_000

/** At most 512 samples per service of the last 10 s. */
export class RecentLatency {
  readonly #samples = new Map<string, Sample[]>()

  /** `atMs` monotonic; `type` from a bounded set. */
  add(type: string, durationMs: number, atMs: number): void {
    let samples = this.#samples.get(type)
    if (samples === undefined) {
      samples = []
      this.#samples.set(type, samples)
    }
    samples.push({ atMs, durationMs })
    if (samples.length > 2 * samplesMax) samples.splice(0, samplesMax)
  }

  /** Services with samples in the window. */
  windows(nowMs: number): Map<string, LatencyWindow> {
    const windows = new Map<string, LatencyWindow>()
    for (const [type, all] of this.#samples) {
      const samples = all.filter(({ atMs }) => nowMs - atMs <= windowMs).slice(-samplesMax)
      if (samples.length === 0) {
        this.#samples.delete(type)
        continue
      }
      this.#samples.set(type, samples)
      const sorted = samples.map(({ durationMs }) => durationMs).sort((a, b) => a - b)
      const quantile = (q: number): number => round(sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0)
      windows.set(type, { count: sorted.length, p50Ms: quantile(0.5), p95Ms: quantile(0.95), maxMs: quantile(1) })
    }
    return windows
  }
}
