/** The tournament of packet schedulers: what is run, as small jobs of plain data, so that they can be spread over threads. */
import type { EndpointOptions, Micros } from '@quicether/transport'
import type { JitterMode } from './link.ts'
import { outage, pairings, shareOfLinks } from './multipath-figures.ts'
import { type LinkPair, mqvpnPairNames, mqvpnPairs } from './pairs.ts'
import { multipathRequests, singlePathRequests } from './requests.ts'
import { type Scenario, world } from './scenario.ts'

export type PathConfig = NonNullable<EndpointOptions['config']>

/**
 * - `downloads`: one download over each published pair of links, beside each link alone (goal G3);
 * - `shares`: one transfer as a share of the sum of both links (goal G2);
 * - `outages`: a link dies silently during a download and returns (goals G4, G5);
 * - `requests`: small requests over links that fade (goal G7).
 */
export const tournamentCases = ['downloads', 'shares', 'outages', 'requests'] as const
export type TournamentCase = (typeof tournamentCases)[number]

export interface TournamentPlan {
  /** Labels; what they stand for is up to the caller of `runJob`. */
  readonly schedulers: readonly string[]
  /** The engine's default when absent. */
  readonly congestion?: string
  readonly cases: readonly TournamentCase[]
  /** Names out of `mqvpnPairNames`. */
  readonly pairs: readonly string[]
  /** Seeds 1 to this. */
  readonly seeds: number
  /** Length of each download. */
  readonly lengthUs: Micros
  readonly jitterMode: JitterMode
}

export type LinkName = 'a' | 'b'

/** One run. Those without a scheduler are over one link alone. */
export type Job =
  | { readonly kind: 'alone'; readonly pair: string; readonly over: LinkName; readonly seed: number }
  | { readonly kind: 'both'; readonly scheduler: string; readonly pair: string; readonly seed: number }
  | { readonly kind: 'share'; readonly scheduler: string; readonly pairing: number; readonly seed: number }
  | {
      readonly kind: 'outage'
      readonly scheduler: string
      readonly pairing: number
      readonly fails: LinkName
      readonly seed: number
    }
  | { readonly kind: 'requestsAlone'; readonly over: LinkName; readonly seed: number }
  | { readonly kind: 'requests'; readonly scheduler: string; readonly seed: number }

/** Figures by name; which ones depends on the kind of the job. */
export type JobFigures = Readonly<Record<string, number>>

/** Transfers of the case `shares` are as long as the links together need this time for, as in docs/multipath.md. */
const SHARE_LENGTH_US = 10_000_000
/** More than any link carries in the time. */
const ENDLESS_BYTES = 4e9

/** Every run of a tournament. Throws RangeError for pairs that do not exist. */
export function planJobs(plan: TournamentPlan): Job[] {
  for (const pair of plan.pairs) pairNamed(pair, plan.jitterMode)
  const jobs: Job[] = []
  for (let seed = 1; seed <= plan.seeds; seed++) {
    for (const each of plan.cases) {
      if (each === 'downloads')
        for (const pair of plan.pairs)
          for (const over of ['a', 'b'] as const) jobs.push({ kind: 'alone', pair, over, seed })
      if (each === 'requests') for (const over of ['a', 'b'] as const) jobs.push({ kind: 'requestsAlone', over, seed })
      for (const scheduler of plan.schedulers) jobs.push(...jobsOf(plan, each, scheduler, seed))
    }
  }
  return jobs
}

function jobsOf({ pairs }: TournamentPlan, each: TournamentCase, scheduler: string, seed: number): Job[] {
  if (each === 'downloads') return pairs.map((pair) => ({ kind: 'both', scheduler, pair, seed }))
  if (each === 'shares') return pairings.map((_, pairing) => ({ kind: 'share', scheduler, pairing, seed }))
  if (each === 'requests') return [{ kind: 'requests', scheduler, seed }]
  return pairings.flatMap((_, pairing) =>
    (['a', 'b'] as const).map((fails) => ({ kind: 'outage', scheduler, pairing, fails, seed }) as const),
  )
}

/** Runs one job; `config` is that of its scheduler, on top of the engine's defaults. Throws when the run gets stuck. */
export function runJob(job: Job, plan: TournamentPlan, config: PathConfig): JobFigures {
  const { seed } = job
  if (job.kind === 'alone' || job.kind === 'both') {
    const run = { pair: pairNamed(job.pair, plan.jitterMode), seed, lengthUs: plan.lengthUs, config }
    return { bitsPerSecond: job.kind === 'both' ? multipathGoodput(run) : singleGoodput(run, job.over) }
  }
  if (job.kind === 'requestsAlone') return { ...singlePathRequests({ seed, config }, job.over) }
  if (job.kind === 'requests') return { ...multipathRequests({ seed, config }) }
  const { a, b } = pairingAt(job.pairing)
  if (job.kind === 'share') return { share: shareOfLinks({ seed, a, b, config, lengthUs: SHARE_LENGTH_US }) }
  return { ...outage({ seed, a, b, config, fails: job.fails, how: 'silent' }) }
}

export interface DownloadOptions {
  readonly pair: LinkPair
  readonly seed: number
  readonly lengthUs: Micros
  /** On top of the default settings of both sides. */
  readonly config: PathConfig
}

/** Payload bits per second of one download over one link alone, slow start included. */
export function singleGoodput(options: DownloadOptions, over: LinkName): number {
  const { pair, seed, config } = options
  // One path does not need the extension; everything else is as with two.
  const plain = { ...config, maxPaths: 1 }
  const lab = world({ seed, links: { [over]: pair[over] }, clientConfig: plain, serverConfig: plain })
  lab.join()
  return measure(lab, options.lengthUs)
}

/** The same over both links, begun on `a`; both paths are validated before the download starts. */
export function multipathGoodput(options: DownloadOptions): number {
  const { pair, seed, config } = options
  const both = { ...config, maxPaths: 4 }
  const lab = world({ seed, links: { a: pair.a, b: pair.b }, clientConfig: both, serverConfig: both })
  lab.join('b')
  return measure(lab, options.lengthUs)
}

/** What the application had in order when the time was up. */
function measure(lab: Scenario, lengthUs: Micros): number {
  const transfer = lab.client.download(ENDLESS_BYTES)
  lab.run(lengthUs)
  return (transfer.receivedBytes * 8e6) / lengthUs
}

/** One of the published pairs. Throws RangeError for a name that none has. */
export function pairNamed(name: string, jitterMode: JitterMode): LinkPair {
  const pair = mqvpnPairs(jitterMode).find((each) => each.name === name)
  if (pair === undefined) throw new RangeError(`there is no pair ${name}; there are ${mqvpnPairNames.join(', ')}`)
  return pair
}

function pairingAt(index: number): (typeof pairings)[number] {
  const pairing = pairings[index]
  if (pairing === undefined) throw new RangeError(`there is no pairing ${index}`)
  return pairing
}

/** Sum of both rates in bits per second. */
export function sumOfRates({ name, a, b }: LinkPair): number {
  const sum = (a.rateBitsPerSecond ?? Infinity) + (b.rateBitsPerSecond ?? Infinity)
  if (sum === Infinity) throw new RangeError(`pair ${name}: both links need a rateBitsPerSecond to take a share of`)
  return sum
}
