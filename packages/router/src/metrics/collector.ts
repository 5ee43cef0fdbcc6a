/** Gathers the metrics of all connections and streams of one run and takes snapshots of them. */
import type { StreamStats } from '@quicether/transport'
import { type ConnectionCounters, type ConnectionInfo, ConnectionMetrics } from './connection-metrics.ts'
import { Distribution, round } from './distribution.ts'
import type { ConnectionDocument, MetricsDocument, ReportReason, StreamDocument, Totals } from './document.ts'
import { type ErrorEntry, ErrorLog, type ErrorScope } from './error-log.ts'
import { durationBoundsSeconds, Histogram, type HistogramSnapshot } from './histogram.ts'
import type { HttpProtocol } from '../ports.ts'
import type { RequestFacts } from './request-facts.ts'
import { type StreamInfo, StreamMetrics, type StreamOutcome } from './stream-metrics.ts'
import { type TypeCounts, TypeTotals } from './type-totals.ts'

export interface CollectorOptions {
  readonly runId: string
  /** Address and port served, for the report. */
  readonly listen: string
  /** Finished streams kept with all detail. */
  readonly streamsKept: number
  /** Closed connections kept with all detail. */
  readonly connectionsKept?: number
  /** Monotonic milliseconds. */
  readonly nowMs: () => number
  /** Told of every stream when it has ended, for logs and traces. */
  readonly onStreamEnded?: (ended: EndedStream) => void
}

/** A stream that has just ended. */
export interface EndedStream {
  readonly stream: StreamMetrics
  readonly document: StreamDocument
  readonly connection: ConnectionMetrics
  readonly facts: RequestFacts | undefined
}

/** Exact counts for scrapers. */
export interface ScrapeCounts {
  readonly startedAt: Date
  readonly totals: Totals
  readonly types: readonly TypeCounts[]
  readonly errors: readonly ErrorEntry[]
  /** QUIC only. */
  readonly handshakeSeconds: HistogramSnapshot
  /** Complete handshakes by kind. */
  readonly handshakes: { readonly '1-RTT': number; readonly '0-RTT': number }
  readonly byProtocol: Readonly<Record<HttpProtocol, { readonly open: number; readonly total: number }>>
}

interface OpenStream {
  readonly connection: ConnectionMetrics
  readonly facts: RequestFacts | undefined
}

/** Numbers for a live view. */
export interface LiveCounts {
  readonly connectionsOpen: number
  readonly connections: number
  readonly streamsOpen: number
  readonly streams: number
  readonly failed: number
  readonly requestBytes: number
  readonly responseBytes: number
  readonly byType: readonly {
    readonly type: string
    readonly open: number
    readonly streams: number
    readonly bytes: number
  }[]
}

