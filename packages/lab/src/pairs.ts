/** The 16 pairs of links that mqvpn publishes results for (docs/report of 18 June 2026), as data. */
import type { JitterMode } from './link.ts'
import type { ScenarioLink } from './scenario.ts'

export interface LinkPair {
  readonly name: string
  readonly a: ScenarioLink
  readonly b: ScenarioLink
}

interface Line {
  /** One way, in milliseconds. */
  readonly delay: number
  readonly megabits: number
  /** Standard deviation of the delay, in milliseconds. */
  readonly jitter?: number
  /** Share of datagrams lost in each direction, in percent. */
  readonly loss?: number
}

const base: Line = { delay: 20, megabits: 50 }

/** Loss and jitter act in both directions, so on acknowledgments, too. */
const lines: readonly (readonly [string, Line, Line])[] = [
  ['baseline', base, base],
  ['rtt_40', base, { ...base, delay: 40 }],
  ['rtt_70', base, { ...base, delay: 70 }],
  ['rtt_120', base, { ...base, delay: 120 }],
  ['rtt_320', base, { ...base, delay: 320 }],
  ['jit_5', { ...base, jitter: 5 }, { ...base, jitter: 5 }],
  ['jit_20', { ...base, jitter: 20 }, { ...base, jitter: 20 }],
  ['loss_05', { ...base, loss: 0.5 }, { ...base, loss: 0.5 }],
  ['loss_2', { ...base, loss: 2 }, { ...base, loss: 2 }],
  ['bw_4to1', base, { ...base, megabits: 12 }],
  ['bw_10to1', { ...base, megabits: 100 }, { ...base, megabits: 10 }],
  ['dual_lte', { delay: 30, jitter: 5, loss: 0.5, megabits: 40 }, { delay: 45, jitter: 8, loss: 0.5, megabits: 25 }],
  ['fiber_lte', { delay: 8, megabits: 300 }, { delay: 40, jitter: 8, loss: 0.5, megabits: 30 }],
  ['lte_starlink', { delay: 35, jitter: 8, megabits: 40 }, { delay: 50, jitter: 25, loss: 1, megabits: 100 }],
  ['lte_geo', { delay: 35, megabits: 40 }, { delay: 320, jitter: 20, loss: 0.5, megabits: 20 }],
  ['congested', { delay: 50, jitter: 20, loss: 2, megabits: 20 }, { delay: 60, jitter: 25, loss: 2, megabits: 15 }],
]

/** Names of the pairs, in the order of the publication. */
export const mqvpnPairNames: readonly string[] = lines.map(([name]) => name)

/** The pairs themselves; 100 ms of queue before each rate, as everywhere in the laboratory. */
export function mqvpnPairs(jitterMode: JitterMode = 'normal'): readonly LinkPair[] {
  return lines.map(([name, a, b]) => ({ name, a: linkOf(a, jitterMode), b: linkOf(b, jitterMode) }))
}

function linkOf({ delay, megabits, jitter, loss }: Line, jitterMode: JitterMode): ScenarioLink {
  return {
    rateBitsPerSecond: megabits * 1e6,
    delayUs: delay * 1_000,
    ...(jitter === undefined ? {} : { jitterUs: jitter * 1_000, jitterMode }),
    ...(loss === undefined ? {} : { lossRatio: loss / 100 }),
  }
}
