/** Reads configuration and certificate again, one reload at a time, and says what came of it. */
import type { Router, RouterSetup } from '../router.ts'
import { messageOf, UserError } from '../user-error.ts'
import { changeLine, type ConfigChange } from './config-diff.ts'
import type { ReloadStats } from './feed-document.ts'
import { FileWatch } from './file-watch.ts'

export interface ReloaderOptions {
  readonly router: Router
  /** Reads the files again. Throws `UserError` naming file, line and expectation. */
  readonly load: () => Promise<RouterSetup>
  /** Files whose change makes a reload where `[reload] watch` is on. */
  readonly files: (setup: RouterSetup) => readonly string[]
  /** Told of every line worth showing to an operator. */
  readonly onLine: (line: string) => void
  /** Told of reloads that failed. */
  readonly onTrouble: (message: string) => void
}

/** What a reload or its rehearsal found. */
export interface ReloadResult {
  readonly isApplied: boolean
  readonly changes: readonly ConfigChange[]
  /** Why nothing was applied. */
  readonly error: string | null
}

/** `start()` watches where that is on; `stop()` ends it. */
export class Reloader {
  readonly #options: ReloaderOptions
  #last: Promise<unknown> = Promise.resolve()
  #succeeded = 0
  #failed = 0
  #lastSucceededAtMs = Date.now()
  #lastError: string | null = null
  readonly #watch: FileWatch

  constructor(options: ReloaderOptions) {
    this.#options = options
    const { router, files } = options
    this.#watch = new FileWatch(
      () => (isWatching(router) ? files({ config: router.config, certificate: router.certificate }) : []),
      () => {
        if (isWatching(router)) void this.reload('files changed')
      },
    )
  }

  stats(): ReloadStats {
    return {
      succeeded: this.#succeeded,
      failed: this.#failed,
      lastSucceededAtMs: this.#lastSucceededAtMs,
      lastError: this.#lastError,
    }
  }

  start(): void {
    this.#watch.start()
  }

  stop(): void {
    this.#watch.stop()
  }

  /** Reloads; never rejects. `isDryRun`: only says what would change. */
  reload(why: string, isDryRun = false): Promise<ReloadResult> {
    const result = this.#last.then(() => this.#reload(why, isDryRun))
    this.#last = result
    return result
  }

  async #reload(why: string, isDryRun: boolean): Promise<ReloadResult> {
    const { router, load, onLine, onTrouble } = this.#options
    try {
      if (router.isDraining) throw drainingError()
      const setup = await load()
      if (isDryRun) return { isApplied: false, changes: router.changes(setup), error: null }
      const changes = router.reload(setup)
      this.#succeeded++
      this.#lastSucceededAtMs = Date.now()
      this.#lastError = null
      this.#watch.settle()
      onLine(`reloaded (${why}): ${changes.length === 0 ? 'nothing changed' : countText(changes.length)}`)
      for (const change of changes) onLine(`  ${changeLine(change)}`)
      return { isApplied: true, changes, error: null }
    } catch (error) {
      const message = messageOf(error)
      if (!isDryRun) {
        this.#failed++
        this.#lastError = message
        onTrouble(`the reload failed, the old configuration stays: ${message}`)
      }
      return { isApplied: false, changes: [], error: message }
    }
  }
}

function isWatching(router: Router): boolean {
  return router.config.reload.watch && !router.isDraining
}

function countText(count: number): string {
  return count === 1 ? '1 change' : `${count} changes`
}

function drainingError(): UserError {
  return new UserError('ERR_CONFIG_VALUE', {
    what: 'the router is about to end',
    where: 'reload',
    remedy: 'Start it again with the new configuration.',
  })
}
