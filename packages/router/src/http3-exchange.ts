/** Adapts a request of the HTTP/3 server to the exchange that the router knows. */
import type { ServerRequest, ServerResponse } from '@quicether/http3'
import type { ExchangeRequest, ExchangeResponse, HeaderList } from './exchange.ts'

/**
 * `authority` stands in where the client sent none. `isReplayable` = the request came as 0-RTT and the handshake is not
 * complete, so that somebody might have recorded and repeated it.
 */
export function toExchangeRequest(request: ServerRequest, authority: string, isReplayable: boolean): ExchangeRequest {
  return {
    streamId: request.streamId,
    method: request.method,
    path: request.path ?? '',
    authority: request.authority ?? hostField(request) ?? authority,
    // RFC 8470 §5.1: an intermediary adds "Early-Data: 1" to a request that it forwards before the handshake is complete.
    headers: isReplayable ? [...withoutEarlyData(request.headers), ['early-data', '1']] : request.headers,
    body: request.body,
    signal: request.signal,
    openedAtMs: request.timing.openedUs / 1000,
  }
}

/** The response ends when all of it is acknowledged, so that the router measures the delivery too. */
export function toExchangeResponse(request: ServerRequest, response: ServerResponse): ExchangeResponse {
  return {
    head: async (status, headers) => response.writeHead(status, headers),
    write: (chunk) => response.write(chunk),
    end: async (trailers) => {
      response.end(trailers)
      // RFC 9114 §4.1: what the client still sends has no reader any more; without this the stream would stay open.
      request.body.cancel('H3_NO_ERROR')
      await response.closed
    },
    abort: () => {
      if (!response.isEnded) response.reset('H3_INTERNAL_ERROR')
    },
    stats: () => request.stats(),
  }
}

function withoutEarlyData(headers: HeaderList): HeaderList {
  return headers.filter(([name]) => name !== 'early-data')
}

/** RFC 9114 §4.3.1: a request carries ":authority" or Host. */
function hostField(request: ServerRequest): string | undefined {
  return request.headers.find(([name]) => name === 'host')?.[1]
}
