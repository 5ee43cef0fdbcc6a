/** Watches the paths of a connection: what happened to each, and the times in which none of them worked. */
import type { QuicConnection } from '@quicether/net'
import type { PathChange, PathId, PathView } from '@quicether/transport'

/** Something happened to a path. */
export interface PathEvent {
  /** Since the watch began. */
  readonly atMs: number
  readonly path: PathId
  readonly change: PathChange | 'silent' | 'answers'
}

/** A time in which no path worked. */
export interface Outage {
  readonly atMs: number
  durationMs: number
}

/** Told as it happens. */
export interface PathListener {
  onEvent?(event: PathEvent): void
  /** No path works; the engine tries again after `nextTryMs`. */
  onDegraded?(nextTryMs: number | undefined): void
  onRestored?(outage: Outage): void
}

const INTERVAL_MS = 50
/** All paths may be silent for a moment, when a packet got lost: that is not worth a word. */
const OUTAGE_MS_MIN = 500
const EVENTS_MAX = 1_000
const OUTAGES_MAX = 1_000
/** Paths remembered; of those that are over the oldest go first. */
const VIEWS_MAX = 128

/** Remembers paths that are over, too. Lives until `stop`. */
export class PathMonitor {
  readonly events: PathEvent[] = []
  readonly outages: Outage[] = []
  readonly #connection: QuicConnection
  readonly #listener: PathListener
  readonly #startMs: number
  readonly #timer: NodeJS.Timeout
  readonly #views: Map<PathId, PathView> = new Map()
  readonly #silent: Set<PathId> = new Set()
  #outage: Outage | undefined
  #receivedBytes = 0
  #receivedAtMs = 0

  constructor(connection: QuicConnection, listener: PathListener = {}) {
    this.#connection = connection
    this.#listener = listener
    this.#startMs = performance.now()
    connection.onPath = (path, change) => this.#add(path, change)
    this.#timer = setInterval(() => this.#watch(), INTERVAL_MS)
    this.#timer.unref()
  }

  /** All paths so far, by ID; the last 128 when there were more. */
  sample(): readonly PathView[] {
    const now = this.#connection.paths()
    for (const [id, view] of this.#views)
      if (view.state !== 'abandoned') this.#views.set(id, { ...view, state: 'abandoned' })
    for (const view of now) this.#views.set(view.id, view)
    for (const [id, { state }] of this.#views) {
      if (this.#views.size <= VIEWS_MAX) break
      if (state === 'abandoned') this.#views.delete(id)
    }
    return [...this.#views.values()].sort((a, b) => a.id - b.id)
  }

  /** For how long no path has worked; undefined while one does. */
  get degradedMs(): number | undefined {
    return this.#outage?.durationMs
  }

  /** All outages together. */
  get outageMs(): number {
    return this.outages.reduce((sum, { durationMs }) => sum + durationMs, 0)
  }

  /** When the engine probes next; undefined while a path works. */
  nextTryMs(): number | undefined {
    return this.#connection.isClosed ? undefined : this.#connection.health.nextAttemptMs
  }

  /** Ends the watch; an outage that lasts is counted up to now. */
  stop(): void {
    clearInterval(this.#timer)
    if (!this.#connection.isClosed) this.#watch()
    this.#connection.onPath = null
  }

  #watch(): void {
    if (this.#connection.isClosed) return
    let receivedBytes = 0
    for (const { id, state, bytesReceived } of this.sample()) {
      receivedBytes += bytesReceived
      if (state === 'active' && this.#silent.delete(id)) this.#add(id, 'answers')
      if (state !== 'silent' || this.#silent.has(id)) continue
      this.#silent.add(id)
      this.#add(id, 'silent')
    }
    const nowMs = performance.now()
    const { state, forMs, nextAttemptMs } = this.#connection.health
    // Bytes may come before anything of ours is acknowledged.
    const isReceiving = receivedBytes > this.#receivedBytes
    if (isReceiving) this.#receivedAtMs = nowMs
    this.#receivedBytes = receivedBytes
    if (state === 'working' || isReceiving) this.#restore()
    else this.#degrade(Math.min(forMs, nowMs - this.#receivedAtMs), nextAttemptMs)
  }

  #degrade(durationMs: number, nextTryMs: number | undefined): void {
    if (this.#outage !== undefined) this.#outage.durationMs = durationMs
    else if (durationMs >= OUTAGE_MS_MIN) {
      this.#outage = { atMs: performance.now() - durationMs - this.#startMs, durationMs }
      if (this.outages.length < OUTAGES_MAX) this.outages.push(this.#outage)
      this.#listener.onDegraded?.(nextTryMs)
    }
  }

  #restore(): void {
    const outage = this.#outage
    if (outage === undefined) return
    this.#outage = undefined
    this.#listener.onRestored?.(outage)
  }

  #add(path: PathId, change: PathEvent['change']): void {
    const event = { atMs: performance.now() - this.#startMs, path, change }
    if (this.events.length < EVENTS_MAX) this.events.push(event)
    this.#listener.onEvent?.(event)
  }
}
