/** Asks the packet scheduler for a path, burst by burst, and holds its answers to the contract. */
import type { ConnectionCore } from '../core.ts'
import type { PathId } from '../events.ts'
import type { Path } from '../path/path.ts'
import { rankOf } from '../path/path-manager.ts'
import type { Micros } from '../ports/datagrams.ts'
import { ANY_PATH } from '../stream/stream-class.ts'
import { type Schedule, WAIT, fastestSendable } from './packet-scheduler.ts'
import type { PathLane } from './path-lane.ts'

/** Used while a connection has several paths; with one there is nothing to pick. */
export class PathPicker {
  /** Where application data goes in this call of `poll`. */
  picked: Path | undefined = undefined
  readonly #core: ConnectionCore
  readonly #lanes: PathLane[] = []
  readonly #candidates: Path[] = []
  readonly #schedule: { -readonly [Field in keyof Schedule]: Schedule[Field] } = {
    lanes: this.#lanes,
    queuedBytes: 0,
    sendWindowBytes: 0,
    hasInteractive: false,
    hasBulk: false,
    isEnding: false,
    stalls: 0,
    nowUs: 0,
  }

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  /** Nothing waits to be scheduled. */
  clear(): void {
    this.picked = undefined
    for (const path of this.#core.paths.paths) path.lane.isHeld = false
  }

  /** Picks the path of the next burst; undefined when none can send, or the scheduler would rather wait. */
  pick(nowUs: Micros): Path | undefined {
    this.clear()
    const sendable = this.#survey(nowUs)
    if (sendable === 0) return undefined
    const lanes = this.#lanes
    const index = this.#ask()
    if (index === WAIT && sendable < lanes.length) {
      for (const lane of lanes) lane.isHeld = lane.budgetBytes > 0
      return undefined
    }
    this.picked = this.#candidates[index === WAIT ? fastestSendable(lanes) : index]
    return this.picked
  }

  #ask(): number {
    const { policy } = this.#core
    let index: number
    try {
      index = policy.pick(this.#schedule)
    } catch (error) {
      throw new Error(`packet scheduler ${policy.name} failed: ${error instanceof Error ? error.message : error}`)
    }
    if (index === WAIT || (this.#lanes[index]?.budgetBytes ?? 0) > 0) return index
    throw new Error(`packet scheduler ${policy.name} picked lane ${index}, which is none that can send now`)
  }

  /** Decides what packets of the path may carry: everything, unless something is bound to paths or set apart. */
  admit(path: Path): void {
    const { streams, datagrams, policy } = this.#core
    const { classes } = streams.outbox
    if (classes.length === 1 && policy.isInteractive === undefined) return
    const admitsInteractive = path !== this.picked || (policy.admitsInteractive?.(path.lane) ?? true)
    datagrams.isAdmitted = policy.isInteractive === undefined || admitsInteractive
    for (const each of classes) {
      if (each.pathId === ANY_PATH) each.isAdmitted = !each.isInteractive || admitsInteractive
      else each.isAdmitted = each.pathId === path.id || !this.#serves(each.pathId)
    }
  }

  /** Whether a path that streams are bound to works. */
  #serves(pathId: PathId): boolean {
    const path = this.#core.paths.get(pathId)
    return path !== undefined && canCarry(path) && !path.isSuspect()
  }

  /** A burst has left on the picked path. */
  onSent(bytes: number): void {
    if (this.picked !== undefined) this.#core.policy.onSent?.(this.picked.lane, bytes)
  }

  /** Brings the lanes up to date; returns how many have a budget. */
  #survey(nowUs: Micros): number {
    const { paths, streams, datagrams, policy } = this.#core
    const lanes = this.#lanes
    const candidates = this.#candidates
    lanes.length = 0
    candidates.length = 0
    let rank = Infinity
    for (const path of paths.paths) if (canCarry(path)) rank = Math.min(rank, rankOf(path))
    let sendable = 0
    let inFlightBytes = 0
    const isPlain = streams.outbox.isPlain && !datagrams.hasBound
    for (const path of paths.paths) {
      inFlightBytes += path.recovery.inFlightBytes
      if (!canCarry(path)) continue
      if (policy.isRedundant === true) streams.outbox.repeatOn(path.id)
      if (isPlain ? rankOf(path) > rank : !this.#hasDataFor(path, rank)) continue
      refresh(path, nowUs)
      if (path.lane.budgetBytes > 0) sendable++
      // Mostly in order already: paths are opened by rising path ID.
      let at = lanes.length
      while (at > 0 && (lanes[at - 1] as PathLane).id > path.id) at--
      lanes.splice(at, 0, path.lane)
      candidates.splice(at, 0, path)
    }
    const schedule = this.#schedule
    schedule.queuedBytes = streams.queuedBytes
    schedule.sendWindowBytes = streams.credit.available + inFlightBytes
    schedule.stalls = streams.outbox.stalls
    schedule.hasInteractive = policy.isInteractive !== undefined && (datagrams.hasFree || streams.outbox.hasInteractive)
    schedule.hasBulk = !schedule.hasInteractive || streams.outbox.hasBulk
    schedule.isEnding = streams.isEnding
    schedule.nowUs = nowUs
    return sendable
  }

  /** Whether something waits for the path: what is bound to it whatever its rank, the rest for the best rank only. */
  #hasDataFor(path: Path, rank: number): boolean {
    const { outbox } = this.#core.streams
    this.admit(path)
    if (rankOf(path) === rank) return outbox.hasDataFor(path.id) || this.#core.datagrams.hasFor(path.id)
    return rankOf(path) < 2 && (outbox.hasBoundTo(path.id) || this.#core.datagrams.hasBoundTo(path.id))
  }
}

function canCarry(path: Path): boolean {
  return path.isUsable() && path.isAddressable()
}

function refresh(path: Path, nowUs: Micros): void {
  const { lane, rtt, recovery } = path
  lane.budgetBytes = path.space.sent.canSend() ? path.sendBudget(nowUs) : 0
  lane.smoothedRttUs = rtt.smoothedUs
  lane.rttVarUs = rtt.varUs
  lane.hasRttSample = rtt.isKnown
  lane.windowBytes = recovery.congestion.windowBytes
  lane.inFlightBytes = recovery.inFlightBytes
  lane.mtuBytes = path.mtu.mtuBytes
  lane.isStartingUp = recovery.congestion.windowBytes < recovery.congestion.slowStartThresholdBytes
  lane.updateLoss(path.packetsSent, recovery.packetsLost)
}
