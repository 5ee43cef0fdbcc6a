/** One service behind the router: a pool of keep-alive HTTP/1.1 connections and the exchanges over it. */
import { Readable } from 'node:stream'
import { type Dispatcher, Pool } from 'undici'
import type { ServiceConfig } from '../config/schema.ts'
import { isStaleConnection, toUpstreamFailure, UpstreamFailure } from './failure.ts'

export interface UpstreamRequest {
  readonly method: string
  /** Path and query. */
  readonly target: string
  /** Name, value, name, value… */
  readonly headers: readonly string[]
  /** Null = no body. */
  readonly body: AsyncIterable<Uint8Array> | null
  /** Aborts the exchange, e.g. because the client is gone. */
  readonly signal: AbortSignal
  /** The request body has ended. */
  readonly onRequestEnded: () => void
}

export interface UpstreamResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Throws `UpstreamFailure` when the service breaks off. */
  readonly body: AsyncIterable<Uint8Array>
  /** Complete once the body has ended. */
  readonly trailers: Readonly<Record<string, string | string[] | undefined>>
  /** Ends a response that nobody will read. */
  discard(): void
}

const keepAliveMs = 30_000
const retriedMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const requestBufferBytes = 65_536

/** Owns the connections to one service. */
export class Upstream {
  readonly service: ServiceConfig
  readonly #pool: Pool
  readonly #basePath: string

  constructor(service: ServiceConfig) {
    this.service = service
    const url = new URL(service.url)
    this.#basePath = url.pathname.replace(/\/+$/u, '')
    this.#pool = new Pool(url.origin, {
      connections: service.connections,
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      connectTimeout: service.connect_timeout_ms,
      // The head has a timer of our own, which a slow client does not run down.
      headersTimeout: 0,
      bodyTimeout: service.body_timeout_ms,
    })
  }

  /** Throws `UpstreamFailure`; an abort by `signal` throws the signal's reason. */
  async exchange(request: UpstreamRequest): Promise<UpstreamResponse> {
    try {
      return await this.#attempt(request)
    } catch (error) {
      const mayRetry = request.body === null && retriedMethods.has(request.method) && isStaleConnection(error)
      if (!mayRetry || request.signal.aborted) throw this.#failure(error, request.signal)
    }
    // RFC 9110 §9.2.2: an idempotent request may be repeated when its connection closed before any response.
    try {
      return await this.#attempt(request)
    } catch (error) {
      throw this.#failure(error, request.signal)
    }
  }

  /** Open, idle and waiting connections and requests, for the live view. */
  stats(): { readonly connected: number; readonly running: number; readonly queued: number } {
    const { connected, running, queued } = this.#pool.stats
    return { connected, running, queued }
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  async #attempt(request: UpstreamRequest): Promise<UpstreamResponse> {
    const silence = new SilenceTimer(this.service.response_timeout_ms, this.#timeoutFailure())
    const signal = AbortSignal.any([request.signal, silence.signal])
    const body = request.body === null ? null : timedBody(request.body, silence, request.onRequestEnded)
    if (body === null) request.onRequestEnded()
    silence.arm()
    try {
      const response = await this.#pool.request({
        method: request.method as Dispatcher.HttpMethod,
        path: `${this.#basePath}${request.target}`,
        headers: request.headers as string[],
        body: body === null ? null : Readable.from(body, { objectMode: false, highWaterMark: requestBufferBytes }),
        signal,
      })
      return this.#response(response, request.signal)
    } finally {
      silence.disarm()
    }
  }

  #response(response: Dispatcher.ResponseData, signal: AbortSignal): UpstreamResponse {
    const failure = (error: unknown): unknown => this.#failure(error, signal)
    async function* chunks(): AsyncIterable<Uint8Array> {
      try {
        for await (const chunk of response.body) yield chunk as Uint8Array
      } catch (error) {
        throw failure(error)
      }
    }
    return {
      status: response.statusCode,
      headers: response.headers,
      body: chunks(),
      trailers: response.trailers,
      discard: () => response.body.on('error', () => {}).destroy(),
    }
  }

  #failure(error: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) return signal.reason
    return toUpstreamFailure(error, this.service.name, this.service.url)
  }

  #timeoutFailure(): UpstreamFailure {
    const { name, url, response_timeout_ms: timeoutMs } = this.service
    return new UpstreamFailure(
      504,
      'upstream-timeout',
      `service "${name}" at ${url} did not answer within ${timeoutMs} ms`,
    )
  }
}

/** Runs only while the service, not the client, is the one who is waited for. */
class SilenceTimer {
  readonly #controller = new AbortController()
  readonly #timeoutMs: number
  readonly #failure: UpstreamFailure
  #timer: NodeJS.Timeout | undefined
  #isDone = false

  constructor(timeoutMs: number, failure: UpstreamFailure) {
    this.#timeoutMs = timeoutMs
    this.#failure = failure
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  arm(): void {
    clearTimeout(this.#timer)
    if (!this.#isDone) this.#timer = setTimeout(() => this.#controller.abort(this.#failure), this.#timeoutMs)
  }

  pause(): void {
    clearTimeout(this.#timer)
  }

  disarm(): void {
    this.#isDone = true
    clearTimeout(this.#timer)
  }
}

async function* timedBody(
  body: AsyncIterable<Uint8Array>,
  silence: SilenceTimer,
  onEnded: () => void,
): AsyncIterable<Uint8Array> {
  silence.pause()
  for await (const chunk of body) {
    silence.arm()
    yield chunk
    silence.pause()
  }
  onEnded()
  silence.arm()
}
