/** An observer that writes each packet and its frames into the timeline, one line each. */
import type { ConnectionObserver, PacketInfo } from '@quicether/transport'
import { type AckView, decodeFrames, type FrameSink, TransportError } from '@quicether/wire'
import type { World } from './world.ts'

const levelNames = ['initial', '0rtt', 'handshake', '1rtt']

/** Writes to topic `owner`. */
export function packetLog(world: World, owner: string): ConnectionObserver {
  const sink = new FrameLister()
  const line = (arrow: string, packet: PacketInfo, bytes: Uint8Array, start: number, end: number): void => {
    world.note(
      owner,
      `${arrow} ${levelNames[packet.level]} ${packet.packetNumber} (${packet.length}) ${sink.list(bytes, start, end, packet.level)}`,
    )
  }
  return {
    connectionStarted: (info) => world.note(owner, `started ${info.role} ${info.sourceCid} ${info.tuple.key}`),
    packetSent: (packet, bytes, start, end) => line('>', packet, bytes, start, end),
    packetReceived: (packet, bytes, start, end) => line('<', packet, bytes, start, end),
    packetDropped: (reason, length) => world.note(owner, `dropped ${length} bytes: ${reason}`),
    packetLost: (level, _pathId, packetNumber, trigger) =>
      world.note(owner, `lost ${levelNames[level]} ${packetNumber} (${trigger})`),
    metricsUpdated: () => {},
    event: (name, data) => world.note(owner, `${name} ${JSON.stringify(data)}`),
  }
}

class FrameLister implements FrameSink {
  #frames: string[] = []

  list(bytes: Uint8Array, start: number, end: number, level: number): string {
    this.#frames = []
    try {
      decodeFrames(bytes, start, end, level, true, this)
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      this.#frames.push(`! ${error.message}`)
    }
    return this.#frames.join(', ')
  }

  onPadding(count: number): void {
    this.#frames.push(`PADDING ${count}`)
  }
  onPing(): void {
    this.#frames.push('PING')
  }
  onAck(ack: AckView): void {
    const ranges: string[] = []
    for (let i = 0; i < Math.min(ack.count, 8); i++) ranges.push(`${ack.smallest[i]}-${ack.largest[i]}`)
    this.#frames.push(`ACK ${ranges.join(' ')}`)
  }
  onResetStream(id: number, code: number, finalSize: number): void {
    this.#frames.push(`RESET_STREAM ${id} code ${code} size ${finalSize}`)
  }
  onStopSending(id: number, code: number): void {
    this.#frames.push(`STOP_SENDING ${id} code ${code}`)
  }
  onCrypto(offset: number, start: number, end: number): void {
    this.#frames.push(`CRYPTO ${offset}+${end - start}`)
  }
  onNewToken(start: number, end: number): void {
    this.#frames.push(`NEW_TOKEN ${end - start}`)
  }
  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void {
    this.#frames.push(`STREAM ${id} ${offset}+${end - start}${fin ? ' fin' : ''}`)
  }
  onMaxData(limit: number): void {
    this.#frames.push(`MAX_DATA ${limit}`)
  }
  onMaxStreamData(id: number, limit: number): void {
    this.#frames.push(`MAX_STREAM_DATA ${id} ${limit}`)
  }
  onMaxStreams(bidirectional: boolean, limit: number): void {
    this.#frames.push(`MAX_STREAMS ${bidirectional ? 'bidi' : 'uni'} ${limit}`)
  }
  onDataBlocked(limit: number): void {
    this.#frames.push(`DATA_BLOCKED ${limit}`)
  }
  onStreamDataBlocked(id: number, limit: number): void {
    this.#frames.push(`STREAM_DATA_BLOCKED ${id} ${limit}`)
  }
  onStreamsBlocked(bidirectional: boolean, limit: number): void {
    this.#frames.push(`STREAMS_BLOCKED ${bidirectional ? 'bidi' : 'uni'} ${limit}`)
  }
  onNewConnectionId(pathId: number, _isPathFrame: boolean, sequence: number, retirePriorTo: number): void {
    this.#frames.push(`NEW_CONNECTION_ID path ${pathId} #${sequence} retire < ${retirePriorTo}`)
  }
  onRetireConnectionId(pathId: number, _isPathFrame: boolean, sequence: number): void {
    this.#frames.push(`RETIRE_CONNECTION_ID path ${pathId} #${sequence}`)
  }
  onPathChallenge(): void {
    this.#frames.push('PATH_CHALLENGE')
  }
  onPathResponse(): void {
    this.#frames.push('PATH_RESPONSE')
  }
  onConnectionClose(application: boolean, code: number): void {
    this.#frames.push(`CONNECTION_CLOSE ${application ? 'application' : 'transport'} ${code}`)
  }
  onHandshakeDone(): void {
    this.#frames.push('HANDSHAKE_DONE')
  }
  onDatagram(start: number, end: number): void {
    this.#frames.push(`DATAGRAM ${end - start}`)
  }
  onPathAbandon(pathId: number): void {
    this.#frames.push(`PATH_ABANDON ${pathId}`)
  }
  onPathStatus(pathId: number, available: boolean): void {
    this.#frames.push(`PATH_STATUS ${pathId} ${available ? 'available' : 'backup'}`)
  }
  onMaxPathId(limit: number): void {
    this.#frames.push(`MAX_PATH_ID ${limit}`)
  }
  onPathsBlocked(limit: number): void {
    this.#frames.push(`PATHS_BLOCKED ${limit}`)
  }
  onPathCidsBlocked(pathId: number): void {
    this.#frames.push(`PATH_CIDS_BLOCKED ${pathId}`)
  }
  onAdditionalAddresses(sequence: number, count: number): void {
    this.#frames.push(`ADDITIONAL_ADDRESSES ${sequence}: ${count}`)
  }
}
