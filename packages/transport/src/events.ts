/** What a connection tells its application, and the interface an application protocol drives it through. */
import type { DatagramOptions } from './datagram/datagram-queue.ts'
import type { Micros } from './ports/datagrams.ts'
import type { StreamPriority } from './stream/stream-priority.ts'

export type StreamId = number
export type StreamKind = 'bidirectional' | 'unidirectional'
export type PathId = number

/** Application error code; codes of 2^53 and above (greased) are clamped to 2^53 - 1. */
export type ErrorCode = number

/** Who, what, why: the operator's three questions. */
export type CloseReason =
  | {
      readonly kind: 'transport'
      readonly by: 'local' | 'peer'
      readonly code: number
      /** RFC 9000 §20.1 name, e.g. `FLOW_CONTROL_ERROR`, or `CRYPTO_ERROR` with the alert in `reason`. */
      readonly name: string
      readonly frameType?: number
      readonly reason: string
    }
  | { readonly kind: 'application'; readonly by: 'local' | 'peer'; readonly code: ErrorCode; readonly reason: string }
  | { readonly kind: 'idle'; readonly afterUs: Micros }
  | { readonly kind: 'reset' }
  | { readonly kind: 'version'; readonly offered: readonly number[] }

export type ConnectionEvent =
  /** The handshake is complete on our side; `alpn` is agreed. */
  | {
      readonly kind: 'connected'
      readonly alpn: string
      readonly resumed: boolean
      readonly earlyData: 'none' | 'accepted' | 'rejected'
    }
  /** Client: streams may be opened and written now as 0-RTT; they are replayed as 1-RTT if the server rejects. */
  | { readonly kind: 'earlyDataReady' }
  /** The handshake is confirmed (RFC 9001 §4.1.2). */
  | { readonly kind: 'confirmed' }
  /** The peer opened a stream. A `readable` follows once there is something to read. */
  | { readonly kind: 'streamOpened'; readonly id: StreamId }
  /** Edge-triggered: fires again only after `read` has returned 'blocked'. */
  | { readonly kind: 'readable'; readonly id: StreamId }
  /** Edge-triggered: fires after `write` accepted less than offered. */
  | { readonly kind: 'writable'; readonly id: StreamId }
  /**
   * The peer reset the part of the stream that it sends (RESET_STREAM); what was not read is dropped. The engine keeps the
   * stream until `read` has returned 'reset' or `stop` was called, and then makes room for another one of the peer.
   */
  | { readonly kind: 'streamReset'; readonly id: StreamId; readonly code: ErrorCode }
  /** The peer does not want what we send (STOP_SENDING); the engine has answered with RESET_STREAM. */
  | { readonly kind: 'streamStopped'; readonly id: StreamId; readonly code: ErrorCode }
  /** Everything we sent, end included, is acknowledged. */
  | { readonly kind: 'streamDelivered'; readonly id: StreamId }
  /** `openStream` returned undefined before and may succeed now. */
  | { readonly kind: 'streamsAvailable'; readonly streamKind: StreamKind }
  | { readonly kind: 'datagram'; readonly data: Uint8Array }
  | { readonly kind: 'path'; readonly path: PathId; readonly change: PathChange }
  /** Client: the server can be reached at this address, too, or no longer; `announcedAddresses` lists all. */
  | { readonly kind: 'addressAnnounced' | 'addressWithdrawn'; readonly address: string; readonly port: number }
  /** Last event of a connection. */
  | { readonly kind: 'closed'; readonly reason: CloseReason }

export type PathChange = 'opened' | 'status' | 'validated' | 'rebound' | 'migrated' | 'failed' | 'abandoned'

/**
 * `more` = visited what there was for now and the buffer is empty or the visitor stopped; call again on `readable`.
 * `finished` = the end of the stream has been delivered, or the engine has forgotten the stream: both its sides are over.
 * `reset` = the peer reset it; nothing of it can be read any more. Stays so as long as our own side of it is open.
 */
export type ReadStatus = 'blocked' | 'finished' | 'reset'

/** Counters of one stream, both directions. */
export interface StreamStats {
  readonly bytesSent: number
  readonly bytesReceived: number
  /** Packets that carried a STREAM frame of this stream. */
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly packetBytesSent: number
  readonly packetBytesReceived: number
  /** STREAM frames sent again after loss. */
  readonly retransmissions: number
  /** STREAM frames declared lost. */
  readonly framesLost: number
}

/**
 * The part of a connection that an application protocol such as HTTP/3 drives. Calls never re-enter: their effects
 * show as events of a later `pollEvent`.
 */
export interface StreamTransport {
  /** Undefined = at the peer's limit; event `streamsAvailable` follows. */
  openStream(kind: StreamKind): StreamId | undefined
  /** Bytes accepted, 0 = blocked; event `writable` follows when less than offered. The engine keeps `data`: do not change it. */
  write(id: StreamId, data: Uint8Array): number
  /**
   * Visits readable bytes in order. Chunks are borrowed: copy what must outlive the call. With `maxBytes` (>= 1) more may
   * be readable afterwards, of which no event tells: read again until nothing was visited.
   */
  read(id: StreamId, visit: (chunk: Uint8Array) => void, maxBytes?: number): ReadStatus
  /** Ends our side after what has been written. */
  finish(id: StreamId): void
  /** Abandons our side; buffered data is dropped (RESET_STREAM). */
  reset(id: StreamId, code: ErrorCode): void
  /** Asks the peer to stop its side (STOP_SENDING); unread data is dropped. After a reset by the peer: releases that side. */
  stop(id: StreamId, code: ErrorCode): void
  /** RFC 9221. False = not negotiated, too large, or bound to a path that is not open; a full queue drops its oldest. */
  sendDatagram(data: Uint8Array, options?: DatagramOptions): boolean
  /** Largest DATAGRAM payload that can be sent now; 0 = the peer takes none. */
  readonly datagramBytesMax: number
  /** Order or share of what we send on a stream; false when it is not open for sending. Throws ERR_PRIORITY. */
  setStreamPriority(id: StreamId, priority: StreamPriority): boolean
  /** Closes the connection with an application error code; 0-length reason allowed. */
  close(code: ErrorCode, reason: string): void
  streamStats(id: StreamId): StreamStats | undefined
}
