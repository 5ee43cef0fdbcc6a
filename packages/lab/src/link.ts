/** A link of two independent directions: rate, queue, delay, and everything that can go wrong on the way. */
import { Ecn, type Micros } from '@quicether/transport'
import type { SeededRandom } from '@quicether/transport/testing'
import { type Datagram, type DatagramPool, headerBytes } from './datagram.ts'
import type { Task, TaskHeap } from './heap.ts'

/**
 * How the delay of a datagram is drawn.
 * - `uniform`: `jitterUs` at most is added; the order is kept, late datagrams hold up the later ones.
 * - `normal`: normally distributed around `delayUs` with a deviation of `jitterUs`, never below 0; the order is kept and
 *   datagrams leave no faster than the rate, as with netem when it has a rate.
 * - `overtaking`: the same distribution for each datagram by itself, so that later ones overtake, as with netem without a rate.
 */
export type JitterMode = 'uniform' | 'normal' | 'overtaking'

/** One direction of a link. All probabilities are per datagram. */
export interface PipeOptions {
  /** Bits per second on the wire, IP and UDP headers included. Default: unlimited. */
  readonly rateBitsPerSecond?: number
  /** Propagation delay. Default 0. */
  readonly delayUs?: Micros
  /** How much the delay varies, see `jitterMode`. Default 0. */
  readonly jitterUs?: Micros
  /** What `jitterUs` means. Default 'uniform'. */
  readonly jitterMode?: JitterMode
  readonly lossRatio?: number
  /** Gilbert-Elliott bursts: chance to enter and to leave the bad state per datagram, and the loss inside it. */
  readonly burst?: { readonly enterRatio: number; readonly leaveRatio: number; readonly lossRatio: number }
  /** The same two states by time, as on radio links: mean lengths of the good and the bad state, exponentially distributed. */
  readonly fade?: { readonly goodUs: Micros; readonly badUs: Micros; readonly lossRatio: number }
  /** Share of datagrams held back by `reorderDelayUs`, so that later ones overtake them. */
  readonly reorderRatio?: number
  readonly reorderDelayUs?: Micros
  readonly duplicateRatio?: number
  /** Share of datagrams with one to three flipped bits. */
  readonly corruptRatio?: number
  /** Largest IP packet; bigger ones vanish silently, as on paths that filter ICMP. Default 1500. */
  readonly mtuBytes?: number
  /** Queue in front of a limited rate, tail drop. Default: 100 ms of the rate, at least 30 full packets. */
  readonly queueBytes?: number
  /** ECT datagrams are marked CE when this much is queued before them. Default: never. */
  readonly ecnThresholdBytes?: number
  /** A path element that clears ECN bits. Default false. */
  readonly bleachesEcn?: boolean
}

export interface LinkOptions extends PipeOptions {
  /** Overrides for one direction; `up` leaves the host that owns the link. */
  readonly up?: PipeOptions
  readonly down?: PipeOptions
}

export interface PipeStats {
  offered: number
  delivered: number
  deliveredBytes: number
  lost: number
  tooBig: number
  tailDropped: number
  cut: number
  duplicated: number
  corrupted: number
  marked: number
  queueBytesMax: number
}

/** What a pipe needs from its world. */
export interface PipeContext {
  readonly heap: TaskHeap
  readonly pool: DatagramPool
  readonly random: SeededRandom
}

export type Deliver = (datagram: Datagram, nowUs: Micros) => void

export const pipeDefaults = {
  rateBitsPerSecond: Infinity,
  delayUs: 0,
  jitterUs: 0,
  jitterMode: 'uniform',
  lossRatio: 0,
  burst: { enterRatio: 0, leaveRatio: 1, lossRatio: 0 },
  fade: { goodUs: Infinity, badUs: 0, lossRatio: 0 },
  reorderRatio: 0,
  reorderDelayUs: 10_000,
  duplicateRatio: 0,
  corruptRatio: 0,
  mtuBytes: 1_500,
  queueBytes: 0,
  ecnThresholdBytes: Infinity,
  bleachesEcn: false,
} as const satisfies PipeOptions

