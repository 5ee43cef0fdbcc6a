/** Carries one exchange: route, forward, stream back, measure. */
import type { ServiceConfig } from './config/schema.ts'
import type { ExchangeRequest, ExchangeResponse, HeaderList } from './exchange.ts'
import type { MetricsCollector } from './metrics/collector.ts'
import type { ConnectionMetrics } from './metrics/connection-metrics.ts'
import type { StreamMetrics } from './metrics/stream-metrics.ts'
import { type Route, RouteTable } from './routing.ts'
import { UpstreamFailure } from './upstream/failure.ts'
import { requestHeaders, responseHeaders, responseTrailers } from './upstream/headers.ts'
import { Upstream, type UpstreamResponse } from './upstream/upstream.ts'
import { messageOf } from './user-error.ts'

export interface ProxyOptions {
  readonly services: readonly ServiceConfig[]
  readonly collector: MetricsCollector
  /** Monotonic milliseconds. */
  readonly nowMs: () => number
  /** Told about every exchange that did not complete. */
  readonly onFailure?: (failure: ProxyFailure) => void
}

export interface ProxyFailure {
  readonly stream: number
  readonly path: string
  readonly service: string
  readonly status: number | undefined
  readonly kind: string
  readonly message: string
}

/** Who is at the other end of the connection an exchange came over. */
export interface ExchangeOrigin {
  readonly connection: ConnectionMetrics
  /** Address of the client, for `x-forwarded-for`. */
  readonly address: string
}

/** Metrics type of requests that match no service. */
const unrouted = 'unrouted'
const bodilessMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE'])

/** Forwards exchanges to their services. One per router. */
export class StreamProxy {
  readonly #options: ProxyOptions
  readonly #table: RouteTable
  readonly #upstreams = new Map<string, Upstream>()

  constructor(options: ProxyOptions) {
    this.#options = options
    this.#table = new RouteTable(options.services)
    for (const service of options.services) this.#upstreams.set(service.name, new Upstream(service))
  }

  /** Answers one request; never rejects. */
  async handle(request: ExchangeRequest, response: ExchangeResponse, origin: ExchangeOrigin): Promise<void> {
    const { collector, nowMs } = this.#options
    const route = this.#table.find(request.path)
    const info = {
      streamId: request.streamId,
      type: route?.service.name ?? unrouted,
      kind: route?.service.kind ?? ('other' as const),
      method: request.method,
      path: request.path,
      openedAtMs: request.openedAtMs,
    }
    const metrics = collector.openStream(origin.connection, info, () => response.stats())
    const exchange: Exchange = { request, response, metrics, origin, hasHead: false }
    try {
      const upstream = route === undefined ? undefined : this.#upstreams.get(route.service.name)
      if (route === undefined || upstream === undefined) await this.#refuse(exchange)
      else await this.#forward(exchange, route, upstream, nowMs)
    } catch (error) {
      await this.#fail(exchange, error)
    }
  }

  /** Connections to each service, for the live view. */
  upstreamStats(): {
    readonly name: string
    readonly connected: number
    readonly running: number
    readonly queued: number
  }[] {
    return [...this.#upstreams].map(([name, upstream]) => ({ name, ...upstream.stats() }))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#upstreams.values()].map((upstream) => upstream.close()))
  }

  async #forward(exchange: Exchange, route: Route, upstream: Upstream, nowMs: () => number): Promise<void> {
    const { request, metrics, origin } = exchange
    if (request.method === 'CONNECT')
      return await this.#answer(exchange, 501, 'unsupported-method', 'CONNECT is not supported here')
    const body = await requestBody(request)
    const headers = requestHeaders(request.headers, {
      authority: request.authority,
      remote: origin.address,
      hasBody: body !== null,
    })
    metrics.onDispatched(nowMs())
    const reply = await upstream.exchange({
      method: request.method,
      target: route.target,
      headers,
      body: body === null ? null : counted(body, (bytes) => metrics.onRequestBytes(bytes, nowMs())),
      signal: request.signal,
      onRequestEnded: () => metrics.onRequestEnded(nowMs()),
    })
    metrics.onResponseHead(reply.status, nowMs())
    await this.#relay(exchange, reply, nowMs)
  }

