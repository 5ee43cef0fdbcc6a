/** A batched UDP socket: GRO on receive, GSO on send, readiness from Node's own event loop. */
import type { AddonUdpSocket } from './addon.ts'
import { addon } from './addon.ts'
import { guarded } from './native-error.ts'

/** Bytes of one receive slot: a whole coalesced train fits. */
export const SLOT_BYTES = 65_536
/** Most slots that one `receive` fills. */
export const SLOTS_MAX = 32

/** Words per received slot in the `meta` of `receive`. */
export const Slot = { Words: 20, Offset: 0, Length: 1, Stride: 2, Ecn: 3, Address: 4 } as const

/**
 * Words of an address, in slots (from `Slot.Address`) and for `send`. IP addresses are big-endian words; an IPv4
 * address takes the first of four. A local family of 0 leaves the source address to the kernel.
 */
export const Address = {
  Words: 16,
  RemoteFamily: 0,
  RemotePort: 1,
  RemoteIp: 2,
  RemoteScope: 6,
  LocalFamily: 7,
  LocalIp: 8,
  Interface: 12,
} as const

export interface UdpSocketOptions {
  /** IPv4 or IPv6 address of this machine, `0.0.0.0` or `::`; IPv6 sockets carry IPv6 only. */
  readonly address: string
  /** 0 = any free port. */
  readonly port: number
  /** Send and receive through this interface only (SO_BINDTODEVICE, else IP_UNICAST_IF for sending). */
  readonly interfaceName?: string
  readonly reuseAddress?: boolean
  /** Collect ICMP errors for `takeError` (Linux; nothing is reported elsewhere). */
  readonly reportErrors?: boolean
  /** Share the address with other sockets of the same user that ask for it, too (SO_REUSEPORT). */
  readonly reusePort?: boolean
  /** Use a duplicate of this open socket of the process; address, port and interface are then its own. */
  readonly descriptor?: number
}

export interface UdpSocketInfo {
  readonly address: string
  readonly port: number
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  /** Whether the kernel coalesces received datagrams. */
  readonly gro: boolean
  /** Whether IP may fragment what we send, so that path MTU discovery cannot work. */
  readonly mayFragment: boolean
  /** How `interfaceName` was honoured: `device`, `unicast-if` or empty. */
  readonly boundBy: string
}

/** Must be closed; nothing is left to garbage collection. */
export class UdpSocket {
  readonly info: UdpSocketInfo
  readonly #socket: AddonUdpSocket

  /**
   * Opens and binds.
   * @throws NativeError `ERR_PORT_IN_USE`, `ERR_ADDRESS`, `ERR_PERMISSION`, `ERR_INTERFACE`, `ERR_REUSEPORT` or
   * `ERR_SOCKET`.
   */
  constructor(options: UdpSocketOptions) {
    const { address, port, interfaceName, reuseAddress = false, reportErrors = false, reusePort = false } = options
    const { descriptor } = options
    this.#socket = guarded(
      () =>
        new addon.NativeUdpSocket({
          address,
          port,
          reuseAddress,
          reportErrors,
          reusePort,
          ...(interfaceName === undefined ? {} : { interfaceName }),
          ...(descriptor === undefined ? {} : { descriptor }),
        }),
    )
    this.info = this.#socket.info()
  }

  /** Calls back from the event loop whenever datagrams wait or, if wanted, the socket takes datagrams again. */
  start(onReady: (writable: boolean) => void): void {
    guarded(() => this.#socket.start(onReady))
  }

  setWritableWanted(wanted: boolean): void {
    this.#socket.setWritableWanted(wanted)
  }

  /** Whether datagrams are reported; they are at first. Sending goes on in any case. */
  setReadableWanted(wanted: boolean): void {
    this.#socket.setReadableWanted(wanted)
  }

  /** Number of the descriptor, for the `descriptor` option in any thread of this process while this socket is open. */
  get descriptor(): number {
    return guarded(() => this.#socket.descriptor())
  }

  /**
   * Gives the sockets that share this address a classic BPF program, whose result is the index of one of them in the
   * order of binding. Two words an instruction: `code << 16 | jt << 8 | jf`, then `k`. The program sees the UDP payload.
   * Returns 0, or the errno with which the system refused: it then chooses by a hash of the addresses.
   */
  attachSteering(program: Int32Array): number {
    return guarded(() => this.#socket.attachSteering(program))
  }

  /**
   * Fills 64 KiB slots of `slab` and `Slot.Words` words of `meta` for each; returns the number of filled slots,
   * 0 when nothing waits. Fewer than there are slots means: the kernel's queue is empty now.
   */
  receive(slab: Uint8Array, meta: Int32Array): number {
    return this.#socket.receive(slab, meta)
  }

  /**
   * errno of the oldest ICMP error not yet taken, e.g. 111 ECONNREFUSED: nobody listens there; 0 = none. With
   * `reportErrors`, take all at each readiness. Anybody on the network can send ICMP: a hint, not a fact.
   */
  takeError(): number {
    return this.#socket.takeError()
  }

  /**
   * Sends `slab[offset, offset + length)` in segments of `segmentSize`. Returns the bytes taken (fewer = the kernel's
   * queue is full) or a negative errno: the kernel dropped the train, e.g. -90 EMSGSIZE, -101 ENETUNREACH.
   */
  send(
    slab: Uint8Array,
    offset: number,
    length: number,
    segmentSize: number,
    ecn: number,
    address: Int32Array,
  ): number {
    return this.#socket.send(slab, offset, length, segmentSize, ecn, address)
  }

  /** Segments that one `send` may carry with offload; 1 = none. It drops to 1 when offload fails at run time. */
  get segmentsMax(): number {
    return this.#socket.segmentsMax()
  }

  get offloadFailed(): boolean {
    return this.#socket.offloadFailed()
  }

  close(): void {
    this.#socket.close()
  }
}

/** Index of an interface given by name or number; undefined when there is none of that name. */
export function scopeId(zone: string): number | undefined {
  return addon.scopeId(zone) ?? undefined
}

/** The address of ours that the kernel would send from to `address`; undefined without a route. Nothing is sent. */
export function localAddressFor(address: string, port: number): string | undefined {
  return addon.localAddressFor(address, port) ?? undefined
}
