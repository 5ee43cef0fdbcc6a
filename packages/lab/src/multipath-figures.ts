/** What several paths give, measured in virtual time: shares of the links, gaps of outages, returns. */
import type { EndpointOptions, Micros } from '@quicether/transport'
import type { LinkOptions } from './link.ts'
import { type Scenario, type ScenarioLink, type ScenarioTransfer, world } from './scenario.ts'

const WINDOW_BYTES = 64 * 1024 * 1024

export type Direction = 'download' | 'upload'

export interface Pairing {
  readonly name: string
  readonly a: ScenarioLink
  readonly b: ScenarioLink
}

const megabits = (rate: number, delayMs: number, lossRatio = 0): ScenarioLink => ({
  rateBitsPerSecond: rate * 1e6,
  delayUs: delayMs * 1_000,
  ...(lossRatio === 0 ? {} : { lossRatio }),
})

/** Two links each, as access lines come: alike, unlike in rate, unlike in everything, and the slow one lossy. Delays are one way. */
export const pairings: readonly Pairing[] = [
  { name: '100 Mbit/s + 100 Mbit/s, both 10 ms', a: megabits(100, 10), b: megabits(100, 10) },
  { name: '100 Mbit/s + 20 Mbit/s, both 10 ms', a: megabits(100, 10), b: megabits(20, 10) },
  { name: '50 Mbit/s 15 ms + 20 Mbit/s 60 ms', a: megabits(50, 15), b: megabits(20, 60) },
  { name: 'the same, 1 % loss on the slow link', a: megabits(50, 15), b: megabits(20, 60, 0.01) },
]

export interface TwoLinksOptions {
  readonly seed: number
  readonly a: ScenarioLink
  readonly b: ScenarioLink
  readonly config?: EndpointOptions['config']
  /** The server's link, where both paths meet. Default: perfect. */
  readonly server?: LinkOptions
}

/** A client with links `a` and `b`, a path over each, nothing sent yet. The connection began over `a`. */
export function twoLinks(options: TwoLinksOptions): Scenario {
  const config = {
    maxPaths: 4,
    streamWindowMaxBytes: WINDOW_BYTES,
    connectionWindowMaxBytes: WINDOW_BYTES,
    ...options.config,
  }
  const lab = world({
    seed: options.seed,
    links: { a: options.a, b: options.b },
    clientConfig: config,
    serverConfig: config,
    ...(options.server === undefined ? {} : { server: options.server }),
  })
  lab.join('b')
  return lab
}

function start(lab: Scenario, direction: Direction, bytes: number): ScenarioTransfer {
  return direction === 'download' ? lab.client.download(bytes) : lab.client.upload(bytes)
}

export interface ShareOptions extends TwoLinksOptions {
  readonly direction?: Direction
  /** As long as the links together would need for the transfer. Default 5 s. */
  readonly lengthUs?: Micros
}

/** Goodput of one transfer on one stream as a share of the sum of both link rates, slow start included. */
export function shareOfLinks(options: ShareOptions): number {
  const lab = twoLinks(options)
  const sum = (options.a.rateBitsPerSecond ?? Infinity) + (options.b.rateBitsPerSecond ?? Infinity)
  if (sum === Infinity) throw new RangeError('both links need a rateBitsPerSecond to take a share of')
  const lengthUs = options.lengthUs ?? 5_000_000
  const transfer = start(lab, options.direction ?? 'download', Math.round((sum * lengthUs) / 8e6))
  lab.until(transfer.finished, { withinUs: 20 * lengthUs, what: 'the transfer' })
  return transfer.goodputBitsPerSecond / sum
}

/** Watches a download: when bytes reached the application. */
export class DeliveryWatch {
  readonly #lab: Scenario
  readonly #transfer: ScenarioTransfer
  #bytes = 0
  #lastUs: Micros
  #gapUs: Micros = 0

  constructor(lab: Scenario, transfer: ScenarioTransfer) {
    this.#lab = lab
    this.#transfer = transfer
    this.#lastUs = lab.world.nowUs
    lab.world.observe({ afterStep: (nowUs) => this.#look(nowUs) })
  }

  #look(nowUs: Micros): void {
    const { receivedBytes } = this.#transfer
    if (receivedBytes <= this.#bytes) return
    this.#bytes = receivedBytes
    this.#gapUs = Math.max(this.#gapUs, nowUs - this.#lastUs)
    this.#lastUs = nowUs
  }

  /** Longest time without a new byte since `reset`, the present one included. */
  get gapUs(): Micros {
    return Math.max(this.#gapUs, this.#lab.world.nowUs - this.#lastUs)
  }

  reset(): void {
    this.#gapUs = 0
    this.#lastUs = this.#lab.world.nowUs
  }

  /** Payload rate over the next `durationUs`, in bits per second. */
  rateOver(durationUs: Micros): number {
    const before = this.#transfer.receivedBytes
    this.#lab.run(durationUs)
    return ((this.#transfer.receivedBytes - before) * 8e6) / durationUs
  }
}

/** How a link fails: its line goes dead, or the client knows and abandons the path. */
export type Failure = 'silent' | 'told'

export interface OutageReport {
  /** Longest time without a delivered byte from the failure on, and what design goal G4 allows. */
  readonly gapUs: Micros
  readonly allowedUs: Micros
  /** Share of the rate before the failure that was reached in the third second after the return. */
  readonly returnShare: number
  /** Share of the surviving link's rate during the outage. */
  readonly survivorShare: number
}

/** A download over two links; the one named fails for three seconds, then comes back (and is opened anew if abandoned). */
export function outage(options: TwoLinksOptions & { readonly fails: 'a' | 'b'; readonly how: Failure }): OutageReport {
  const { fails, how } = options
  const lab = twoLinks(options)
  const survivor = fails === 'a' ? 'b' : 'a'
  const transfer = lab.client.download(1e9)
  const watch = new DeliveryWatch(lab, transfer)
  lab.run(2_000_000)
  // Two seconds: what waited for a gap to close comes at once and, alone, would pass for more than the links carry.
  const rateBefore = watch.rateOver(2_000_000)
  const paths = lab.accepted[0]?.connection.paths() ?? []
  const deadPath = paths.find(({ id }) => id === lab.pathOver(fails)?.id)
  const livePath = paths.find(({ id }) => id === lab.pathOver(survivor)?.id)
  if (deadPath === undefined || livePath === undefined) throw new Error('the server does not know both paths')
  const ptoUs = deadPath.smoothedRttUs + Math.max(4 * deadPath.rttVarUs, 1_000) + 25_000
  const allowedUs =
    how === 'told' ? livePath.smoothedRttUs + 50_000 : Math.max(250_000, 3 * livePath.smoothedRttUs + ptoUs)
  watch.reset()
  lab.link(fails).cut()
  if (how === 'told') lab.closePath(fails)
  lab.run(1_500_000)
  const survivorRate = watch.rateOver(1_500_000)
  const { gapUs } = watch
  lab.link(fails).mend()
  if (how === 'told') lab.openPath(fails)
  lab.run(2_000_000)
  const rateAfter = watch.rateOver(1_000_000)
  const survivorLink = options[survivor].rateBitsPerSecond ?? Infinity
  return { gapUs, allowedUs, returnShare: rateAfter / rateBefore, survivorShare: survivorRate / survivorLink }
}
