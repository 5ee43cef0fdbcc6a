/** A swarm of faults drawn from the seed: each begins, ends, and is gone when liveness is demanded. */
import type { Micros } from '@quicether/transport'
import type { SeededRandom } from '@quicether/transport/testing'
import type { NetworkInterface } from './host.ts'
import type { Link, PipeOptions } from './link.ts'
import type { Nat } from './nat.ts'
import { formatTime } from './timeline.ts'
import type { World } from './world.ts'

/** A host that can be put to sleep. */
export interface Sleeper {
  suspend(): void
  resume(): void
}

export interface FaultTargets {
  readonly links: readonly Link[]
  readonly nats: readonly Nat[]
  /** Interfaces that may go down. */
  readonly interfaces: readonly NetworkInterface[]
  readonly sleepers: readonly Sleeper[]
  /** Whether NATs may forget now; before a handshake is confirmed that is fatal by design (RFC 9000 §9). */
  readonly canRebind: () => boolean
}

export interface FaultSchedule {
  readonly startUs: Micros
  /** All faults are over by then. */
  readonly endUs: Micros
  readonly count: number
  /** Longest outage; must stay well below idle timeouts. */
  readonly outageUsMax: Micros
}

/** Fault kinds that change options of a link for a while. */
const linkFaults: readonly [string, (random: SeededRandom, link: Link) => PipeOptions][] = [
  ['loses', (random) => ({ lossRatio: 0.02 + 0.3 * random.fraction() })],
  ['loses all but little', (random) => ({ lossRatio: 0.5 + 0.4 * random.fraction() })],
  [
    'loses in bursts',
    (random) => ({ burst: { enterRatio: 0.02, leaveRatio: 0.05 + 0.3 * random.fraction(), lossRatio: 0.9 } }),
  ],
  ['corrupts', (random) => ({ corruptRatio: 0.01 + 0.2 * random.fraction() })],
  ['duplicates', (random) => ({ duplicateRatio: 0.05 + 0.5 * random.fraction() })],
  [
    'reorders',
    (random) => ({ reorderRatio: 0.05 + 0.4 * random.fraction(), reorderDelayUs: random.between(1_000, 100_000) }),
  ],
  ['is slow', (random) => ({ rateBitsPerSecond: random.between(200_000, 2_000_000) })],
  ['is far', (random, link) => ({ delayUs: link.up.settings.delayUs + random.between(20_000, 400_000) })],
  ['jitters', (random) => ({ jitterUs: random.between(5_000, 100_000) })],
  ['has a small queue', (random) => ({ rateBitsPerSecond: 5_000_000, queueBytes: random.between(3_000, 15_000) })],
  ['shrinks its MTU', (random) => ({ mtuBytes: random.between(1_260, 1_450) })],
  ['bleaches ECN', () => ({ bleachesEcn: true })],
  ['marks ECN', () => ({ rateBitsPerSecond: 8_000_000, ecnThresholdBytes: 3_000 })],
]

export class FaultSwarm {
  readonly #world: World
  readonly #targets: FaultTargets
  /** Active changes per link, in the order they began. */
  readonly #changes = new Map<Link, PipeOptions[]>()
  readonly #cuts = new Map<object, number>()
  #begun = 0
  #active = 0

  constructor(world: World, targets: FaultTargets) {
    this.#world = world
    this.#targets = targets
  }

  get begun(): number {
    return this.#begun
  }

  get active(): number {
    return this.#active
  }

  /** Draws the whole swarm now, so that what happens in between does not shift it. */
  schedule(random: SeededRandom, plan: FaultSchedule): void {
    for (let i = 0; i < plan.count; i++) {
      const beginUs = random.between(plan.startUs, Math.max(plan.startUs, plan.endUs - 1))
      const wished = random.chance(0.5) ? random.between(1_000, 300_000) : random.between(1_000, plan.outageUsMax)
      const fault = this.#draw(random)
      this.#world.at(beginUs, () => this.#run(fault, Math.min(plan.endUs, beginUs + wished)))
    }
  }

