/** One request to one address, watched: silence of the service ends it, silence of the client does not count. */
import type { Clock } from '../clock.ts'
import type { ServiceConfig } from '../config/schema.ts'
import { Watchdog } from '../watchdog.ts'
import type { UpstreamClient, UpstreamRequest, UpstreamResponse } from './client.ts'
import { toUpstreamFailure, UpstreamFailure } from './failure.ts'

export interface AttemptOptions {
  readonly client: UpstreamClient
  readonly config: ServiceConfig
  readonly url: string
  readonly clock: Clock
  /** The request body was asked for its first chunk: it cannot be sent again. */
  readonly onBodyTouched: () => void
  readonly onRequestEnded: () => void
  /** Last call: how it ended. An aborted request has no failure of the service. */
  readonly onOver: (error: unknown) => void
}

/** Resolves with the head; the body carries the watch on. */
export async function attempt(request: UpstreamRequest, options: AttemptOptions): Promise<UpstreamResponse> {
  const watch = new AttemptWatch(request.signal, options)
  // What passes beside the bytes of a WebTransport session is not seen here: it ends with its connection, not with silence.
  const tunnelMs = request.protocol === 'webtransport' ? Number.POSITIVE_INFINITY : options.config.tunnel_timeout_ms
  try {
    const body = request.body === null ? null : watch.requestBody(request.body)
    if (body === null) options.onRequestEnded()
    watch.expectHead()
    const response = await options.client.exchange({ ...request, body, signal: watch.signal })
    return watch.response(response, request.protocol !== undefined && response.status < 300, tunnelMs)
  } catch (error) {
    throw watch.over(error)
  }
}

class AttemptWatch {
  readonly #options: AttemptOptions
  readonly #controller = new AbortController()
  readonly #silence: Watchdog
  readonly #clientSignal: AbortSignal
  readonly #onClientGone: () => void
  readonly #cancelTotal: (() => void) | undefined
  #waitsFor: 'head' | 'body' | 'tunnel' = 'head'
  #isOver = false
  #tunnelMs = Number.POSITIVE_INFINITY

  constructor(clientSignal: AbortSignal, options: AttemptOptions) {
    const { clock, config } = options
    this.#options = options
    this.#clientSignal = clientSignal
    this.#onClientGone = () => this.#controller.abort(clientSignal.reason)
    if (clientSignal.aborted) this.#onClientGone()
    else clientSignal.addEventListener('abort', this.#onClientGone, { once: true })
    this.#silence = new Watchdog(clock, () => this.#controller.abort(this.#silenceFailure()))
    const totalMs = config.total_timeout_ms
    if (totalMs > 0) this.#cancelTotal = clock.after(totalMs, () => this.#controller.abort(this.#totalFailure()))
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  expectHead(): void {
    this.#silence.feed(this.#options.config.response_timeout_ms)
  }

  async *requestBody(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    this.#options.onBodyTouched()
    if (this.#waitsFor === 'head') this.#silence.pause()
    for await (const chunk of body) {
      this.#onClientSpoke()
      yield chunk
      if (this.#waitsFor === 'head') this.#silence.pause()
    }
    this.#options.onRequestEnded()
    this.#onClientSpoke()
  }

  response(response: UpstreamResponse, isTunnel: boolean, tunnelMs: number): UpstreamResponse {
    this.#waitsFor = isTunnel ? 'tunnel' : 'body'
    this.#tunnelMs = tunnelMs
    this.#silence.pause()
    return {
      ...response,
      body: this.#responseBody(response.body),
      discard: () => {
        response.discard()
        this.over(undefined)
      },
    }
  }

  /** Ends the watch; what was the reason, rather than how it showed. */
  over(error: unknown): unknown {
    const { signal } = this.#controller
    const reason = error !== undefined && signal.aborted ? signal.reason : error
    if (this.#isOver) return reason
    this.#isOver = true
    this.#silence.stop()
    this.#cancelTotal?.()
    this.#clientSignal.removeEventListener('abort', this.#onClientGone)
    this.#options.onOver(reason)
    return reason
  }

  async *#responseBody(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    const bodyMs = this.#options.config.body_timeout_ms
    const tunnelMs = this.#tunnelMs
    const isTunnel = this.#waitsFor === 'tunnel'
    try {
      this.#silence.feed(isTunnel ? tunnelMs : bodyMs)
      for await (const chunk of body) {
        // While the client takes the chunk the service is not waited for.
        if (!isTunnel) this.#silence.pause()
        yield chunk
        this.#silence.feed(isTunnel ? tunnelMs : bodyMs)
      }
      // Some bodies end in silence when they are aborted.
      this.#controller.signal.throwIfAborted()
    } catch (error) {
      const reason = this.over(error)
      const { config, url } = this.#options
      throw this.#clientSignal.aborted ? this.#clientSignal.reason : toUpstreamFailure(reason, config.name, url)
    } finally {
      this.over(undefined)
    }
  }

  #onClientSpoke(): void {
    const { config } = this.#options
    if (this.#waitsFor === 'head') this.#silence.feed(config.response_timeout_ms)
    else if (this.#waitsFor === 'tunnel') this.#silence.feed(this.#tunnelMs)
  }

  #silenceFailure(): UpstreamFailure {
    const { config, url } = this.#options
    const who = `service "${config.name}" at ${url}`
    if (this.#waitsFor === 'head') {
      return new UpstreamFailure(
        504,
        'upstream-timeout',
        `${who} did not answer within ${config.response_timeout_ms} ms`,
      )
    }
    if (this.#waitsFor === 'tunnel') {
      const text = `nothing came through the tunnel to ${who} for ${config.tunnel_timeout_ms} ms`
      return new UpstreamFailure(504, 'tunnel-idle', text, { isOurs: true })
    }
    return new UpstreamFailure(
      504,
      'upstream-body-timeout',
      `${who} stopped in the middle of its response for ${config.body_timeout_ms} ms`,
    )
  }

  #totalFailure(): UpstreamFailure {
    const { config, url } = this.#options
    const text = `service "${config.name}" at ${url} was not done within ${config.total_timeout_ms} ms`
    return new UpstreamFailure(504, 'upstream-total-timeout', text)
  }
}