/** One per run. Memory is bounded by the streams and connections kept plus those that are open. */
export class MetricsCollector {
  readonly #options: CollectorOptions
  readonly #startedAt = new Date()
  readonly #startedMs: number
  readonly #openConnections = new Set<ConnectionMetrics>()
  readonly #closedConnections: ConnectionMetrics[] = []
  readonly #openStreams = new Map<StreamMetrics, OpenStream>()
  readonly #endedStreams: StreamMetrics[] = []
  readonly #types = new Map<string, TypeTotals>()
  readonly #errors = new ErrorLog()
  readonly #establishment = new Distribution()
  readonly #handshakeSeconds = new Histogram(durationBoundsSeconds)
  readonly #handshakes = { '1-RTT': 0, '0-RTT': 0 }
  readonly #byProtocol: Record<HttpProtocol, { open: number; total: number }> = {
    h3: { open: 0, total: 0 },
    h2: { open: 0, total: 0 },
    'http/1.1': { open: 0, total: 0 },
  }
  readonly #streamEstablishment = new Distribution()
  readonly #quicLatency = new Distribution()
  readonly #httpLatency = new Distribution()
  readonly #closedCounters = { bytesSent: 0, bytesReceived: 0, packetsSent: 0, packetsReceived: 0, packetsLost: 0 }
  #listen: string
  #connections = 0
  #streams = 0
  #streamsFailed = 0
  #streamsOpenMax = 0
  #firstStreamMs = Number.NaN
  #lastStreamMs = Number.NaN

  constructor(options: CollectorOptions) {
    this.#options = options
    this.#startedMs = options.nowMs()
    this.#listen = options.listen
  }

  get startedAt(): Date {
    return this.#startedAt
  }

  /** The address really served, once the port is known. */
  setListen(listen: string): void {
    this.#listen = listen
  }

  openConnection(
    remote: string,
    readCounters: () => ConnectionCounters | undefined,
    protocol: HttpProtocol = 'h3',
  ): ConnectionMetrics {
    const info: ConnectionInfo = { id: ++this.#connections, remote, protocol, openedAtMs: this.#options.nowMs() }
    const counts = this.#byProtocol[protocol]
    counts.total++
    counts.open++
    const connection = new ConnectionMetrics(info, readCounters)
    this.#openConnections.add(connection)
    return connection
  }

  onConnected(connection: ConnectionMetrics, connected: Parameters<ConnectionMetrics['onConnected']>[0]): void {
    connection.onConnected(connected)
    this.#establishment.add(connected.establishmentMs)
    if (connection.info.protocol !== 'h3') return
    this.#handshakeSeconds.add(connected.establishmentMs / 1000)
    this.#handshakes[connected.earlyData ? '0-RTT' : '1-RTT']++
  }

  /** `error` names the failure when the connection did not end in an ordinary way. */
  closeConnection(connection: ConnectionMetrics, reason: string, error?: { readonly kind: string }): void {
    if (!this.#openConnections.delete(connection)) return
    connection.onClosed(reason, this.#options.nowMs())
    this.#byProtocol[connection.info.protocol].open--
    if (error !== undefined) this.addError('connection', error.kind, reason, connection)
    const counters = connection.counters()
    this.#closedCounters.bytesSent += counters.bytesSent
    this.#closedCounters.bytesReceived += counters.bytesReceived
    this.#closedCounters.packetsSent += counters.packetsSent
    this.#closedCounters.packetsReceived += counters.packetsReceived
    this.#closedCounters.packetsLost += counters.packetsLost
    this.#closedConnections.push(connection)
    if (this.#closedConnections.length > (this.#options.connectionsKept ?? 500)) this.#closedConnections.shift()
  }

  openStream(
    connection: ConnectionMetrics,
    info: Omit<StreamInfo, 'connectionId'>,
    readStats: () => StreamStats | undefined,
    facts?: RequestFacts,
  ): StreamMetrics {
    const stream = new StreamMetrics({ ...info, connectionId: connection.info.id }, readStats)
    this.#streams++
    this.#openStreams.set(stream, { connection, facts })
    this.#streamsOpenMax = Math.max(this.#streamsOpenMax, this.#openStreams.size)
    const nowMs = this.#options.nowMs()
    if (Number.isNaN(this.#firstStreamMs)) this.#firstStreamMs = nowMs
    this.#lastStreamMs = nowMs
    this.#totalsOf(stream).open++
    connection.onStreamOpened()
    return stream
  }

  /** Only the first end counts. */
  endStream(stream: StreamMetrics, outcome: StreamOutcome, error?: string): void {
    const open = this.#openStreams.get(stream)
    if (open === undefined) return
    const { connection, facts } = open
    this.#openStreams.delete(stream)
    const nowMs = this.#options.nowMs()
    stream.onEnded(outcome, nowMs, error)
    connection.onStreamEnded(stream.establishmentMs())
    addKnown(this.#streamEstablishment, stream.establishmentMs())
    addKnown(this.#quicLatency, stream.quicLatencyMs())
    addKnown(this.#httpLatency, stream.httpLatencyMs())
    if (outcome !== 'completed') this.#streamsFailed++
    const totals = this.#totalsOf(stream)
    totals.open--
    const document = stream.document(nowMs)
    totals.add(document)
    this.#endedStreams.push(stream)
    if (this.#endedStreams.length > this.#options.streamsKept) this.#endedStreams.shift()
    this.#options.onStreamEnded?.({ stream, document, connection, facts })
  }

  addError(scope: ErrorScope, kind: string, message: string, connection?: ConnectionMetrics): void {
    this.#errors.add(scope, kind, message)
    connection?.onError()
  }

  live(): LiveCounts {
    let requestBytes = 0
    let responseBytes = 0
    const open = new Map<string, number>()
    const nowMs = this.#options.nowMs()
    for (const stream of this.#openStreams.keys()) {
      const { requestBytes: up, responseBytes: down } = stream.document(nowMs)
      requestBytes += up
      responseBytes += down
      open.set(stream.info.type, (open.get(stream.info.type) ?? 0) + up + down)
    }
    const byType = [...this.#types.values()].map((totals) => {
      const summary = totals.summary()
      requestBytes += summary.requestBytes
      responseBytes += summary.responseBytes
      const bytes = summary.requestBytes + summary.responseBytes + (open.get(summary.type) ?? 0)
      return { type: summary.type, open: totals.open, streams: summary.streams + totals.open, bytes }
    })
    return {
      connectionsOpen: this.#openConnections.size,
      connections: this.#connections,
      streamsOpen: this.#openStreams.size,
      streams: this.#streams,
      failed: this.#streamsFailed,
      requestBytes,
      responseBytes,
      byType,
    }
  }

  /** What a scrape shows; the cost does not grow with the streams kept. */
  scrape(): ScrapeCounts {
    return {
      startedAt: this.#startedAt,
      totals: this.#totals(),
      types: [...this.#types.values()].map((totals) => totals.counts()),
      errors: this.#errors.entries(),
      handshakeSeconds: this.#handshakeSeconds.snapshot(),
      handshakes: this.#handshakes,
      byProtocol: this.#byProtocol,
    }
  }

  /** The latest connections, open ones first, and streams, open ones first; at most `max` of each. */
  latest(max: number): { readonly connections: ConnectionDocument[]; readonly streams: StreamDocument[] } {
    const nowMs = this.#options.nowMs()
    const connections = newestFirst(this.#openConnections, this.#closedConnections, max)
    const streams = newestFirst(this.#openStreams.keys(), this.#endedStreams, max)
    return {
      connections: connections.map((connection) => connection.document(nowMs)),
      streams: streams.map((stream) => stream.document(nowMs)),
    }
  }

  snapshot(reason: ReportReason): MetricsDocument {
    const nowMs = this.#options.nowMs()
    const connections = [...this.#closedConnections, ...this.#openConnections].map((c) => c.document(nowMs))
    const streams = [...this.#endedStreams, ...this.#openStreams.keys()].map((s) => s.document(nowMs))
    return {
      schema: 'quicether/quic-metrics',
      schemaVersion: 1,
      run: {
        id: this.#options.runId,
        startedAt: this.#startedAt.toISOString(),
        writtenAt: new Date().toISOString(),
        uptimeSeconds: round((nowMs - this.#startedMs) / 1000),
        reason,
        nodeVersion: process.version,
        listen: this.#listen,
      },
      totals: this.#totals(),
      types: [...this.#types.values()].map((totals) => totals.summary()),
      connections,
      connectionsOmitted: this.#connections - connections.length,
      streams,
      streamsOmitted: this.#streams - streams.length,
      errors: this.#errors.entries(),
    }
  }

  #totals(): Totals {
    const sum = { ...this.#closedCounters }
    for (const connection of this.#openConnections) {
      const counters = connection.counters()
      sum.bytesSent += counters.bytesSent
      sum.bytesReceived += counters.bytesReceived
      sum.packetsSent += counters.packetsSent
      sum.packetsReceived += counters.packetsReceived
      sum.packetsLost += counters.packetsLost
    }
    const spanMs = this.#lastStreamMs - this.#firstStreamMs
    return {
      connections: this.#connections,
      connectionsOpen: this.#openConnections.size,
      streams: this.#streams,
      streamsOpen: this.#openStreams.size,
      streamsFailed: this.#streamsFailed,
      maxConcurrentStreams: this.#streamsOpenMax,
      streamRatePerSecond: spanMs > 0 ? round(((this.#streams - 1) * 1000) / spanMs) : 0,
      ...sum,
      lossRatio: sum.packetsSent === 0 ? 0 : Math.min(1, sum.packetsLost / sum.packetsSent),
      establishmentMs: this.#establishment.summary() ?? null,
      streamEstablishmentMs: this.#streamEstablishment.summary() ?? null,
      quicLatencyMs: this.#quicLatency.summary() ?? null,
      httpLatencyMs: this.#httpLatency.summary() ?? null,
      errors: this.#errors.count(),
    }
  }

  #totalsOf(stream: StreamMetrics): TypeTotals {
    const { type, kind } = stream.info
    let totals = this.#types.get(type)
    if (totals === undefined) {
      totals = new TypeTotals(type, kind)
      this.#types.set(type, totals)
    }
    return totals
  }
}

function addKnown(distribution: Distribution, value: number | undefined): void {
  if (value !== undefined) distribution.add(value)
}

/** Of those that are open the newest, then of those that ended the newest. */
function newestFirst<T>(open: Iterable<T>, ended: readonly T[], max: number): T[] {
  const newest = [...open].slice(-max).reverse()
  if (newest.length < max) newest.push(...ended.slice(newest.length - max).reverse())
  return newest
}
