/** A router on several cores: worker threads that each route, one run with one set of reports. */
import { serveWorkers, type WorkerFailure, type WorkerGroup } from '@quicether/net'
import type { MetricsDocument, ReportReason } from '../metrics/document.ts'
import { metricsHandler } from '../ops/admin-routes.ts'
import { type AdminServer, startAdminServer } from '../ops/admin-server.ts'
import { createRunId, type ReportPaths, ReportWriter } from '../report/report-writer.ts'
import type { Diagnostics } from '../ports.ts'
import type { RouterLog, RouterSetup } from '../router.ts'
import { listenError, resolveAddress } from '../transport-server.ts'
import { UserError } from '../user-error.ts'
import { mergeExpositions } from './merge-exposition.ts'
import { mergeMetrics, type WorkerMetrics } from './merge-metrics.ts'
import type { RouterOrder, RouterWord, RouterWorkerData } from './messages.ts'

export interface RouterGroupOptions extends RouterSetup {
  readonly workers: number
  readonly diagnostics: Diagnostics
  readonly log: RouterLog
  readonly onWorkerFailed: (failure: WorkerFailure) => void
}

/** A worker that does not answer by then is not in a scrape; Prometheus waits for ten seconds. */
const scrapeMs = 9_000
/** A worker that does not answer by then is said not to. */
const reloadMs = 30_000

/** Made by `startRouterGroup`. */
export class RouterGroup {
  readonly host: string
  readonly #options: RouterGroupOptions
  readonly #writer: ReportWriter
  readonly #runId = createRunId(new Date())
  readonly #startedAt = new Date()
  /** By worker and generation: what those said last that have ended stays in the totals. */
  readonly #metrics = new Map<string, WorkerMetrics>()
  readonly #fresh = new Set<number>()
  readonly #scrapes = new Map<number, (index: number, text: string) => void>()
  #onReloaded: ((index: number, problem: string | undefined) => void) | undefined
  #questions = 0
  #group: WorkerGroup | undefined
  #metricsServer: AdminServer | undefined
  #timer: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined

