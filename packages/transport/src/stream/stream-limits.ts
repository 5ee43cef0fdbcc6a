/** How many streams each side may open (RFC 9000 §4.6). */
import { TransportError } from '@quicether/wire'
import type { EventQueue } from '../event-queue.ts'

/** Limits and counts of one stream type; index 0 = bidirectional, 1 = unidirectional. */
export class StreamLimits {
  readonly #window: readonly [number, number]
  /** What the peer may open in total; announced by MAX_STREAMS. */
  readonly #peerMax: [number, number]
  readonly #peerOpened: [number, number] = [0, 0]
  readonly #peerClosed: [number, number] = [0, 0]
  readonly #localMax: [number, number] = [0, 0]
  readonly #localOpened: [number, number] = [0, 0]
  readonly #isBlocked: [boolean, boolean] = [false, false]
  /** MAX_STREAMS and STREAMS_BLOCKED frames to write, by type. */
  readonly announce: [boolean, boolean] = [false, false]
  readonly blockedPending: [boolean, boolean] = [false, false]

  constructor(maxBidi: number, maxUni: number) {
    this.#window = [maxBidi, maxUni]
    this.#peerMax = [maxBidi, maxUni]
  }

  /** Takes the next local stream index, or -1 at the peer's limit. */
  takeLocal(isBidi: boolean): number {
    const t = isBidi ? 0 : 1
    const index = this.#localOpened[t]
    if (index >= this.#localMax[t]) {
      if (!this.#isBlocked[t]) this.blockedPending[t] = true
      this.#isBlocked[t] = true
      return -1
    }
    this.#localOpened[t] = index + 1
    return index
  }

  localOpened(isBidi: boolean): number {
    return this.#localOpened[isBidi ? 0 : 1]
  }

  localMax(isBidi: boolean): number {
    return this.#localMax[isBidi ? 0 : 1]
  }

  peerOpened(isBidi: boolean): number {
    return this.#peerOpened[isBidi ? 0 : 1]
  }

  peerMax(isBidi: boolean): number {
    return this.#peerMax[isBidi ? 0 : 1]
  }

  // RFC 9000 §4.6: "An endpoint that receives a frame with a stream ID exceeding the limit it has sent MUST treat this as a connection error of type STREAM_LIMIT_ERROR"
  takePeer(isBidi: boolean, index: number, id: number): void {
    const t = isBidi ? 0 : 1
    if (index >= this.#peerMax[t]) {
      throw new TransportError(
        'STREAM_LIMIT_ERROR',
        0,
        `stream ${id} is beyond the limit of ${this.#peerMax[t]} streams`,
      )
    }
    this.#peerOpened[t] = index + 1
  }

  /** The peer raised our limit. Smaller values are ignored (RFC 9000 §4.6). */
  raisePeer(isBidi: boolean, limit: number, events: EventQueue): void {
    const t = isBidi ? 0 : 1
    if (limit <= this.#localMax[t]) return
    this.#localMax[t] = limit
    this.blockedPending[t] = false
    if (!this.#isBlocked[t]) return
    this.#isBlocked[t] = false
    events.push({ kind: 'streamsAvailable', streamKind: isBidi ? 'bidirectional' : 'unidirectional' })
  }

  onPeerStreamClosed(isBidi: boolean): void {
    const t = isBidi ? 0 : 1
    this.#peerClosed[t]++
    const limit = this.#peerClosed[t] + this.#window[t]
    if (limit - this.#peerMax[t] < Math.max(1, this.#window[t] / 2)) return
    this.#peerMax[t] = limit
    this.announce[t] = true
  }
}
