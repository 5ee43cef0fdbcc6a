/** Asks the packet scheduler for a path, burst by burst, and holds its answers to the contract. */
import type { ConnectionCore } from '../core.ts'
import type { Path } from '../path/path.ts'
import { rankOf } from '../path/path-manager.ts'
import type { Micros } from '../ports/datagrams.ts'
import { type PacketScheduler, WAIT, fastestSendable } from './packet-scheduler.ts'
import type { PathLane } from './path-lane.ts'
import { createPacketScheduler } from './schedulers.ts'

/** Used while a connection has several paths; with one there is nothing to pick. */
export class PathPicker {
  /** Where application data goes in this call of `poll`. */
  picked: Path | undefined = undefined
  readonly #core: ConnectionCore
  readonly #lanes: PathLane[] = []
  readonly #candidates: Path[] = []
  readonly #schedule = { lanes: this.#lanes, queuedBytes: 0, sendWindowBytes: 0, stalls: 0, nowUs: 0 }
  /** Made when a second path comes: most connections never need one. */
  #scheduler: PacketScheduler | undefined

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
    const { config } = this.#core
    this.#scheduler ??= createPacketScheduler(config.packetScheduler, config.pathWeights)
    const scheduler = this.#scheduler
    let index: number
    try {
      index = scheduler.pick(this.#schedule)
    } catch (error) {
      throw new Error(`packet scheduler ${scheduler.name} failed: ${error instanceof Error ? error.message : error}`)
    }
    if (index === WAIT || (this.#lanes[index]?.budgetBytes ?? 0) > 0) return index
    throw new Error(`packet scheduler ${scheduler.name} picked lane ${index}, which is none that can send now`)
  }

  /** A burst has left on the picked path. */
  onSent(bytes: number): void {
    if (this.picked !== undefined) this.#scheduler?.onSent?.(this.picked.lane, bytes)
  }

  /** Brings the lanes up to date; returns how many have a budget. */
  #survey(nowUs: Micros): number {
    const { paths, streams } = this.#core
    const lanes = this.#lanes
    const candidates = this.#candidates
    lanes.length = 0
    candidates.length = 0
    let rank = Infinity
    for (const path of paths.paths) if (canCarry(path)) rank = Math.min(rank, rankOf(path))
    let sendable = 0
    let inFlightBytes = 0
    for (const path of paths.paths) {
      inFlightBytes += path.recovery.inFlightBytes
      if (!canCarry(path) || rankOf(path) > rank) continue
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
    schedule.nowUs = nowUs
    return sendable
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
  lane.hasRttSample = rtt.hasSample
  lane.windowBytes = recovery.congestion.windowBytes
  lane.inFlightBytes = recovery.inFlightBytes
  lane.mtuBytes = path.mtu.mtuBytes
}
