/** Tells when no path of a connection works, since when, and when the next attempt is made. */
import type { Connection } from '@quicether/transport'
import { type Clock, systemClock } from './clock.ts'
import { nowUs } from './driver.ts'

/** `degraded` = nothing comes back over any path; the engine probes all of them at growing intervals. */
export interface Health {
  readonly state: 'working' | 'degraded'
  /** How long the state has lasted. */
  readonly forMs: number
  /** Time until the next probe; undefined while it works. */
  readonly nextAttemptMs: number | undefined
}

/** Unanswered probe timeouts on every path that make a connection degraded: one may be a burst of loss. */
const TIMEOUTS_MIN = 2
const LOOK_EVERY_MS = 200

export class ConnectionHealth {
  readonly #connection: Connection
  readonly #clock: Clock
  #isDegraded = false
  #sinceMs: number
  #cancel: (() => void) | undefined
  #onChange: ((health: Health) => void) | null = null

  constructor(connection: Connection, clock: Clock = systemClock) {
    this.#connection = connection
    this.#clock = clock
    this.#sinceMs = clock.nowMs()
  }

  /** As of now. */
  look(): Health {
    const now = this.#clock.nowMs()
    const isDegraded = this.#findsNone()
    if (isDegraded !== this.#isDegraded) {
      this.#isDegraded = isDegraded
      this.#sinceMs = now
    }
    const forMs = now - this.#sinceMs
    if (!isDegraded) return { state: 'working', forMs, nextAttemptMs: undefined }
    return { state: 'degraded', forMs, nextAttemptMs: this.#nextAttemptMs() }
  }

  /** Calls back on every change; null ends it. */
  watch(onChange: ((health: Health) => void) | null): void {
    this.#onChange = onChange
    this.#cancel?.()
    this.#cancel = undefined
    if (onChange !== null) this.#arm()
  }

  #arm(): void {
    this.#cancel = this.#clock.after(LOOK_EVERY_MS, () => {
      if (this.#connection.isClosed) return
      this.#arm()
      const before = this.#isDegraded
      const health = this.look()
      if (this.#isDegraded !== before) this.#onChange?.(health)
    })
  }

  #findsNone(): boolean {
    const { core } = this.#connection
    if (!core.handshakeConfirmed || this.#connection.isClosed) return false
    return core.paths.paths.every((path) => !path.isUsable() || path.recovery.ptoCount >= TIMEOUTS_MIN)
  }

  #nextAttemptMs(): number {
    let next = Infinity
    for (const path of this.#connection.core.paths.paths) {
      if (!path.isAbandoned) next = Math.min(next, path.recovery.deadlineUs(path.isAmplificationBlocked()))
    }
    return next === Infinity ? 0 : Math.max(0, (next - nowUs()) / 1000)
  }
}
