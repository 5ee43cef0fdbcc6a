/** What a tournament found: the figures of its runs, gathered by scheduler, beside the goals. */
import type { Micros } from '@quicether/transport'
import { pairings } from './multipath-figures.ts'
import {
  type FairnessAlgorithm,
  fairnessAlgorithms,
  type Job,
  type JobFigures,
  type LinkName,
  pairNamed,
  rebindingDirections,
  type RebindingDirection,
  rebindingPairings,
  sumOfRates,
  type TournamentPlan,
} from './tournament.ts'

/**
 * The bars of the design: G3, G2 by pairing, G5, G7 and G8. G4 and G6 depend on round trips: gap over what is allowed, at
 * most 1.
 */
export const goals = {
  ofBetter: 0.95,
  shares: [0.94, 0.93, 0.92, 0.88],
  gapOfAllowed: 1,
  returnShare: 0.9,
  p99Change: -0.3,
  extraBytes: 0.05,
  fairRatio: 1.2,
} as const

export interface PairAlone {
  readonly pair: string
  /** Means over the seeds, payload bits per second. */
  readonly a: number
  readonly b: number
}

export interface PairResult {
  readonly pair: string
  readonly bitsPerSecond: number
  /** Of the better link alone. */
  readonly ofBetter: number
  /** Of the sum of the link rates. */
  readonly ofSum: number
  /** 0 = the better link alone, 1 = both alone added up, below 0 = worse than the better one (Kaspar's aggregation benefit). */
  readonly benefit: number
}

export interface ShareResult {
  readonly pairing: string
  /** Mean over the seeds. */
  readonly share: number
}

export interface OutageResult {
  readonly pairing: string
  readonly fails: LinkName
  /** Of the seed with the longest gap for what was allowed. */
  readonly gapUs: Micros
  readonly gapOfAllowed: number
  /** Lowest of the seeds. */
  readonly returnShare: number
}

export interface RebindingResult {
  readonly pairing: string
  readonly direction: RebindingDirection
  /** Of the seed with the longest gap for what was allowed. */
  readonly gapUs: Micros
  readonly gapOfAllowed: number
}

export interface FairnessResult {
  readonly algorithm: FairnessAlgorithm
  /** What both paths take over what the other flow takes; mean over the seeds. */
  readonly ratio: number
  /** Whether the algorithm couples the paths: the goal is for those. */
  readonly isCoupled: boolean
}

export interface RequestsResult {
  readonly medianUs: Micros
  readonly p99Us: Micros
  /** Against the better link alone, both figures. */
  readonly p99Change: number
  readonly extraBytes: number
}

/** Everything one scheduler did; a case that was not run is empty or absent. */
export interface Standing {
  readonly scheduler: string
  readonly pairs: readonly PairResult[]
  readonly shares: readonly ShareResult[]
  readonly outages: readonly OutageResult[]
  readonly told: readonly OutageResult[]
  readonly rebindings: readonly RebindingResult[]
  readonly fairness: readonly FairnessResult[]
  readonly requests?: RequestsResult
}

export interface Failure {
  readonly job: Job
  readonly message: string
}

export interface Standings {
  readonly plan: TournamentPlan
  readonly alone: readonly PairAlone[]
  readonly standings: readonly Standing[]
  /** Runs that got stuck. They count as nothing achieved. */
  readonly failures: readonly Failure[]
}

/** A job and what came of it: its figures, or why it failed. */
export interface JobOutcome {
  readonly job: Job
  readonly figures?: JobFigures
  readonly error?: string
}

/** Gathers the outcomes of all jobs of a plan. Throws RangeError when one is missing. */
export function standingsOf(plan: TournamentPlan, outcomes: readonly JobOutcome[]): Standings {
  const book = new Book(outcomes)
  const has = (name: TournamentPlan['cases'][number]): boolean => plan.cases.includes(name)
  const alone = has('downloads')
    ? plan.pairs.map((pair) => ({
        pair,
        a: book.mean({ kind: 'alone', pair, over: 'a' }),
        b: book.mean({ kind: 'alone', pair, over: 'b' }),
      }))
    : []
  const standings = plan.schedulers.map((scheduler) => ({
    scheduler,
    pairs: alone.map((each) => pairResult(plan, book, scheduler, each)),
    shares: has('shares') ? pairings.map((_, index) => shareResult(book, scheduler, index)) : [],
    outages: has('outages') ? outageResults(book, 'outage', scheduler) : [],
    told: has('told') ? outageResults(book, 'told', scheduler) : [],
    rebindings: has('rebindings') ? rebindingResults(book, scheduler) : [],
    fairness: has('fairness') ? fairnessAlgorithms.map((each) => fairnessResult(book, scheduler, each)) : [],
    ...(has('requests') ? { requests: requestsResult(book, scheduler) } : {}),
  }))
  const failures = outcomes.flatMap(({ job, error }) => (error === undefined ? [] : [{ job, message: error }]))
  return { plan, alone, standings, failures }
}

