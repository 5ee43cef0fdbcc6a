/** The result of a run: what was measured, what was not and why, and ours against the others. */
import { median, spread } from '../statistics.ts'
import type { Metric, Unit } from './cases.ts'

/** All repeats of one figure. */
export interface Sample {
  readonly contender: string
  readonly subject: string
  readonly metric: string
  readonly unit: Unit
  readonly better: Metric['better']
  readonly values: number[]
}

export interface Absence {
  readonly contender: string
  readonly subject: string
  readonly reason: string
}

/** Ours against one other, above 1 = ours is better. */
export interface Ratio {
  readonly subject: string
  readonly metric: string
  readonly against: string
  readonly value: number
  /** Quartiles of the ratios of the single rounds: both sides of one round ran one after the other. */
  readonly low: number
  readonly high: number
}

export interface Result {
  readonly machine: string
  readonly kernel: string
  readonly date: string
  readonly commit: string
  readonly command: string
  readonly repeats: number
  readonly seconds: number
  readonly versions: Readonly<Record<string, string>>
  readonly samples: readonly (Sample & { readonly median: number; readonly spread: number | undefined })[]
  readonly absent: readonly Absence[]
  readonly ratios: readonly Ratio[]
}

export const OURS = 'quicether'

/** The engine, and the router in the cases of proxies. */
export function isOurs(contender: string): boolean {
  return contender.startsWith(OURS)
}

export function withMedians(samples: readonly Sample[]): Result['samples'] {
  return samples
    .filter(({ values }) => values.length > 0)
    .map((sample) => ({ ...sample, median: median(sample.values) as number, spread: spread(sample.values) }))
}

/** Ratios round by round, so that a machine that slows down slows both. `better: 'less'` figures are turned over. */
export function ratiosOf(samples: readonly Sample[]): Ratio[] {
  const ratios: Ratio[] = []
  for (const ours of samples.filter(({ contender }) => isOurs(contender))) {
    for (const theirs of samples) {
      if (isOurs(theirs.contender) || theirs.subject !== ours.subject || theirs.metric !== ours.metric) continue
      const ratio = ratioOf(ours, theirs)
      if (ratio !== undefined) ratios.push(ratio)
    }
  }
  return ratios
}

/** Undefined when there is no round that both finished. */
export function ratioOf(ours: Sample, theirs: Sample): Ratio | undefined {
  const rounds = Math.min(ours.values.length, theirs.values.length)
  const each = Array.from({ length: rounds }, (_, round) => {
    const [a, b] = [ours.values[round] as number, theirs.values[round] as number]
    return ours.better === 'more' ? a / b : b / a
  })
    // Processor time is counted in ticks: a very short run may have none.
    .filter((ratio) => Number.isFinite(ratio) && ratio > 0)
    .sort((a, b) => a - b)
  const value = median(each)
  if (value === undefined) return undefined
  const low = median(each.slice(0, (each.length + 1) >> 1)) as number
  const high = median(each.slice(each.length >> 1)) as number
  return { subject: ours.subject, metric: ours.metric, against: theirs.contender, value, low, high }
}

/** Against a limit of another name: `upload-1` against `sealed`. */
export function ratioAgainst(
  samples: readonly Sample[],
  subject: string,
  limit: string,
  metric: string,
): Ratio | undefined {
  const ours = samples.find((s) => s.contender === OURS && s.subject === subject && s.metric === metric)
  const theirs = samples.find((s) => s.subject === limit && s.metric === metric)
  if (ours === undefined || theirs === undefined) return undefined
  const ratio = ratioOf(ours, theirs)
  return ratio === undefined ? undefined : { ...ratio, against: limit }
}

/** Cases and the limits they are held against, by metric. */
export const limitsOf: readonly (readonly [subject: string, limit: string, metric: string])[] = [
  ['download-1', 'sealed', 'rate'],
  ['upload-1', 'sealed', 'rate'],
  ['download-1', 'udp', 'rate'],
  ['upload-1', 'udp', 'rate'],
  ['latency-idle', 'dgram', 'p50'],
  ['latency-idle', 'dgram', 'p99'],
]
