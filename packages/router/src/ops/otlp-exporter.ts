/** Sends spans to an OpenTelemetry collector: OTLP over HTTP with JSON, in batches, bounded, and never in the way. */
import { messageOf } from '../user-error.ts'
import { BoundedQueue } from './bounded-queue.ts'

/** A finished span. Times are epoch nanoseconds as text: they exceed what a number holds. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly traceState: string | undefined
  readonly name: string
  readonly kind: 'server' | 'client'
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: Readonly<Record<string, string | number | boolean>>
  /** Set on failures; its text says why. */
  readonly error: string | undefined
}

export interface OtlpExporterOptions {
  /** `/v1/traces` is added when it has no path. */
  readonly endpoint: string
  readonly serviceName: string
  readonly headers: Readonly<Record<string, string>>
  /** Called once per spell of failures, and once when it works again. */
  readonly onTrouble: (message: string) => void
  /** Tests wait less. */
  readonly intervalMs?: number
}

const queueSpans = 2_048
const spansPerExport = 512
const defaultIntervalMs = 2_000
const exportTimeoutMs = 10_000
const attemptsMax = 3
const retryMs = 1_000
/** OTLP/HTTP, section "Failures": these may be tried again, all others not. */
const retryableStatus = new Set([429, 502, 503, 504])
const kinds = { server: 2, client: 3 } as const
const statusError = 2

/** `add` costs a push; the rest happens on a timer. `close()` sends what waits. */
export class OtlpExporter {
  readonly #options: OtlpExporterOptions
  readonly #url: string
  readonly #queue = new BoundedQueue<Span>(queueSpans)
  readonly #abort = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #isFailing = false
  #sent = 0

  constructor(options: OtlpExporterOptions) {
    this.#options = options
    const url = new URL(options.endpoint)
    if (url.pathname === '/') url.pathname = '/v1/traces'
    this.#url = url.href
  }

  stats(): { readonly sent: number; readonly dropped: number; readonly waiting: number } {
    return { sent: this.#sent, dropped: this.#queue.dropped, waiting: this.#queue.length }
  }

  add(span: Span): void {
    this.#queue.push(span)
    if (this.#timer !== undefined || this.#abort.signal.aborted) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.#flush()
    }, this.#options.intervalMs ?? defaultIntervalMs)
    this.#timer.unref()
  }

  /** Sends what waits, for at most `graceMs`. Never rejects. */
  async close(graceMs = 2_000): Promise<void> {
    clearTimeout(this.#timer)
    const timer = setTimeout(() => this.#abort.abort(new Error('the router ends')), graceMs)
    await this.#flush()
    clearTimeout(timer)
    this.#abort.abort(new Error('the router has ended'))
  }

  async #flush(): Promise<void> {
    await this.#running
    this.#running = this.#exportAll()
    await this.#running
    this.#running = undefined
  }

  async #exportAll(): Promise<void> {
    while (this.#queue.length > 0 && !this.#abort.signal.aborted) {
      const spans = this.#queue.take(spansPerExport)
      try {
        await this.#export(spans)
        this.#sent += spans.length
        if (this.#isFailing) this.#options.onTrouble(`traces are accepted again (${this.#url})`)
        this.#isFailing = false
      } catch (error) {
        this.#queue.giveUp(spans.length)
        this.#onFailure(error)
        return
      }
    }
  }

  async #export(spans: readonly Span[]): Promise<void> {
    const body = JSON.stringify(otlpDocument(spans, this.#options.serviceName))
    for (let attempt = 1; ; attempt++) {
      const failure = await this.#post(body)
      if (failure === undefined) return
      if (!failure.mayRetry || attempt >= attemptsMax || this.#abort.signal.aborted) throw new Error(failure.reason)
      await abortableDelay(failure.afterMs ?? retryMs * 2 ** (attempt - 1), this.#abort.signal)
    }
  }

  async #post(body: string): Promise<{ reason: string; mayRetry: boolean; afterMs?: number } | undefined> {
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: { ...this.#options.headers, 'content-type': 'application/json' },
        body,
        redirect: 'error',
        signal: AbortSignal.any([this.#abort.signal, AbortSignal.timeout(exportTimeoutMs)]),
      })
      await response.body?.cancel()
      if (response.ok) return undefined
      const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
      return {
        reason: `the receiver answered ${response.status}`,
        mayRetry: retryableStatus.has(response.status),
        ...(seconds >= 0 && seconds <= 30 ? { afterMs: seconds * 1_000 } : {}),
      }
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
      return { reason: messageOf(cause), mayRetry: true }
    }
  }

  #onFailure(error: unknown): void {
    if (this.#isFailing) return
    this.#isFailing = true
    this.#options.onTrouble(
      `traces cannot be sent: ${messageOf(error)} (${this.#url}). Serving goes on; these spans are lost, later ones are tried.`,
    )
  }
}

/** The document of one export request. */
export function otlpDocument(spans: readonly Span[], serviceName: string): unknown {
  return {
    resourceSpans: [
      {
        resource: { attributes: attributeList({ 'service.name': serviceName }) },
        scopeSpans: [
          {
            scope: { name: 'quicether' },
            spans: spans.map((span) => ({
              traceId: span.traceId,
              spanId: span.spanId,
              ...(span.parentSpanId === undefined ? {} : { parentSpanId: span.parentSpanId }),
              ...(span.traceState === undefined ? {} : { traceState: span.traceState }),
              name: span.name,
              kind: kinds[span.kind],
              startTimeUnixNano: span.startTimeUnixNano,
              endTimeUnixNano: span.endTimeUnixNano,
              attributes: attributeList(span.attributes),
              ...(span.error === undefined ? {} : { status: { code: statusError, message: span.error } }),
            })),
          },
        ],
      },
    ],
  }
}

function attributeList(attributes: Readonly<Record<string, string | number | boolean>>): unknown[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: attributeValue(value) }))
}

function attributeValue(value: string | number | boolean): unknown {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  // OTLP JSON writes 64-bit integers as text.
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
}

function abortableDelay(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, delayMs)
    signal.addEventListener('abort', done)
  })
}
