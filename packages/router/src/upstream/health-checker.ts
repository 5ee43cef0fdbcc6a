/** Active health checks: asks each address of a pool for a path at intervals. */
import type { Clock } from '../clock.ts'
import type { HealthConfig } from '../config/service-schema.ts'
import { messageOf } from '../user-error.ts'
import type { UpstreamResponse } from './client.ts'
import type { Target } from './target.ts'

/** Longer answers to a check are not read. */
const answerBytesMax = 65_536

export interface HealthCheckerOptions {
  readonly targets: readonly Target[]
  readonly config: HealthConfig
  readonly clock: Clock
  /** Path that stands before the checked one. */
  readonly basePath: string
  readonly onChange: (target: Target) => void
}

export class HealthChecker {
  readonly #options: HealthCheckerOptions
  readonly #cancels = new Map<Target, () => void>()
  readonly #stopping = new AbortController()

  constructor(options: HealthCheckerOptions) {
    this.#options = options
  }

  /** The first checks happen at once. */
  start(): void {
    for (const target of this.#options.targets) void this.#check(target)
  }

  stop(): void {
    this.#stopping.abort(new Error('health checks have ended'))
    for (const cancel of this.#cancels.values()) cancel()
    this.#cancels.clear()
  }

  async #check(target: Target): Promise<void> {
    const { config, clock, onChange } = this.#options
    const problem = await this.#ask(target)
    if (this.#stopping.signal.aborted) return
    if (target.onChecked(problem, config)) onChange(target)
    this.#cancels.set(
      target,
      clock.after(config.interval_ms, () => void this.#check(target)),
    )
  }

  /** Undefined = well. */
  async #ask(target: Target): Promise<string | undefined> {
    const { config, clock, basePath } = this.#options
    const controller = new AbortController()
    const cancel = clock.after(config.timeout_ms, () => {
      controller.abort(new Error(`no answer to the health check within ${config.timeout_ms} ms`))
    })
    const onStop = (): void => controller.abort(this.#stopping.signal.reason)
    this.#stopping.signal.addEventListener('abort', onStop, { once: true })
    try {
      const response = await target.client.exchange({
        method: 'GET',
        authority: new URL(target.url).host,
        target: `${basePath}${config.path}`,
        headers: [['user-agent', 'quicether-health']],
        body: null,
        signal: controller.signal,
      })
      await readOut(response)
      if (response.status >= config.status_min && response.status <= config.status_max) return undefined
      return `status ${response.status} to the health check`
    } catch (error) {
      return messageOf(controller.signal.aborted ? controller.signal.reason : error)
    } finally {
      cancel()
      this.#stopping.signal.removeEventListener('abort', onStop)
    }
  }
}

/** A short answer is read to its end, which keeps the connection; a long one is left. */
async function readOut(response: UpstreamResponse): Promise<void> {
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    if (bytes > answerBytesMax) return response.discard()
  }
}
