/** Deadlines of a connection: when the next thing is due, and what happens then. */
import { type ConnectionCore, LifeState } from './core.ts'
import type { Path } from './path/path.ts'
import { type Micros, NEVER } from './ports/datagrams.ts'
import type { Transmitter } from './transmit/transmitter.ts'

export class ConnectionTimers {
  /** When a handshake that is not complete is given up. */
  handshakeDeadlineUs: Micros
  readonly #core: ConnectionCore
  readonly #transmitter: Transmitter
  /** When the last keep-alive was asked for. */
  #keptAliveAtUs: Micros = 0

  constructor(core: ConnectionCore, transmitter: Transmitter, handshakeDeadlineUs: Micros) {
    this.#core = core
    this.#transmitter = transmitter
    this.handshakeDeadlineUs = handshakeDeadlineUs
  }

  /** Earliest deadline of an open connection. */
  nextUs(nowUs: Micros): Micros {
    const core = this.#core
    this.#transmitter.acks.update(nowUs)
    let next = Math.min(
      this.handshakeDeadlineUs,
      this.#idleAtUs(),
      core.keys.previousDropAtUs,
      core.paths.nextTimeoutUs(),
      core.multipath.nextTimeoutUs(),
      core.reinjection.nextUs(nowUs),
    )
    for (const path of core.paths.paths) next = Math.min(next, this.#pathTimeoutUs(path, nowUs))
    return Math.min(next, this.#keepAliveAtUs())
  }

  #pathTimeoutUs(path: Path, nowUs: Micros): Micros {
    if (path.isAbandoned || !path.mayTransmit()) return NEVER
    const isBlocked = path.isAmplificationBlocked()
    let next = path.recovery.deadlineUs(isBlocked)
    if (!isBlocked) {
      for (const space of path.recovery.spaces) {
        const dueAtUs = space === path.space ? this.#transmitter.acks.dueAtUs(path) : space.ack.dueAtUs
        if (dueAtUs < next && space.sent.canProbe()) next = dueAtUs
      }
      if (this.#transmitter.wantsToSend(path)) next = Math.min(next, path.nextSendUs(nowUs))
    }
    return this.#core.handshakeConfirmed ? Math.min(next, path.mtu.pollTimeout()) : next
  }

  // RFC 9000 §10.1: "Each endpoint advertises a max_idle_timeout, but the effective value … is computed as the minimum of the two"
  #idleAtUs(): Micros {
    const core = this.#core
    if (core.idleTimeoutUs === 0) return NEVER
    // RFC 9000 §10.1: "endpoints MUST increase the idle timeout period to be at least three times the current Probe Timeout (PTO)"
    return core.lastActivityUs + Math.max(core.idleTimeoutUs, 3 * core.paths.largestPtoUs())
  }

  #keepAliveAtUs(): Micros {
    const core = this.#core
    const { keepAliveUs } = core.config
    if (keepAliveUs === 0 || core.state !== LifeState.Established) return NEVER
    return Math.max(core.lastActivityUs, this.#keptAliveAtUs) + keepAliveUs
  }

  isIdle(nowUs: Micros): boolean {
    return nowUs >= this.#idleAtUs()
  }

  /** Runs what is due. Throws what the parts throw. */
  onTimeout(nowUs: Micros): void {
    const core = this.#core
    for (const path of core.paths.paths) this.#onPathTimeout(path, nowUs)
    core.reinjection.onTimeout(nowUs)
    core.paths.onTimeout(nowUs)
    core.multipath.onTimeout(nowUs)
    core.keys.onTimeout(nowUs)
    if (nowUs < this.#keepAliveAtUs()) return
    core.pingPending = true
    // Asking for a sign of life is none: a peer that is gone must not be waited for beyond the idle timeout.
    this.#keptAliveAtUs = nowUs
  }

  #onPathTimeout(path: Path, nowUs: Micros): void {
    if (path.isAbandoned || !path.mayTransmit()) return
    path.mtu.onTimeout(nowUs)
    if (!path.recovery.onTimeout(nowUs, path.isAmplificationBlocked())) return
    // A path that has fallen silent must not hold data back while another one works.
    this.#core.reinjection.onProbeTimeout(path)
    this.#core.multipath.onProbeTimeout(path)
    path.ecn.onPtoExpired(path.recovery.ptoCount)
    if (path.mtu.onPtoExpired(path.recovery.ptoCount, nowUs)) path.onMtuChanged()
  }
}
