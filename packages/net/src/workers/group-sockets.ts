/** The sockets of a worker group: one for each worker at each address, opened in one order and kept for good. */
import { QuicError } from '@quicether/transport'
import { UdpPort } from '../udp-port.ts'
import type { SharedSocket } from './messages.ts'

export interface GroupSocketsOptions {
  /** Absent: all, over IPv6 and IPv4. */
  readonly addresses: readonly string[] | undefined
  /** 0 = any free port. */
  readonly port: number
  readonly workers: number
  /** Words of a classic BPF program; absent: the kernel chooses by a hash of the addresses. */
  readonly program: Int32Array | undefined
}

const ALL_ADDRESSES = ['::', '0.0.0.0'] as const
const SAME_PORT_ATTEMPTS = 16

/**
 * The kernel numbers the sockets of one address in the order of binding, and a socket that closes changes the numbers.
 * So the group holds them; a worker reads from a duplicate of its own, and what comes while it is down waits.
 */
export class GroupSockets {
  readonly #ports: readonly UdpPort[]
  /** Handles of the first port, one an address. */
  #handles: number[] = []
  /** By worker. */
  readonly seats: readonly (readonly SharedSocket[])[]
  /** errno with which the system refused to steer; 0 = it steers, undefined = it was not asked. */
  readonly refusal: number | undefined

  /** @throws QuicError `ERR_PORT_IN_USE`, `ERR_ADDRESS`, `ERR_REUSEPORT`, … */
  constructor(options: GroupSocketsOptions) {
    const { addresses = ALL_ADDRESSES, workers, program } = options
    if (addresses.length === 0)
      throw new QuicError('ERR_ADDRESS', 'no address to listen on; leave addresses out for all')
    // One port of ours for each worker, so that a group is not held to the number of sockets of one port.
    this.#ports = Array.from({ length: workers }, () => new UdpPort())
    try {
      this.seats = this.#bindAll(addresses, options)
      this.refusal = program === undefined ? undefined : this.#steer(program)
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    for (const port of this.#ports) port.close()
  }

  #bindAll(addresses: readonly string[], { addresses: given, port }: GroupSocketsOptions): SharedSocket[][] {
    for (let attempt = 1; ; attempt++) {
      try {
        return this.#bindOnce(addresses, given === undefined, port)
      } catch (error) {
        for (const each of this.#ports) each.close()
        const isRace = port === 0 && error instanceof QuicError && error.code === 'ERR_PORT_IN_USE'
        if (!isRace || attempt >= SAME_PORT_ATTEMPTS) throw error
      }
    }
  }

  #bindOnce(addresses: readonly string[], isAny: boolean, wanted: number): SharedSocket[][] {
    const seats: SharedSocket[][] = this.#ports.map(() => [])
    this.#handles = []
    let port = wanted
    for (const address of addresses) {
      try {
        port = this.#claim(address, port)
      } catch (error) {
        // Machines without IPv6 (or IPv4) serve the family they have.
        const isMissing = isAny && error instanceof QuicError && error.code === 'ERR_ADDRESS'
        if (!isMissing || (seats[0]?.length === 0 && address === addresses.at(-1))) throw error
        continue
      }
      for (const [index, ports] of this.#ports.entries()) {
        const socket = ports.bind({ address, port, reusePort: true })
        if (index === 0) this.#handles.push(socket.handle)
        seats[index]?.push({ address: socket.address, port, descriptor: ports.descriptorOf(socket.handle) })
      }
    }
    return seats
  }

  /** The port, free at this moment. Sharing would join the sockets of another program of this user without a word. */
  #claim(address: string, port: number): number {
    const alone = new UdpPort()
    try {
      return alone.bind({ address, port }).port
    } finally {
      alone.close()
    }
  }

  #steer(program: Int32Array): number {
    for (const handle of this.#handles) {
      const errno = this.#ports[0]?.attachSteering(handle, program) ?? 0
      if (errno !== 0) return errno
    }
    return 0
  }
}
