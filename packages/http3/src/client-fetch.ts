/** `fetch` over HTTP/3: one connection per origin, kept, resumed with 0-RTT, replaced when its server goes away. */
import { rootCertificates } from 'node:tls'
import { ClientContext, type ConnectOptions, connect, QuicError } from '@quicether/net'
import type { TransportConfig } from '@quicether/transport'
import { Http3Client, type Http3RequestOptions, type Http3Response } from './client.ts'
import type { Http3Config } from './config.ts'
import { Http3Error } from './errors.ts'
import type { HeaderLine, HeaderList } from './headers.ts'
import type { OutgoingBody } from './outgoing-body.ts'
import type { Priority } from './priority.ts'

/** What the web's `Headers` are made of. */
export type HeaderFields = Headers | Readonly<Record<string, string>> | [string, string][]

export interface Http3AgentOptions
  extends Pick<
    ConnectOptions,
    'ca' | 'pinned' | 'insecure' | 'paths' | 'handshakeTimeoutMs' | 'idleTimeoutMs' | 'resolve'
  > {
  /** Of the transport. */
  readonly config?: Partial<TransportConfig>
  readonly http3?: Partial<Http3Config>
  /** Send safe requests as 0-RTT data to servers known from before (RFC 8470). False when absent. */
  readonly earlyData?: boolean
  /** Connections kept, one per origin; the one unused for longest is closed first. 64 when absent. */
  readonly connectionsMax?: number
}

/** What HTTP/3 has beyond the web's `fetch`. */
export interface Http3RequestInit extends RequestInit {
  /** Order of the response among others (RFC 9218). */
  readonly urgency?: Priority['urgency']
  readonly isIncremental?: boolean
  /** 1xx responses, e.g. 103 Early Hints. */
  readonly onInformational?: (status: number, headers: Headers) => void
  /** Sent after the body; a function is called when the body is through. */
  readonly trailers?: HeaderFields | (() => HeaderFields)
  /** A longer response body fails with `ERR_HTTP3_BODY_TOO_LARGE`. */
  readonly bodyBytesMax?: number
}

const CONNECTIONS_MAX = 64
/** Redirects followed, as the Fetch standard has it. */
const REDIRECTS_MAX = 20
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304])
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

const trailersByResponse = new WeakMap<Response, Http3Response>()

/** Trailers of a response of `fetch`; settles when its body has been read to its end. */
export async function trailersOf(response: Response): Promise<Headers> {
  const known = trailersByResponse.get(response)
  return toHeaders(known === undefined ? [] : await known.trailers)
}

type ExtraOptions = Pick<Http3RequestOptions, 'priority' | 'onInformational' | 'trailers' | 'bodyBytesMax'>

interface Kept {
  readonly client: Promise<Http3Client>
}

/** Owns connections; `fetch` is bound, so it can be passed on alone. */
export class Http3Agent implements AsyncDisposable {
  readonly fetch: (input: string | URL | Request, init?: Http3RequestInit) => Promise<Response>
  readonly #options: Http3AgentOptions
  readonly #context: ClientContext
  /** By origin, least recently used first. */
  readonly #kept: Map<string, Kept>
  #isClosed: boolean

  /** Throws QuicError(ERR_CA) for certificates that cannot be read. The system's authorities are trusted when no other way is given. */
  constructor(options: Http3AgentOptions = {}) {
    this.#options = options
    this.#context = new ClientContext({ trust: trustOf(options) })
    this.#kept = new Map()
    this.#isClosed = false
    this.fetch = (input, init) => this.#fetch(input, init)
  }

  /** Connections that are open or being opened. */
  get connectionCount(): number {
    return this.#kept.size
  }

