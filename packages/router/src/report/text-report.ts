/** `quic_performance_report.txt`: the metrics of a run as a human reads them. */
import type { DistributionSummary } from '../metrics/distribution.ts'
import type { MetricsDocument, StreamDocument } from '../metrics/document.ts'
import { formatBytes, formatMs, formatRate, formatRatio, formatTable } from './format.ts'

/** Streams and connections listed one by one; all of them are in the JSON file. */
const rowsMax = 200

/** The whole report, ending with a line break. */
export function textReport(document: MetricsDocument): string {
  const sections = [
    header(document),
    connections(document),
    overall(document),
    types(document),
    streams(document),
    errors(document),
  ]
  return `${sections.join('\n\n')}\n`
}

function title(text: string): string {
  return `${text}\n${'='.repeat(text.length)}`
}

function header({ run }: MetricsDocument): string {
  const reasons = {
    interval: 'periodic, the router is running',
    shutdown: 'final, the router has ended',
    crash: 'final, the router has crashed',
  }
  return [
    title('QUIC performance report'),
    `Run        ${run.id}`,
    `Listening  ${run.listen}`,
    `Started    ${run.startedAt}`,
    `Written    ${run.writtenAt} (${reasons[run.reason]})`,
    `Uptime     ${run.uptimeSeconds.toFixed(1)} s`,
  ].join('\n')
}

function connections(document: MetricsDocument): string {
  const rows = document.connections
    .slice(-rowsMax)
    .map((c) => [
      String(c.id),
      c.remote,
      c.handshake === null ? '-' : c.resumed ? `${c.handshake} resumed` : c.handshake,
      formatMs(c.establishmentMs),
      String(c.streams),
      String(c.maxConcurrentStreams),
      formatMs(c.streamEstablishmentMs?.mean),
      formatBytes(c.bytesSent),
      formatBytes(c.bytesReceived),
      `${c.packetsSent}/${c.packetsReceived}`,
      formatRatio(c.lossRatio),
      formatMs(c.smoothedRttMs),
      String(c.errors),
      c.closeReason ?? c.state,
    ])
  const table = formatTable(
    [
      { title: '#', align: 'right' },
      { title: 'peer' },
      { title: 'handshake' },
      { title: 'establishment', align: 'right' },
      { title: 'streams', align: 'right' },
      { title: 'most at once', align: 'right' },
      { title: 'stream est.', align: 'right' },
      { title: 'sent', align: 'right' },
      { title: 'received', align: 'right' },
      { title: 'packets out/in', align: 'right' },
      { title: 'loss', align: 'right' },
      { title: 'RTT', align: 'right' },
      { title: 'errors', align: 'right' },
      { title: 'end' },
    ],
    rows,
  )
  const omitted = document.connections.length - rows.length + document.connectionsOmitted
  return [
    title('Connection analysis'),
    `Establishment time: ${spread(document.totals.establishmentMs)}`,
    rows.length === 0 ? 'No connection was made.' : table,
    ...(omitted > 0 ? [`${omitted} earlier connections are in the totals only.`] : []),
  ].join('\n')
}

function overall({ totals }: MetricsDocument): string {
  return [
    title('Overall statistics'),
    `Connections                ${totals.connections} (${totals.connectionsOpen} open)`,
    `Streams                    ${totals.streams} (${totals.streamsOpen} open, ${totals.streamsFailed} failed)`,
    `Maximum concurrent streams ${totals.maxConcurrentStreams}`,
    `Stream establishment rate  ${totals.streamRatePerSecond.toFixed(1)} per second`,
    `Stream establishment time  ${spread(totals.streamEstablishmentMs)}`,
    `QUIC latency               ${spread(totals.quicLatencyMs)}`,
    `HTTP latency               ${spread(totals.httpLatencyMs)}`,
    `Bytes sent / received      ${formatBytes(totals.bytesSent)} / ${formatBytes(totals.bytesReceived)}`,
    `Packets sent / received    ${totals.packetsSent} / ${totals.packetsReceived}`,
    `Packets lost               ${totals.packetsLost} (${formatRatio(totals.lossRatio)})`,
    `Errors                     ${totals.errors}`,
  ].join('\n')
}

