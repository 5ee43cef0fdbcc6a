/** The router: HTTP/3 in front, services behind, metrics and reports beside, reloaded and drained while it serves. */
import type { RouterConfig } from './config/schema.ts'
import { type LiveCounts, MetricsCollector } from './metrics/collector.ts'
import type { MetricsDocument, ReportReason } from './metrics/document.ts'
import { type ConfigChange, diffConfig, mergeReloadable, touchesRouting } from './ops/config-diff.ts'
import { certificateFacts, certificateLine } from './ops/certificate-facts.ts'
import { ConnectionBook, type ConnectionLog } from './ops/connection-book.ts'
import { Generations } from './ops/generations.ts'
import { Observers } from './ops/observers.ts'
import { RecentLatency } from './ops/recent-latency.ts'
import type { CertificatePair, Diagnostics, ServerListen, ServerListener } from './ports.ts'
import { StreamProxy, type ProxyFailure } from './proxy.ts'
import { createRunId, type ReportPaths, ReportWriter } from './report/report-writer.ts'

/** What happens, for logs. */
export interface RouterLog extends ConnectionLog {
  onFailure(failure: ProxyFailure): void
  /** Something that does not end serving, e.g. a full disk. */
  onTrouble(message: string): void
}

/** What a reload puts in place. */
export interface RouterSetup {
  readonly config: RouterConfig
  readonly certificate: CertificatePair
}

export interface RouterOptions extends RouterSetup {
  readonly diagnostics: Diagnostics
  readonly log: RouterLog
  readonly listen: ServerListen
  /** Takes the documents of the reports, which are then not written: for a worker, whose group writes them. */
  readonly onDocument?: (document: MetricsDocument) => void
}

interface RouterParts {
  readonly setup: RouterSetup
  readonly listener: ServerListener
  readonly generations: Generations
  readonly observers: Observers
  readonly connections: ConnectionBook
  readonly collector: MetricsCollector
  readonly recentLatency: RecentLatency
  readonly writer: ReportWriter
  readonly createProxy: (config: RouterConfig) => StreamProxy
}

/** A router that serves until `close`. */
export class Router {
  readonly host: string
  readonly port: number
  readonly paths: ReportPaths
  readonly #parts: RouterParts
  /** Settles when the router has ended, by `close` or `drain`. */
  readonly ended: Promise<void>
  #setup: RouterSetup
  #closing: Promise<void> | undefined
  #onEnded!: () => void

  /** Use `startRouter`. */
  constructor(parts: RouterParts) {
    this.host = parts.listener.host
    this.port = parts.listener.port
    this.paths = parts.writer.paths
    this.#parts = parts
    this.#setup = parts.setup
    this.ended = new Promise((resolve) => {
      this.#onEnded = resolve
    })
  }

  /** The configuration that serves; settings that need a restart are those of the start. */
  get config(): RouterConfig {
    return this.#setup.config
  }

  get certificate(): CertificatePair {
    return this.#setup.certificate
  }

  get isDraining(): boolean {
    return this.#closing !== undefined
  }

  get connections(): ConnectionBook {
    return this.#parts.connections
  }

  get collector(): MetricsCollector {
    return this.#parts.collector
  }

  get observers(): Observers {
    return this.#parts.observers
  }

  get recentLatency(): RecentLatency {
    return this.#parts.recentLatency
  }

  /** Earlier configurations that still carry exchanges. */
  get retiredConfigurations(): number {
    return this.#parts.generations.retiredCount
  }

  live(): LiveCounts {
    return this.#parts.collector.live()
  }

  upstreamStats(): ReturnType<StreamProxy['upstreamStats']> {
    return this.#parts.generations.upstreamStats()
  }

  listenerCounters(): ReturnType<NonNullable<ServerListener['counters']>> | undefined {
    return this.#parts.listener.counters?.()
  }

