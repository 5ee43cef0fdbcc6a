/** One request and its response as the router sees them: the port that HTTP/3 implements. */
import type { WebTransportSession } from '@quicether/http3'
import type { StreamStats } from '@quicether/transport'
import type { RequestTrace } from './ops/trace-context.ts'

/** Field lines in order; names in lower case. */
export type HeaderList = readonly (readonly [string, string])[]

/** What the client asks for. */
export interface ExchangeRequest {
  readonly streamId: number
  /** What the client speaks; HTTP/3 when absent. */
  readonly version?: '1.1' | '2' | '3'
  readonly method: string
  /** `:path`, query included. */
  readonly path: string
  readonly authority: string
  /** `:protocol` of an extended CONNECT (RFC 8441, RFC 9220), e.g. `websocket`: the bodies are a tunnel's two directions. */
  readonly protocol?: string | undefined
  readonly headers: HeaderList
  /** Owned chunks in order. Ends at the end of the request, throws when the client resets the stream or goes away. */
  readonly body: AsyncIterable<Uint8Array>
  /** Aborted when the client resets or stops the stream, or the connection ends, before the exchange is complete. */
  readonly signal: AbortSignal
  /** Trailers of the request, once `body` has ended. */
  readonly trailers?: () => HeaderList | undefined
  /** There when the request came as 0-RTT and might be a replay: resolves when the handshake is complete. */
  readonly confirmed?: Promise<unknown> | undefined
  /** When the stream opened, in monotonic milliseconds. */
  readonly openedAtMs: number
  /** Its place in a trace, where traces are on; `headers` then has the field for the service already. */
  readonly trace?: RequestTrace
}

/** Unreliable messages beside a tunnel's bytes (RFC 9297). */
export interface DatagramEnd {
  /** Ends with the tunnel; a slow reader loses the oldest. */
  readonly received: AsyncIterable<Uint8Array>
  /** False = lost here. */
  send(payload: Uint8Array): boolean
}

/** What the router answers. */
export interface ExchangeResponse {
  /** Sends a 1xx response before the head, e.g. 103; absent where the client cannot take one. */
  inform?(status: number, headers: HeaderList): void
  /** Sends the response head. Call once, before `write` and `end`. */
  head(status: number, headers: HeaderList): Promise<void>
  /** Resolves when the transport takes more: awaiting it carries the client's backpressure to the service. */
  write(chunk: Uint8Array): Promise<void>
  /** Ends the response. Resolves when everything is handed over, or acknowledged where the transport tells. */
  end(trailers?: HeaderList): Promise<void>
  /** Abandons the stream after `head`; the client sees an error, not a short body. */
  abort(reason: string): void
  /** Of a tunnel, after `head`; undefined where the client's version has none. */
  datagrams?(): DatagramEnd | undefined
  /** In place of `head`, for an extended CONNECT for `webtransport`: accepts the client's session. */
  webTransport?(headers: HeaderList): WebTransportSession
  /** Counters of the stream as long as the transport knows it. */
  stats(): StreamStats | undefined
}

/** Answers one request; settles when the exchange is over. Never rejects. */
export type ExchangeHandler = (request: ExchangeRequest, response: ExchangeResponse) => Promise<void>
