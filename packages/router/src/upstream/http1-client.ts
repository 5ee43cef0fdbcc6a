/** An address that speaks HTTP/1.1: a pool of kept connections, one request at a time on each. */
import { Readable } from 'node:stream'
import { type Dispatcher, Pool } from 'undici'
import {
  toLines,
  type UpstreamAddress,
  type UpstreamClient,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamStats,
} from './client.ts'
import { exchangeOnSocket, openTunnel } from './http1-socket.ts'

const keepAliveMs = 30_000
const requestBufferBytes = 65_536
const headerBytesMax = 65_536

export class Http1Client implements UpstreamClient {
  readonly #address: UpstreamAddress
  readonly #pool: Pool
  #tunnels = 0

  constructor(address: UpstreamAddress) {
    this.#address = address
    const { ca, verify, serverName } = address.tls
    this.#pool = new Pool(address.origin, {
      connections: address.connections,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: keepAliveMs,
      connectTimeout: address.connectTimeoutMs,
      maxHeaderSize: headerBytesMax,
      // The pool above has timers of its own, which a slow client does not run down.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        rejectUnauthorized: verify,
        ...(ca === undefined ? {} : { ca }),
        ...(serverName === undefined ? {} : { servername: serverName }),
      },
    })
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamResponse> {
    if (request.protocol !== undefined) return await this.#tunnel(request)
    // undici sends no trailers; they need a connection of their own.
    if (request.trailers !== undefined && announcesTrailers(request)) {
      return await exchangeOnSocket(this.#address, request)
    }
    const response = await this.#pool.request({
      method: request.method as Dispatcher.HttpMethod,
      path: request.target,
      headers: toRaw(request),
      body:
        request.body === null
          ? null
          : Readable.from(request.body, { objectMode: false, highWaterMark: requestBufferBytes }),
      signal: request.signal,
      responseHeaders: 'raw',
      onInfo: ({ statusCode, headers }) => {
        if (statusCode !== 100) request.onInformational?.(statusCode, toLines(headers as unknown as string[]))
      },
    })
    return {
      status: response.statusCode,
      headers: toLines(response.headers as unknown as string[]),
      body: response.body,
      trailers: () => flatten(response.trailers),
      discard: () => response.body.on('error', () => {}).destroy(),
    }
  }

  stats(): UpstreamStats {
    const { connected, running, queued } = this.#pool.stats
    return { connected: connected + this.#tunnels, running: running + this.#tunnels, queued }
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  async #tunnel(request: UpstreamRequest): Promise<UpstreamResponse> {
    this.#tunnels++
    return await openTunnel(this.#address, request, () => {
      this.#tunnels--
    })
  }
}

/** Field lines as HTTP/1.1 takes them: cookies in one line (RFC 9114 §4.2.1), Host first. */
export function toRaw(request: UpstreamRequest): string[] {
  const raw = ['host', request.authority]
  const cookies: string[] = []
  for (const [name, value] of request.headers) {
    if (name === 'cookie') cookies.push(value)
    else raw.push(name, value)
  }
  if (cookies.length > 0) raw.push('cookie', cookies.join('; '))
  return raw
}

function announcesTrailers(request: UpstreamRequest): boolean {
  return request.headers.some(([name]) => name === 'trailer')
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): [string, string][] {
  const lines: [string, string][] = []
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue
    for (const single of Array.isArray(value) ? value : [value]) lines.push([name.toLowerCase(), single])
  }
  return lines
}
