/** One stream: its parts and its counters. */
import type { PathId, StreamStats } from '../events.ts'
import type { RecvStream } from './recv-stream.ts'
import type { SendStream } from './send-stream.ts'
import { ANY_PATH, type StreamClass } from './stream-class.ts'
import { DEFAULT_PRIORITY, DEFAULT_WEIGHT } from './stream-priority.ts'

export class Stream implements StreamStats {
  readonly id: number
  readonly send: SendStream | undefined
  readonly recv: RecvStream | undefined
  bytesSent = 0
  bytesReceived = 0
  packetsSent = 0
  packetsReceived = 0
  packetBytesSent = 0
  packetBytesReceived = 0
  retransmissions = 0
  framesLost = 0
  /** 0 = most urgent. Changed only while the stream is in no queue, like the next three. */
  priority: number = DEFAULT_PRIORITY
  /** Share in relation to other streams. */
  weight: number = DEFAULT_WEIGHT
  isIncremental = false
  /** Path that its data keeps to while that works; ANY_PATH = no wish. */
  boundTo: PathId = ANY_PATH
  /** The queues it stands in now. */
  queuedIn: StreamClass | undefined = undefined
  /** Books of the scheduler that shares by weight: bytes the stream may still send, and `bytesSent` when last charged. */
  deficitBytes = 0
  chargedBytes = 0

  constructor(id: number, send: SendStream | undefined, recv: RecvStream | undefined) {
    this.id = id
    this.send = send
    this.recv = recv
  }

  isTerminal(): boolean {
    return (this.send === undefined || this.send.isTerminal()) && (this.recv === undefined || this.recv.isTerminal())
  }

  snapshot(): StreamStats {
    const { bytesSent, bytesReceived, packetsSent, packetsReceived, packetBytesSent, packetBytesReceived } = this
    const { retransmissions, framesLost } = this
    return {
      bytesSent,
      bytesReceived,
      packetsSent,
      packetsReceived,
      packetBytesSent,
      packetBytesReceived,
      retransmissions,
      framesLost,
    }
  }
}

// RFC 9000 §2.1: the two least significant bits of a stream ID
/** Whether only the opener of the stream sends on it. */
export function isUnidirectional(id: number): boolean {
  return id % 4 >= 2
}

/** Whether the stream was opened by the server. */
export function isServerInitiated(id: number): boolean {
  return id % 2 === 1
}
