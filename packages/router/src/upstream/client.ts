/** What the pool needs of an address behind it, whatever HTTP version is spoken there. */
import type { WebTransportSession } from '@quicether/http3'
import type { DatagramEnd, HeaderList } from '../exchange.ts'

/** A request on its way to one address. */
export interface UpstreamRequest {
  readonly method: string
  /** Host and port as the client named them. */
  readonly authority: string
  /** Path and query. */
  readonly target: string
  /** In lower case, without pseudo-header fields and without Host. */
  readonly headers: HeaderList
  /** Null = no body. With `protocol`: what the client sends into the tunnel. */
  readonly body: AsyncIterable<Uint8Array> | null
  /** Asked for once the body has ended. */
  readonly trailers?: (() => HeaderList | undefined) | undefined
  /** Extended CONNECT: the protocol of the tunnel, e.g. `websocket`. */
  readonly protocol?: string | undefined
  /** Aborts the exchange, e.g. because the client is gone. */
  readonly signal: AbortSignal
  /** A 1xx response. */
  readonly onInformational?: ((status: number, headers: HeaderList) => void) | undefined
}

export interface UpstreamResponse {
  /** A tunnel that was accepted has 200, whatever the service answered on its version. */
  readonly status: number
  readonly headers: HeaderList
  /** Throws when the service breaks off. */
  readonly body: AsyncIterable<Uint8Array>
  /** Asked for once the body has ended. */
  readonly trailers: () => HeaderList
  /** Of a tunnel, where the service's version has them. */
  readonly datagrams?: DatagramEnd | undefined
  /** The session that an extended CONNECT for `webtransport` opened; `body` ends with it. */
  readonly webTransport?: WebTransportSession | undefined
  /** Ends a response that nobody will read. */
  discard(): void
}

/** Connections to one address. */
export interface UpstreamClient {
  /** Rejects with what the network or the protocol said; an abort rejects with the signal's reason. */
  exchange(request: UpstreamRequest): Promise<UpstreamResponse>
  /** Open connections, running and waiting requests, for the live view. */
  stats(): UpstreamStats
  /** Breaks off what still runs. */
  close(): Promise<void>
}

export interface UpstreamStats {
  readonly connected: number
  readonly running: number
  readonly queued: number
}

/** How to reach an address. */
export interface UpstreamAddress {
  /** E.g. `https://10.0.0.1:8443`, without a path. */
  readonly origin: string
  readonly connections: number
  readonly connectTimeoutMs: number
  readonly tls: {
    /** PEM; undefined = the authorities of the system. */
    readonly ca: string | undefined
    readonly verify: boolean
    readonly serverName: string | undefined
  }
}

/** `scheme://host:port` pieces of an origin. */
export function hostAndPort(origin: string): { readonly host: string; readonly port: number; readonly isTls: boolean } {
  const url = new URL(origin)
  const isTls = url.protocol === 'https:'
  const host = url.hostname.replace(/^\[|\]$/gu, '')
  return { host, port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port), isTls }
}

/** Name, value, name, value… as Node and undici give them, to lines in lower case. */
export function toLines(raw: readonly string[]): [string, string][] {
  const lines: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) lines.push([(raw[at] ?? '').toLowerCase(), raw[at + 1] ?? ''])
  return lines
}
