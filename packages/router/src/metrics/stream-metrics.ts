/** What is measured on one request stream from its first byte to its last acknowledgement. */
import type { StreamStats } from '@quicether/transport'
import type { ServiceKind } from '../config/schema.ts'
import { printable } from '../printable.ts'
import { round } from './distribution.ts'
import type { StreamDocument } from './document.ts'
import { JitterEstimator } from './jitter.ts'
import { ThroughputSampler } from './throughput.ts'

/** How a stream ended. `aborted` = by the client, `failed` = by the service or the router. */
export type StreamOutcome = 'completed' | 'failed' | 'aborted'

export interface StreamInfo {
  readonly connectionId: number
  readonly streamId: number
  readonly type: string
  readonly kind: ServiceKind
  readonly method: string
  readonly path: string
  /** When the peer's first byte of the stream arrived, on the clock given to the marks. */
  readonly openedAtMs: number
}

const noStats: StreamStats = {
  bytesSent: 0,
  bytesReceived: 0,
  packetsSent: 0,
  packetsReceived: 0,
  packetBytesSent: 0,
  packetBytesReceived: 0,
  retransmissions: 0,
  framesLost: 0,
}

const pathCharactersMax = 200
const methodCharactersMax = 32
const errorCharactersMax = 300

/**
 * Marks are set in the order of the exchange; all times are monotonic milliseconds given by the caller.
 *
 * QUIC latency = opening to dispatch, plus head of the service's response to its acceptance by the transport, plus end
 * of the service's response to the end of the stream. HTTP latency = end of the request (or its dispatch, when the
 * service answers before the request has ended) to the head of the service's response.
 */
export class StreamMetrics {
  readonly info: StreamInfo
  readonly #openedAt = new Date().toISOString()
  readonly #throughput: ThroughputSampler
  readonly #jitter: JitterEstimator | undefined
  readonly #readStats: () => StreamStats | undefined
  #stats: StreamStats = noStats
  #dispatchedMs = Number.NaN
  #requestEndedMs = Number.NaN
  #responseHeadMs = Number.NaN
  #headSentMs = Number.NaN
  #responseEndedMs = Number.NaN
  #endedMs = Number.NaN
  #requestBytes = 0
  #responseBytes = 0
  #status: number | undefined
  #outcome: StreamOutcome | undefined
  #error: string | undefined

  constructor(info: StreamInfo, readStats: () => StreamStats | undefined) {
    this.info = {
      ...info,
      method: printable(info.method, methodCharactersMax),
      path: printable(info.path, pathCharactersMax),
    }
    this.#throughput = new ThroughputSampler(info.openedAtMs)
    this.#jitter = info.kind === 'video' ? new JitterEstimator() : undefined
    this.#readStats = readStats
  }

