/** Flow-control arithmetic (RFC 9000 §4), used alike by connection and streams. */
import { TransportError } from '@quicether/wire'
import type { Micros } from '../ports/datagrams.ts'

/** What the peer lets us send. */
export class SendCredit {
  /** Absolute limit in bytes from the start. */
  limit: number
  /** Bytes of new data sent so far. */
  used = 0
  /** Limit at which we already said that we are blocked; -1 when not. */
  blockedAt = -1

  constructor(limit: number) {
    this.limit = limit
  }

  get available(): number {
    return this.limit - this.used
  }

  /** Takes a new limit; returns true when it is larger. Smaller ones are ignored (RFC 9000 §4.1). */
  raise(limit: number): boolean {
    if (limit <= this.limit) return false
    this.limit = limit
    return true
  }
}

/** What we let the peer send, with a window that grows while the application keeps up (auto-tuning). */
export class ReceiveWindow {
  /** Absolute limit announced or about to be announced. */
  limit: number
  /** Highest offset received (stream) or sum of them (connection). */
  received = 0
  /** Bytes the application has taken. */
  consumed = 0
  windowBytes: number
  readonly #windowMaxBytes: number
  /** The announced limit should be renewed. */
  needsAnnouncement = false
  #epochStartUs: Micros = 0
  #epochConsumed = 0

  constructor(windowBytes: number, windowMaxBytes: number) {
    this.limit = windowBytes
    this.windowBytes = windowBytes
    this.#windowMaxBytes = Math.max(windowBytes, windowMaxBytes)
  }

  // RFC 9000 §4.1: "A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the sender violates the advertised connection or stream data limits"
  onReceived(newBytes: number, what: string): void {
    this.received += newBytes
    // RFC 9000 §19.9: "An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than the maximum data value that it has sent."
    if (this.received > this.limit) {
      throw new TransportError('FLOW_CONTROL_ERROR', 0, `${what}: ${this.received} bytes received, limit ${this.limit}`)
    }
  }

  /** The application took `bytes`. Decides on a new limit: half a window consumed means an announcement. */
  // RFC 9000 §4.2: a receiver MUST NOT wait for a STREAM_DATA_BLOCKED or DATA_BLOCKED frame before sending credit
  onConsumed(bytes: number, rttUs: Micros, nowUs: Micros): void {
    this.consumed += bytes
    if (this.limit - this.consumed > this.windowBytes / 2) return
    this.#tune(rttUs, nowUs)
    const limit = this.consumed + this.windowBytes
    if (limit > this.limit) {
      this.limit = limit
      this.needsAnnouncement = true
    }
  }

  /** Doubles the window when half of it was consumed within two round trips: the window, not the link, was the limit. */
  #tune(rttUs: Micros, nowUs: Micros): void {
    const elapsedUs = nowUs - this.#epochStartUs
    const consumed = this.consumed - this.#epochConsumed
    this.#epochStartUs = nowUs
    this.#epochConsumed = this.consumed
    if (consumed * 2 >= this.windowBytes && elapsedUs < 2 * rttUs && this.windowBytes < this.#windowMaxBytes) {
      this.windowBytes = Math.min(this.windowBytes * 2, this.#windowMaxBytes)
    }
  }
}