  constructor(options: RouterGroupOptions) {
    const { config, log } = options
    this.#options = options
    this.host = config.router.host
    this.#writer = new ReportWriter({
      resultsDirectory: config.results.directory,
      runId: this.#runId,
      intervalMs: config.results.interval_ms,
      snapshot: (reason) => this.#snapshot(reason),
      onTrouble: (message) => log.onTrouble(message),
    })
  }

  get port(): number {
    return this.#group?.port ?? this.#options.config.router.port
  }

  get paths(): ReportPaths {
    return this.#writer.paths
  }

  /** Address of the metrics listener, where there is one. */
  get metricsAddress(): string | undefined {
    return this.#metricsServer?.address
  }

  get isDraining(): boolean {
    return this.#closing !== undefined
  }

  get workers(): WorkerGroup | undefined {
    return this.#group
  }

  /** Throws `UserError`. */
  async start(): Promise<void> {
    const { config, certificate, workers, diagnostics, onWorkerFailed } = this.#options
    if (config.admin.listen !== undefined) throw noAdmin()
    const listening = { ...config.router, ...certificate }
    const setup = { config, certificate }
    try {
      this.#group = await serveWorkers({
        module: new URL('./router-worker.ts', import.meta.url),
        workers,
        addresses: [await resolveAddress(listening)],
        port: config.router.port,
        data: { setup, diagnostics } satisfies RouterWorkerData,
        onWorkerFailed,
        onTold: (index, word) => this.#hear(index, word as RouterWord),
      })
      if (config.metrics.listen !== undefined) {
        this.#metricsServer = await startAdminServer(config.metrics.listen, 'metrics.listen', metricsHandler(this))
      }
    } catch (error) {
      await this.#group?.close()
      throw listenError(error, listening)
    }
    this.#timer = setInterval(() => this.#askForReports(), config.results.interval_ms)
    this.#timer.unref()
  }

  /** Puts a configuration and a certificate in place in every worker; connections stay. Resolves with what went wrong. */
  async reload(setup: RouterSetup): Promise<readonly string[]> {
    const group = this.#group
    if (group === undefined) return []
    const { promise, resolve } = Promise.withResolvers<void>()
    const missing = new Set(Array.from({ length: group.workers }, (_, index) => index))
    const problems: string[] = []
    this.#onReloaded = (index, problem) => {
      if (problem !== undefined) problems.push(`worker ${index}: ${problem}`)
      missing.delete(index)
      if (missing.size === 0) resolve()
    }
    // Workers that are started again later begin with it, too.
    group.setData({ setup, diagnostics: this.#options.diagnostics } satisfies RouterWorkerData)
    this.#order({ kind: 'reload', setup })
    const timer = setTimeout(resolve, reloadMs)
    await promise
    clearTimeout(timer)
    for (const index of missing) problems.push(`worker ${index} does not answer`)
    return problems
  }

  /** Opens the access log by its name again. */
  reopenLogs(): void {
    this.#order({ kind: 'reopen' })
  }

  /** The metrics of all workers for Prometheus. */
  async metrics(): Promise<string> {
    const question = this.#questions++
    const texts = new Map<number, string>()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#scrapes.set(question, (index, text) => {
      texts.set(index, text)
      if (texts.size === this.#group?.workers) resolve()
    })
    this.#order({ kind: 'scrape', question })
    const timer = setTimeout(resolve, scrapeMs)
    await promise
    clearTimeout(timer)
    this.#scrapes.delete(question)
    const sorted = [...texts].sort(([a], [b]) => a - b)
    return mergeExpositions(sorted.map(([worker, text]) => ({ worker, text })))
  }

  /** Refuses new work, lets exchanges finish for at most `graceMs`, writes the last report. A second call hastens. */
  close(graceMs: number = this.#options.config.shutdown.drain_timeout_ms): Promise<void> {
    if (this.#closing === undefined) this.#closing = this.#close(graceMs)
    else void this.#group?.close({ graceMs: 0 })
    return this.#closing
  }

  writeReports(reason: ReportReason): boolean {
    return this.#writer.write(reason)
  }

  async #close(graceMs: number): Promise<void> {
    clearInterval(this.#timer)
    await this.#group?.close({ graceMs })
    await this.#metricsServer?.close()
    this.#writer.write('shutdown')
  }

  #order(order: RouterOrder): void {
    this.#group?.tell(order)
  }

  #askForReports(): void {
    // Somebody has not answered since the last time: what there is must do.
    if (this.#fresh.size > 0) this.#writer.write('interval')
    this.#fresh.clear()
    this.#order({ kind: 'report' })
  }

  #hear(index: number, word: RouterWord): void {
    const { log } = this.#options
    if (word.kind === 'metrics') {
      this.#metrics.set(`${index} ${word.generation}`, word.metrics)
      this.#fresh.add(index)
      if (this.#closing !== undefined || this.#fresh.size < (this.#group?.workers ?? Number.POSITIVE_INFINITY)) return
      this.#fresh.clear()
      this.#writer.write('interval')
    } else if (word.kind === 'reloaded') this.#onReloaded?.(index, word.problem)
    else if (word.kind === 'scraped') this.#scrapes.get(word.question)?.(index, word.text)
    else if (word.kind === 'established') {
      log.onEstablished(word.id, word.establishmentMs, word.handshake === '0-RTT' ? '0-RTT' : '1-RTT')
    } else if (word.kind === 'closed') log.onConnectionClosed(word.id, word.reason, word.isError)
    else if (word.kind === 'failure') log.onFailure(word.failure)
    else log.onTrouble(`worker ${index}: ${word.message}`)
  }

  #snapshot(reason: ReportReason): MetricsDocument {
    const { config } = this.#options
    const now = new Date()
    const run = {
      id: this.#runId,
      startedAt: this.#startedAt.toISOString(),
      writtenAt: now.toISOString(),
      uptimeSeconds: (now.getTime() - this.#startedAt.getTime()) / 1000,
      reason,
      nodeVersion: process.version,
      listen: `${this.host}:${this.port}`,
    }
    return mergeMetrics([...this.#metrics.values()], run, config.results.streams_kept)
  }
}

/** Starts all workers. Throws `UserError`; nothing runs then. */
export async function startRouterGroup(options: RouterGroupOptions): Promise<RouterGroup> {
  const group = new RouterGroup(options)
  await group.start()
  return group
}

function noAdmin(): UserError {
  return new UserError('ERR_OPTION', {
    what: 'the admin endpoint is for a router with one worker',
    where: '--admin or [admin] listen',
    remedy: 'Leave it out, and read [metrics] listen and the reports; or use --workers 1.',
  })
}
