/** What the runner tells a peer (one JSON file) and what a peer tells the runner (JSON lines). */

export type VersionName = '1' | '2' | 'reserved'
export type CipherName = 'aes128' | 'aes256' | 'chacha20'

interface CommonSpec {
  readonly host: string
  readonly versions: readonly VersionName[]
  readonly idleTimeoutMs: number
  readonly cipher?: CipherName
  /** Initial and largest flow control window of streams and connection; absent = the peer's own default. */
  readonly windowBytes?: number
  readonly qlogDir: string
  readonly keylogFile: string
}

export interface ServerSpec extends CommonSpec {
  readonly role: 'server'
  /** 0 = any free port; the peer reports the one it got. */
  readonly port: number
  readonly certificate: string
  readonly privateKey: string
  /** Answer every Initial without a token by Retry. */
  readonly retry: boolean
  /** Bidirectional streams that a client may have open at once. */
  readonly streamsMax?: number
  readonly keyUpdateAfterBytes?: number
  /** Ask clients to this address, at the server's own port (RFC 9000 §9.6). */
  readonly preferredAddress?: { readonly address: string }
  /** Sizes that will be asked for, for servers that send files. */
  readonly downloads?: readonly number[]
}

export interface RequestSpec {
  readonly method: 'GET' | 'POST'
  readonly path: string
  /** Size of the test body to send. */
  readonly size?: number
  /** Literal body in Base64 instead of the test body. */
  readonly base64?: string
  readonly headers?: readonly (readonly [string, string])[]
}

export interface ConnectionSpec {
  /** All at once, each on a stream of its own. */
  readonly requests: readonly RequestSpec[]
  /** Offer the session ticket of the connection before. */
  readonly resume?: boolean
  /** Send the requests as 0-RTT. */
  readonly earlyData?: boolean
  readonly keyUpdateAfterBytes?: number
  /** Continue from a new local port after so many bytes of bodies. */
  readonly migrateAfterBytes?: number
}

export interface ClientSpec extends CommonSpec {
  readonly role: 'client'
  readonly port: number
  readonly bindHost: string
  readonly serverName: string
  readonly ca: string
  /** The version of the first Initial; absent = the first of `versions`. */
  readonly firstVersion?: VersionName
  readonly timeoutMs: number
  /** One after the other. */
  readonly connections: readonly ConnectionSpec[]
}

export interface ConnectionFacts {
  readonly version: number
  readonly alpn: string | null
  /** Null = the peer does not tell. */
  readonly resumed: boolean | null
  readonly earlyData: boolean
  readonly handshakeComplete: boolean
  readonly cipher: string | null
  readonly closed: { readonly code: number | null; readonly reason: string } | null
}

export interface ResponseFacts {
  readonly path: string
  readonly status: number | null
  readonly bytes: number
  readonly sha256: string
  /** Bodies of at most 4096 bytes. */
  readonly text?: string | null
}

export interface ClientConnectionFacts extends ConnectionFacts {
  readonly responses: readonly ResponseFacts[]
  readonly migrations: number
  readonly handshakeMs: number
}

export interface ClientResult {
  readonly ok: boolean
  readonly error?: string
  readonly connections: readonly ClientConnectionFacts[]
}

export interface ServerConnectionFacts extends ConnectionFacts {
  readonly requests: readonly { readonly path: string; readonly early: boolean; readonly bytes: number }[] | null
}
