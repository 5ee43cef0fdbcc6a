/** What the promise API needs of a QUIC connection; `QuicConnection` of `@quicether/net` has it. */
import type { CloseReason, ConnectionEvent, ErrorCode, StreamTransport } from '@quicether/transport'

export interface Http3Connection {
  readonly transport: StreamTransport
  /** Receives every event of the connection from the moment it is set. */
  onEvent: ((event: ConnectionEvent) => void) | null
  readonly closed: Promise<CloseReason>
  /** The TLS handshake is complete. Absent = it was when HTTP/3 began. */
  readonly isEstablished?: boolean
  close(code: ErrorCode, reason: string): Promise<CloseReason>
}

/** The session's clock: monotonic microseconds. */
export function clockUs(): number {
  return performance.now() * 1000
}

/** Whether what arrives and leaves now is safe from replay. */
export function isEstablished(connection: Http3Connection): boolean {
  return connection.isEstablished ?? true
}
