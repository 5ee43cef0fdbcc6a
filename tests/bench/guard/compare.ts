/** Decides whether a figure has become worse than the accepted one by more than the noise of both. */
import { median, spread } from '../statistics.ts'

/** One figure that does not depend on the speed of the machine: a ratio to a limit of it. More is better. */
export interface Figure {
  readonly name: string
  /** One value for each round. */
  readonly values: readonly number[]
}

export interface Accepted {
  readonly date: string
  readonly commit: string
  readonly machine: string
  readonly bytesAllocatedPerPacket: number
  readonly figures: readonly Figure[]
}

export type Verdict = 'worse' | 'same' | 'better' | 'unclear' | 'new' | 'missing'

export interface Comparison {
  readonly name: string
  readonly verdict: Verdict
  readonly before: number | undefined
  readonly now: number | undefined
  /** Share by which the figure may differ from the accepted one. */
  readonly allowed: number
}

/** Smaller differences never count: they come with the layout of memory and the order of pages. */
export const ALLOWED_MIN = 0.08
/** A figure so noisy that only a difference above this would count says nothing. */
export const ALLOWED_MAX = 0.35
/** Differences of medians beyond this many times the combined spread are no noise. */
const SPREADS = 2
/** Allocation is counted, not timed: it varies only with where the collector happens to be. */
export const ALLOCATION_ALLOWED = 0.05
/** Fewer rounds have no spread, and so no noise to compare with. */
export const ROUNDS_MIN = 3

export function compare(accepted: Figure | undefined, current: Figure | undefined): Comparison {
  const name = current?.name ?? accepted?.name ?? ''
  const [before, now] = [median(accepted?.values ?? []), median(current?.values ?? [])]
  const facts = { name, before, now, allowed: 0 }
  if (accepted === undefined || before === undefined) return { ...facts, verdict: 'new' }
  if (current === undefined || now === undefined) return { ...facts, verdict: 'missing' }
  const [then, today] = [spread(accepted.values), spread(current.values)]
  if (then === undefined || today === undefined) return { ...facts, verdict: 'unclear' }
  const allowed = Math.max(ALLOWED_MIN, SPREADS * Math.hypot(then, today))
  const change = now / before - 1
  const verdict =
    Math.abs(change) <= allowed ? (allowed > ALLOWED_MAX ? 'unclear' : 'same') : change < 0 ? 'worse' : 'better'
  return { ...facts, allowed, verdict }
}

/** Fewer bytes are better. */
export function compareAllocation(before: number, now: number): Comparison {
  const change = now / before - 1
  const verdict = Math.abs(change) <= ALLOCATION_ALLOWED ? 'same' : change > 0 ? 'worse' : 'better'
  return { name: 'bytes allocated per packet', before, now, allowed: ALLOCATION_ALLOWED, verdict }
}

/** All figures of both, each once, in the order of the current run. */
export function compareAll(accepted: Accepted, figures: readonly Figure[], allocation: number): Comparison[] {
  const missing = accepted.figures.filter(({ name }) => !figures.some((figure) => figure.name === name))
  return [
    compareAllocation(accepted.bytesAllocatedPerPacket, allocation),
    ...figures.map((figure) =>
      compare(
        accepted.figures.find(({ name }) => name === figure.name),
        figure,
      ),
    ),
    ...missing.map((figure) => compare(figure, undefined)),
  ]
}

/** A regression, or a figure that is no longer measured, fails the guard. */
export function isFailure({ verdict }: Comparison): boolean {
  return verdict === 'worse' || verdict === 'missing'
}

export function describe({ name, verdict, before, now, allowed }: Comparison): string {
  const shown = (value: number | undefined) => (value === undefined ? '-' : value.toPrecision(3))
  const change = before === undefined || now === undefined ? '' : `${signed(now / before - 1)} of ±${percent(allowed)}`
  return `${verdict.toUpperCase().padEnd(8)}${name.padEnd(34)}${shown(before).padStart(8)} → ${shown(now).padStart(8)}  ${change}`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}

function signed(share: number): string {
  return `${share < 0 ? '' : '+'}${(100 * share).toFixed(1)} %`
}
