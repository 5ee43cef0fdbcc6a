/** The metrics of several workers as one document, so that a run has one report whatever its number of threads. */
import {
  Distribution,
  type DistributionSummary,
  mergeSummaries,
  round,
  type SampledSummary,
} from '../metrics/distribution.ts'
import type {
  ConnectionDocument,
  MetricsDocument,
  RunInfo,
  StreamDocument,
  Totals,
  TypeSummary,
} from '../metrics/document.ts'
import type { ErrorEntry } from '../metrics/error-log.ts'

const totalSummaries = ['establishmentMs', 'streamEstablishmentMs', 'quicLatencyMs', 'httpLatencyMs'] as const
const typeSummaries = ['durationMs', 'quicLatencyMs', 'httpLatencyMs', 'throughputBytesPerSecond', 'jitterMs'] as const
type Sampled<K extends string> = Readonly<Partial<Record<K, readonly number[]>>>

/** A document with what its quantiles were taken from; can be sent to another thread. */
export interface WorkerMetrics {
  readonly document: MetricsDocument
  readonly totals: Sampled<(typeof totalSummaries)[number]>
  /** In the order of `document.types`. */
  readonly types: readonly Sampled<(typeof typeSummaries)[number]>[]
}

/** For a document that was just made in this thread. */
export function withSamples(document: MetricsDocument): WorkerMetrics {
  return {
    document,
    totals: samplesOf(document.totals, totalSummaries),
    types: document.types.map((type) => samplesOf(type, typeSummaries)),
  }
}

function samplesOf<K extends string>(
  source: Readonly<Record<K, DistributionSummary | null>>,
  keys: readonly K[],
): Sampled<K> {
  const samples: Partial<Record<K, readonly number[]>> = {}
  for (const key of keys) {
    const summary = source[key]
    const sample = summary === null ? undefined : Distribution.sampleOf(summary)
    if (sample !== undefined) samples[key] = sample
  }
  return samples
}

/** One document for all; lists keep the newest `listMax` entries each. Connections are numbered anew, by their age. */
export function mergeMetrics(parts: readonly WorkerMetrics[], run: RunInfo, listMax: number): MetricsDocument {
  const documents = parts.map(({ document }) => document)
  const totals = mergeTotals(parts)
  const numbers = numberConnections(documents, totals.connections)
  const connections = documents.flatMap((document, part) =>
    document.connections.map((each): ConnectionDocument => ({ ...each, id: numbers.of(part, each.id) })),
  )
  const streams = documents.flatMap((document, part) =>
    document.streams.map((each): StreamDocument => ({ ...each, connection: numbers.of(part, each.connection) })),
  )
  const keptConnections = newest(connections, listMax)
  const keptStreams = newest(streams, listMax)
  return {
    schema: 'quicether/quic-metrics',
    schemaVersion: 1,
    run,
    totals,
    types: mergeTypes(parts),
    connections: keptConnections,
    connectionsOmitted: totals.connections - keptConnections.length,
    streams: keptStreams,
    streamsOmitted: totals.streams - keptStreams.length,
    errors: mergeErrors(documents.flatMap(({ errors }) => errors)),
  }
}

function mergeTotals(parts: readonly WorkerMetrics[]): Totals {
  const sum = (key: NumberKey<Totals>): number => parts.reduce((total, { document }) => total + document.totals[key], 0)
  const merged = (key: (typeof totalSummaries)[number]): DistributionSummary | null =>
    mergeSummaries(parts.flatMap(({ document, totals }) => sampled(document.totals[key], totals[key]))) ?? null
  const [packetsSent, packetsLost] = [sum('packetsSent'), sum('packetsLost')]
  return {
    connections: sum('connections'),
    connectionsOpen: sum('connectionsOpen'),
    streams: sum('streams'),
    streamsOpen: sum('streamsOpen'),
    streamsFailed: sum('streamsFailed'),
    // The workers' maxima may not have been at one moment: this is the most there can have been.
    maxConcurrentStreams: sum('maxConcurrentStreams'),
    streamRatePerSecond: round(sum('streamRatePerSecond')),
    bytesSent: sum('bytesSent'),
    bytesReceived: sum('bytesReceived'),
    packetsSent,
    packetsReceived: sum('packetsReceived'),
    packetsLost,
    lossRatio: packetsSent === 0 ? 0 : Math.min(1, packetsLost / packetsSent),
    establishmentMs: merged('establishmentMs'),
    streamEstablishmentMs: merged('streamEstablishmentMs'),
    quicLatencyMs: merged('quicLatencyMs'),
    httpLatencyMs: merged('httpLatencyMs'),
    errors: sum('errors'),
  }
}

