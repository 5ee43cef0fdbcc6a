/** The tournament of packet schedulers: what is run, as small jobs of plain data, so that they can be spread over threads. */
import type { EndpointOptions, Micros } from '@quicether/transport'
import type { JitterMode } from './link.ts'
import { rebindingGapOfTwo } from './migrations.ts'
import { outage, pairings, shareOfLinks } from './multipath-figures.ts'
import { type LinkPair, mqvpnPairNames, mqvpnPairs } from './pairs.ts'
import { multipathRequests, singlePathRequests } from './requests.ts'
import { type Scenario, world } from './scenario.ts'
import { sharedBottleneck } from './shared-bottleneck.ts'

export type PathConfig = NonNullable<EndpointOptions['config']>

/**
 * - `downloads`: one download over each published pair of links, beside each link alone (goal G3);
 * - `shares`: one transfer as a share of the sum of both links (goal G2);
 * - `outages`: a link dies silently during a download and returns (goals G4, G5);
 * - `told`: the same, but the client knows and abandons the path (goal G4);
 * - `rebindings`: the NAT of one of two links forgets it (goal G6);
 * - `requests`: small requests over links that fade (goal G7);
 * - `fairness`: both paths lead through one link, beside a flow of one path (goal G8).
 */
export const tournamentCases = ['downloads', 'shares', 'outages', 'told', 'rebindings', 'requests', 'fairness'] as const
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

/** Which of the pairings the case `rebindings` runs over, in which directions. */
export const rebindingPairings = [1, 2] as const
export const rebindingDirections = ['download', 'upload'] as const
export type RebindingDirection = (typeof rebindingDirections)[number]

/** Congestion control of both paths in the case `fairness`: three that couple them, and one that does not, to compare. */
export const fairnessAlgorithms = ['lia', 'olia', 'balia', 'new_reno'] as const
export type FairnessAlgorithm = (typeof fairnessAlgorithms)[number]

/** One run. Those without a scheduler are over one link alone. */
export type Job =
  | { readonly kind: 'alone'; readonly pair: string; readonly over: LinkName; readonly seed: number }
  | { readonly kind: 'both'; readonly scheduler: string; readonly pair: string; readonly seed: number }
  | { readonly kind: 'share'; readonly scheduler: string; readonly pairing: number; readonly seed: number }
  | {
      readonly kind: 'outage' | 'told'
      readonly scheduler: string
      readonly pairing: number
      readonly fails: LinkName
      readonly seed: number
    }
  | {
      readonly kind: 'rebinding'
      readonly scheduler: string
      readonly pairing: number
      readonly direction: RebindingDirection
      readonly seed: number
    }
  | {
      readonly kind: 'fairness'
      readonly scheduler: string
      readonly algorithm: FairnessAlgorithm
      readonly seed: number
    }
  | { readonly kind: 'requestsAlone'; readonly over: LinkName; readonly seed: number }
  | { readonly kind: 'requests'; readonly scheduler: string; readonly seed: number }

/** Figures by name; which ones depends on the kind of the job. */
export type JobFigures = Readonly<Record<string, number>>

/** Transfers of the case `shares` are as long as the links together need this time for, as in docs/multipath.md. */
const SHARE_LENGTH_US = 10_000_000
/** Long enough for some twenty sawteeth of the flows. */
const FAIRNESS_LENGTH_US = 20_000_000
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
  if (each === 'rebindings')
    return rebindingPairings.flatMap((pairing) =>
      rebindingDirections.map((direction) => ({ kind: 'rebinding', scheduler, pairing, direction, seed }) as const),
    )
  if (each === 'fairness')
    return fairnessAlgorithms.map((algorithm) => ({ kind: 'fairness', scheduler, algorithm, seed }))
  const kind = each === 'told' ? 'told' : 'outage'
  return pairings.flatMap((_, pairing) =>
    (['a', 'b'] as const).map((fails) => ({ kind, scheduler, pairing, fails, seed }) as const),
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
  if (job.kind === 'fairness')
    return { ...sharedBottleneck({ seed, config, congestion: job.algorithm, durationUs: FAIRNESS_LENGTH_US }) }
  const { a, b } = pairingAt(job.pairing)
  if (job.kind === 'share') return { share: shareOfLinks({ seed, a, b, config, lengthUs: SHARE_LENGTH_US }) }
  if (job.kind === 'rebinding') return { ...rebindingGapOfTwo({ seed, a, b, config, direction: job.direction }) }
  return { ...outage({ seed, a, b, config, fails: job.fails, how: job.kind === 'told' ? 'told' : 'silent' }) }
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
