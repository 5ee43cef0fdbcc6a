/** Datagrams in and out of the engine: addresses, receive batches, transmit trains. */

/** Monotonic microseconds from an arbitrary origin. The engine never asks what time it is. */
export type Micros = number
export const NEVER: Micros = Infinity

/**
 * A network path's addresses. Drivers intern tuples so that identity usually decides; `key` decides when it does not.
 */
export interface PathTuple {
  /** Canonical text of all fields: equal keys mean equal tuples. */
  readonly key: string
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  /** Kernel interface index, 0 when unknown. */
  readonly interfaceIndex: number
  /** The driver's handle of the local socket to send from. */
  readonly socket: number
}

/** ECN codepoints as they stand in the IP header (RFC 3168). */
export const Ecn = { NotEct: 0, Ect1: 1, Ect0: 2, Ce: 3 } as const

/** Received datagrams. Filled by a driver, valid until `Endpoint.handleDatagrams` returns; packets are opened in place. */
export interface DatagramBatch {
  readonly bytes: Uint8Array
  readonly offsets: Int32Array
  readonly lengths: Int32Array
  readonly ecns: Uint8Array
  readonly tuples: PathTuple[]
  count: number
}

/**
 * One train of datagrams to one tuple: `length` bytes in segments of `segmentSize`, the last may be shorter.
 * Owned by the driver, filled by `Endpoint.pollTransmit`, reused.
 */
export interface TransmitBatch {
  readonly bytes: Uint8Array
  /** Most segments in one train (GSO limit), at least 1. */
  readonly datagramsMax: number
  tuple: PathTuple | undefined
  length: number
  segmentSize: number
  ecn: number
  /** Datagrams in the train. */
  count: number
}

/** Where a driver puts trains: a real socket or the virtual world. */
export interface DatagramPort {
  /** False = kernel or queue full: the train was not taken, retry when writable. */
  send(batch: TransmitBatch): boolean
}

/** An empty train over a slab of the driver; `datagramsMax` is the GSO limit, at least 1. */
export function createTransmitBatch(bytes: Uint8Array, datagramsMax: number): TransmitBatch {
  return { bytes, datagramsMax, tuple: undefined, length: 0, segmentSize: 0, ecn: 0, count: 0 }
}

/** Canonical tuple. IPv6 addresses must already be in one spelling (the drivers see to that). */
export function createTuple(fields: Omit<PathTuple, 'key'>): PathTuple {
  const { localAddress, localPort, remoteAddress, remotePort, interfaceIndex, socket } = fields
  const key = `${localAddress}|${localPort}|${remoteAddress}|${remotePort}|${interfaceIndex}|${socket}`
  return { key, localAddress, localPort, remoteAddress, remotePort, interfaceIndex, socket }
}

/** Equal addresses, whether or not the driver interned them. */
export function sameTuple(a: PathTuple, b: PathTuple): boolean {
  return a === b || a.key === b.key
}