  #run(fault: Fault, endUs: Micros): void {
    if (fault.begin() === false) return
    this.#begun++
    this.#active++
    this.#world.note('fault', `${fault.text} until ${formatTime(endUs)}`)
    this.#world.at(endUs, () => {
      this.#active--
      fault.end()
    })
  }

  #draw(random: SeededRandom): Fault {
    const { nats, interfaces, sleepers } = this.#targets
    const draws: (() => Fault)[] = [
      () => this.#drawLinkFault(random),
      () => this.#drawLinkFault(random),
      () => this.#drawLinkFault(random),
      () => this.#drawCut(random),
    ]
    if (nats.length > 0) draws.push(() => this.#drawRebinding(random))
    if (interfaces.length > 0) draws.push(() => this.#drawInterfaceDown(random))
    if (sleepers.length > 0) draws.push(() => this.#drawSleep(random))
    return random.pick(draws)()
  }

  #drawLinkFault(random: SeededRandom): Fault {
    const link = random.pick(this.#targets.links)
    const [text, options] = random.pick(linkFaults)
    const change = options(random, link)
    return {
      text: `${link.name} ${text}`,
      begin: () => {
        const changes = this.#changes.get(link) ?? []
        changes.push(change)
        this.#changes.set(link, changes)
        this.#apply(link)
      },
      end: () => {
        const changes = this.#changes.get(link) ?? []
        changes.splice(changes.indexOf(change), 1)
        this.#apply(link)
      },
    }
  }

  #apply(link: Link): void {
    link.up.restore()
    link.down.restore()
    for (const change of this.#changes.get(link) ?? []) link.set(change)
  }

  #drawCut(random: SeededRandom): Fault {
    const link = random.pick(this.#targets.links)
    const which = random.pick(['both', 'up', 'down'] as const)
    const pipes = which === 'both' ? [link.up, link.down] : [link[which]]
    return {
      text: `${link.name} is cut (${which})`,
      begin: () => {
        for (const pipe of pipes) pipe.isCut = this.#count(pipe, 1) > 0
      },
      end: () => {
        for (const pipe of pipes) pipe.isCut = this.#count(pipe, -1) > 0
      },
    }
  }

  #count(subject: object, change: number): number {
    const count = (this.#cuts.get(subject) ?? 0) + change
    this.#cuts.set(subject, count)
    return count
  }

  #drawRebinding(random: SeededRandom): Fault {
    const nat = random.pick(this.#targets.nats)
    const address = random.chance(0.3) ? `198.51.100.${random.between(10, 250)}` : undefined
    return {
      text: `NAT ${nat.publicAddress} forgets${address === undefined ? '' : ` and becomes ${address}`}`,
      begin: () => {
        if (!this.#targets.canRebind()) return false
        const isTaken = address !== undefined && this.#world.nats.some((other) => other.publicAddress === address)
        nat.rebind(isTaken ? undefined : address)
        return undefined
      },
      end: () => {},
    }
  }

  #drawInterfaceDown(random: SeededRandom): Fault {
    const subject = random.pick(this.#targets.interfaces)
    const mode = random.pick(['error', 'silent'] as const)
    return {
      text: `${subject.host.name} ${subject.name} goes down (${mode})`,
      begin: () => {
        this.#count(subject, 1)
        subject.down(mode)
      },
      end: () => {
        if (this.#count(subject, -1) === 0) subject.up()
      },
    }
  }

  #drawSleep(random: SeededRandom): Fault {
    const sleeper = random.pick(this.#targets.sleepers)
    return {
      text: 'a host sleeps',
      begin: () => {
        this.#count(sleeper, 1)
        sleeper.suspend()
      },
      end: () => {
        if (this.#count(sleeper, -1) === 0) sleeper.resume()
      },
    }
  }
}

interface Fault {
  readonly text: string
  /** False = not possible now. */
  begin(): false | undefined | void
  end(): void
}
