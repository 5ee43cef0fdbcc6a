/** The shape of `quic_metrics.json`, published as `docs/schemas/quic-metrics.schema.json`. */
import type { DistributionSummary } from './distribution.ts'
import type { ErrorEntry } from './error-log.ts'
import type { ThroughputSample } from './throughput.ts'

/** Why a report was written. */
export type ReportReason = 'interval' | 'shutdown' | 'crash'

export interface MetricsDocument {
  readonly schema: 'quicether/quic-metrics'
  readonly schemaVersion: 1
  readonly run: RunInfo
  readonly totals: Totals
  readonly types: readonly TypeSummary[]
  readonly connections: readonly ConnectionDocument[]
  /** Connections that are in the totals but no longer in the list. */
  readonly connectionsOmitted: number
  readonly streams: readonly StreamDocument[]
  /** Streams that are in the totals but no longer in the list. */
  readonly streamsOmitted: number
  readonly errors: readonly ErrorEntry[]
}

export interface RunInfo {
  readonly id: string
  readonly startedAt: string
  readonly writtenAt: string
  readonly uptimeSeconds: number
  readonly reason: ReportReason
  readonly nodeVersion: string
  readonly listen: string
}

/** What went over the wire. */
export interface Traffic {
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly packetsLost: number
}

export interface Totals extends Traffic {
  readonly connections: number
  readonly connectionsOpen: number
  readonly streams: number
  readonly streamsOpen: number
  readonly streamsFailed: number
  /** Most request streams open at one moment, over all connections. */
  readonly maxConcurrentStreams: number
  /** Streams per second, between the opening of the first and of the last one. */
  readonly streamRatePerSecond: number
  readonly lossRatio: number
  readonly establishmentMs: DistributionSummary | null
  readonly streamEstablishmentMs: DistributionSummary | null
  readonly quicLatencyMs: DistributionSummary | null
  readonly httpLatencyMs: DistributionSummary | null
  readonly errors: number
}

/** Finished streams of one service. */
export interface TypeSummary {
  readonly type: string
  readonly kind: string
  readonly streams: number
  readonly failed: number
  readonly requestBytes: number
  readonly responseBytes: number
  readonly retransmissions: number
  readonly durationMs: DistributionSummary | null
  readonly quicLatencyMs: DistributionSummary | null
  readonly httpLatencyMs: DistributionSummary | null
  readonly throughputBytesPerSecond: DistributionSummary | null
  readonly jitterMs: DistributionSummary | null
}

export interface ConnectionDocument extends Traffic {
  readonly id: number
  readonly remote: string
  readonly openedAt: string
  readonly durationMs: number
  readonly state: 'handshaking' | 'open' | 'closed'
  readonly handshake: '0-RTT' | '1-RTT' | null
  readonly resumed: boolean
  readonly establishmentMs: number | null
  readonly streams: number
  readonly maxConcurrentStreams: number
  readonly streamEstablishmentMs: DistributionSummary | null
  readonly lossRatio: number
  readonly smoothedRttMs: number | null
  readonly errors: number
  readonly closeReason: string | null
}

export interface StreamDocument {
  readonly connection: number
  readonly stream: number
  readonly type: string
  readonly kind: string
  readonly method: string
  readonly path: string
  readonly status: number | null
  readonly outcome: 'open' | 'completed' | 'failed' | 'aborted'
  readonly error: string | null
  readonly openedAt: string
  readonly durationMs: number
  /** From the first byte of the stream to the start of the exchange with the service. */
  readonly establishmentMs: number | null
  readonly requestBytes: number
  readonly responseBytes: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly retransmissions: number
  readonly lossRatio: number
  readonly meanPacketBytes: number | null
  /** Time in the protocol and the router, the service's share taken out. */
  readonly quicLatencyMs: number | null
  /** From the end of the request towards the service to the head of its response. */
  readonly httpLatencyMs: number | null
  /** Body bytes of both directions over the duration. */
  readonly throughputBytesPerSecond: number
  readonly throughputSamples: readonly ThroughputSample[]
  /** Streams of video services only, RFC 3550 style. */
  readonly jitterMs: number | null
}
