/** A `Pair` whose packets are read as they leave, frames and all: what an honest endpoint really sends. */
import { type AckView, type FrameSink, decodeFrames } from '@quicether/wire'
import type { ConnectionObserver, PacketInfo } from '../observe.ts'
import type { Level } from '../ports/crypto.ts'
import { Pair, type PairOptions } from './pair.ts'

/** One packet as it left. */
export interface Sent {
  readonly role: 'client' | 'server'
  readonly level: Level
  readonly pathId: number
  readonly packetNumber: number
  readonly length: number
  readonly atUs: number
  /** Frame types, without padding. */
  readonly frames: readonly string[]
  /** Data of its PATH_CHALLENGE and PATH_RESPONSE frames, in hex. */
  readonly pathData: readonly string[]
}

/** Names frames and keeps the largest stream data and credit seen. */
export class Notes implements FrameSink {
  readonly names: string[] = []
  readonly pathData: string[] = []
  /** Connection IDs in hex, by sequence number. */
  readonly cids: Map<number, string> = new Map()
  /** Frames that should not have been sent, in words. */
  readonly violations: string[] = []
  /** What frame offsets refer to. */
  bytes: Uint8Array = new Uint8Array(0)
  readonly streamEnds: Map<number, number> = new Map()
  readonly finalSizes: Map<number, number> = new Map()
  /** Streams given up by RESET_STREAM. */
  readonly resets: Set<number> = new Set()
  maxData = 0
  readonly maxStreamData: Map<number, number> = new Map()

  onPadding(): void {}
  onPing(): void {
    this.names.push('ping')
  }
  onAck(_ack: AckView): void {
    this.names.push('ack')
  }
  onResetStream(id: number, _code: number, finalSize: number): void {
    this.names.push('reset_stream')
    this.resets.add(id)
    this.#noteFinalSize(id, finalSize)
  }
  onStopSending(): void {
    this.names.push('stop_sending')
  }
  onCrypto(): void {
    this.names.push('crypto')
  }
  onNewToken(start: number, end: number): void {
    this.names.push(end > start ? 'new_token' : 'empty new_token')
  }
  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void {
    this.names.push('stream')
    if (this.resets.has(id)) this.violations.push(`STREAM of ${id} after RESET_STREAM`)
    const streamEnd = offset + end - start
    this.streamEnds.set(id, Math.max(this.streamEnds.get(id) ?? 0, streamEnd))
    if (fin) this.#noteFinalSize(id, streamEnd)
    if (streamEnd > (this.finalSizes.get(id) ?? streamEnd)) this.violations.push(`stream ${id} goes beyond its end`)
  }
  #noteFinalSize(id: number, finalSize: number): void {
    const earlier = this.finalSizes.get(id) ?? finalSize
    if (earlier !== finalSize)
      this.violations.push(`final size of stream ${id} changed from ${earlier} to ${finalSize}`)
    this.finalSizes.set(id, finalSize)
  }
  onMaxData(limit: number): void {
    this.names.push('max_data')
    this.maxData = Math.max(this.maxData, limit)
  }
  onMaxStreamData(id: number, limit: number): void {
    this.names.push('max_stream_data')
    this.maxStreamData.set(id, Math.max(this.maxStreamData.get(id) ?? 0, limit))
  }
  onMaxStreams(): void {
    this.names.push('max_streams')
  }
  onDataBlocked(): void {
    this.names.push('data_blocked')
  }
  onStreamDataBlocked(): void {
    this.names.push('stream_data_blocked')
  }
  onStreamsBlocked(): void {
    this.names.push('streams_blocked')
  }
  onNewConnectionId(_path: number, _isPathFrame: boolean, sequence: number, _prior: number, start: number): void {
    this.names.push('new_connection_id')
    const cid = Array.from(this.bytes.subarray(start, start + 8), (byte) => byte.toString(16)).join(' ')
    if ((this.cids.get(sequence) ?? cid) !== cid) this.violations.push(`connection ID ${sequence} changed`)
    this.cids.set(sequence, cid)
  }
  onRetireConnectionId(): void {
    this.names.push('retire_connection_id')
  }
  onPathChallenge(start: number): void {
    this.names.push('path_challenge')
    this.#notePath(start)
  }
  onPathResponse(start: number): void {
    this.names.push('path_response')
    this.#notePath(start)
  }
  #notePath(start: number): void {
    this.pathData.push(Array.from(this.bytes.subarray(start, start + 8), (byte) => byte.toString(16)).join(' '))
  }
  onConnectionClose(application: boolean): void {
    this.names.push(application ? 'application_close' : 'connection_close')
  }
  onHandshakeDone(): void {
    this.names.push('handshake_done')
  }
  onDatagram(): void {
    this.names.push('datagram')
  }
  onPathAbandon(): void {
    this.names.push('path_abandon')
  }
  onPathStatus(): void {
    this.names.push('path_status')
  }
  onMaxPathId(): void {
    this.names.push('max_path_id')
  }
  onPathsBlocked(): void {
    this.names.push('paths_blocked')
  }
  onPathCidsBlocked(): void {
    this.names.push('path_cids_blocked')
  }
  onAdditionalAddresses(): void {
    this.names.push('additional_addresses')
  }
}

/** A pair whose packets are noted as they leave. */
export function watched(options: PairOptions = {}): {
  pair: Pair
  sent: Sent[]
  notes: Record<'client' | 'server', Notes>
} {
  const sent: Sent[] = []
  const notes = { client: new Notes(), server: new Notes() }
  const isMultipath = (options.client?.maxPaths ?? 1) > 1 && (options.server?.maxPaths ?? 1) > 1
  const observer = (role: 'client' | 'server'): ConnectionObserver => ({
    connectionStarted() {},
    packetSent(packet: PacketInfo, bytes: Uint8Array, start: number, end: number, atUs: number) {
      const mine = notes[role]
      const from = mine.names.length
      const pathFrom = mine.pathData.length
      mine.bytes = bytes
      try {
        decodeFrames(bytes, start, end, packet.level, isMultipath, mine)
      } catch (error) {
        mine.violations.push(String(error))
      }
      const { level, pathId, packetNumber, length } = packet
      const frames = mine.names.slice(from)
      sent.push({ role, level, pathId, packetNumber, length, atUs, frames, pathData: mine.pathData.slice(pathFrom) })
    },
    packetReceived() {},
    packetDropped() {},
    packetLost() {},
    metricsUpdated() {},
    event() {},
  })
  return { pair: new Pair({ ...options, observe: ({ role }) => observer(role) }), sent, notes }
}
