/** The router: HTTP/3 in front, services behind, metrics and reports beside. */
import type { RouterConfig } from './config/schema.ts'
import { type LiveCounts, MetricsCollector } from './metrics/collector.ts'
import { type ConnectionMetrics, describeClose } from './metrics/connection-metrics.ts'
import type { ReportReason } from './metrics/document.ts'
import type { Diagnostics, ServerConnection, ServerListen, ServerListener } from './ports.ts'
import { StreamProxy, type ProxyFailure } from './proxy.ts'
import { createRunId, type ReportPaths, ReportWriter } from './report/report-writer.ts'
import { messageOf } from './user-error.ts'

/** What happens, for logs. */
export interface RouterLog {
  onConnection(id: number, remote: string): void
  onEstablished(id: number, establishmentMs: number, handshake: '0-RTT' | '1-RTT'): void
  onConnectionClosed(id: number, reason: string, isError: boolean): void
  onFailure(failure: ProxyFailure): void
  /** Something that does not end serving, e.g. a full disk. */
  onTrouble(message: string): void
}

export interface RouterOptions {
  readonly config: RouterConfig
  readonly certificate: {
    readonly certificatePem: string
    readonly privateKeyPem: string
    readonly certificateLabel: string
    readonly privateKeyLabel: string
  }
  readonly diagnostics: Diagnostics
  readonly log: RouterLog
  readonly listen: ServerListen
}

/** Running exchanges get this long to finish at shutdown. */
const shutdownGraceMs = 2_000

/** A router that serves until `close`. */
export class Router {
  readonly host: string
  readonly port: number
  readonly paths: ReportPaths
  readonly #listener: ServerListener
  readonly #proxy: StreamProxy
  readonly #collector: MetricsCollector
  readonly #writer: ReportWriter
  #closing: Promise<void> | undefined

  /** Use `startRouter`. */
  constructor(parts: {
    listener: ServerListener
    proxy: StreamProxy
    collector: MetricsCollector
    writer: ReportWriter
  }) {
    this.host = parts.listener.host
    this.port = parts.listener.port
    this.paths = parts.writer.paths
    this.#listener = parts.listener
    this.#proxy = parts.proxy
    this.#collector = parts.collector
    this.#writer = parts.writer
  }

  live(): LiveCounts {
    return this.#collector.live()
  }

  upstreamStats(): ReturnType<StreamProxy['upstreamStats']> {
    return this.#proxy.upstreamStats()
  }

  /** Writes the reports now; synchronous, so that it works while the process goes down. */
  writeReports(reason: ReportReason): boolean {
    return this.#writer.write(reason)
  }

  /** Lets running exchanges finish, writes the last report, releases everything. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#writer.stop()
    try {
      await this.#listener.close(shutdownGraceMs)
      await this.#proxy.close()
    } finally {
      this.#writer.write('shutdown')
    }
  }
}

/** Starts to listen. Throws `UserError` or the listener's error, e.g. for a port in use. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const { config, log } = options
  const nowMs = (): number => performance.now()
  const runId = createRunId(new Date())
  const collector = new MetricsCollector({
    runId,
    listen: `${config.router.host}:${config.router.port}`,
    streamsKept: config.results.streams_kept,
    nowMs,
  })
  const proxy = new StreamProxy({
    services: config.service,
    collector,
    nowMs,
    onFailure: (failure) => log.onFailure(failure),
  })
  const writer = new ReportWriter({
    resultsDirectory: config.results.directory,
    runId,
    intervalMs: config.results.interval_ms,
    snapshot: (reason) => collector.snapshot(reason),
    onTrouble: (message) => log.onTrouble(message),
  })
  const serve = (connection: ServerConnection) => {
    const metrics = collector.openConnection(connection.remote, () => connection.counters())
    watch(connection, metrics, collector, log)
    return async (...[request, response]: Parameters<ReturnType<Parameters<ServerListen>[1]>>) =>
      await proxy.handle(request, response, { connection: metrics, address: connection.remoteAddress })
  }
  try {
    const listener = await options.listen(
      {
        host: config.router.host,
        port: config.router.port,
        ...options.certificate,
        ...options.diagnostics,
        idleTimeoutMs: config.router.idle_timeout_ms,
        maxStreams: config.router.max_streams,
        earlyData: config.router.early_data,
        onTrouble: (message) => log.onTrouble(message),
      },
      serve,
    )
    collector.setListen(`${listener.host}:${listener.port}`)
    writer.start()
    return new Router({ listener, proxy, collector, writer })
  } catch (error) {
    await proxy.close()
    throw error
  }
}

function watch(
  connection: ServerConnection,
  metrics: ConnectionMetrics,
  collector: MetricsCollector,
  log: RouterLog,
): void {
  const { id } = metrics.info
  log.onConnection(id, connection.remote)
  connection.established.then(
    (established) => {
      collector.onConnected(metrics, established)
      log.onEstablished(id, established.establishmentMs, established.earlyData ? '0-RTT' : '1-RTT')
    },
    () => {
      // The reason comes with `closed`.
    },
  )
  connection.closed.then(
    (reason) => {
      const { text, isError } = describeClose(reason)
      collector.closeConnection(metrics, text, isError ? { kind: closeKind(reason) } : undefined)
      log.onConnectionClosed(id, text, isError)
    },
    (error: unknown) => {
      collector.closeConnection(metrics, messageOf(error), { kind: 'internal' })
      log.onConnectionClosed(id, messageOf(error), true)
    },
  )
}

function closeKind(reason: Awaited<ServerConnection['closed']>): string {
  if (reason.kind === 'transport') return reason.name.toLowerCase().replaceAll('_', '-')
  if (reason.kind === 'application') return `application-0x${reason.code.toString(16)}`
  return reason.kind
}
