/** Totals over the finished streams of one service. */
import { Distribution } from './distribution.ts'
import type { StreamDocument, TypeSummary } from './document.ts'

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
}
