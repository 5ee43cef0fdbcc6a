/** A request of HTTP/1.1 as the exchange that the router knows; an upgrade to WebSocket as an extended CONNECT. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ExchangeRequest, ExchangeResponse, HeaderList } from '../exchange.ts'
import { toLines } from '../upstream/client.ts'
import { webSocketAccept } from '../upstream/http1-socket.ts'
import { isAuthority } from './authority.ts'
import type { FrontConnection } from './tcp-front.ts'

/** Streams are numbered for the metrics, per process. */
let nextStreamId = 0

/** RFC 9112 §3.2.2: a target in absolute form carries the authority. */
function targetOf(request: IncomingMessage): { readonly path: string; readonly authority: string } {
  const target = request.url ?? ''
  const host = request.headers.host ?? ''
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/iu.exec(target)
  if (absolute === null) return { path: target, authority: host }
  const rest = absolute[2] ?? ''
  return { path: rest.startsWith('/') ? rest : `/${rest}`, authority: absolute[1] ?? '' }
}

/** Answers one request. */
export function serveHttp1(connection: FrontConnection, request: IncomingMessage, response: ServerResponse): void {
  const { path, authority } = targetOf(request)
  if (!isAuthority(authority)) return refuse(response)
  const gone = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new Error('the client closed the connection'))
  })
  request.on('error', () => {})
  response.on('error', () => {})
  const exchange: ExchangeRequest = {
    streamId: nextStreamId++,
    version: '1.1',
    method: request.method ?? 'GET',
    path,
    authority,
    headers: toLines(request.rawHeaders),
    body: request,
    trailers: () => toLines(request.rawTrailers),
    signal: gone.signal,
    openedAtMs: performance.now(),
  }
  void connection.handler(exchange, responseOf(connection, request, response))
}

function refuse(response: ServerResponse): void {
  // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) … with an invalid field value" of Host
  response.writeHead(400, { 'content-length': '0', connection: 'close' }).end()
}

function responseOf(connection: FrontConnection, request: IncomingMessage, response: ServerResponse): ExchangeResponse {
  return {
    inform: (status, headers) => {
      if (status === 103) response.writeEarlyHints(grouped(headers))
    },
    head: async (status, headers) => {
      response.writeHead(status, rawOf(headers, connection.altSvc))
      response.flushHeaders()
    },
    write: (chunk) => write(response, chunk),
    end: async (trailers) => {
      if (trailers !== undefined && trailers.length > 0) response.addTrailers(trailers as [string, string][])
      // RFC 9112 §9.3: with a request left unread the connection cannot be used again.
      if (!request.complete) response.once('finish', () => request.socket.destroySoon())
      const { promise, resolve } = Promise.withResolvers<void>()
      response.once('close', resolve)
      response.end(resolve)
      await promise
    },
    abort: () => request.socket.destroy(),
    stats: () => undefined,
  }
}

/** RFC 6455 §4.2: the handshake of a WebSocket becomes a tunnel; the socket is ours from now on. */
export function upgradeHttp1(
  connection: FrontConnection,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  const key = request.headers['sec-websocket-key'] ?? ''
  const { path, authority } = targetOf(request)
  socket.on('error', () => {})
  const isRight = request.headers['sec-websocket-version'] === '13' && Buffer.from(key, 'base64').byteLength === 16
  if (!isAuthority(authority) || !isRight || request.method !== 'GET') {
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
    return
  }
  if (head.byteLength > 0) socket.unshift(head)
  const gone = new AbortController()
  socket.once('close', () => gone.abort(new Error('the client closed the connection')))
  const own = new Set(['sec-websocket-key', 'connection', 'upgrade'])
  const exchange: ExchangeRequest = {
    streamId: nextStreamId++,
    version: '1.1',
    method: 'CONNECT',
    path,
    authority,
    protocol: 'websocket',
    headers: toLines(request.rawHeaders).filter(([name]) => !own.has(name)),
    body: socket,
    signal: gone.signal,
    openedAtMs: performance.now(),
  }
  void connection.handler(exchange, tunnelResponse(socket, key))
}

function tunnelResponse(socket: Duplex, key: string): ExchangeResponse {
  return {
    head: async (status, headers) => {
      const isOpen = status >= 200 && status < 300
      const lines = isOpen
        ? [
            'HTTP/1.1 101 Switching Protocols',
            'connection: Upgrade',
            'upgrade: websocket',
            `sec-websocket-accept: ${webSocketAccept(key)}`,
          ]
        : [`HTTP/1.1 ${status} Refused`, 'connection: close']
      for (const [name, value] of headers) lines.push(`${name}: ${value}`)
      socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
    },
    write: (chunk) => write(socket, chunk),
    end: async () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      socket.once('close', resolve)
      socket.end(resolve)
      await promise
      socket.destroy()
    },
    abort: () => socket.destroy(),
    stats: () => undefined,
  }
}

/** Resolves when the client takes more; rejects when it is gone. */
export async function write(sink: Duplex | ServerResponse, chunk: Uint8Array): Promise<void> {
  if (sink.destroyed) throw new Error('the client is gone')
  if (sink.write(chunk)) return
  const { promise, resolve } = Promise.withResolvers<void>()
  sink.once('drain', resolve)
  sink.once('close', resolve)
  await promise
  sink.off('drain', resolve)
  sink.off('close', resolve)
}

/** Name, value, name, value…, with our Alt-Svc in place of the service's. */
function rawOf(headers: HeaderList, altSvc: string): string[] {
  const raw: string[] = []
  for (const [name, value] of headers) if (name !== 'alt-svc') raw.push(name, value)
  raw.push('alt-svc', altSvc)
  return raw
}

function grouped(headers: HeaderList): Record<string, string | string[]> {
  const result: Record<string, string | string[]> = {}
  for (const [name, value] of headers) {
    const before = result[name]
    result[name] = before === undefined ? value : [before, value].flat()
  }
  return result
}
