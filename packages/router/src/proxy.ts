/** Carries one exchange: route, admit, forward, stream back, measure. */
import { Admission, checkLength, clientSilent, tooLarge } from './admission.ts'
import { type Clock, systemClock } from './clock.ts'
import type { RouterConfig, ServiceConfig } from './config/schema.ts'
import type { DatagramEnd, ExchangeRequest, ExchangeResponse, HeaderList } from './exchange.ts'
import { type ClientAddress, TrustedProxies } from './forwarding/client-address.ts'
import { passedTrailers, requestHeaders, responseHeaders } from './forwarding/headers.ts'
import { keyOf } from './limits/request-key.ts'
import type { MetricsCollector } from './metrics/collector.ts'
import type { ConnectionMetrics } from './metrics/connection-metrics.ts'
import { requestFacts } from './metrics/request-facts.ts'
import type { StreamMetrics } from './metrics/stream-metrics.ts'
import { type OwnAnswer, sendOwnAnswer } from './own-answer.ts'
import { guarded, requestBody } from './request-body.ts'
import { type NoRoute, type Route, RouteTable } from './routing.ts'
import type { UpstreamResponse } from './upstream/client.ts'
import { UpstreamFailure } from './upstream/failure.ts'
import { type PoolStats, UpstreamPool } from './upstream/pool.ts'
import type { TargetState } from './upstream/target.ts'
import { bridgeSessions } from './upstream/web-transport-bridge.ts'
import { messageOf } from './user-error.ts'
import { Watchdog } from './watchdog.ts'

/** What of the `[router]` table concerns exchanges. */
export type ProxySettings = Partial<
  Pick<RouterConfig['router'], 'client_timeout_ms' | 'forwarding' | 'rate_limit' | 'trusted_proxies'>
>

export interface ProxyOptions {
  readonly services: readonly ServiceConfig[]
  readonly settings?: ProxySettings
  readonly collector: MetricsCollector
  /** Monotonic milliseconds. */
  readonly nowMs: () => number
  /** Told about every exchange that did not complete. */
  readonly onFailure?: (failure: ProxyFailure) => void
  /** An address of a service went out or came back. */
  readonly onTargetChange?: (service: string, target: TargetState) => void
  /** Real time when absent. */
  readonly clock?: Clock
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
const upstreamVersions = { http1: '1.1', http2: '2', http3: '3' } as const

/** Forwards exchanges to their services. One per configuration. */
export class StreamProxy {
  readonly #options: ProxyOptions
  readonly #clock: Clock
  readonly #table: RouteTable
  readonly #admission: Admission
  readonly #trusted: TrustedProxies
  readonly #pools = new Map<string, UpstreamPool>()
  readonly #clientTimeoutMs: number

