/** Adapts a request of the HTTP/3 server to the exchange that the router knows. */
import type { Http3Tunnel, ServerRequest, ServerResponse } from '@quicether/http3'
import type { DatagramEnd, ExchangeRequest, ExchangeResponse, HeaderList } from './exchange.ts'

/**
 * `authority` stands in where the client sent none. `confirmed` = the request came as 0-RTT, so that somebody might have
 * recorded and repeated it, until this resolves.
 */
export function toExchangeRequest(
  request: ServerRequest,
  authority: string,
  confirmed: Promise<unknown> | undefined,
): ExchangeRequest {
  let trailers: HeaderList | undefined
  async function* body(): AsyncIterable<Uint8Array> {
    yield* request.body
    trailers = await request.trailers
  }
  return {
    streamId: request.streamId,
    version: '3',
    method: request.method,
    path: request.path ?? '',
    authority: request.authority ?? hostField(request) ?? authority,
    protocol: request.protocol,
    headers: request.headers,
    body: request.protocol === undefined ? body() : request.body,
    trailers: () => trailers,
    signal: request.signal,
    confirmed,
    openedAtMs: request.timing.openedUs / 1000,
  }
}

/** The response ends when all of it is acknowledged, so that the router measures the delivery too. */
export function toExchangeResponse(request: ServerRequest, response: ServerResponse): ExchangeResponse {
  let tunnel: Http3Tunnel | undefined
  return {
    inform: (status, headers) => response.sendInformational(status, headers),
    head: async (status, headers) => {
      if (request.protocol !== undefined && status >= 200 && status < 300) tunnel = response.accept(headers, status)
      else response.writeHead(status, headers)
    },
    write: (chunk) => response.write(chunk),
    end: async (trailers) => {
      response.end(trailers)
      // RFC 9114 §4.1: what the client still sends has no reader any more; without this the stream would stay open.
      request.body.cancel('H3_NO_ERROR')
      await response.closed
    },
    abort: () => {
      if (tunnel !== undefined) tunnel.abort('H3_INTERNAL_ERROR')
      else if (!response.isEnded) response.reset('H3_INTERNAL_ERROR')
    },
    webTransport: (headers) => response.acceptWebTransport(headers),
    datagrams: () => (tunnel === undefined ? undefined : datagramsOf(tunnel)),
    stats: () => request.stats(),
  }
}

/** The datagrams of a tunnel, where both sides have agreed on them. */
export function datagramsOf(tunnel: Http3Tunnel): DatagramEnd {
  const { datagrams } = tunnel
  return { received: datagrams, send: (payload) => datagrams.send(payload) }
}

/** RFC 9114 §4.3.1: a request carries ":authority" or Host. */
function hostField(request: ServerRequest): string | undefined {
  return request.headers.find(([name]) => name === 'host')?.[1]
}
