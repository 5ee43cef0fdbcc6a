/** What a group and its worker threads tell each other. */
import type { MessagePort } from 'node:worker_threads'
import type { ListenerStats } from '../listen.ts'

/** A socket of the group; every worker has one at the same address. */
export interface SharedSocket {
  readonly address: string
  readonly port: number
  readonly descriptor: number
}

/** Everything a worker thread begins with. */
export interface WorkerPlan {
  readonly module: string
  readonly index: number
  readonly count: number
  /** How many workers had this index before. */
  readonly generation: number
  readonly sockets: readonly SharedSocket[]
  /** Whether the kernel delivers by connection ID; else by a hash of the addresses. */
  readonly isSteered: boolean
  /** Whether to wait for `go` before reading from the sockets. */
  readonly mustWait: boolean
  readonly steeringKey: Uint8Array
  readonly tokenKey: Uint8Array
  readonly resetKey: Uint8Array
  readonly sessionsMax: number
  readonly sessionStore: number
  /** Bytes under way to each thread, by `inboxOf`. */
  readonly inboxes: SharedArrayBuffer
  readonly data: unknown
}

/** Where bytes under way to a thread are counted; a worker and its predecessor have different places. */
export function inboxOf(index: number, generation: number): number {
  return index * 2 + (generation & 1)
}

/** From the group to a thread. */
export type Order =
  /** Another thread: a sibling by its index, the predecessor, or (only to receive from) the successor. */
  | { readonly kind: 'lane'; readonly to: LaneName; readonly port: MessagePort; readonly inbox: number }
  | { readonly kind: 'no-predecessor' }
  | { readonly kind: 'go' }
  /** Stop reading from the sockets; answered by `paused`. */
  | { readonly kind: 'pause' }
  | { readonly kind: 'close'; readonly graceMs: number }
  | { readonly kind: 'stats'; readonly question: number }
  | { readonly kind: 'told'; readonly value: unknown }

export type LaneName = number | 'predecessor' | 'successor'

/** From a thread to the group. */
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'paused' }
  | { readonly kind: 'closed' }
  | { readonly kind: 'stats'; readonly question: number; readonly stats: SeatStats }
  | { readonly kind: 'told'; readonly value: unknown }

/** Datagrams that came to the wrong thread, counted since it started. */
export interface RelayStats {
  /** Handed to another thread. */
  readonly forwarded: number
  /** Taken from another thread. */
  readonly adopted: number
  /** Not handed on, because the other thread was gone or had too much under way to it. */
  readonly forwardsDropped: number
}

/** One worker's counters. */
export interface SeatStats extends ListenerStats, RelayStats {
  /** Processor time of its thread, in milliseconds. */
  readonly cpuMs: number
}
