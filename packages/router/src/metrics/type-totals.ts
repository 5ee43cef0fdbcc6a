/** Totals over the finished streams of one service. */
import { Distribution } from './distribution.ts'
import type { StreamDocument, TypeSummary } from './document.ts'
import { durationBoundsSeconds, Histogram, type HistogramSnapshot } from './histogram.ts'

/** Exact counts of one type for scrapers. */
export interface TypeCounts {
  readonly type: string
  readonly open: number
  /** Ended streams by class of the status, `none` where there was no answer. */
  readonly byStatusClass: ReadonlyMap<string, number>
  readonly byOutcome: ReadonlyMap<string, number>
  readonly requestBytes: number
  readonly responseBytes: number
  readonly durationSeconds: HistogramSnapshot
  /** Until the head of the service's answer; streams that got one. */
  readonly upstreamSeconds: HistogramSnapshot
}

/** Types are the names of configured services (plus one for requests without a route), so their number is bounded. */
export class TypeTotals {
  /** Streams of this type that are open now. */
  open = 0
  readonly #type: string
  readonly #kind: string
  readonly #durationMs = new Distribution()
  readonly #quicLatencyMs = new Distribution()
  readonly #httpLatencyMs = new Distribution()
  readonly #throughput = new Distribution()
  readonly #jitterMs = new Distribution()
  readonly #durationSeconds = new Histogram(durationBoundsSeconds)
  readonly #upstreamSeconds = new Histogram(durationBoundsSeconds)
  readonly #byStatusClass = new Map<string, number>()
  readonly #byOutcome = new Map<string, number>()
  #streams = 0
  #failed = 0
  #requestBytes = 0
  #responseBytes = 0
  #retransmissions = 0

  constructor(type: string, kind: string) {
    this.#type = type
    this.#kind = kind
  }

  add(stream: StreamDocument): void {
    this.#streams++
    if (stream.outcome !== 'completed') this.#failed++
    this.#requestBytes += stream.requestBytes
    this.#responseBytes += stream.responseBytes
    this.#retransmissions += stream.retransmissions
    this.#durationSeconds.add(stream.durationMs / 1000)
    if (stream.httpLatencyMs !== null) this.#upstreamSeconds.add(stream.httpLatencyMs / 1000)
    addOne(this.#byStatusClass, stream.status === null ? 'none' : `${Math.floor(stream.status / 100)}xx`)
    addOne(this.#byOutcome, stream.outcome)
    this.#durationMs.add(stream.durationMs)
    this.#throughput.add(stream.throughputBytesPerSecond)
    if (stream.quicLatencyMs !== null) this.#quicLatencyMs.add(stream.quicLatencyMs)
    if (stream.httpLatencyMs !== null) this.#httpLatencyMs.add(stream.httpLatencyMs)
    if (stream.jitterMs !== null) this.#jitterMs.add(stream.jitterMs)
  }

  summary(): TypeSummary {
    return {
      type: this.#type,
      kind: this.#kind,
      streams: this.#streams,
      failed: this.#failed,
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      retransmissions: this.#retransmissions,
      durationMs: this.#durationMs.summary() ?? null,
      quicLatencyMs: this.#quicLatencyMs.summary() ?? null,
      httpLatencyMs: this.#httpLatencyMs.summary() ?? null,
      throughputBytesPerSecond: this.#throughput.summary() ?? null,
      jitterMs: this.#jitterMs.summary() ?? null,
    }
  }

  counts(): TypeCounts {
    return {
      type: this.#type,
      open: this.open,
      byStatusClass: this.#byStatusClass,
      byOutcome: this.#byOutcome,
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      durationSeconds: this.#durationSeconds.snapshot(),
      upstreamSeconds: this.#upstreamSeconds.snapshot(),
    }
  }
}

function addOne(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
