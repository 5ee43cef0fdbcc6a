/** What one packet says about paths, read from its plaintext: the model sees the wire, never the engine's mind. */
import type { PacketInfo } from '@quicether/transport'
import { decodeFrames, type FrameSink, NonProbingBit, TransportError } from '@quicether/wire'

export interface AnnouncedCid {
  readonly pathId: number
  readonly sequence: number
  readonly cid: string
}

/** One 1-RTT packet of either side. */
export interface PacketFacts {
  readonly pathId: number
  readonly packetNumber: number
  readonly length: number
  /** STREAM or DATAGRAM frames inside. */
  readonly hasData: boolean
  readonly isProbing: boolean
  /** Data of PATH_CHALLENGE and PATH_RESPONSE frames, in hex. */
  readonly challenges: readonly string[]
  readonly responses: readonly string[]
  readonly announced: readonly AnnouncedCid[]
  readonly retired: readonly { readonly pathId: number; readonly sequence: number }[]
  readonly abandoned: readonly number[]
  readonly statuses: readonly { readonly pathId: number; readonly available: boolean; readonly sequence: number }[]
}

/** Reads one packet; throws what is wrong with it. */
export function readPacket(packet: PacketInfo, bytes: Uint8Array, start: number, end: number): PacketFacts {
  const sink = new PathFrames(bytes)
  let bits = 0
  try {
    bits = decodeFrames(bytes, start, end, packet.level, true, sink)
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
    throw new Error(`packet ${packet.packetNumber} of path ${packet.pathId} does not decode: ${error.message}`)
  }
  return {
    pathId: packet.pathId,
    packetNumber: packet.packetNumber,
    length: packet.length,
    hasData: sink.hasData,
    isProbing: (bits & NonProbingBit) === 0,
    challenges: sink.challenges,
    responses: sink.responses,
    announced: sink.announced,
    retired: sink.retired,
    abandoned: sink.abandoned,
    statuses: sink.statuses,
  }
}

/** Bytes as hexadecimal digits. */
export function hex(bytes: Uint8Array, start = 0, end: number = bytes.length): string {
  let text = ''
  for (let i = start; i < end; i++) text += (bytes[i] as number).toString(16).padStart(2, '0')
  return text
}

const CHALLENGE_BYTES = 8
const none: readonly never[] = []

class PathFrames implements FrameSink {
  hasData = false
  // Most packets have none of these: the lists are made when needed.
  challenges: string[] = none as unknown as string[]
  responses: string[] = none as unknown as string[]
  announced: AnnouncedCid[] = none as unknown as AnnouncedCid[]
  retired: { pathId: number; sequence: number }[] = none as unknown as []
  abandoned: number[] = none as unknown as number[]
  statuses: { pathId: number; available: boolean; sequence: number }[] = none as unknown as []
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  onStream(): void {
    this.hasData = true
  }
  onDatagram(): void {
    this.hasData = true
  }
  onPathChallenge(start: number): void {
    this.challenges = [...this.challenges, hex(this.#bytes, start, start + CHALLENGE_BYTES)]
  }
  onPathResponse(start: number): void {
    this.responses = [...this.responses, hex(this.#bytes, start, start + CHALLENGE_BYTES)]
  }
  onNewConnectionId(pathId: number, _: boolean, sequence: number, _prior: number, start: number, length: number): void {
    this.announced = [...this.announced, { pathId, sequence, cid: hex(this.#bytes, start, start + length) }]
  }
  onRetireConnectionId(pathId: number, _: boolean, sequence: number): void {
    this.retired = [...this.retired, { pathId, sequence }]
  }
  onPathAbandon(pathId: number): void {
    this.abandoned = [...this.abandoned, pathId]
  }
  onPathStatus(pathId: number, available: boolean, sequence: number): void {
    this.statuses = [...this.statuses, { pathId, available, sequence }]
  }
  onPadding(): void {}
  onPing(): void {}
  onAck(): void {}
  onResetStream(): void {}
  onStopSending(): void {}
  onCrypto(): void {}
  onNewToken(): void {}
  onMaxData(): void {}
  onMaxStreamData(): void {}
  onMaxStreams(): void {}
  onDataBlocked(): void {}
  onStreamDataBlocked(): void {}
  onStreamsBlocked(): void {}
  onConnectionClose(): void {}
  onHandshakeDone(): void {}
  onMaxPathId(): void {}
  onPathsBlocked(): void {}
  onPathCidsBlocked(): void {}
  onAdditionalAddresses(): void {}
}
