/** Says which path carries the acknowledgments of which, and writes them: the policy `ackPath` (RFC 10069 §5.5). */
import type { ConnectionCore } from '../core.ts'
import type { Path } from '../path/path.ts'
import { rankOf } from '../path/path-manager.ts'
import { type Micros, NEVER } from '../ports/datagrams.ts'
import { writeAck } from '../transmit/frame-writers.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'

/** Another path must be faster by an eighth to take over: round trips that flutter must not move acknowledgments about. */
const SWITCH_EIGHTHS = 7

export class AckRouter {
  readonly #core: ConnectionCore
  /** Where acknowledgments go that do not stay on their path; undefined when no other path is fit for them. */
  #fastest: Path | undefined = undefined

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  /** Chooses anew; before each train and before deadlines are asked for. */
  update(nowUs: Micros): void {
    const { paths } = this.#core.paths
    if (paths.length === 1) return
    const previous = this.#fastest
    let best: Path | undefined
    let rank = Infinity
    for (const path of paths) {
      if (!this.#isFit(path, nowUs)) continue
      const own = rankOf(path)
      if (own > rank) continue
      if (own < rank || best === undefined || path.rtt.smoothedUs < best.rtt.smoothedUs) best = path
      rank = own
    }
    const stays = previous !== undefined && this.#isFit(previous, nowUs) && rankOf(previous) === rank
    if (stays && best !== undefined && best.rtt.smoothedUs * 8 >= previous.rtt.smoothedUs * SWITCH_EIGHTHS) return
    this.#fastest = best
  }

  /** Validated, answering, and heard from lately: what goes over a dying path is lost, and the sender stalls. */
  #isFit(path: Path, nowUs: Micros): boolean {
    if (!path.isUsable() || !path.isAddressable() || path.isSuspect() || !path.rtt.hasSample) return false
    return nowUs - path.space.ack.largestAtUs <= 2 * path.ptoUs(this.#core.maxAckDelayUs)
  }

  /** Path on which the acknowledgments of `path` leave when they are due. */
  #carrierOf(path: Path): Path {
    // RFC 10069 §3.4.3: after a PATH_ABANDON, PATH_ACK frames "have to be sent on a different path"
    if (path.isAbandoned) return this.#fastest ?? this.#core.paths.primary
    if (this.#core.config.ackPath === 'same') return path
    return this.#fastest ?? path
  }

  /** Whether a packet of `path` may take the acknowledgments of `about` along. */
  #mayCarry(path: Path, about: Path): boolean {
    if (this.#core.config.ackPath !== 'any') return this.#carrierOf(about) === path
    return (path.isUsable() && !path.isSuspect()) || this.#carrierOf(about) === path
  }

  /** When the first of the acknowledgments that leave on `path` is due. */
  dueAtUs(path: Path): Micros {
    const { paths } = this.#core.paths
    if (paths.length === 1) return path.space.ack.dueAtUs
    let due = NEVER
    for (const about of paths) {
      const { dueAtUs } = about.space.ack
      if (dueAtUs < due && this.#carrierOf(about) === path) due = dueAtUs
    }
    return due
  }

  /** Whether acknowledgments that leave on `path` are due. Asked for each packet: an answer that is no number costs no memory. */
  isDue(path: Path, nowUs: Micros): boolean {
    const { paths } = this.#core.paths
    if (paths.length === 1) return path.space.ack.dueAtUs <= nowUs
    for (const about of paths) if (about.space.ack.dueAtUs <= nowUs && this.#carrierOf(about) === path) return true
    return false
  }

  /** Writes what a 1-RTT packet of `path` should tell. False when nothing was to be told, or there was no room. */
  write(packet: PacketWriter, path: Path, nowUs: Micros): boolean {
    const core = this.#core
    const { paths } = core.paths
    const isMultipath = core.multipath.isNegotiated
    let isWritten = false
    if (isWanted(path, nowUs) && (paths.length === 1 || this.#mayCarry(path, path)))
      isWritten = writeAck(packet, path.space, isMultipath, nowUs)
    if (paths.length === 1) return isWritten
    for (const about of paths) {
      if (about === path || !isWanted(about, nowUs) || !this.#mayCarry(path, about)) continue
      if (!writeAck(packet, about.space, isMultipath, nowUs)) continue
      about.space.ack.largestToldElsewhere = about.space.ack.largest
      isWritten = true
    }
    if (isWritten) this.#writeOfSilentPaths(packet, path, nowUs)
    return isWritten
  }

  /** The last acknowledgments on a path that died went with it: they are said once more where packets still arrive. */
  #writeOfSilentPaths(packet: PacketWriter, own: Path, nowUs: Micros): void {
    const core = this.#core
    for (const path of core.paths.paths) {
      const { ack } = path.space
      if (path === own || path.isAbandoned || ack.largest === ack.largestToldElsewhere) continue
      if (nowUs - ack.largestAtUs <= path.ptoUs(core.maxAckDelayUs)) continue
      if (writeAck(packet, path.space, true, nowUs)) ack.largestToldElsewhere = ack.largest
    }
  }
}

function isWanted({ space: { ack } }: Path, nowUs: Micros): boolean {
  return ack.isUseful || ack.dueAtUs <= nowUs
}
