/** The `/metrics` document: what Prometheus scrapes, with labels whose values the operator chooses, never a client. */
import type { ScrapeCounts } from '../metrics/collector.ts'
import { type Labels, PrometheusText } from '../metrics/prometheus-text.ts'
import type { ListenerCounters } from '../ports.ts'

export interface ExpositionSource {
  readonly counts: ScrapeCounts
  readonly listener: ListenerCounters | undefined
  readonly upstreams: readonly {
    readonly name: string
    readonly connected: number
    readonly running: number
    readonly queued: number
  }[]
  readonly certificateEndsAtMs: number | undefined
  readonly reloads: { readonly succeeded: number; readonly failed: number; readonly lastSucceededAtMs: number }
  readonly isDraining: boolean
  readonly retiredConfigurations: number
  readonly accessLog: { readonly lines: number; readonly dropped: number } | undefined
  readonly traces: { readonly sent: number; readonly dropped: number } | undefined
  /** Seconds that the event loop was late, 99th percentile since the last scrape; undefined before the first. */
  readonly loopDelaySeconds: number | undefined
}

/** Writes the whole document. */
export function exposition(source: ExpositionSource): string {
  const text = new PrometheusText()
  requests(text, source.counts)
  connections(text, source)
  upstreams(text, source)
  operation(text, source)
  processFacts(text, source)
  return text.toString()
}

function requests(text: PrometheusText, { types, errors }: ScrapeCounts): void {
  text.counter(
    'quicether_http_requests_total',
    'Exchanges that ended, by service and class of the status.',
    types.flatMap((type) =>
      [...type.byStatusClass].map(([code, count]) => [{ service: type.type, code }, count] as const),
    ),
  )
  text.counter(
    'quicether_http_exchanges_total',
    'Exchanges that ended, by service and outcome: completed, failed (service or router) or aborted (client).',
    types.flatMap((type) =>
      [...type.byOutcome].map(([outcome, count]) => [{ service: type.type, outcome }, count] as const),
    ),
  )
  const perType = <T>(value: (type: ScrapeCounts['types'][number]) => T): [Labels, T][] =>
    types.map((type) => [{ service: type.type }, value(type)])
  text.gauge(
    'quicether_http_requests_in_flight',
    'Exchanges that are open.',
    perType((type) => type.open),
  )
  text.counter(
    'quicether_http_request_bytes_total',
    'Bytes of request bodies.',
    perType((type) => type.requestBytes),
  )
  text.counter(
    'quicether_http_response_bytes_total',
    'Bytes of response bodies.',
    perType((type) => type.responseBytes),
  )
  text.histogram(
    'quicether_http_request_duration_seconds',
    'First byte of the stream to the end of the exchange.',
    perType((type) => type.durationSeconds),
  )
  text.histogram(
    'quicether_upstream_response_seconds',
    'End of the request towards the service to the head of its answer.',
    perType((type) => type.upstreamSeconds),
  )
  text.counter(
    'quicether_errors_total',
    'Errors by where they arose and kind.',
    errors.map(({ scope, kind, count }) => [{ scope, kind }, count]),
  )
}

function connections(text: PrometheusText, { counts, listener }: ExpositionSource): void {
  const { totals, handshakes, handshakeSeconds, byProtocol } = counts
  const protocols = Object.entries(byProtocol)
  text.gauge(
    'quicether_connections_open',
    'Connections that are open.',
    protocols.map(([protocol, { open }]) => [{ protocol }, open]),
  )
  text.counter(
    'quicether_connections_total',
    'Connections since the start.',
    protocols.map(([protocol, { total }]) => [{ protocol }, total]),
  )
  text.counter('quicether_quic_handshakes_total', 'Complete handshakes.', [
    [{ kind: '1-RTT' }, handshakes['1-RTT']],
    [{ kind: '0-RTT' }, handshakes['0-RTT']],
  ])
  text.histogram('quicether_quic_handshake_seconds', 'First datagram to the complete handshake.', [
    [{}, handshakeSeconds],
  ])
  text.counter('quicether_quic_packets_total', 'Packets of all QUIC connections.', [
    [{ direction: 'sent' }, totals.packetsSent],
    [{ direction: 'received' }, totals.packetsReceived],
  ])
  text.counter('quicether_network_bytes_total', 'Bytes of all connections as the network saw them.', [
    [{ direction: 'sent' }, totals.bytesSent],
    [{ direction: 'received' }, totals.bytesReceived],
  ])
  text.counter('quicether_quic_packets_lost_total', 'Sent packets declared lost.', [[{}, totals.packetsLost]])
  if (listener === undefined) return
  text.counter('quicether_quic_stateless_answers_total', 'Answers to datagrams that belong to no connection.', [
    [{ kind: 'retry' }, listener.retries],
    [{ kind: 'version-negotiation' }, listener.versionNegotiations],
    [{ kind: 'stateless-reset' }, listener.statelessResets],
    [{ kind: 'refused' }, listener.refused],
  ])
}