function types(document: MetricsDocument): string {
  const rows = document.types.map((type) => [
    type.type,
    String(type.streams),
    String(type.failed),
    formatBytes(type.requestBytes),
    formatBytes(type.responseBytes),
    formatMs(type.durationMs?.p50),
    formatMs(type.durationMs?.p95),
    formatMs(type.quicLatencyMs?.p50),
    formatMs(type.httpLatencyMs?.p50),
    type.throughputBytesPerSecond === null ? '-' : formatRate(type.throughputBytesPerSecond.mean),
    String(type.retransmissions),
    formatMs(type.jitterMs?.mean),
  ])
  const columns = [
    'type',
    'streams',
    'failed',
    'up',
    'down',
    'duration p50',
    'p95',
    'QUIC p50',
    'HTTP p50',
    'mean rate',
    'retrans.',
    'jitter',
  ]
  const table = formatTable(
    columns.map((name, at) => ({ title: name, align: at === 0 ? 'left' : 'right' })),
    rows,
  )
  return [title('Analysis by type'), rows.length === 0 ? 'No stream has ended yet.' : table].join('\n')
}

function streams(document: MetricsDocument): string {
  const rows = document.streams.slice(-rowsMax).map(streamRow)
  const columns = [
    'conn',
    'stream',
    'type',
    'request',
    'status',
    'outcome',
    'duration',
    'up',
    'down',
    'packets',
    'retrans.',
    'loss',
    'mean packet',
    'QUIC',
    'HTTP',
    'rate',
    'peak',
    'jitter',
  ]
  const left = new Set(['type', 'request', 'outcome'])
  const table = formatTable(
    columns.map((name) => ({ title: name, align: left.has(name) ? 'left' : 'right' })),
    rows,
  )
  const omitted = document.streams.length - rows.length + document.streamsOmitted
  return [
    title('Stream analysis'),
    rows.length === 0 ? 'No stream was opened.' : table,
    ...(omitted > 0
      ? [`${omitted} earlier streams are not listed; quic_metrics.json has the latest ${document.streams.length}.`]
      : []),
  ].join('\n')
}

function streamRow(stream: StreamDocument): string[] {
  const peak = Math.max(0, ...stream.throughputSamples.map((sample) => sample.bytesPerSecond))
  const path = stream.path.length > 40 ? `${stream.path.slice(0, 39)}…` : stream.path
  return [
    String(stream.connection),
    String(stream.stream),
    stream.type,
    `${stream.method} ${path}`,
    stream.status === null ? '-' : String(stream.status),
    stream.outcome,
    formatMs(stream.durationMs),
    formatBytes(stream.requestBytes),
    formatBytes(stream.responseBytes),
    `${stream.packetsSent}/${stream.packetsReceived}`,
    String(stream.retransmissions),
    formatRatio(stream.lossRatio),
    stream.meanPacketBytes === null ? '-' : `${stream.meanPacketBytes.toFixed(0)} B`,
    formatMs(stream.quicLatencyMs),
    formatMs(stream.httpLatencyMs),
    formatRate(stream.throughputBytesPerSecond),
    formatRate(peak),
    formatMs(stream.jitterMs),
  ]
}

function errors(document: MetricsDocument): string {
  const lines: string[] = [title('Error summary')]
  for (const [scope, name] of [
    ['connection', 'Connection errors'],
    ['stream', 'Stream errors'],
    ['backend', 'Service errors'],
  ] as const) {
    const entries = document.errors.filter((entry) => entry.scope === scope)
    if (entries.length === 0) {
      lines.push(`${name}: none`)
      continue
    }
    lines.push(`${name}:`)
    for (const entry of entries)
      lines.push(`  ${entry.count} x ${entry.kind} (last ${entry.lastAt}): ${entry.lastMessage}`)
  }
  return lines.join('\n')
}

function spread(summary: DistributionSummary | null): string {
  if (summary === null) return 'not measured'
  return `p50 ${formatMs(summary.p50)}, p95 ${formatMs(summary.p95)}, max ${formatMs(summary.max)} (${summary.count} values)`
}