type PipeSettings = Required<PipeOptions>

/** Both directions of a link. */
export class Link {
  readonly name: string
  readonly up: Pipe
  readonly down: Pipe

  constructor(name: string, options: LinkOptions, context: PipeContext) {
    this.name = name
    const { up, down, ...both } = options
    this.up = new Pipe(`${name} up`, { ...both, ...up }, context)
    this.down = new Pipe(`${name} down`, { ...both, ...down }, context)
  }

  get isCut(): boolean {
    return this.up.isCut && this.down.isCut
  }

  /** Both directions swallow everything until `mend`. */
  cut(): void {
    this.up.isCut = true
    this.down.isCut = true
  }

  mend(): void {
    this.up.isCut = false
    this.down.isCut = false
  }

  /** Changes both directions from now on. */
  set(options: PipeOptions): void {
    this.up.set(options)
    this.down.set(options)
  }

  /** Back to the options the link was made with, mended. */
  restore(): void {
    this.up.restore()
    this.down.restore()
    this.mend()
  }
}

/** One direction of a link. Every datagram comes out once, twice, late, damaged or not at all, as the seed says. */
export class Pipe {
  readonly name: string
  readonly stats: PipeStats = {
    offered: 0,
    delivered: 0,
    deliveredBytes: 0,
    lost: 0,
    tooBig: 0,
    tailDropped: 0,
    cut: 0,
    duplicated: 0,
    corrupted: 0,
    marked: 0,
    queueBytesMax: 0,
  }
  /** Swallows everything offered while true; what is in flight still arrives. */
  isCut = false
  deliver: Deliver | undefined = undefined
  readonly #original: PipeSettings
  #settings: PipeSettings
  readonly #context: PipeContext
  readonly #flights: Flight[] = []
  #isBad = false
  #isFaded = false
  /** When the present state of `fade` ends; drawn with the first datagram. */
  #fadeChangesAtUs: number | undefined = undefined
  /** When the transmitter will have sent all that is queued; fractional. */
  #busyUntilUs = 0
  /** Arrival of the last datagram that kept its place; fractional in mode `normal`. */
  #lastArrivalUs = 0

  constructor(name: string, options: PipeOptions, context: PipeContext) {
    this.name = name
    this.#context = context
    this.#original = resolvePipe(name, { ...pipeDefaults, ...options })
    this.#settings = this.#original
  }

  get settings(): Readonly<PipeSettings> {
    return this.#settings
  }

  set(options: PipeOptions): void {
    // A queue that was derived from the rate follows a new rate unless one is given.
    const base = options.rateBitsPerSecond === undefined ? this.#settings : { ...this.#settings, queueBytes: 0 }
    this.#settings = resolvePipe(this.name, { ...base, ...options })
  }

  restore(): void {
    this.#settings = this.#original
  }

