/** A stream of HTTP/2 as the exchange that the router knows; extended CONNECT (RFC 8441) included. */
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { ExchangeRequest, ExchangeResponse, HeaderList } from '../exchange.ts'
import { isAuthority } from './authority.ts'
import { write } from './http1-exchange.ts'
import type { FrontConnection } from './tcp-front.ts'

const leaveMs = 100

/** Answers one request. `raw` has the field lines as they came. */
export function serveHttp2(
  connection: FrontConnection,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: readonly string[],
): void {
  const authority = headers[':authority'] ?? headers.host ?? ''
  const method = headers[':method'] ?? 'GET'
  stream.on('error', () => {})
  const isMalformed = headers.host !== undefined && headers[':authority'] !== undefined && headers.host !== authority
  if (!isAuthority(authority) || isMalformed) {
    // RFC 9113 §8.3.1: such a request is malformed.
    stream.respond({ ':status': 400, 'content-length': '0' }, { endStream: true })
    return
  }
  const gone = new AbortController()
  stream.once('close', () => {
    if (!stream.writableFinished || stream.rstCode !== constants.NGHTTP2_NO_ERROR) {
      gone.abort(new Error(`the client reset the stream with code ${stream.rstCode ?? 0}`))
    }
  })
  let trailers: HeaderList = []
  stream.once('trailers', (_fields, _flags, lines?: readonly string[]) => {
    trailers = linesOf(lines ?? [])
  })
  const protocol = headers[':protocol']
  const exchange: ExchangeRequest = {
    streamId: stream.id ?? 0,
    version: '2',
    method,
    path: headers[':path'] ?? '',
    authority,
    protocol: typeof protocol === 'string' ? protocol : undefined,
    headers: linesOf(raw),
    body: stream,
    trailers: () => trailers,
    signal: gone.signal,
    openedAtMs: performance.now(),
  }
  void connection.handler(exchange, responseOf(connection, stream))
}

function responseOf(connection: FrontConnection, stream: ServerHttp2Stream): ExchangeResponse {
  let trailers: HeaderList = []
  return {
    inform: (status, headers) => {
      if (status !== 100) stream.additionalHeaders({ ...grouped(headers), ':status': status })
    },
    head: async (status, headers) => {
      if (stream.destroyed) throw new Error('the client is gone')
      stream.respond(
        { ...grouped(headers), 'alt-svc': connection.altSvc, ':status': status },
        { waitForTrailers: true },
      )
      stream.once('wantTrailers', () => {
        stream.sendTrailers(grouped(trailers))
        if (!stream.readableEnded) leaveRequest(stream)
      })
    },
    write: (chunk) => write(stream, chunk),
    end: async (lines) => {
      trailers = lines ?? []
      if (stream.destroyed) return
      const { promise, resolve } = Promise.withResolvers<void>()
      stream.once('close', resolve)
      stream.end()
      await promise
    },
    abort: () => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    stats: () => undefined,
  }
}

/** RFC 9113 §8.1: after a complete response NO_ERROR stops a request that nobody reads any more. */
function leaveRequest(stream: ServerHttp2Stream): void {
  stream.resume()
  // A reset must not overtake the end of the response.
  const timer = setTimeout(() => {
    if (!stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR)
  }, leaveMs)
  stream.once('close', () => clearTimeout(timer))
}

function linesOf(raw: readonly string[]): HeaderList {
  const lines: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    if (!name.startsWith(':')) lines.push([name.toLowerCase(), raw[at + 1] ?? ''])
  }
  return lines
}

function grouped(headers: HeaderList): OutgoingHttpHeaders {
  const result: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of headers) {
    const before = result[name]
    result[name] = before === undefined ? value : [before, value].flat()
  }
  return result
}
