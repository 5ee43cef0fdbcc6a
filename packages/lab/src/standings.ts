/** What a tournament found: the figures of its runs, gathered by scheduler, beside the goals. */
import type { Micros } from '@quicether/transport'
import { pairings } from './multipath-figures.ts'
import { type Job, type JobFigures, type LinkName, pairNamed, sumOfRates, type TournamentPlan } from './tournament.ts'

/** The bars of the design: G3, G2 by pairing, G5 and G7. G4 depends on round trips: gap over what is allowed, at most 1. */
export const goals = {
  ofBetter: 0.95,
  shares: [0.94, 0.93, 0.92, 0.88],
  gapOfAllowed: 1,
  returnShare: 0.9,
  p99Change: -0.3,
  extraBytes: 0.05,
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
    outages: has('outages')
      ? pairings.flatMap((_, index) =>
          (['a', 'b'] as const).map((fails) => outageResult(book, scheduler, index, fails)),
        )
      : [],
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

function outageResult(book: Book, scheduler: string, pairing: number, fails: LinkName): OutageResult {
  const filter = { kind: 'outage', scheduler, pairing, fails } as const
  const gapsUs = book.values(filter, 'gapUs', Infinity)
  const allowedUs = book.values(filter, 'allowedUs', 1)
  const ratios = gapsUs.map((gapUs, seed) => gapUs / (allowedUs[seed] as number))
  const worst = ratios.indexOf(Math.max(...ratios))
  return {
    pairing: pairingName(pairing),
    fails,
    gapUs: gapsUs[worst] as number,
    gapOfAllowed: ratios[worst] as number,
    returnShare: Math.min(...book.values(filter, 'returnShare', 0)),
  }
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

/** The outcomes, by what was run. */
class Book {
  readonly #outcomes: readonly JobOutcome[]

  constructor(outcomes: readonly JobOutcome[]) {
    this.#outcomes = outcomes
  }

  /** One figure of the jobs that agree with the filter, by seed; `failed` for those that got stuck. */
  values(filter: Readonly<Record<string, string | number>>, figure: string, failed: number): number[] {
    const found = this.#outcomes.filter(({ job }) =>
      Object.entries(filter).every(([key, value]) => Reflect.get(job, key) === value),
    )
    if (found.length === 0) throw new RangeError(`no run of ${JSON.stringify(filter)}`)
    return found.map(({ figures }) => figures?.[figure] ?? failed)
  }

  mean(filter: Readonly<Record<string, string | number>>, figure = 'bitsPerSecond', failed = 0): number {
    const values = this.values(filter, figure, failed)
    return values.reduce((sum, value) => sum + value, 0) / values.length
  }
}

/** A run in words, for messages. */
export function describeJob(job: Job): string {
  const where = 'pair' in job ? job.pair : 'pairing' in job ? pairingName(job.pairing) : 'requests'
  const what = 'scheduler' in job ? job.scheduler : `${job.over} alone`
  return `${job.kind} ${what}, ${where}${job.kind === 'outage' ? `, ${job.fails} fails` : ''}, seed ${job.seed}`
}