  onDispatched(nowMs: number): void {
    if (Number.isNaN(this.#dispatchedMs)) this.#dispatchedMs = nowMs
  }

  onRequestBytes(bytes: number, nowMs: number): void {
    this.#requestBytes += bytes
    this.#throughput.onBytes(bytes, nowMs)
    this.#jitter?.onArrival(nowMs)
  }

  onRequestEnded(nowMs: number): void {
    this.#requestEndedMs = nowMs
  }

  onResponseHead(status: number, nowMs: number): void {
    this.#status = status
    this.#responseHeadMs = nowMs
  }

  /** The router answered itself, e.g. with 502; no service is involved. */
  onOwnResponse(status: number): void {
    this.#status = status
  }

  onHeadSent(nowMs: number): void {
    this.#headSentMs = nowMs
  }

  onResponseBytes(bytes: number, nowMs: number): void {
    this.#responseBytes += bytes
    this.#throughput.onBytes(bytes, nowMs)
    if (this.#requestBytes === 0) this.#jitter?.onArrival(nowMs)
  }

  onResponseEnded(nowMs: number): void {
    this.#responseEndedMs = nowMs
  }

  /** Only the first end counts. */
  onEnded(outcome: StreamOutcome, nowMs: number, error?: string): void {
    if (this.#outcome !== undefined) return
    this.#refreshStats()
    this.#outcome = outcome
    this.#error = error === undefined ? undefined : printable(error, errorCharactersMax)
    this.#endedMs = nowMs
  }

  outcome(): StreamOutcome | undefined {
    return this.#outcome
  }

  /** Times on the clock given to the marks; NaN for what has not happened. */
  marks(): {
    readonly openedMs: number
    readonly dispatchedMs: number
    readonly responseEndedMs: number
    readonly endedMs: number
  } {
    return {
      openedMs: this.info.openedAtMs,
      dispatchedMs: this.#dispatchedMs,
      responseEndedMs: this.#responseEndedMs,
      endedMs: this.#endedMs,
    }
  }

  establishmentMs(): number | undefined {
    return known(this.#dispatchedMs - this.info.openedAtMs)
  }

  httpLatencyMs(): number | undefined {
    const endedBefore = this.#requestEndedMs <= this.#responseHeadMs
    return known(this.#responseHeadMs - (endedBefore ? this.#requestEndedMs : this.#dispatchedMs))
  }

  quicLatencyMs(): number | undefined {
    const inward = known(this.#dispatchedMs - this.info.openedAtMs)
    if (inward === undefined) return undefined
    const head = known(this.#headSentMs - this.#responseHeadMs) ?? 0
    const tail = known(this.#endedMs - this.#responseEndedMs) ?? 0
    return inward + head + tail
  }

  jitterMs(): number | undefined {
    return this.#jitter?.jitterMs()
  }

  durationMs(nowMs: number): number {
    return (known(this.#endedMs) ?? nowMs) - this.info.openedAtMs
  }

  throughputBytesPerSecond(nowMs: number): number {
    return Math.round(((this.#requestBytes + this.#responseBytes) * 1000) / Math.max(0.001, this.durationMs(nowMs)))
  }

  /** A snapshot; `nowMs` closes the measures of a stream that is still open. */
  document(nowMs: number): StreamDocument {
    if (this.#outcome === undefined) this.#refreshStats()
    const stats = this.#stats
    const packets = stats.packetsSent + stats.packetsReceived
    return {
      connection: this.info.connectionId,
      stream: this.info.streamId,
      type: this.info.type,
      kind: this.info.kind,
      method: this.info.method,
      path: this.info.path,
      status: this.#status ?? null,
      outcome: this.#outcome ?? 'open',
      error: this.#error ?? null,
      openedAt: this.#openedAt,
      durationMs: round(this.durationMs(nowMs)),
      establishmentMs: rounded(this.establishmentMs()),
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      bytesSent: stats.bytesSent,
      bytesReceived: stats.bytesReceived,
      packetsSent: stats.packetsSent,
      packetsReceived: stats.packetsReceived,
      retransmissions: stats.retransmissions,
      lossRatio: stats.packetsSent === 0 ? 0 : Math.min(1, stats.framesLost / stats.packetsSent),
      meanPacketBytes: packets === 0 ? null : round((stats.packetBytesSent + stats.packetBytesReceived) / packets),
      quicLatencyMs: rounded(this.quicLatencyMs()),
      httpLatencyMs: rounded(this.httpLatencyMs()),
      throughputBytesPerSecond: this.throughputBytesPerSecond(nowMs),
      throughputSamples: this.#throughput.samples(),
      jitterMs: rounded(this.jitterMs()),
    }
  }

  #refreshStats(): void {
    this.#stats = this.#readStats() ?? this.#stats
  }
}

function known(value: number): number | undefined {
  return Number.isNaN(value) ? undefined : Math.max(0, value)
}

function rounded(value: number | undefined): number | null {
  return value === undefined ? null : round(value)
}
