/** An address that speaks HTTP/3, over our own QUIC: few connections with many streams each. */
import { rootCertificates } from 'node:tls'
import {
  Http3ConnectError,
  type Http3Response,
  Http3Client as Http3Session,
  type Http3Tunnel,
  type WebTransportSession,
} from '@quicether/http3'
import { ClientContext, connect, type QuicConnection, type Trust } from '@quicether/net'
import type { HeaderList } from '../exchange.ts'
import { datagramsOf } from '../http3-exchange.ts'
import {
  hostAndPort,
  type UpstreamAddress,
  type UpstreamClient,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamStats,
} from './client.ts'

const idleTimeoutMs = 30_000
const closeMs = 500
/** Sessions that run over one connection to a service. */
const webTransportSessions = 1_000
/** Beyond these on one connection another one is opened, while there may be more. */
const streamsWanted = 100

interface Entry {
  readonly ready: Promise<Http3Session>
  client: Http3Session | undefined
  connection: QuicConnection | undefined
  running: number
  isOver: boolean
}

export class Http3UpstreamClient implements UpstreamClient {
  readonly #address: UpstreamAddress
  readonly #context: ClientContext
  readonly #entries = new Set<Entry>()
  readonly #closing = new AbortController()

  constructor(address: UpstreamAddress) {
    this.#address = address
    this.#context = new ClientContext({ trust: trustOf(address) })
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamResponse> {
    this.#closing.signal.throwIfAborted()
    const entry = this.#pick()
    entry.running++
    const over = onlyOnce(() => {
      entry.running--
    })
    try {
      const client = await abortable(entry.ready, request.signal)
      if (request.protocol !== undefined) return await tunnelOf(client, request, over)
      const response = await client.request({
        ...common(request),
        method: request.method,
        ...(request.body === null ? {} : { body: request.body }),
        ...(request.trailers === undefined ? {} : { trailers: request.trailers }),
      })
      return responseOf(response, over)
    } catch (error) {
      over()
      throw error
    }
  }

  stats(): UpstreamStats {
    let running = 0
    let queued = 0
    let connected = 0
    for (const entry of this.#entries) {
      running += entry.running
      queued += entry.client?.waitingRequests ?? 0
      if (entry.client !== undefined) connected++
    }
    return { connected, running, queued }
  }

  async close(): Promise<void> {
    this.#closing.abort(Object.assign(new Error('the pool is closed'), { code: 'ECONNRESET' }))
    await Promise.all([...this.#entries].map((entry) => closeEntry(entry)))
    this.#entries.clear()
    this.#context.close()
  }

  #pick(): Entry {
    let least: Entry | undefined
    for (const entry of this.#entries) {
      if (entry.isOver || entry.client?.isClosing === true) continue
      if (least === undefined || entry.running < least.running) least = entry
    }
    if (least === undefined) return this.#open()
    if (least.running < streamsWanted || this.#entries.size >= this.#address.connections) return least
    return this.#open()
  }

  #open(): Entry {
    const ready = Promise.withResolvers<Http3Session>()
    ready.promise.catch(() => {})
    const entry: Entry = {
      ready: ready.promise,
      client: undefined,
      connection: undefined,
      running: 0,
      isOver: false,
    }
    this.#entries.add(entry)
    this.#connect(entry).then(ready.resolve, (error: unknown) => {
      entry.isOver = true
      this.#entries.delete(entry)
      ready.reject(error)
    })
    return entry
  }

  async #connect(entry: Entry): Promise<Http3Session> {
    const { host, port } = hostAndPort(this.#address.origin)
    const connection = await connect({
      host,
      port,
      alpn: ['h3'],
      context: this.#context,
      handshakeTimeoutMs: this.#address.connectTimeoutMs,
      idleTimeoutMs,
      signal: this.#closing.signal,
      ...(this.#address.tls.serverName === undefined ? {} : { serverName: this.#address.tls.serverName }),
    })
    const client = new Http3Session(connection, { config: { datagrams: true, webTransportSessions } })
    entry.connection = connection
    entry.client = client
    void connection.closed.then(() => {
      entry.isOver = true
      this.#entries.delete(entry)
    })
    return client
  }
}

function trustOf({ tls }: UpstreamAddress): Trust {
  if (!tls.verify) return { kind: 'insecure' }
  if (tls.ca !== undefined) return { kind: 'ca', ca: [{ pem: tls.ca, label: 'the authorities of the service' }] }
  return { kind: 'ca', ca: [{ pem: rootCertificates.join('\n'), label: 'the authorities of Node.js' }] }
}

function common(request: UpstreamRequest) {
  return {
    authority: request.authority,
    path: request.target,
    headers: request.headers,
    signal: request.signal,
    onInformational: (head: { readonly status: number; readonly headers: HeaderList }) =>
      request.onInformational?.(head.status, head.headers),
  }
}

/** RFC 9220: the service takes the same extended CONNECT that the client sent. */
async function tunnelOf(client: Http3Session, request: UpstreamRequest, over: () => void): Promise<UpstreamResponse> {
  try {
    if (request.protocol === 'webtransport') return await webTransportOf(client, request, over)
    const tunnel = await client.connect({ ...common(request), protocol: request.protocol ?? '' })
    void tunnel.closed.then(over)
    void sendInto(tunnel, request)
    return {
      status: 200,
      headers: tunnel.headers,
      body: tunnel.body,
      trailers: () => [],
      datagrams: datagramsOf(tunnel),
      discard: () => tunnel.abort(),
    }
  } catch (error) {
    if (error instanceof Http3ConnectError) return responseOf(error.response, over)
    throw error
  }
}

async function webTransportOf(
  client: Http3Session,
  request: UpstreamRequest,
  over: () => void,
): Promise<UpstreamResponse> {
  // The router's client adds what the draft wants of clients.
  const headers = request.headers.filter(([name]) => name !== 'sec-webtransport-http3-draft02')
  const session = await client.webTransport({ ...common(request), headers })
  void session.closed.then(over)
  return {
    status: 200,
    headers: session.headers.filter(([name]) => name !== 'sec-webtransport-http3-draft'),
    body: untilClosed(session),
    trailers: () => [],
    webTransport: session,
    discard: () => void session.close(),
  }
}

/** No bytes, but the end. */
async function* untilClosed(session: WebTransportSession): AsyncIterable<Uint8Array> {
  await session.closed
  yield* []
}

async function sendInto(tunnel: Http3Tunnel, request: UpstreamRequest): Promise<void> {
  try {
    if (request.body !== null) for await (const chunk of request.body) await tunnel.write(chunk)
    tunnel.end()
  } catch {
    tunnel.abort()
  }
}

function responseOf(response: Http3Response, over: () => void): UpstreamResponse {
  let trailers: HeaderList = []
  async function* body(): AsyncIterable<Uint8Array> {
    try {
      yield* response.body
      trailers = await response.trailers
    } finally {
      over()
    }
  }
  return {
    status: response.status,
    headers: response.headers,
    body: body(),
    trailers: () => trailers,
    discard: () => {
      response.body.cancel()
      over()
    },
  }
}

async function closeEntry(entry: Entry): Promise<void> {
  const timeout = Promise.withResolvers<void>()
  const timer = setTimeout(timeout.resolve, closeMs)
  await Promise.race([entry.client?.close(), timeout.promise])
  clearTimeout(timer)
  await entry.connection?.close()
}

async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function onlyOnce(action: () => void): () => void {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    action()
  }
}
