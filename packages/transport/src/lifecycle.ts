/** The end of a connection: why it closes, how long it lingers (closing, draining), and when it is gone. */
import { TransportError, transportErrorCodes } from '@quicether/wire'
import { type ConnectionCore, LifeState } from './core.ts'
import type { CloseReason } from './events.ts'
import { CryptoError } from './handshake.ts'
import { type Micros, NEVER } from './ports/datagrams.ts'

export class Lifecycle {
  readonly #core: ConnectionCore
  readonly #onDrained: () => void
  readonly #wake: () => void
  #closeAtUs: Micros = NEVER
  #closePending = false
  #packetsWhileClosing = 0

  /** `onDrained` releases what the connection holds; `wake` tells the endpoint that there is news. */
  constructor(core: ConnectionCore, onDrained: () => void, wake: () => void) {
    this.#core = core
    this.#onDrained = onDrained
    this.#wake = wake
  }

  /** Closes because of what a packet or a timer brought about. Our own bugs close with INTERNAL_ERROR. */
  // RFC 9000 §11: a stateless reset is never used for a connection we know: errors are signalled
  // RFC 9000 §11.1: "Errors that result in the connection being unusable … MUST be signaled using a CONNECTION_CLOSE frame"
  fail(error: unknown, nowUs: Micros): void {
    const core = this.#core
    if (core.state >= LifeState.Closing) return
    if (error instanceof TransportError) {
      const { code, codeName: name, frameType, message: reason } = error
      return this.startClosing({ kind: 'transport', by: 'local', code, name, frameType, reason }, nowUs)
    }
    if (error instanceof CryptoError) {
      const { code, message: reason } = error
      const name = `CRYPTO_ERROR(${code - 0x100})`
      return this.startClosing({ kind: 'transport', by: 'local', code, name, reason }, nowUs)
    }
    const reason = error instanceof Error ? error.message : String(error)
    const code = transportErrorCodes.INTERNAL_ERROR
    core.observer?.event('internal_error', { reason, stack: error instanceof Error ? error.stack : '' }, nowUs)
    this.startClosing({ kind: 'transport', by: 'local', code, name: 'INTERNAL_ERROR', reason }, nowUs)
  }

  /** Says CONNECTION_CLOSE and lingers. */
  startClosing(reason: CloseReason, nowUs: Micros): void {
    const core = this.#core
    if (core.state >= LifeState.Closing) return
    core.state = LifeState.Closing
    core.closeReason = reason
    this.#closePending = true
    // RFC 9000 §10.2: "These states SHOULD persist for at least three times the current PTO interval"
    this.#closeAtUs = nowUs + 3 * core.paths.largestPtoUs()
    this.#announceEnd(reason, nowUs)
  }

  // RFC 9000 §10.2.2: "The draining state is entered once an endpoint receives a CONNECTION_CLOSE frame … it MUST NOT send any packets"
  onPeerClosed(reason: CloseReason, nowUs: Micros): void {
    const core = this.#core
    if (core.state >= LifeState.Draining) return
    const wasClosing = core.state === LifeState.Closing
    core.state = LifeState.Draining
    this.#closePending = false
    if (wasClosing) return
    core.closeReason = reason
    this.#closeAtUs = nowUs + 3 * core.paths.largestPtoUs()
    this.#announceEnd(reason, nowUs)
  }

  /** Idle timeout, failed version negotiation: nothing more is sent. */
  endSilently(reason: CloseReason, nowUs: Micros): void {
    if (this.#core.state >= LifeState.Closing) return
    this.#core.closeReason = reason
    this.#announceEnd(reason, nowUs)
    this.#drained()
  }

  /** A packet arrived while closing: answer now and then (RFC 9000 §10.2.1). */
  onPacketWhileClosing(): void {
    this.#packetsWhileClosing++
    if ((this.#packetsWhileClosing & (this.#packetsWhileClosing - 1)) === 0) this.#closePending = true
  }

  /** Whether a CONNECTION_CLOSE is due now; asking takes it. */
  takeClose(): boolean {
    const isDue = this.#closePending && this.#core.state === LifeState.Closing
    if (isDue) this.#closePending = false
    return isDue
  }

  /** When a closed connection is over. */
  get nextTimeoutUs(): Micros {
    return this.#core.state === LifeState.Drained ? NEVER : this.#closeAtUs
  }

  onTimeout(nowUs: Micros): void {
    if (nowUs >= this.#closeAtUs) this.#drained()
  }

  #announceEnd(reason: CloseReason, nowUs: Micros): void {
    this.#core.events.push({ kind: 'closed', reason })
    this.#core.observer?.event('connection_closed', { ...reason }, nowUs)
    this.#wake()
  }

  #drained(): void {
    if (this.#core.state === LifeState.Drained) return
    this.#core.state = LifeState.Drained
    this.#onDrained()
    this.#wake()
  }
}