  /** Bytes waiting for the transmitter. */
  queuedBytes(nowUs: Micros): number {
    const { rateBitsPerSecond } = this.#settings
    if (rateBitsPerSecond === Infinity || this.#busyUntilUs <= nowUs) return 0
    return ((this.#busyUntilUs - nowUs) * rateBitsPerSecond) / 8e6
  }

  /** Takes ownership of the datagram. */
  push(datagram: Datagram, nowUs: Micros): void {
    this.stats.offered++
    const bytes = datagram.length + headerBytes(datagram.destinationAddress)
    if (!this.#admits(datagram, bytes, nowUs)) {
      this.#context.pool.release(datagram)
      return
    }
    const { rateBitsPerSecond, reorderRatio, reorderDelayUs, duplicateRatio, corruptRatio } = this.#settings
    const { random, pool } = this.#context
    const wireUs = rateBitsPerSecond === Infinity ? 0 : (bytes * 8e6) / rateBitsPerSecond
    // A backlog does not outlast its rate.
    this.#busyUntilUs = wireUs === 0 ? nowUs : Math.max(this.#busyUntilUs, nowUs) + wireUs
    this.stats.queueBytesMax = Math.max(this.stats.queueBytesMax, this.queuedBytes(nowUs))
    if (corruptRatio > 0 && random.chance(corruptRatio)) this.#corrupt(datagram)
    let arrivalUs = this.#arrivalUs(wireUs)
    if (reorderRatio > 0 && random.chance(reorderRatio)) arrivalUs += Math.ceil(random.fraction() * reorderDelayUs)
    else this.#lastArrivalUs = Math.max(this.#lastArrivalUs, arrivalUs)
    if (duplicateRatio > 0 && random.chance(duplicateRatio)) {
      this.stats.duplicated++
      this.#fly(pool.copy(datagram), Math.ceil(arrivalUs) + random.between(0, 1_000))
    }
    this.#fly(datagram, Math.ceil(arrivalUs))
  }

  /** When a datagram arrives that has just been queued and takes `wireUs` to transmit; may be fractional. */
  #arrivalUs(wireUs: number): number {
    const { delayUs, jitterUs, jitterMode } = this.#settings
    const { random } = this.#context
    if (jitterMode === 'uniform') {
      const jitter = jitterUs > 0 ? random.fraction() * jitterUs : 0
      return Math.max(this.#lastArrivalUs, Math.ceil(this.#busyUntilUs + delayUs + jitter))
    }
    const drawn = Math.max(0, delayUs + jitterUs * normal(random))
    const alone = this.#busyUntilUs + drawn
    return jitterMode === 'overtaking' ? alone : Math.max(this.#lastArrivalUs + wireUs, alone)
  }

  /** Decides loss, size, queue and ECN; counts what it drops. */
  #admits(datagram: Datagram, bytes: number, nowUs: Micros): boolean {
    const { random } = this.#context
    const { lossRatio, burst, fade, mtuBytes, queueBytes, ecnThresholdBytes, bleachesEcn, rateBitsPerSecond } =
      this.#settings
    if (this.isCut) {
      this.stats.cut++
      return false
    }
    if (bytes > mtuBytes) {
      this.stats.tooBig++
      return false
    }
    if (burst.enterRatio > 0) {
      this.#isBad = this.#isBad ? !random.chance(burst.leaveRatio) : random.chance(burst.enterRatio)
      if (this.#isBad && random.chance(burst.lossRatio)) {
        this.stats.lost++
        return false
      }
    }
    if (fade.goodUs < Infinity && this.#fades(nowUs) && random.chance(fade.lossRatio)) {
      this.stats.lost++
      return false
    }
    if (lossRatio > 0 && random.chance(lossRatio)) {
      this.stats.lost++
      return false
    }
    const queued = rateBitsPerSecond === Infinity ? 0 : this.queuedBytes(nowUs)
    if (queued + bytes > queueBytes) {
      this.stats.tailDropped++
      return false
    }
    if (bleachesEcn) datagram.ecn = Ecn.NotEct
    if (queued >= ecnThresholdBytes && datagram.ecn !== Ecn.NotEct) {
      datagram.ecn = Ecn.Ce
      this.stats.marked++
    }
    return true
  }

  /** Whether the link is in its bad state now. Runs through the states that have passed since the last datagram. */
  #fades(nowUs: Micros): boolean {
    const { goodUs, badUs } = this.#settings.fade
    const { random } = this.#context
    const lengthUs = (): number => -Math.log(1 - random.fraction()) * (this.#isFaded ? badUs : goodUs)
    this.#fadeChangesAtUs ??= nowUs + lengthUs()
    while (this.#fadeChangesAtUs <= nowUs) {
      this.#isFaded = !this.#isFaded
      this.#fadeChangesAtUs += lengthUs()
    }
    return this.#isFaded
  }

  #corrupt(datagram: Datagram): void {
    if (datagram.length === 0) return
    const { random } = this.#context
    this.stats.corrupted++
    for (let flips = random.between(1, 3); flips > 0; flips--) {
      const index = random.between(0, datagram.length - 1)
      datagram.bytes[index] = (datagram.bytes[index] as number) ^ (1 << random.between(0, 7))
    }
  }

  #fly(datagram: Datagram, arrivalUs: Micros): void {
    const flight = this.#flights.pop() ?? new Flight(this)
    flight.datagram = datagram
    this.#context.heap.push(arrivalUs, flight)
  }

  /** Internal: a flight ends. */
  land(flight: Flight, datagram: Datagram, nowUs: Micros): void {
    this.#flights.push(flight)
    this.stats.delivered++
    this.stats.deliveredBytes += datagram.length
    if (this.deliver === undefined) throw new Error(`link ${this.name} leads nowhere; attach it to a host first`)
    this.deliver(datagram, nowUs)
  }
}

/** One datagram between being sent and arriving. Reused. */
class Flight implements Task {
  readonly #pipe: Pipe
  datagram: Datagram | undefined = undefined