  /** What `reload` would change. */
  changes(next: RouterSetup): ConfigChange[] {
    const changes = diffConfig(this.#setup.config, next.config)
    const { certificatePem, privateKeyPem } = this.#setup.certificate
    if (next.certificate.certificatePem !== certificatePem || next.certificate.privateKeyPem !== privateKeyPem) {
      const line = (pem: string): string => certificateLine(certificateFacts(pem))
      const [before, after] = [line(certificatePem), line(next.certificate.certificatePem)]
      changes.unshift({ key: 'certificate', before, after, needsRestart: false })
    }
    return changes
  }

  /**
   * Puts another configuration and certificate in place without touching connections and exchanges: those that run end
   * as they began. Returns what changed. Throws `UserError`; then everything is as before.
   */
  reload(next: RouterSetup): ConfigChange[] {
    const { observers, createProxy, generations, listener } = this.#parts
    const changes = this.changes(next)
    const config = mergeReloadable(this.#setup.config, next.config)
    const prepared = observers.prepare(config)
    try {
      const proxy = touchesRouting(changes) ? createProxy(config) : undefined
      try {
        if (changes.some(({ key }) => key === 'certificate')) listener.replaceCertificate?.(next.certificate)
      } catch (error) {
        void proxy?.close()
        throw error
      }
      if (proxy !== undefined) generations.replace(proxy)
    } catch (error) {
      observers.discard(prepared)
      throw error
    }
    observers.commit(prepared)
    this.#setup = { config, certificate: next.certificate }
    return changes
  }

  /** Writes the reports now; synchronous, so that it works while the process goes down. */
  writeReports(reason: ReportReason): boolean {
    if (reason === 'crash') this.#parts.observers.flushSync()
    return this.#parts.writer.write(reason)
  }

  /**
   * Refuses new connections and requests (GOAWAY), lets running exchanges finish for at most `graceMs`, by default the
   * configured time, writes the last report and releases everything. Safe to call twice.
   */
  close(graceMs: number = this.#setup.config.shutdown.drain_timeout_ms): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  /** Like `close`, but cuts what still runs. */
  async closeNow(): Promise<void> {
    const closing = this.close(0)
    this.#parts.listener.closeNow?.()
    await closing
  }

  async #close(graceMs: number): Promise<void> {
    const { writer, listener, generations, observers } = this.#parts
    writer.stop()
    try {
      await listener.close(graceMs)
      await generations.close()
      await observers.close()
    } finally {
      writer.write('shutdown')
      this.#onEnded()
    }
  }
}

/** Starts to listen. Throws `UserError` or the listener's error, e.g. for a port in use. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const { config, certificate, log } = options
  const nowMs = (): number => performance.now()
  const onTrouble = (message: string): void => log.onTrouble(message)
  const runId = createRunId(new Date())
  const observers = new Observers(config, onTrouble)
  const recentLatency = new RecentLatency()
  const collector = new MetricsCollector({
    runId,
    listen: `${config.router.host}:${config.router.port}`,
    streamsKept: config.results.streams_kept,
    nowMs,
    onStreamEnded: (ended) => {
      recentLatency.add(ended.document.type, ended.document.durationMs, nowMs())
      observers.onEnded(ended)
    },
  })
  const createProxy = proxyFactory(collector, log, nowMs)
  const generations = new Generations(createProxy(config))
  const connections = new ConnectionBook(collector, log, nowMs)
  const writer = new ReportWriter({
    resultsDirectory: config.results.directory,
    runId,
    intervalMs: config.results.interval_ms,
    snapshot: (reason) => collector.snapshot(reason),
    onDocument: options.onDocument,
    onTrouble,
  })
  try {
    const listener = await options.listen(
      {
        host: config.router.host,
        port: config.router.port,
        ...certificate,
        ...options.diagnostics,
        idleTimeoutMs: config.router.idle_timeout_ms,
        maxStreams: config.router.max_streams,
        earlyData: config.router.early_data,
        maxHeaderBytes: config.router.max_header_bytes,
        headerTimeoutMs: config.router.header_timeout_ms,
        tcp: config.router.tcp,
        altSvcSeconds: config.router.alt_svc_seconds,
        onTrouble,
      },
      (connection) => {
        const origin = { connection: connections.add(connection), address: connection.remoteAddress }
        return (request, response) => generations.handle(observers.begin(request), response, origin)
      },
    )
    collector.setListen(`${listener.host}:${listener.port}`)
    writer.start()
    const setup = { config, certificate }
    return new Router({
      setup,
      listener,
      generations,
      observers,
      connections,
      collector,
      recentLatency,
      writer,
      createProxy,
    })
  } catch (error) {
    await generations.close()
    await observers.close()
    throw error
  }
}

function proxyFactory(
  collector: MetricsCollector,
  log: RouterLog,
  nowMs: () => number,
): (config: RouterConfig) => StreamProxy {
  return ({ service, router }) =>
    new StreamProxy({
      services: service,
      settings: router,
      collector,
      nowMs,
      onFailure: (failure) => log.onFailure(failure),
      onTargetChange: (name, { url, isHealthy, isEjected, problem }) => {
        const isOut = !isHealthy || isEjected
        log.onTrouble(isOut ? `service "${name}": ${url} is out: ${problem}` : `service "${name}": ${url} is back`)
      },
    })
}
