/** The virtual world: one clock, one heap of things to come, one seed, and the routes between hosts. */
import type { Micros } from '@quicether/transport'
import { createSeededRandom, type SeededRandom } from '@quicether/transport/testing'
import { type Datagram, DatagramPool } from './datagram.ts'
import { RunDigest } from './digest.ts'
import { type Task, TaskHeap } from './heap.ts'
import { Host, type NetworkInterface } from './host.ts'
import { Link, type LinkOptions } from './link.ts'
import { Nat, type NatOptions } from './nat.ts'
import { formatTime, Timeline } from './timeline.ts'

export interface WorldOptions {
  readonly seed: number
  /** Virtual time at the start. Default 1 s, so that a forgotten zero shows. */
  readonly startUs?: Micros
}

/** Looks at the world from outside. Throws when something is wrong that must never be. */
export interface WorldObserver {
  onSent?(host: Host, datagram: Datagram, nowUs: Micros): void
  onReceived?(host: Host, datagram: Datagram, nowUs: Micros): void
  /** After each task. */
  afterStep?(nowUs: Micros): void
}

/** What was demanded did not happen in time. */
export class LivenessError extends Error {
  override readonly name = 'LivenessError'
}

/** Tasks in one instant of virtual time after which the world is considered to spin. */
const TASKS_PER_INSTANT_MAX = 1_000_000

/** Runs hosts and links in virtual time: the same seed gives the same run, byte for byte. */
export class World {
  readonly seed: number
  readonly random: SeededRandom
  readonly pool = new DatagramPool()
  readonly digest = new RunDigest()
  readonly #heap = new TaskHeap()
  readonly #timeline = new Timeline()
  readonly #hosts: Host[] = []
  readonly #links: Link[] = []
  readonly #routes = new Map<string, NetworkInterface>()
  readonly #nats: Nat[] = []
  readonly #observers: WorldObserver[] = []
  #nowUs: Micros
  #steps = 0
  #tasksThisInstant = 0
  /** Datagrams to addresses that nobody holds. */
  unroutable = 0

  constructor(options: WorldOptions) {
    this.seed = options.seed
    this.random = createSeededRandom(options.seed)
    this.#nowUs = options.startUs ?? 1_000_000
  }

  get nowUs(): Micros {
    return this.#nowUs
  }

  get steps(): number {
    return this.#steps
  }

  get hosts(): readonly Host[] {
    return this.#hosts
  }

  get links(): readonly Link[] {
    return this.#links
  }

  get nats(): readonly Nat[] {
    return this.#nats
  }

  addHost(name: string): Host {
    const host = new Host(this, name)
    this.#hosts.push(host)
    return host
  }

  addLink(name: string, options: LinkOptions = {}): Link {
    const link = new Link(name, options, {
      heap: this.#heap,
      pool: this.pool,
      random: this.random.fork(`link ${name} ${this.#links.length}`),
    })
    this.#links.push(link)
    return link
  }

  addNat(options: NatOptions): Nat {
    const nat = new Nat(options, this.random.fork(`nat ${this.#nats.length}`))
    this.#nats.push(nat)
    return nat
  }

  observe(observer: WorldObserver): void {
    this.#observers.push(observer)
  }

  /** Runs a task at a time, or as soon as possible when that time has passed. */
  schedule(atUs: Micros, task: Task): void {
    this.#heap.push(Math.max(atUs, this.#nowUs), task)
  }

  /** Runs an action at a time given from the start of time (see `startUs`). */
  at(atUs: Micros, action: () => void): void {
    this.schedule(atUs, { run: action })
  }

