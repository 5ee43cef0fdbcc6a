/** Turns exchanges into spans: one for the exchange with the client, one inside it for the service's part. */
import type { TracesConfig } from '../config/operations-schema.ts'
import type { ExchangeRequest } from '../exchange.ts'
import type { EndedStream } from '../metrics/collector.ts'
import { OtlpExporter, type Span } from './otlp-exporter.ts'
import { beginTrace, withTrace } from './trace-context.ts'

const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])

const protocolVersions = { h3: '3', h2: '2', 'http/1.1': '1.1' } as const

/** Traces of one configuration. `close()` sends what waits. */
export class Tracer {
  readonly #sampleRatio: number
  readonly #exporter: OtlpExporter

  constructor(config: TracesConfig & { readonly endpoint: string }, onTrouble: (message: string) => void) {
    this.#sampleRatio = config.sample_ratio
    this.#exporter = new OtlpExporter({
      endpoint: config.endpoint,
      serviceName: config.service_name,
      headers: config.headers,
      onTrouble,
    })
  }

  stats(): ReturnType<OtlpExporter['stats']> {
    return this.#exporter.stats()
  }

  /** The request with its place in a trace, told to the service as well. */
  begin(request: ExchangeRequest): ExchangeRequest {
    const trace = beginTrace(request.headers, this.#sampleRatio)
    return { ...request, headers: withTrace(request.headers, trace), trace }
  }

  onEnded(ended: EndedStream): void {
    for (const span of spansOf(ended)) this.#exporter.add(span)
  }

  async close(): Promise<void> {
    await this.#exporter.close()
  }
}

/** The spans of an exchange: none when it is not sampled, the service's only when it was asked. */
export function spansOf(ended: EndedStream): Span[] {
  const { stream, document, facts, connection } = ended
  const trace = facts?.trace
  if (trace === undefined || !trace.isSampled) return []
  const marks = stream.marks()
  const method = knownMethods.has(document.method) ? document.method : '_OTHER'
  const common = { traceId: trace.traceId, traceState: trace.traceState }
  const error = document.outcome === 'completed' ? undefined : (document.error ?? document.outcome)
  const status = document.status === null ? {} : { 'http.response.status_code': document.status }
  const server: Span = {
    ...common,
    spanId: trace.serverSpanId,
    parentSpanId: trace.parentSpanId,
    // OpenTelemetry HTTP semantic conventions: "{method} {target}" with a target of low cardinality.
    name: `${method} ${document.type}`,
    kind: 'server',
    startTimeUnixNano: epochNanos(marks.openedMs),
    endTimeUnixNano: epochNanos(marks.endedMs),
    attributes: {
      'http.request.method': method,
      'url.scheme': 'https',
      'url.path': pathOf(facts?.target ?? document.path),
      'server.address': facts?.host ?? '',
      'client.address': facts?.client ?? '',
      'network.protocol.name': 'http',
      'network.protocol.version': protocolVersions[connection.info.protocol],
      'network.transport': connection.info.protocol === 'h3' ? 'quic' : 'tcp',
      'quicether.service': document.type,
      'quicether.connection': document.connection,
      'quicether.stream': document.stream,
      'http.request.body.size': document.requestBytes,
      'http.response.body.size': document.responseBytes,
      ...(facts?.userAgent === undefined ? {} : { 'user_agent.original': facts.userAgent }),
      ...status,
    },
    error: error ?? (document.status !== null && document.status >= 500 ? `status ${document.status}` : undefined),
  }
  if (Number.isNaN(marks.dispatchedMs)) return [server]
  const client: Span = {
    ...common,
    spanId: trace.clientSpanId,
    parentSpanId: trace.serverSpanId,
    name: method,
    kind: 'client',
    startTimeUnixNano: epochNanos(marks.dispatchedMs),
    endTimeUnixNano: epochNanos(Number.isNaN(marks.responseEndedMs) ? marks.endedMs : marks.responseEndedMs),
    attributes: { 'http.request.method': method, 'quicether.service': document.type, ...status },
    error,
  }
  return [server, client]
}

function pathOf(target: string): string {
  const queryAt = target.indexOf('?')
  return queryAt < 0 ? target : target.slice(0, queryAt)
}

/** Epoch time in nanoseconds of a time on the monotonic clock, exact to the microsecond. */
function epochNanos(monotonicMs: number): string {
  const micros = Math.round((performance.timeOrigin + monotonicMs) * 1_000)
  return `${micros}000`
}