function upstreams(text: PrometheusText, { upstreams: list }: ExpositionSource): void {
  const gauge = (name: string, help: string, value: (entry: (typeof list)[number]) => number): void =>
    text.gauge(
      name,
      help,
      list.map((entry) => [{ service: entry.name }, value(entry)] as const),
    )
  gauge('quicether_upstream_connections', 'Kept connections to the service.', (entry) => entry.connected)
  gauge('quicether_upstream_requests_running', 'Requests at the service.', (entry) => entry.running)
  gauge('quicether_upstream_requests_queued', 'Requests that wait for a connection.', (entry) => entry.queued)
}

function operation(text: PrometheusText, source: ExpositionSource): void {
  const { reloads, accessLog, traces } = source
  text.gauge('quicether_draining', '1 while the router finishes its exchanges to end.', [
    [{}, source.isDraining ? 1 : 0],
  ])
  text.counter('quicether_config_reloads_total', 'Reloads of the configuration.', [
    [{ result: 'succeeded' }, reloads.succeeded],
    [{ result: 'failed' }, reloads.failed],
  ])
  text.gauge('quicether_config_last_reload_timestamp_seconds', 'Time of the last reload or start that succeeded.', [
    [{}, reloads.lastSucceededAtMs / 1_000],
  ])
  text.gauge('quicether_config_retired', 'Earlier configurations that still carry exchanges.', [
    [{}, source.retiredConfigurations],
  ])
  if (source.certificateEndsAtMs !== undefined)
    text.gauge('quicether_certificate_expiry_timestamp_seconds', 'End of the validity of the certificate.', [
      [{}, source.certificateEndsAtMs / 1_000],
    ])
  if (accessLog !== undefined)
    text.counter('quicether_access_log_lines_total', 'Lines of the access log.', [
      [{ result: 'written' }, accessLog.lines],
      [{ result: 'dropped' }, accessLog.dropped],
    ])
  if (traces !== undefined)
    text.counter('quicether_trace_spans_total', 'Spans for the trace receiver.', [
      [{ result: 'sent' }, traces.sent],
      [{ result: 'dropped' }, traces.dropped],
    ])
}

/** Names that Prometheus clients share. */
function processFacts(text: PrometheusText, { counts, loopDelaySeconds }: ExpositionSource): void {
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed } = process.memoryUsage()
  text.gauge('process_start_time_seconds', 'Start of the router, seconds since the epoch.', [
    [{}, counts.startedAt.getTime() / 1_000],
  ])
  text.counter('process_cpu_seconds_total', 'User and system CPU time.', [[{}, (user + system) / 1e6]])
  text.gauge('process_resident_memory_bytes', 'Resident memory.', [[{}, rss]])
  text.gauge('nodejs_heap_size_used_bytes', 'Used heap of the process.', [[{}, heapUsed]])
  if (loopDelaySeconds !== undefined)
    text.gauge('nodejs_eventloop_lag_p99_seconds', 'Delay of the event loop since the last scrape.', [
      [{}, loopDelaySeconds],
    ])
  text.gauge('quicether_build_info', 'Runtime of the router.', [[{ node: process.version }, 1]])
}