  /** The connection to an origin, for WebTransport, CONNECT and the like. Rejects with QuicError. */
  client(origin: string | URL): Promise<Http3Client> {
    const url = new URL(origin)
    if (url.protocol !== 'https:') {
      throw new TypeError(`${url.origin}: HTTP/3 is for https only`)
    }
    if (this.#isClosed) throw new QuicError('ERR_AGENT_CLOSED', `${url.origin}: this agent was closed`)
    const kept = this.#kept.get(url.origin) ?? this.#connect(url)
    this.#kept.delete(url.origin)
    this.#kept.set(url.origin, kept)
    this.#closeSurplus()
    return kept.client
  }

  /** Lets running requests finish, then closes all connections. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    const all = [...this.#kept.values()]
    this.#kept.clear()
    await Promise.all(all.map(({ client }) => client.then((open) => open.close()).catch(() => undefined)))
    this.#context.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #connect(url: URL): Kept {
    const { connectionsMax: _, http3, ca: _ca, pinned: _pinned, insecure: _insecure, ...transport } = this.#options
    const opened = connect({
      ...transport,
      // IPv6 addresses stand in brackets in URLs only.
      host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: url.port === '' ? 443 : Number(url.port),
      alpn: ['h3'],
      context: this.#context,
    }).then((connection) => new Http3Client(connection, http3 === undefined ? {} : { config: http3 }))
    const kept: Kept = { client: opened }
    this.#kept.set(url.origin, kept)
    const forget = () => {
      if (this.#kept.get(url.origin) === kept) this.#kept.delete(url.origin)
    }
    opened.then((client) => client.closing.then(forget), forget)
    return kept
  }

  #closeSurplus(): void {
    const max = this.#options.connectionsMax ?? CONNECTIONS_MAX
    for (const [origin, { client }] of this.#kept) {
      if (this.#kept.size <= max) return
      this.#kept.delete(origin)
      client.then((open) => open.close()).catch(() => undefined)
    }
  }

  async #fetch(input: string | URL | Request, init: Http3RequestInit = {}): Promise<Response> {
    const { urgency: _, isIncremental: _i, onInformational: _o, trailers: _t, bodyBytesMax: _b, ...web } = init
    const extra = extraOptions(init)
    let request = new Request(input, {
      ...web,
      ...(web.body instanceof ReadableStream ? { duplex: 'half' as const } : {}),
    })
    let body: OutgoingBody = isBytes(web.body) ? web.body : (request.body ?? undefined)
    for (let redirects = 0; ; redirects++) {
      const response = await this.#send(request, body, extra)
      const location = response.headers.get('location')
      if (!REDIRECT_STATUSES.has(response.status) || location === null || request.redirect === 'manual') return response
      await response.body?.cancel()
      if (request.redirect === 'error' || redirects >= REDIRECTS_MAX) {
        throw new TypeError(
          `${request.url}: redirected to ${location}${redirects > 0 ? `, ${redirects} times before` : ''}`,
        )
      }
      const dropsBody = response.status === 303 || (response.status < 303 && request.method === 'POST')
      if (!dropsBody && body !== undefined && !isBytes(body)) {
        throw new TypeError(`${request.url}: redirected with ${response.status}, but its body is a stream and gone`)
      }
      if (dropsBody) body = undefined
      request = redirected(request, new URL(location, request.url), dropsBody, body)
    }
  }

  async #send(request: Request, body: OutgoingBody, extra: ExtraOptions): Promise<Response> {
    const url = new URL(request.url)
    for (let attempt = 1; ; attempt++) {
      const client = await abortable(this.client(url.origin), request.signal)
      try {
        const response = await client.request({
          ...extra,
          method: request.method,
          authority: url.host,
          path: `${url.pathname}${url.search}`,
          headers: toLines(request.headers),
          body,
          signal: request.signal,
        })
        return toResponse(response, request)
      } catch (error) {
        if (request.signal.aborted) throw request.signal.reason
        // RFC 9114 §5.2: the server has not processed it, and its next connection will.
        const isUnprocessed = error instanceof Http3Error && error.code === 'ERR_HTTP3_GOING_AWAY'
        if (!isUnprocessed || attempt > 1 || !(body === undefined || isBytes(body))) throw error
        if (await this.#isCurrent(url.origin, client)) this.#kept.delete(url.origin)
      }
    }
  }

  async #isCurrent(origin: string, client: Http3Client): Promise<boolean> {
    return (await this.#kept.get(origin)?.client) === client
  }
}

/** What an init says beyond the web's, as options of a request. */
function extraOptions(init: Http3RequestInit): ExtraOptions {
  const { urgency, isIncremental, onInformational, trailers, bodyBytesMax } = init
  const priority = {
    ...(urgency === undefined ? {} : { urgency }),
    ...(isIncremental === undefined ? {} : { isIncremental }),
  }
  return {
    priority,
    ...(bodyBytesMax === undefined ? {} : { bodyBytesMax }),
    ...(trailers === undefined
      ? {}
      : { trailers: () => toLines(new Headers(typeof trailers === 'function' ? trailers() : trailers)) }),
    ...(onInformational === undefined
      ? {}
      : { onInformational: (head) => onInformational(head.status, toHeaders(head.headers)) }),
  }
}

function trustOf({ ca, pinned, insecure }: Http3AgentOptions): ConstructorParameters<typeof ClientContext>[0]['trust'] {
  if (insecure === true) return { kind: 'insecure' }
  if (pinned !== undefined) return { kind: 'pinned', sha256: pinned }
  return { kind: 'ca', ca: ca ?? [{ pem: rootCertificates.join('\n'), label: "Node's root certificates" }] }
}

function isBytes(body: unknown): body is string | Uint8Array {
  return typeof body === 'string' || body instanceof Uint8Array
}

function redirected(request: Request, url: URL, dropsBody: boolean, body: OutgoingBody): Request {
  const headers = new Headers(request.headers)
  if (dropsBody) for (const name of ['content-type', 'content-length', 'content-encoding']) headers.delete(name)
  // Fetch §4.4: credentials stay with their origin.
  if (url.origin !== new URL(request.url).origin) headers.delete('authorization')
  const method = dropsBody && request.method !== 'HEAD' ? 'GET' : request.method
  const { redirect, signal } = request
  return new Request(url, { method, headers, redirect, signal, ...(isBytes(body) ? { body: body as string } : {}) })
}

function toResponse(response: Http3Response, request: Request): Response {
  const { status, body } = response
  const hasNoBody = NULL_BODY_STATUSES.has(status) || request.method === 'HEAD'
  const made = new Response(hasNoBody ? null : body.readable(), { status, headers: toHeaders(response.headers) })
  if (hasNoBody) void body.bytes().catch(() => undefined)
  Object.defineProperty(made, 'url', { value: request.url })
  trailersByResponse.set(made, response)
  return made
}

/** Field lines as the web's `Headers`; names that HTTP/3 gives a meaning of their own are not among them. */
export function toHeaders(lines: HeaderList): Headers {
  const headers = new Headers()
  for (const [name, value] of lines) headers.append(name, value)
  return headers
}

/** The web's `Headers` as field lines. */
export function toLines(headers: Headers): HeaderLine[] {
  const lines: HeaderLine[] = []
  for (const [name, value] of headers) lines.push([name, value])
  return lines
}

async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const abort = Promise.withResolvers<never>()
  const onAbort = () => abort.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, abort.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
