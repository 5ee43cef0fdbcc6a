/** One QUIC packet as the decoder shows it. */

export type PacketKind =
  | 'initial'
  | '0RTT'
  | 'handshake'
  | '1RTT'
  | 'retry'
  | 'version_negotiation'
  /** A long header of a version that we do not know. */
  | 'other_version'
  /** Bytes that are no packet of a known connection: stateless resets, padding, strangers. */
  | 'unknown'

/** Why a packet could not be read. */
export type Problem = 'no keys' | 'not decrypted' | 'cut by the capture' | 'unknown connection ID' | 'malformed'

export interface DecodedPacket {
  /** Number of the captured packet in the file, from 1; several QUIC packets may share one. */
  readonly frame: number
  /** Microseconds since 1970. */
  readonly timeUs: number
  readonly from: string
  readonly to: string
  /** From 1, in order of appearance; undefined for packets of no connection. */
  readonly connection: number | undefined
  readonly sender: 'client' | 'server' | undefined
  readonly kind: PacketKind
  /** Of long headers. */
  readonly version: number | undefined
  readonly path: number | undefined
  readonly packetNumber: number | undefined
  /** Key updates before a 1-RTT packet. */
  readonly generation: number | undefined
  /** Bytes on the wire. */
  readonly length: number
  /** JSON array of the frames in the words of qlog; undefined when the packet could not be read. */
  readonly frames: string | undefined
  readonly problem: Problem | undefined
}
