/** Sends once more, over paths that answer, what another path has carried and nobody has acknowledged in time. */
import type { ConnectionCore } from '../core.ts'
import { type Micros, NEVER } from '../ports/datagrams.ts'
import type { Path } from '../path/path.ts'
import { rankOf } from '../path/path-manager.ts'
import { GRANULARITY_US } from '../recovery/rtt.ts'

/** Of the bytes sent, the share that may go out twice while paths are merely late; a path that is silent has its own bound. */
const EARLY_SHARE = 0.03
/** Of that, what may gather; the first requests of a connection may use it. */
const EARLY_BYTES_MAX = 65_536
/** A path that has fallen silent hands back at least so much at once. */
const CHUNK_BYTES_MIN = 65_536

/**
 * Two reasons, both only while another path works:
 * - a path has fallen silent (a probe timeout expired): what it has in flight goes out elsewhere, as much at a time as the
 *   other paths' windows, the next part when that is sent. RFC 9002 declares nothing lost before an acknowledgment, so a
 *   dead path would hold the stream up for ever; a path that was only slow costs duplicates, and they end as it answers;
 * - there is nothing else to send, and the end of what was sent is late: older than any round trip of its path lately. The
 *   probe timeout would come later by what the peer may delay acknowledgments. Within a budget of all bytes sent.
 */
export class Reinjection {
  readonly #core: ConnectionCore
  /** Bytes that may go out twice; earned by sending. */
  #earlyBytes = EARLY_BYTES_MAX
  #bytesSent = 0
  /** Bytes of packets whose contents were offered again without a loss. */
  bytes = 0

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  /** A probe timeout expired on the path. */
  onProbeTimeout(path: Path): void {
    path.recovery.isSpare = this.#core.paths.hasAlternative(path)
    path.recovery.hasSiblings = this.#core.paths.paths.some((other) => other !== path && !other.isAbandoned)
    if (path.recovery.isSpare) this.#handBack(path, NEVER, this.#chunkBytes(path))
  }

  /** Earliest moment at which `onTimeout` has something to do. */
  nextUs(nowUs: Micros): Micros {
    const { paths, streams } = this.#core
    if (paths.paths.length === 1 || streams.outbox.hasUrgent) return NEVER
    const isIdle = !streams.outbox.hasData()
    let next = NEVER
    for (const path of paths.paths) {
      if (path.isAbandoned || path.recovery.inFlightBytes === 0 || !(isIdle || path.isSuspect())) continue
      if (!paths.hasAlternative(path)) continue
      const oldestUs = path.recovery.oldestInFlightUs(path.space)
      if (oldestUs === NEVER) continue
      // The next part, before any new data.
      if (path.isSuspect()) return nowUs
      if (this.#isWorthHaste(path) && this.#hasBudget()) next = Math.min(next, oldestUs + lateAfterUs(path))
    }
    return next
  }

  onTimeout(nowUs: Micros): void {
    const { paths, streams } = this.#core
    if (paths.paths.length === 1 || streams.outbox.hasUrgent) return
    const isIdle = !streams.outbox.hasData()
    for (const path of paths.paths) {
      if (path.isAbandoned || path.recovery.inFlightBytes === 0 || !paths.hasAlternative(path)) continue
      if (path.isSuspect()) {
        this.#handBack(path, NEVER, this.#chunkBytes(path))
        continue
      }
      if (!isIdle || !this.#isWorthHaste(path)) continue
      // A silent path further on has its own bound.
      if (!this.#hasBudget()) continue
      // One more microsecond: times have fractions, and rounding must not leave the oldest one out.
      const bytes = this.#handBack(path, nowUs - lateAfterUs(path) + 1, this.#earlyBytes)
      this.#earlyBytes -= bytes
      // What is handed back must not go the same way; nor should anything else, until an acknowledgment comes.
      if (bytes > 0) path.recovery.isLate = true
    }
  }

  /**
   * Another path would carry at once what this one hands back. Where only a backup path is left, it would go out here again
   * and again, each time putting off the probe timeout that turns to the backup path.
   */
  #isWorthHaste(path: Path): boolean {
    for (const other of this.#core.paths.paths)
      if (other !== path && other.isUsable() && rankOf(other) === 0) return true
    return false
  }

  #hasBudget(): boolean {
    const { bytesSent } = this.#core.counters
    this.#earlyBytes = Math.min(this.#earlyBytes + EARLY_SHARE * (bytesSent - this.#bytesSent), EARLY_BYTES_MAX)
    this.#bytesSent = bytesSent
    return this.#earlyBytes >= this.#core.paths.primary.mtu.mtuBytes
  }

  #handBack(path: Path, sentUntilUs: Micros, bytesMax: number): number {
    const bytes = path.recovery.requeue(path.space, sentUntilUs, bytesMax)
    this.bytes += bytes
    return bytes
  }

  /** What the other paths can take at once. */
  #chunkBytes(path: Path): number {
    let windowBytes = 0
    for (const other of this.#core.paths.paths) {
      if (other !== path && other.isUsable()) windowBytes += other.recovery.congestion.windowBytes
    }
    return Math.max(windowBytes, CHUNK_BYTES_MIN)
  }
}

/** Age at which a packet is late: what RFC 9002 §6.2.1 takes for a probe timeout, without the peer's delay. */
function lateAfterUs(path: Path): Micros {
  return path.rtt.smoothedUs + Math.max(4 * path.rtt.varUs, GRANULARITY_US)
}
