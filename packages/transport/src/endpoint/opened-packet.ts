/** A packet whose protection is off, as the receiver wants to hear of it; one object, reused. */
import { type Level, OpenOut } from '../ports/crypto.ts'

export interface OpenedPacket {
  level: Level
  packetNumber: number
  firstByte: number
  /** Bytes on the wire. */
  length: number
  ecn: number
  /** Sequence number of our connection ID it was sent to. */
  localSequence: number
}

/** A description with every field at zero. */
export function createOpenedPacket(): OpenedPacket {
  return { level: 0, packetNumber: 0, firstByte: 0, length: 0, ecn: 0, localSequence: 0 }
}

/** Packet number from the output words of the descriptor at `at`. */
export function packetNumberOf(descriptors: Int32Array, at: number): number {
  return ((descriptors[at + OpenOut.PnLow] as number) >>> 0) + (descriptors[at + OpenOut.PnHigh] as number) * 2 ** 32
}