type NumberKey<T> = { [Key in keyof T]-?: T[Key] extends number ? Key : never }[keyof T]

function mergeTypes(parts: readonly WorkerMetrics[]): TypeSummary[] {
  const entries = parts.flatMap(({ document, types }) =>
    document.types.map((summary, index) => ({ summary, samples: types[index] ?? {} })),
  )
  const names = [...new Set(entries.map(({ summary }) => summary.type))]
  return names.map((name) => {
    const same = entries.filter(({ summary }) => summary.type === name)
    const sum = (key: NumberKey<TypeSummary>): number => same.reduce((total, { summary }) => total + summary[key], 0)
    const merged = (key: (typeof typeSummaries)[number]): DistributionSummary | null =>
      mergeSummaries(same.flatMap(({ summary, samples }) => sampled(summary[key], samples[key]))) ?? null
    return {
      type: name,
      kind: same[0]?.summary.kind ?? '',
      streams: sum('streams'),
      failed: sum('failed'),
      requestBytes: sum('requestBytes'),
      responseBytes: sum('responseBytes'),
      retransmissions: sum('retransmissions'),
      durationMs: merged('durationMs'),
      quicLatencyMs: merged('quicLatencyMs'),
      httpLatencyMs: merged('httpLatencyMs'),
      throughputBytesPerSecond: merged('throughputBytesPerSecond'),
      jitterMs: merged('jitterMs'),
    }
  })
}

function sampled(summary: DistributionSummary | null, sample: readonly number[] | undefined): SampledSummary[] {
  return summary === null ? [] : [{ summary, sample: sample ?? [summary.p50] }]
}

/** Numbers that are the same in the lists of connections and of streams; the newest connection has the highest. */
function numberConnections(documents: readonly MetricsDocument[], total: number) {
  const openedAt = new Map<string, string>()
  const note = (part: number, id: number, at: string): void => {
    const key = `${part} ${id}`
    const known = openedAt.get(key)
    if (known === undefined || at < known) openedAt.set(key, at)
  }
  for (const [part, { connections, streams }] of documents.entries()) {
    for (const { id, openedAt: at } of connections) note(part, id, at)
    for (const { connection, openedAt: at } of streams) note(part, connection, at)
  }
  const byAge = [...openedAt].sort(([, a], [, b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([key]) => key)
  const numbers = new Map(byAge.map((key, index) => [key, Math.max(0, total - byAge.length) + index + 1]))
  return { of: (part: number, id: number): number => numbers.get(`${part} ${id}`) ?? 0 }
}

function newest<T extends { readonly openedAt: string }>(entries: readonly T[], max: number): T[] {
  return [...entries].sort((a, b) => (a.openedAt < b.openedAt ? -1 : a.openedAt > b.openedAt ? 1 : 0)).slice(-max)
}

function mergeErrors(entries: readonly ErrorEntry[]): ErrorEntry[] {
  const merged = new Map<string, ErrorEntry>()
  for (const entry of entries) {
    const key = `${entry.scope} ${entry.kind}`
    const known = merged.get(key)
    if (known === undefined) merged.set(key, entry)
    else {
      const latest = known.lastAt > entry.lastAt ? known : entry
      merged.set(key, {
        ...latest,
        count: known.count + entry.count,
        firstAt: known.firstAt < entry.firstAt ? known.firstAt : entry.firstAt,
      })
    }
  }
  return [...merged.values()]
}
