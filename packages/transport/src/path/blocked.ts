/** PATHS_BLOCKED and PATH_CIDS_BLOCKED: what keeps us from opening a path is told once, and again only while it holds. */
import { FrameType } from '@quicether/wire'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'

const FRAME_ROOM = 24

/** What the announcer asks about the present. */
export interface BlockedHost {
  /** Highest path ID the peer allows. */
  readonly peerMaxPathId: number
  /** Next sequence number we expect for a connection ID of path `id` while it lacks one; undefined when it does not. */
  missingSequence(id: number): number | undefined
}

export class BlockedFrames {
  readonly #host: BlockedHost
  #pathsPending = false
  /** Limit that PATHS_BLOCKED told last. */
  #pathsToldAt = -1
  /** Path IDs without a connection ID that wait to be told. */
  readonly #cidsPending: Set<number> = new Set()
  /** Sequence number told last, by path ID. */
  readonly #cidsToldAt: Map<number, number> = new Map()

  constructor(host: BlockedHost) {
    this.#host = host
  }

  // RFC 10069 §4.7: repeating a frame that was acknowledged "will not change that": once per limit
  /** The peer's limit of path IDs keeps us from opening a path. */
  onPaths(): void {
    if (this.#host.peerMaxPathId !== this.#pathsToldAt) this.#pathsPending = true
  }

  /** Path `id` needs a connection ID of the peer and there is none. */
  onCids(id: number): void {
    const sequence = this.#host.missingSequence(id)
    if (sequence !== undefined && this.#cidsToldAt.get(id) !== sequence) this.#cidsPending.add(id)
  }

  /** The path ID is over: nothing about it is said any more. */
  forget(id: number): void {
    this.#cidsPending.delete(id)
    this.#cidsToldAt.delete(id)
  }

  // RFC 10069 §4.7: both frames "MAY be retransmitted if the path is still blocked when the loss is detected"
  onPathsLost(limit: number): void {
    if (limit === this.#host.peerMaxPathId) this.#pathsPending = true
  }

  onCidsLost(id: number, sequence: number): void {
    if (this.#host.missingSequence(id) === sequence) this.#cidsPending.add(id)
  }

  hasPending(): boolean {
    return this.#pathsPending || this.#cidsPending.size > 0
  }

  write(packet: PacketWriter): void {
    if (this.#pathsPending && packet.room >= FRAME_ROOM) {
      const { peerMaxPathId } = this.#host
      this.#pathsPending = false
      this.#pathsToldAt = peerMaxPathId
      packet.varint(FrameType.PathsBlocked)
      packet.varint(peerMaxPathId)
      packet.receipt(ReceiptKind.PathsBlocked, peerMaxPathId)
    }
    for (const id of this.#cidsPending) {
      if (packet.room < FRAME_ROOM) return
      this.#cidsPending.delete(id)
      const sequence = this.#host.missingSequence(id)
      if (sequence === undefined) continue
      this.#cidsToldAt.set(id, sequence)
      packet.varint(FrameType.PathCidsBlocked)
      packet.varint(id)
      packet.varint(sequence)
      packet.receipt(ReceiptKind.PathCidsBlocked, id, sequence)
    }
  }
}