  /** Throws `UserError` when a file that a service names cannot be read. Health checks start at once. */
  constructor(options: ProxyOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#table = new RouteTable(options.services)
    this.#admission = new Admission({ rate_limit: options.settings?.rate_limit }, options.services)
    this.#trusted = new TrustedProxies(options.settings?.trusted_proxies ?? [])
    this.#clientTimeoutMs = options.settings?.client_timeout_ms ?? 30_000
    for (const service of options.services) {
      const pool = new UpstreamPool(service, { clock: this.#clock, onTargetChange: options.onTargetChange })
      this.#pools.set(service.name, pool)
    }
    for (const pool of this.#pools.values()) pool.start()
  }

  /** Answers one request; never rejects. */
  async handle(request: ExchangeRequest, response: ExchangeResponse, origin: ExchangeOrigin): Promise<void> {
    const { collector } = this.#options
    const client = this.#trusted.resolve(origin.address, request.headers)
    const found = this.#table.find(request.path, request)
    const service = 'service' in found ? found.service : undefined
    const info = {
      streamId: request.streamId,
      type: service?.name ?? unrouted,
      kind: service?.kind ?? ('other' as const),
      method: request.method,
      path: request.path,
      openedAtMs: request.openedAtMs,
    }
    const facts = requestFacts(request, client.client)
    const metrics = collector.openStream(origin.connection, info, () => response.stats(), facts)
    const exchange = new Exchange(request, response, metrics, origin, client)
    try {
      await this.#serve(exchange, found)
    } catch (error) {
      await this.#fail(exchange, error)
    } finally {
      exchange.release()
    }
  }

  /** Connections and addresses of each service, for the live view. */
  upstreamStats(): ({ readonly name: string } & PoolStats)[] {
    return [...this.#pools].map(([name, pool]) => ({ name, ...pool.stats() }))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()))
  }

  async #serve(exchange: Exchange, found: Route | NoRoute): Promise<void> {
    const { request, client } = exchange
    const keyed = { client: client.client, authority: request.authority, path: request.path, headers: request.headers }
    this.#admission.checkRouter(keyed, this.#clock.nowMs())
    if ('status' in found) return await this.#answer(exchange, found)
    const { service } = found
    const pool = this.#pools.get(service.name)
    if (pool === undefined) throw new Error(`service "${service.name}" has no pool`)
    if (request.method === 'CONNECT' && request.protocol === undefined) {
      const message = 'CONNECT without a protocol is not supported here'
      return await this.#answer(exchange, { status: 501, kind: 'unsupported-method', message })
    }
    const isSession = request.protocol === 'webtransport'
    if (isSession && (service.protocol !== 'http3' || exchange.response.webTransport === undefined)) {
      const message = `WebTransport needs HTTP/3 on both sides; service "${service.name}" is reached over ${service.protocol}`
      return await this.#answer(exchange, { status: 501, kind: 'unsupported-method', message })
    }
    this.#admission.checkService(service, keyed, this.#clock.nowMs())
    checkLength(request, service)
    if (!service.early_data) await request.confirmed
    // RFC 9110 §10.1.1: the final response or 100 must come before the client has to decide.
    if (request.headers.some(([name, value]) => name === 'expect' && value.toLowerCase() === '100-continue')) {
      inform(exchange, 100, [])
    }
    await this.#relay(exchange, service, await this.#forward(exchange, found, pool, keyOf(service.hash_key, keyed)))
  }

  async #forward(exchange: Exchange, route: Route, pool: UpstreamPool, hashKey: string): Promise<UpstreamResponse> {
    const { request, metrics } = exchange
    const { nowMs } = this.#options
    const body = request.protocol === undefined ? await this.#bodyOf(exchange) : request.body
    const headers = requestHeaders(request.headers, {
      authority: request.authority,
      client: exchange.client,
      version: request.version ?? '3',
      hasBody: body !== null,
      forwarding: this.#options.settings?.forwarding ?? 'x-forwarded',
      mayTellTe: route.service.protocol !== 'http1',
    })
    const wasMarked = headers.some(([name]) => name === 'early-data')
    const send = async (lines: HeaderList): Promise<UpstreamResponse> =>
      await pool.exchange({
        method: request.method,
        authority: request.authority,
        target: route.target,
        headers: lines,
        body: body === null ? null : this.#guarded(exchange, body, route.service),
        trailers: request.trailers === undefined ? undefined : () => passedTrailers(request.trailers?.() ?? []),
        protocol: request.protocol,
        signal: exchange.signal,
        hashKey,
        onInformational: (status, fields) =>
          inform(exchange, status, responseHeaders(fields, upstreamVersions[route.service.protocol])),
        onRequestEnded: () => metrics.onRequestEnded(nowMs()),
      })
    metrics.onDispatched(nowMs())
    const isEarly = request.confirmed !== undefined && !exchange.isConfirmed
    // RFC 8470 §5.1: an intermediary adds the field to a request that it forwards before the handshake is complete.
    const reply = await send(isEarly && !wasMarked ? [...headers, ['early-data', '1']] : headers)
    if (reply.status !== 425 || !isEarly || wasMarked || body !== null) return reply
    // RFC 8470 §5.2: 425 for what we marked ourselves is ours to repair, once a replay is ruled out.
    reply.discard()
    await request.confirmed
    return await send(headers)
  }

  async #relay(exchange: Exchange, service: ServiceConfig, reply: UpstreamResponse): Promise<void> {
    const { response, metrics } = exchange
    const { nowMs } = this.#options
    const watch = new Watchdog(this.#clock, () => exchange.abort(clientSilent(this.#clientTimeoutMs)))
    metrics.onResponseHead(reply.status, nowMs())
    let isRead = false
    try {
      const joined = await sendHead(response, reply, service)
      exchange.hasHead = true
      metrics.onHeadSent(nowMs())
      crossDatagrams(response.datagrams?.(), reply.datagrams)
      for await (const chunk of reply.body) {
        metrics.onResponseBytes(chunk.byteLength, nowMs())
        watch.feed(this.#clientTimeoutMs)
        await exchange.unlessAborted(response.write(chunk))
        watch.pause()
      }
      isRead = true
      metrics.onResponseEnded(nowMs())
      const trailers = passedTrailers(reply.trailers())
      if (joined !== undefined) await joined.ended
      else await response.end(trailers.length === 0 ? undefined : trailers)
      this.#options.collector.endStream(metrics, 'completed')
    } finally {
      watch.stop()
      if (!isRead) reply.discard()
    }
  }

  /** Whether there is a body may depend on what the client sends next: that wait has an end, too. */
  async #bodyOf(exchange: Exchange): Promise<AsyncIterable<Uint8Array> | null> {
    const watch = new Watchdog(this.#clock, () => exchange.abort(clientSilent(this.#clientTimeoutMs)))
    watch.feed(this.#clientTimeoutMs)
    try {
      return await exchange.unlessAborted(requestBody(exchange.request))
    } finally {
      watch.stop()
    }
  }

  #guarded(exchange: Exchange, body: AsyncIterable<Uint8Array>, service: ServiceConfig): AsyncIterable<Uint8Array> {
    const isTunnel = exchange.request.protocol !== undefined
    return guarded(body, {
      clock: this.#clock,
      bytesMax: isTunnel ? 0 : service.max_body_bytes,
      // A tunnel may be silent in one direction; silence in both is the pool's affair.
      silenceMs: isTunnel ? 0 : this.#clientTimeoutMs,
      onBytes: (bytes) => exchange.metrics.onRequestBytes(bytes, this.#options.nowMs()),
      onTooLarge: () => exchange.abort(tooLarge(service)),
      onSilent: () => exchange.abort(clientSilent(this.#clientTimeoutMs)),
    })
  }

  async #fail(exchange: Exchange, error: unknown): Promise<void> {
    const { request, response, metrics, origin } = exchange
    const { collector } = this.#options
    if (request.signal.aborted) {
      const reason = `the client ended the exchange: ${messageOf(request.signal.reason)}`
      collector.endStream(metrics, 'aborted', reason)
      collector.addError('stream', 'client-gone', reason, origin.connection)
      this.#report(exchange, undefined, 'client-gone', reason)
      response.abort(reason)
      return
    }
    const failure =
      error instanceof UpstreamFailure ? error : new UpstreamFailure(502, 'router', messageOf(error), { cause: error })
    if (!exchange.hasHead) return await this.#answer(exchange, failure)
    collector.addError(failure.isOurs ? 'stream' : 'backend', failure.kind, failure.message, origin.connection)
    collector.endStream(metrics, 'failed', failure.message)
    this.#report(exchange, undefined, failure.kind, failure.message)
    response.abort(failure.message)
  }

  async #answer(exchange: Exchange, answer: OwnAnswer): Promise<void> {
    const { request, response, metrics, origin } = exchange
    const { status, kind, message } = answer
    metrics.onOwnResponse(status)
    this.#options.collector.addError(status >= 502 ? 'backend' : 'stream', kind, message, origin.connection)
    this.#report(exchange, status, kind, message)
    exchange.hasHead = true
    await sendOwnAnswer(request, response, answer)
    this.#options.collector.endStream(metrics, 'failed', message)
  }

  #report(exchange: Exchange, status: number | undefined, kind: string, message: string): void {
    const { streamId, path } = exchange.request
    const service = exchange.metrics.info.type
    this.#options.onFailure?.({ stream: streamId, path: path.slice(0, 200), service, status, kind, message })
  }
}

/** State of one exchange, and the one signal that ends it from either side. */
class Exchange {
  readonly request: ExchangeRequest
  readonly response: ExchangeResponse
  readonly metrics: StreamMetrics
  readonly origin: ExchangeOrigin
  readonly client: ClientAddress
  hasHead = false
  isConfirmed = false
  readonly #controller = new AbortController()
  readonly #onClientGone: () => void
  #rejectWait: ((reason: unknown) => void) | undefined

  constructor(
    request: ExchangeRequest,
    response: ExchangeResponse,
    metrics: StreamMetrics,
    origin: ExchangeOrigin,
    client: ClientAddress,
  ) {
    this.request = request
    this.response = response
    this.metrics = metrics
    this.origin = origin
    this.client = client
    this.#onClientGone = () => this.abort(request.signal.reason)
    if (request.signal.aborted) this.#onClientGone()
    else request.signal.addEventListener('abort', this.#onClientGone, { once: true })
    request.confirmed?.then(
      () => {
        this.isConfirmed = true
      },
      // A connection that fails aborts its requests.
      () => {},
    )
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason)
    this.#rejectWait?.(reason)
  }

  /** Settles like `promise`, or rejects when the exchange is aborted: a client that is silent may never settle it. */
  async unlessAborted<T>(promise: Promise<T>): Promise<T> {
    this.#controller.signal.throwIfAborted()
    const waiting = Promise.withResolvers<T>()
    this.#rejectWait = waiting.reject
    promise.then(waiting.resolve, waiting.reject)
    const value = await waiting.promise
    this.#rejectWait = undefined
    return value
  }

  release(): void {
    this.request.signal.removeEventListener('abort', this.#onClientGone)
  }
}

/** Passes the datagrams of a tunnel on in both directions, until it ends. */
function crossDatagrams(client: DatagramEnd | undefined, service: DatagramEnd | undefined): void {
  if (client === undefined || service === undefined) return
  const carry = async (from: DatagramEnd, to: DatagramEnd): Promise<void> => {
    for await (const payload of from.received) to.send(payload)
  }
  // Lost datagrams are the protocol's business; the end of the tunnel ends both loops.
  carry(client, service).catch(() => {})
  carry(service, client).catch(() => {})
}

/**
 * What HTTP/3 cannot carry is the service's fault, and the client gets a whole answer about it. For a WebTransport session it
 * returns its end.
 */
async function sendHead(
  response: ExchangeResponse,
  reply: UpstreamResponse,
  service: ServiceConfig,
): Promise<{ readonly ended: Promise<void> } | undefined> {
  const headers = responseHeaders(reply.headers, upstreamVersions[service.protocol])
  try {
    if (reply.webTransport === undefined || response.webTransport === undefined) {
      await response.head(reply.status, headers)
      return undefined
    }
    return { ended: bridgeSessions(response.webTransport(headers), reply.webTransport) }
  } catch (error) {
    const text = `service "${service.name}" sent a response that cannot be passed on: ${messageOf(error)}`
    throw new UpstreamFailure(502, 'upstream-headers', text, { cause: error })
  }
}

/** 1xx responses are hints: one that cannot be passed on is left out. */
function inform(exchange: Exchange, status: number, headers: HeaderList): void {
  if (exchange.hasHead || status === 101) return
  try {
    exchange.response.inform?.(status, headers)
  } catch {
    // The final response will tell what is wrong with the stream.
  }
}
