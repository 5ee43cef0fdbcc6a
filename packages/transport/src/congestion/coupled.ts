/** Coupled congestion control: the windows of a connection's paths grow together, so that they take one flow's share. */
import type { Micros } from '../ports/datagrams.ts'
import type { RttEstimator } from '../recovery/rtt.ts'
import type { CongestionController } from './controller.ts'
import { type CoupledLaw, laws } from './coupled-laws.ts'
import { type AvoidanceLaw, WindowController } from './window-controller.ts'

export type CoupledAlgorithm = keyof typeof laws

/** What coupling needs to know of the path a controller belongs to. */
export interface CoupledPath {
  /** Validated and open. */
  isUsable(): boolean
  /** Nothing has come back for a probe timeout. */
  isSuspect(): boolean
  readonly isAbandoned: boolean
}

/** The controllers of one connection's paths. */
export class CoupledGroup {
  readonly #controllers: CoupledController[] = []
  /** The members of the last `refresh`; the same array each time. */
  readonly members: CoupledController[] = []

  /** Paths that were abandoned leave when another comes: the group is never larger than the limit of paths allows. */
  add(controller: CoupledController): void {
    for (let i = this.#controllers.length - 1; i >= 0; i--) {
      if ((this.#controllers[i] as CoupledController).path.isAbandoned) this.#controllers.splice(i, 1)
    }
    this.#controllers.push(controller)
  }

  get size(): number {
    return this.#controllers.length
  }

  /** Members besides `own` that carry data now: a silent path's window is no one's share. */
  refresh(own: CoupledController): readonly CoupledController[] {
    const { members } = this
    members.length = 0
    for (const controller of this.#controllers) {
      const { path } = controller
      if (controller === own || (path.isUsable() && !path.isSuspect() && controller.smoothedRttUs > 0))
        members.push(controller)
    }
    return members
  }
}

/** A controller of `algorithm` for `path`. With one path in use each of them behaves as NewReno. */
export function createCoupled(
  algorithm: CoupledAlgorithm,
  mtuBytes: number,
  initialPackets: number | undefined,
  path: CoupledPath,
  group: CoupledGroup,
): CongestionController {
  return new CoupledController(new CoupledAvoidance(algorithm, laws[algorithm], group), mtuBytes, initialPackets, path)
}

/** A window controller whose siblings may look at it. */
export class CoupledController extends WindowController {
  readonly path: CoupledPath
  /** 0 before the first acknowledgment. */
  smoothedRttUs: Micros = 0
  /** Bytes acknowledged between the last two losses, and since the last one. */
  lossIntervalBytes = 0
  sinceLossBytes = 0

  constructor(avoidance: CoupledAvoidance, mtuBytes: number, initialPackets: number | undefined, path: CoupledPath) {
    super(avoidance, mtuBytes, initialPackets)
    this.path = path
    avoidance.join(this)
  }

  override onPacketAcked(
    bytes: number,
    packetNumber: number,
    sentAtUs: Micros,
    rtt: RttEstimator,
    nowUs: Micros,
  ): void {
    super.onPacketAcked(bytes, packetNumber, sentAtUs, rtt, nowUs)
    this.sinceLossBytes += bytes
  }

  override onAckFinished(inFlightBytes: number, rtt: RttEstimator, nowUs: Micros): void {
    this.smoothedRttUs = rtt.smoothedUs
    super.onAckFinished(inFlightBytes, rtt, nowUs)
  }

  /** A congestion that was not answered before: the interval between losses is over. */
  onReduced(): void {
    this.lossIntervalBytes = this.sinceLossBytes
    this.sinceLossBytes = 0
  }

  override reset(mtuBytes: number): void {
    super.reset(mtuBytes)
    this.smoothedRttUs = 0
    this.lossIntervalBytes = 0
    this.sinceLossBytes = 0
  }
}

/** Connects a coupled law, which sees all windows, with the controller of one of them. */
class CoupledAvoidance implements AvoidanceLaw {
  readonly name: CoupledAlgorithm
  readonly canUndo = false
  readonly #law: CoupledLaw
  readonly #group: CoupledGroup
  #own: CoupledController | undefined = undefined

  constructor(name: CoupledAlgorithm, law: CoupledLaw, group: CoupledGroup) {
    this.name = name
    this.#law = law
    this.#group = group
  }

  join(own: CoupledController): void {
    this.#own = own
    this.#group.add(own)
  }

  grow(windowBytes: number, ackedBytes: number, mtuBytes: number): number {
    const own = this.#own as CoupledController
    const growth = this.#law.growth(own, this.#group.refresh(own))
    return windowBytes + growth * ackedBytes * mtuBytes
  }

  skipTime(): void {}

  reduce(windowBytes: number): number {
    const own = this.#own as CoupledController
    const decrease = this.#law.decrease(own, this.#group.refresh(own))
    own.onReduced()
    return windowBytes - windowBytes * decrease
  }

  onSlowStartExit(): void {}

  onPersistentCongestion(): void {}

  undo(): void {}

  reset(): void {}
}
