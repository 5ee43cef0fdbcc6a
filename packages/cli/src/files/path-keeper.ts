/** Keeps the planned paths open: one that cannot be opened, or that has ended, is tried again for ever, ever less often. */
import type { OpenPathOptions, QuicConnection } from '@quicether/net'
import { codeOf, messageOf } from '@quicether/router'
import type { PathId } from '@quicether/transport'

export interface PathKeeperOptions {
  readonly connection: QuicConnection
  readonly timeoutMs: number
  /** Told of the first failure in a row of each path. */
  readonly onTrouble: (message: string) => void
}

const RETRY_MS = 1_000
const RETRY_MS_MAX = 30_000
/** Failures that time does not heal. */
const HOPELESS = new Set(['ERR_NO_MULTIPATH', 'ERR_FAMILY', 'ERR_CONNECTION_CLOSED'])

interface Kept {
  readonly path: OpenPathOptions
  id: PathId | undefined
  failures: number
}

/** Why a path cannot be opened, and what follows from it. */
export function pathTrouble(error: unknown): string {
  const isHopeless = HOPELESS.has(codeOf(error))
  const next = isHopeless ? 'The download goes on without that path.' : 'The download goes on; it is tried again.'
  return `${messageOf(error).replace(/\.$/u, '')}. ${next}`
}

/** Told of abandoned paths by `onAbandoned`; ends with `stop`. */
export class PathKeeper {
  readonly #options: PathKeeperOptions
  readonly #kept: Kept[] = []
  readonly #timers: Set<NodeJS.Timeout> = new Set()
  #isStopped = false

  constructor(options: PathKeeperOptions) {
    this.#options = options
  }

  /** Opens a path now. `id` = it is open already. */
  keep(path: OpenPathOptions, id?: PathId): void {
    const kept: Kept = { path, id, failures: 0 }
    this.#kept.push(kept)
    if (id === undefined) void this.#open(kept)
  }

  onAbandoned(id: PathId): void {
    const kept = this.#kept.find((each) => each.id === id)
    if (kept === undefined) return
    kept.id = undefined
    this.#retry(kept)
  }

  stop(): void {
    this.#isStopped = true
    for (const timer of this.#timers) clearTimeout(timer)
  }

  async #open(kept: Kept): Promise<void> {
    const { connection, timeoutMs, onTrouble } = this.#options
    try {
      kept.id = await connection.openPath({ ...kept.path, timeoutMs })
      kept.failures = 0
    } catch (error) {
      if (this.#isStopped || connection.isClosed) return
      if (kept.failures === 0) onTrouble(pathTrouble(error))
      if (!HOPELESS.has(codeOf(error))) this.#retry(kept)
    }
  }

  #retry(kept: Kept): void {
    if (this.#isStopped) return
    const waitMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** Math.min(kept.failures, 10))
    kept.failures++
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!this.#options.connection.isClosed) void this.#open(kept)
    }, waitMs)
    timer.unref()
    this.#timers.add(timer)
  }
}