function pairResult(plan: TournamentPlan, book: Book, scheduler: string, { pair, a, b }: PairAlone): PairResult {
  const bitsPerSecond = book.mean({ kind: 'both', scheduler, pair })
  const better = Math.max(a, b)
  const worse = Math.min(a, b)
  const gain = bitsPerSecond - better
  return {
    pair,
    bitsPerSecond,
    ofBetter: better === 0 ? 0 : bitsPerSecond / better,
    ofSum: bitsPerSecond / sumOfRates(pairNamed(pair, plan.jitterMode)),
    benefit: gain >= 0 ? gain / Math.max(worse, 1) : gain / better,
  }
}

function shareResult(book: Book, scheduler: string, pairing: number): ShareResult {
  return { pairing: pairingName(pairing), share: book.mean({ kind: 'share', scheduler, pairing }, 'share') }
}

function outageResults(book: Book, kind: 'outage' | 'told', scheduler: string): OutageResult[] {
  return pairings.flatMap((_, pairing) =>
    (['a', 'b'] as const).map((fails) => {
      const filter = { kind, scheduler, pairing, fails } as const
      const returnShare = Math.min(...book.values(filter, 'returnShare', 0))
      return { pairing: pairingName(pairing), fails, ...worstGap(book, filter), returnShare }
    }),
  )
}

function rebindingResults(book: Book, scheduler: string): RebindingResult[] {
  return rebindingPairings.flatMap((pairing) =>
    rebindingDirections.map((direction) => {
      const filter = { kind: 'rebinding', scheduler, pairing, direction } as const
      return { pairing: pairingName(pairing), direction, ...worstGap(book, filter) }
    }),
  )
}

function worstGap(book: Book, filter: BookFilter): { readonly gapUs: Micros; readonly gapOfAllowed: number } {
  const gapsUs = book.values(filter, 'gapUs', Infinity)
  const allowedUs = book.values(filter, 'allowedUs', 1)
  const ratios = gapsUs.map((gapUs, seed) => gapUs / (allowedUs[seed] as number))
  const worst = ratios.indexOf(Math.max(...ratios))
  return { gapUs: gapsUs[worst] as number, gapOfAllowed: ratios[worst] as number }
}

function fairnessResult(book: Book, scheduler: string, algorithm: FairnessAlgorithm): FairnessResult {
  const ratio = book.mean({ kind: 'fairness', scheduler, algorithm }, 'ratio', Infinity)
  return { algorithm, ratio, isCoupled: algorithm !== 'new_reno' }
}

function requestsResult(book: Book, scheduler: string): RequestsResult {
  const p99Of = (over: LinkName): number => book.mean({ kind: 'requestsAlone', over }, 'p99Us', Infinity)
  const better = p99Of('a') <= p99Of('b') ? 'a' : 'b'
  const filter = { kind: 'requests', scheduler } as const
  const p99Us = book.mean(filter, 'p99Us', Infinity)
  const aloneSent = book.mean({ kind: 'requestsAlone', over: better }, 'sentPerByte')
  return {
    medianUs: book.mean(filter, 'medianUs', Infinity),
    p99Us,
    p99Change: p99Us / p99Of(better) - 1,
    extraBytes: book.mean(filter, 'sentPerByte', Infinity) / aloneSent - 1,
  }
}

function pairingName(index: number): string {
  return pairings[index]?.name ?? ''
}

type BookFilter = Readonly<Record<string, string | number>>

/** The outcomes, by what was run. */
class Book {
  readonly #outcomes: readonly JobOutcome[]

  constructor(outcomes: readonly JobOutcome[]) {
    this.#outcomes = outcomes
  }

  /** One figure of the jobs that agree with the filter, by seed; `failed` for those that got stuck. */
  values(filter: BookFilter, figure: string, failed: number): number[] {
    const found = this.#outcomes.filter(({ job }) =>
      Object.entries(filter).every(([key, value]) => Reflect.get(job, key) === value),
    )
    if (found.length === 0) throw new RangeError(`no run of ${JSON.stringify(filter)}`)
    return found.map(({ figures }) => figures?.[figure] ?? failed)
  }

  mean(filter: BookFilter, figure = 'bitsPerSecond', failed = 0): number {
    const values = this.values(filter, figure, failed)
    return values.reduce((sum, value) => sum + value, 0) / values.length
  }
}

/** A run in words, for messages. */
export function describeJob(job: Job): string {
  const where = 'pair' in job ? job.pair : 'pairing' in job ? pairingName(job.pairing) : whereElse(job.kind)
  const what = 'scheduler' in job ? job.scheduler : `${job.over} alone`
  return `${job.kind} ${what}, ${where}${detailOf(job)}, seed ${job.seed}`
}

function whereElse(kind: Job['kind']): string {
  return kind === 'fairness' ? 'one link for both paths' : 'requests'
}

function detailOf(job: Job): string {
  if (job.kind === 'outage' || job.kind === 'told') return `, ${job.fails} fails`
  if (job.kind === 'rebinding') return `, ${job.direction}`
  return job.kind === 'fairness' ? `, ${job.algorithm}` : ''
}
