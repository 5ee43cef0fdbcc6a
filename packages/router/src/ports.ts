/** What the router and the client need from HTTP/3 over QUIC; `transport-adapter.ts` implements it. */
import type { CloseReason, PathView, StreamStats } from '@quicether/transport'
import type { ExchangeHandler, HeaderList } from './exchange.ts'
import type { ConnectionCounters } from './metrics/connection-metrics.ts'

/** What a handshake agreed on and how long it took. */
export interface Established {
  readonly earlyData: boolean
  readonly resumed: boolean
  /** From the first datagram to the complete handshake. */
  readonly establishmentMs: number
}

/** Files that make a run visible to Wireshark and qlog viewers. */
export interface Diagnostics {
  /** NSS key log. */
  readonly keylogFile?: string | undefined
  readonly qlogDirectory?: string | undefined
  /** pcapng with the keys inside. */
  readonly captureFile?: string | undefined
}

/** A certificate chain and its key, both PEM. */
export interface CertificatePair {
  readonly certificatePem: string
  readonly privateKeyPem: string
  /** Names of the two, for errors. */
  readonly certificateLabel: string
  readonly privateKeyLabel: string
}

export interface ServerListenOptions extends Diagnostics, CertificatePair {
  readonly host: string
  /** 0 = any free port. */
  readonly port: number
  readonly idleTimeoutMs: number
  /** Request streams that one client may have open. */
  readonly maxStreams: number
  /** Accept 0-RTT of resumed sessions. */
  readonly earlyData: boolean
  /** Larger header sections get 431; 64 KiB when absent. */
  readonly maxHeaderBytes?: number
  /** A request that has not sent its header section by then is reset; 10 s when absent. */
  readonly headerTimeoutMs?: number
  /** Also HTTP/1.1 and HTTP/2 on the TCP port of the same number. */
  readonly tcp?: boolean
  /** How long clients remember that there is HTTP/3. */
  readonly altSvcSeconds?: number
  /** Told once about each kind of trouble that does not end serving, e.g. a full disk under the capture. */
  readonly onTrouble: (message: string) => void
}

/** Names as in ALPN. */
export type HttpProtocol = 'h3' | 'h2' | 'http/1.1'

/** One client's connection as the router sees it. */
export interface ServerConnection {
  /** `address:port`. */
  readonly remote: string
  readonly remoteAddress: string
  /** HTTP/3 when absent. */
  readonly protocol?: HttpProtocol
  /** Never settles when the handshake fails; `closed` does. */
  readonly established: Promise<Established>
  readonly closed: Promise<CloseReason>
  counters(): ConnectionCounters | undefined
  /** Absent where the transport has no paths. */
  paths?(): readonly PathView[]
  /** Closes the connection now. */
  close?(reason: string): void
}

/** Counters of a listener for scrapers. */
export interface ListenerCounters {
  readonly datagramsReceived: number
  readonly datagramsSent: number
  readonly retries: number
  readonly versionNegotiations: number
  readonly statelessResets: number
  readonly refused: number
}

/** Called for each new connection; the handler it returns answers that connection's requests. */
export type OnServerConnection = (connection: ServerConnection) => ExchangeHandler

export interface ServerListener {
  readonly host: string
  readonly port: number
  /** Lets running exchanges finish for at most `graceMs`, then closes all connections, the capture and the logs. */
  close(graceMs: number): Promise<void>
  /** Ends the grace of a `close` that runs. */
  closeNow?(): void
  /** New connections get this certificate; running ones keep theirs. Throws `UserError`; the old one then stays. */
  replaceCertificate?(certificate: CertificatePair): void
  counters?(): ListenerCounters
}

export type ServerListen = (options: ServerListenOptions, onConnection: OnServerConnection) => Promise<ServerListener>

export interface ClientConnectOptions extends Diagnostics {
  readonly host: string
  readonly port: number
  readonly serverName?: string | undefined
  /** PEM with the certificates that may sign the server's, or be it. */
  readonly caPem?: string | undefined
  /** Skips verification. */
  readonly insecure: boolean
  readonly timeoutMs: number
  /** Connect once for a session, then connect again and send the requests as 0-RTT. */
  readonly earlyData: boolean
  readonly onTrouble: (message: string) => void
}

export interface ClientRequest {
  readonly method: string
  readonly path: string
  readonly headers: HeaderList
  readonly body: AsyncIterable<Uint8Array> | null
}

export interface ClientResponse {
  readonly streamId: number
  readonly status: number
  readonly headers: HeaderList
  readonly body: AsyncIterable<Uint8Array>
  /** Resolves once the body has been read to its end. */
  readonly trailers: Promise<HeaderList | undefined>
  stats(): StreamStats | undefined
}

/** One QUIC connection that carries all of a client's requests. */
export interface ClientConnection {
  readonly remote: string
  /** With 0-RTT requests may be sent before. Rejects when the handshake fails. */
  readonly established: Promise<Established>
  readonly closed: Promise<CloseReason>
  request(request: ClientRequest): Promise<ClientResponse>
  counters(): ConnectionCounters | undefined
  close(): Promise<void>
}

export type ClientConnect = (options: ClientConnectOptions) => Promise<ClientConnection>
