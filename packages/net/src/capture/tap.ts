/** What a driver shows to a packet capture: every datagram on the wire, and the TLS secrets that open them. */
import type { Micros, PathTuple } from '@quicether/transport'

export type DatagramDirection = 'sent' | 'received'

/**
 * Called by a driver for each datagram: received ones before the engine sees them (it opens packets in place), sent
 * ones after sealing. Implementations copy what they keep, never throw and never block.
 */
export interface DatagramTap {
  /** `bytes[offset, offset + length)` is one UDP payload; `ecn` the two ECN bits of its IP header. */
  datagram(
    direction: DatagramDirection,
    tuple: PathTuple,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ecn: number,
    nowUs: Micros,
  ): void
  /** One line in the NSS key log format, with or without its line end. */
  keylogLine(line: string): void
  /** Writes out what is buffered and closes the file. Never rejects; a failed write has been reported as a warning. */
  close(): Promise<void>
}
