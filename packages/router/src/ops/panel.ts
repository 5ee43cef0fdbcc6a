/** What the admin endpoint shows and does: the router's state as documents, and the few actions an operator has. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { StreamDocument } from '../metrics/document.ts'
import type { ListenerCounters } from '../ports.ts'
import type { Router } from '../router.ts'
import { certificateFacts } from './certificate-facts.ts'
import { withoutSecrets } from './config-diff.ts'
import { exposition } from './exposition.ts'
import type { FeedDocument, OpenConnectionDocument, ServiceDocument, StatusDocument } from './feed-document.ts'
import type { Reloader, ReloadResult } from './reloader.ts'

export interface PanelOptions {
  readonly router: Router
  readonly reloader: Reloader
  readonly configFile: string | undefined
}

const listMax = 1_000
const feedMax = 50

/** `stop()` when done. */
export class Panel {
  readonly #router: Router
  readonly #reloader: Reloader
  readonly #configFile: string | undefined
  readonly #loopDelay = monitorEventLoopDelay({ resolution: 20 })

  constructor(options: PanelOptions) {
    this.#router = options.router
    this.#reloader = options.reloader
    this.#configFile = options.configFile
    this.#loopDelay.enable()
  }

  stop(): void {
    this.#loopDelay.disable()
  }

  get isDraining(): boolean {
    return this.#router.isDraining
  }

  status(): StatusDocument {
    const router = this.#router
    const { connectionsOpen, connections, streamsOpen, streams, failed } = router.live()
    const startedAt = router.collector.startedAt
    return {
      state: router.isDraining ? 'draining' : 'serving',
      listen: `${router.host.includes(':') ? `[${router.host}]` : router.host}:${router.port}`,
      startedAt: startedAt.toISOString(),
      uptimeSeconds: Math.round((Date.now() - startedAt.getTime()) / 1_000),
      node: process.version,
      pid: process.pid,
      configFile: this.#configFile ?? null,
      results: router.paths.directory,
      certificate: certificateFacts(router.certificate.certificatePem) ?? null,
      reloads: this.#reloader.stats(),
      retiredConfigurations: router.retiredConfigurations,
      connectionsOpen,
      connections,
      streamsOpen,
      streams,
      failed,
      accessLog: router.observers.accessLogStats() ?? null,
      traces: router.observers.tracerStats() ?? null,
    }
  }

  /** The configuration that serves, secrets left out. */
  config(): unknown {
    return withoutSecrets(this.#router.config)
  }

  connections(): readonly OpenConnectionDocument[] {
    return this.#router.connections.list(listMax)
  }

  streams(): readonly StreamDocument[] {
    return this.#router.collector.latest(listMax).streams
  }

  services(): ServiceDocument[] {
    const upstreams = new Map(this.#router.upstreamStats().map((entry) => [entry.name, entry]))
    const types = new Map(this.#router.live().byType.map((entry) => [entry.type, entry]))
    const windows = this.#router.recentLatency.windows(performance.now())
    return [...new Set([...upstreams.keys(), ...types.keys()])].map((name) => ({
      name,
      open: types.get(name)?.open ?? 0,
      streams: types.get(name)?.streams ?? 0,
      bytes: types.get(name)?.bytes ?? 0,
      latency: windows.get(name) ?? null,
      upstream: upstreams.get(name) ?? null,
    }))
  }

  feed(): FeedDocument {
    const { totals } = this.#router.collector.scrape()
    return {
      at: Date.now(),
      status: this.status(),
      bytesSent: totals.bytesSent,
      bytesReceived: totals.bytesReceived,
      packetsSent: totals.packetsSent,
      packetsLost: totals.packetsLost,
      services: this.services(),
      connections: this.#router.connections.list(feedMax),
      streams: this.#router.collector.latest(feedMax).streams,
    }
  }

  metrics(): string {
    const router = this.#router
    const facts = certificateFacts(router.certificate.certificatePem)
    const delays = this.#loopDelay.count > 0 ? this.#loopDelay.percentile(99) / 1e9 : undefined
    this.#loopDelay.reset()
    const listener: ListenerCounters | undefined = router.listenerCounters()
    return exposition({
      counts: router.collector.scrape(),
      listener,
      upstreams: router.upstreamStats(),
      certificateEndsAtMs: facts === undefined ? undefined : Date.parse(facts.validTo),
      reloads: this.#reloader.stats(),
      isDraining: router.isDraining,
      retiredConfigurations: router.retiredConfigurations,
      accessLog: router.observers.accessLogStats(),
      traces: router.observers.tracerStats(),
      loopDelaySeconds: delays,
    })
  }

  reload(isDryRun: boolean): Promise<ReloadResult> {
    return this.#reloader.reload('admin endpoint', isDryRun)
  }

  /** Opens the access log by its name again. */
  reopenLogs(): void {
    this.#router.observers.reopen()
  }

  /** Begins to end the router; `Router.ended` tells when it has. */
  drain(): void {
    void this.#router.close()
  }

  /** False = there is no such connection. */
  closeConnection(id: number): boolean {
    return this.#router.connections.close(id)
  }
}
