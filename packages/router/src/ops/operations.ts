/** What runs beside the router for its operator: reloader, admin endpoint, metrics listener, live page. */
import { PageAssets } from '../page/assets.ts'
import type { Router, RouterSetup } from '../router.ts'
import { adminHandler, metricsHandler } from './admin-routes.ts'
import { type AdminServer, startAdminServer } from './admin-server.ts'
import { LiveFeed } from './live-feed.ts'
import { Panel } from './panel.ts'
import { Reloader, type ReloadResult } from './reloader.ts'

export interface OperationsOptions {
  readonly router: Router
  /** Reads configuration and certificate again. Throws `UserError`. */
  readonly load: () => Promise<RouterSetup>
  readonly configFile: string | undefined
  /** Lines for the operator, e.g. what a reload changed. */
  readonly onLine: (line: string) => void
  readonly onTrouble: (message: string) => void
}

/** Made by `startOperations`; `close()` after the router has ended. */
export class Operations {
  readonly #reloader: Reloader
  readonly #panel: Panel
  readonly #feed: LiveFeed
  readonly #servers: AdminServer[] = []
  #router: Router

  constructor(options: OperationsOptions) {
    const { router, configFile } = options
    this.#router = router
    this.#reloader = new Reloader({
      router,
      load: options.load,
      files: ({ config }) => watchedFiles(configFile, config.router.certificate, config.router.private_key),
      onLine: options.onLine,
      onTrouble: options.onTrouble,
    })
    this.#panel = new Panel({ router, reloader: this.#reloader, configFile })
    this.#feed = new LiveFeed(() => this.#panel.feed())
  }

  /** Addresses that are listened on, the admin endpoint first. */
  get addresses(): readonly string[] {
    return this.#servers.map(({ address }) => address)
  }

  /** Listens as configured. Throws `UserError`. */
  async start(): Promise<void> {
    const { admin, metrics } = this.#router.config
    if (admin.listen !== undefined) {
      const handler = adminHandler(this.#panel, this.#feed, admin.page ? new PageAssets() : undefined)
      this.#servers.push(await startAdminServer(admin.listen, 'admin.listen', handler))
    }
    if (metrics.listen !== undefined) {
      this.#servers.push(await startAdminServer(metrics.listen, 'metrics.listen', metricsHandler(this.#panel)))
    }
    this.#reloader.start()
  }

  reload(why: string): Promise<ReloadResult> {
    return this.#reloader.reload(why)
  }

  async close(): Promise<void> {
    this.#reloader.stop()
    this.#feed.stop()
    this.#panel.stop()
    await Promise.all(this.#servers.map((server) => server.close()))
  }
}

/** Starts all of it. Throws `UserError`; nothing runs then. */
export async function startOperations(options: OperationsOptions): Promise<Operations> {
  const operations = new Operations(options)
  try {
    await operations.start()
    return operations
  } catch (error) {
    await operations.close()
    throw error
  }
}

function watchedFiles(...files: readonly (string | undefined)[]): string[] {
  return files.filter((file) => file !== undefined)
}