  constructor(pipe: Pipe) {
    this.#pipe = pipe
  }

  run(nowUs: Micros): void {
    const datagram = this.datagram
    if (datagram === undefined) throw new Error('a flight landed twice')
    this.datagram = undefined
    this.#pipe.land(this, datagram, nowUs)
  }
}

/** A draw from the standard normal distribution (Box-Muller). */
function normal(random: SeededRandom): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.fraction()))
  return radius * Math.cos(2 * Math.PI * random.fraction())
}

function resolvePipe(name: string, settings: PipeSettings): PipeSettings {
  const { rateBitsPerSecond, delayUs, jitterUs, reorderDelayUs, mtuBytes } = settings
  if (!(rateBitsPerSecond > 0))
    throw new RangeError(
      `link ${name}: rateBitsPerSecond is ${rateBitsPerSecond}, must be above 0; use cut() to stop it`,
    )
  for (const [field, value] of Object.entries({ delayUs, jitterUs, reorderDelayUs })) {
    if (!(value >= 0 && value < Infinity))
      throw new RangeError(`link ${name}: ${field} is ${value}, must be 0 or more and finite`)
  }
  const { lossRatio, reorderRatio, duplicateRatio, corruptRatio, burst, fade } = settings
  // Both no shorter than a millisecond: a pause of an hour then takes no more than millions of draws.
  if (fade.goodUs < Infinity && !(fade.goodUs >= 1_000 && fade.badUs >= 1_000 && fade.badUs < Infinity)) {
    throw new RangeError(
      `link ${name}: fade has goodUs ${fade.goodUs} and badUs ${fade.badUs}, both must be at least 1000 and finite`,
    )
  }
  const ratios = {
    lossRatio,
    reorderRatio,
    duplicateRatio,
    corruptRatio,
    burstEnter: burst.enterRatio,
    burstLeave: burst.leaveRatio,
    burstLoss: burst.lossRatio,
    fadeLoss: fade.lossRatio,
  }
  for (const [field, value] of Object.entries(ratios)) {
    if (!(value >= 0 && value <= 1)) throw new RangeError(`link ${name}: ${field} is ${value}, must be between 0 and 1`)
  }
  if (!(mtuBytes >= 576)) throw new RangeError(`link ${name}: mtuBytes is ${mtuBytes}, IP needs at least 576`)
  if (settings.queueBytes > 0) return settings
  const tenthOfSecond = rateBitsPerSecond / 80
  return { ...settings, queueBytes: rateBitsPerSecond === Infinity ? Infinity : Math.max(tenthOfSecond, 30 * mtuBytes) }
}
