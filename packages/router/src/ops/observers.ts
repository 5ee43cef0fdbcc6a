/** Access log and traces of the configuration that serves; a reload replaces what changed and keeps the rest. */
import type { RouterConfig } from '../config/schema.ts'
import type { ExchangeRequest } from '../exchange.ts'
import type { EndedStream } from '../metrics/collector.ts'
import { AccessLog } from './access-log.ts'
import { Tracer } from './tracer.ts'

type ObservedConfig = Pick<RouterConfig, 'access_log' | 'traces'>

/** Log and tracer made for a configuration, not yet in use. */
export interface PreparedObservers {
  readonly config: ObservedConfig
  readonly accessLog: AccessLog | undefined
  readonly tracer: Tracer | undefined
}

/** One per router. */
export class Observers {
  readonly #onTrouble: (message: string) => void
  #running: PreparedObservers

  /** Throws `UserError` when the access log cannot be opened. */
  constructor(config: ObservedConfig, onTrouble: (message: string) => void) {
    this.#onTrouble = onTrouble
    this.#running = { config, accessLog: this.#openLog(config), tracer: this.#openTracer(config) }
  }

  /** The request as it goes on: with its place in a trace where traces are on. */
  begin(request: ExchangeRequest): ExchangeRequest {
    return this.#running.tracer?.begin(request) ?? request
  }

  onEnded(ended: EndedStream): void {
    this.#running.accessLog?.add(ended)
    this.#running.tracer?.onEnded(ended)
  }

  accessLogStats(): ReturnType<AccessLog['stats']> | undefined {
    return this.#running.accessLog?.stats()
  }

  tracerStats(): ReturnType<Tracer['stats']> | undefined {
    return this.#running.tracer?.stats()
  }

  /** Opens the access log by its name again, e.g. after it was rotated. */
  reopen(): void {
    this.#running.accessLog?.reopen()
  }

  /** Makes what `config` needs and does not run yet. Throws `UserError`; nothing has changed then. */
  prepare(config: ObservedConfig): PreparedObservers {
    const { config: old, accessLog, tracer } = this.#running
    return {
      config,
      accessLog: isEqual(old.access_log, config.access_log) ? accessLog : this.#openLog(config),
      tracer: isEqual(old.traces, config.traces) ? tracer : this.#openTracer(config),
    }
  }

  /** Uses what was prepared; what it replaces is closed after its last line and span. */
  commit(prepared: PreparedObservers): void {
    const old = this.#running
    this.#running = prepared
    if (old.accessLog !== prepared.accessLog) void old.accessLog?.close()
    if (old.tracer !== prepared.tracer) void old.tracer?.close()
    this.reopen()
  }

  /** Throws away what was prepared. */
  discard(prepared: PreparedObservers): void {
    if (prepared.accessLog !== this.#running.accessLog) void prepared.accessLog?.close()
    if (prepared.tracer !== this.#running.tracer) void prepared.tracer?.close()
  }

  async close(): Promise<void> {
    await Promise.all([this.#running.accessLog?.close(), this.#running.tracer?.close()])
  }

  /** For a process that goes down at once. */
  flushSync(): void {
    this.#running.accessLog?.flushSync()
  }

  #openLog({ access_log: config }: ObservedConfig): AccessLog | undefined {
    if (config.file === undefined) return undefined
    return new AccessLog({
      file: config.file,
      queueLines: config.queue_lines,
      withQuery: config.query,
      onTrouble: this.#onTrouble,
    })
  }

  #openTracer({ traces }: ObservedConfig): Tracer | undefined {
    const { endpoint } = traces
    return endpoint === undefined ? undefined : new Tracer({ ...traces, endpoint }, this.#onTrouble)
  }
}

function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
