/** A UDP datagram on its way through the virtual world, and the pool it comes from. */

/** Largest UDP payload the world carries. */
export const DATAGRAM_BYTES_MAX = 9_000

export interface Datagram {
  readonly bytes: Uint8Array
  length: number
  sourceAddress: string
  sourcePort: number
  destinationAddress: string
  destinationPort: number
  ecn: number
}

/** Bytes of IP and UDP header in front of the payload. */
export function headerBytes(address: string): number {
  return isIpv6(address) ? 48 : 28
}

/** Whether an address is of IPv6, by its spelling. */
export function isIpv6(address: string): boolean {
  return address.includes(':')
}

/** Reuses datagrams; `inUse` must return to zero when the world falls silent. */
export class DatagramPool {
  readonly #free: Datagram[] = []
  #inUse = 0

  get inUse(): number {
    return this.#inUse
  }

  /** A datagram with room for `length` bytes; all fields must be set by the caller. */
  take(length: number): Datagram {
    if (length > DATAGRAM_BYTES_MAX) {
      throw new RangeError(
        `a datagram of ${length} bytes is larger than the ${DATAGRAM_BYTES_MAX} bytes the world carries`,
      )
    }
    this.#inUse++
    const datagram = this.#free.pop() ?? {
      bytes: new Uint8Array(DATAGRAM_BYTES_MAX),
      length: 0,
      sourceAddress: '',
      sourcePort: 0,
      destinationAddress: '',
      destinationPort: 0,
      ecn: 0,
    }
    datagram.length = length
    return datagram
  }

  copy(original: Datagram): Datagram {
    const datagram = this.take(original.length)
    datagram.bytes.set(original.bytes.subarray(0, original.length))
    datagram.sourceAddress = original.sourceAddress
    datagram.sourcePort = original.sourcePort
    datagram.destinationAddress = original.destinationAddress
    datagram.destinationPort = original.destinationPort
    datagram.ecn = original.ecn
    return datagram
  }

  release(datagram: Datagram): void {
    this.#inUse--
    if (this.#inUse < 0) throw new Error('a datagram was released twice')
    this.#free.push(datagram)
  }
}