  /** Runs an action after some time from now. */
  after(delayUs: Micros, action: () => void): void {
    this.schedule(this.#nowUs + delayUs, { run: action })
  }

  /** Runs an action again and again while it returns true. */
  every(periodUs: Micros, action: () => boolean): void {
    this.after(periodUs, () => {
      if (action()) this.every(periodUs, action)
    })
  }

  /** Performs the next task; false when there is none. */
  step(): boolean {
    const atUs = this.#heap.nextUs()
    const task = this.#heap.pop()
    if (task === undefined) return false
    if (atUs > this.#nowUs) this.#tasksThisInstant = 0
    else if (++this.#tasksThisInstant > TASKS_PER_INSTANT_MAX) {
      throw new LivenessError(
        `time stands still at ${formatTime(this.#nowUs)}: ${TASKS_PER_INSTANT_MAX} tasks in one instant`,
      )
    }
    this.#nowUs = Math.max(this.#nowUs, atUs)
    this.#steps++
    task.run(this.#nowUs)
    for (const observer of this.#observers) observer.afterStep?.(this.#nowUs)
    return true
  }

  /** Runs everything due within the next `durationUs`, and moves the clock to its end. */
  run(durationUs: Micros): void {
    const endUs = this.#nowUs + durationUs
    while (this.#heap.nextUs() <= endUs) this.step()
    this.#nowUs = endUs
  }

  /** Runs until the condition holds; throws `LivenessError` when it does not within the time. */
  until(condition: () => boolean, options: { readonly withinUs: Micros; readonly what?: string }): void {
    const deadlineUs = this.#nowUs + options.withinUs
    while (!condition()) {
      const nextUs = this.#heap.nextUs()
      if (nextUs <= deadlineUs) {
        this.step()
        continue
      }
      const why = nextUs === Infinity ? 'nothing is left to happen' : `not within ${formatTime(options.withinUs)}`
      throw new LivenessError(
        `${options.what ?? 'the awaited condition'} did not come true: ${why} (seed ${this.seed}, now ${formatTime(this.#nowUs)})\n${this.#timeline.tail(20)}`,
      )
    }
  }

  /** Adds a line to the timeline. */
  note(topic: string, text: string): void {
    this.#timeline.add(this.#nowUs, topic, text)
  }

  /** Lines of the named topics, of all when none is named. */
  timeline(...topics: readonly string[]): string {
    return this.#timeline.text(...topics)
  }

  timelineTail(count: number): string {
    return this.#timeline.tail(count)
  }

  /** Internal: an interface takes an address. Private addresses behind a NAT are known to that NAT alone. */
  claim(address: string, holder: NetworkInterface): void {
    const key = routeKey(holder.nat, this.#nats, address)
    const other = this.#routes.get(key)
    if (other !== undefined)
      throw new Error(`address ${address} already belongs to ${other.name} of ${other.host.name}`)
    this.#routes.set(key, holder)
  }

  unclaim(address: string, holder: NetworkInterface): void {
    this.#routes.delete(routeKey(holder.nat, this.#nats, address))
  }

  /** Internal: a datagram left its access link; through the NAT, if any, to whoever holds the destination. */
  routeFrom(nat: Nat | undefined, datagram: Datagram, nowUs: Micros): void {
    const local =
      nat === undefined ? undefined : this.#routes.get(routeKey(nat, this.#nats, datagram.destinationAddress))
    if (local !== undefined) {
      local.link.down.push(datagram, nowUs)
      return
    }
    nat?.outbound(datagram, nowUs)
    this.#route(datagram, nowUs)
  }

  #route(datagram: Datagram, nowUs: Micros): void {
    const direct = this.#routes.get(datagram.destinationAddress)
    if (direct !== undefined) {
      direct.link.down.push(datagram, nowUs)
      return
    }
    for (const nat of this.#nats) {
      if (nat.publicAddress !== datagram.destinationAddress) continue
      const inside = nat.inbound(datagram, nowUs)
        ? this.#routes.get(routeKey(nat, this.#nats, datagram.destinationAddress))
        : undefined
      if (inside === undefined) this.pool.release(datagram)
      else inside.link.down.push(datagram, nowUs)
      return
    }
    this.unroutable++
    this.pool.release(datagram)
  }

  /** Internal: a host handed a datagram to the network. */
  onSent(host: Host, datagram: Datagram, nowUs: Micros): void {
    this.digest.datagram('sent', datagram, nowUs)
    for (const observer of this.#observers) observer.onSent?.(host, datagram, nowUs)
  }

  /** Internal: a datagram reached a port that listens. */
  onReceived(host: Host, datagram: Datagram, nowUs: Micros): void {
    this.digest.datagram('received', datagram, nowUs)
    for (const observer of this.#observers) observer.onReceived?.(host, datagram, nowUs)
  }
}

/** Addresses behind a NAT live in a namespace of their own. */
function routeKey(nat: Nat | undefined, nats: readonly Nat[], address: string): string {
  return nat === undefined ? address : `${nats.indexOf(nat)}/${address}`
}