  async #relay(exchange: Exchange, reply: UpstreamResponse, nowMs: () => number): Promise<void> {
    const { response, metrics } = exchange
    let isRead = false
    try {
      exchange.hasHead = true
      await response.head(reply.status, responseHeaders(reply.headers))
      metrics.onHeadSent(nowMs())
      for await (const chunk of reply.body) {
        metrics.onResponseBytes(chunk.byteLength, nowMs())
        await response.write(chunk)
      }
      isRead = true
      metrics.onResponseEnded(nowMs())
      const trailers = responseTrailers(reply.trailers)
      await response.end(trailers.length === 0 ? undefined : trailers)
      this.#options.collector.endStream(metrics, 'completed')
    } finally {
      if (!isRead) reply.discard()
    }
  }

  async #refuse(exchange: Exchange): Promise<void> {
    const prefixes = this.#table.prefixes().join(', ')
    await this.#answer(
      exchange,
      404,
      'no-route',
      `no service is routed at ${exchange.request.path.slice(0, 200)}; routed: ${prefixes}`,
    )
  }

  async #fail(exchange: Exchange, error: unknown): Promise<void> {
    const { request, response, metrics, origin } = exchange
    if (request.signal.aborted) {
      const reason = `the client ended the exchange: ${messageOf(request.signal.reason)}`
      this.#options.collector.endStream(metrics, 'aborted', reason)
      this.#options.collector.addError('stream', 'client-gone', reason, origin.connection)
      this.#report(exchange, undefined, 'client-gone', reason)
      response.abort(reason)
      return
    }
    const failure =
      error instanceof UpstreamFailure ? error : new UpstreamFailure(502, 'router', messageOf(error), error)
    if (exchange.hasHead) {
      this.#options.collector.addError('backend', failure.kind, failure.message, origin.connection)
      this.#options.collector.endStream(metrics, 'failed', failure.message)
      this.#report(exchange, undefined, failure.kind, failure.message)
      response.abort(failure.message)
      return
    }
    await this.#answer(exchange, failure.status, failure.kind, failure.message)
  }

  /** The router's own answer: a short problem document (RFC 9457). */
  async #answer(exchange: Exchange, status: number, kind: string, message: string): Promise<void> {
    const { request, response, metrics, origin } = exchange
    const body = Buffer.from(`${JSON.stringify({ status, title: kind, detail: message })}\n`)
    const headers: HeaderList = [
      ['content-type', 'application/problem+json'],
      ['content-length', String(body.byteLength)],
      ['x-quicether-error', kind],
      ['via', '3 quicether'],
    ]
    metrics.onOwnResponse(status)
    const scope = status >= 502 ? 'backend' : 'stream'
    this.#options.collector.addError(scope, kind, message, origin.connection)
    this.#report(exchange, status, kind, message)
    exchange.hasHead = true
    try {
      await response.head(status, headers)
      if (request.method !== 'HEAD') await response.write(body)
      await response.end()
    } catch {
      response.abort(message)
    }
    this.#options.collector.endStream(metrics, 'failed', message)
  }

  #report(exchange: Exchange, status: number | undefined, kind: string, message: string): void {
    const { streamId, path } = exchange.request
    const service = exchange.metrics.info.type
    this.#options.onFailure?.({ stream: streamId, path: path.slice(0, 200), service, status, kind, message })
  }
}

interface Exchange {
  readonly request: ExchangeRequest
  readonly response: ExchangeResponse
  readonly metrics: StreamMetrics
  readonly origin: ExchangeOrigin
  hasHead: boolean
}

/** Null when the request has no body; methods that seldom have one are asked for their first chunk. */
async function requestBody(request: ExchangeRequest): Promise<AsyncIterable<Uint8Array> | null> {
  if (!bodilessMethods.has(request.method)) return request.body
  const length = request.headers.find(([name]) => name === 'content-length')?.[1]
  if (length !== undefined && length !== '0') return request.body
  const iterator = request.body[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done === true) return null
  return resumed(first.value, iterator)
}

async function* resumed(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  yield first
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
}

async function* counted(body: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    onBytes(chunk.byteLength)
    yield chunk
  }
}
