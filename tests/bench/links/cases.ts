/** What is measured over emulated links, and the goals that the design sets. */
import type { LinkSpec } from './topology.ts'

/** Goodput of one download over both links. */
export interface ShareCase {
  readonly name: string
  readonly links: readonly [LinkSpec, LinkSpec]
  /** Goal G2, of the sum of the link rates. */
  readonly goal: number
}

/** A link fails during a download and comes back. */
export interface OutageCase {
  readonly name: string
  readonly links: readonly [LinkSpec, LinkSpec]
  /** Counted from 1. */
  readonly fails: 1 | 2
  /** `silent`: the line swallows everything. `told`: the client's interface goes down. */
  readonly how: 'silent' | 'told'
}

/** The NAT forgets the client's port during a download. */
export interface RebindCase {
  readonly name: string
  readonly links: readonly LinkSpec[]
}

const link = (rateMbit: number, delayMs: number, lossPercent = 0): LinkSpec => ({ rateMbit, delayMs, lossPercent })
const natLink = (rateMbit: number, delayMs: number): LinkSpec => ({ rateMbit, delayMs, hasNat: true })

export const shareCases: readonly ShareCase[] = [
  { name: '100 Mbit/s 10 ms + 100 Mbit/s 10 ms', links: [link(100, 10), link(100, 10)], goal: 0.94 },
  { name: '100 Mbit/s 10 ms + 20 Mbit/s 10 ms', links: [link(100, 10), link(20, 10)], goal: 0.93 },
  { name: '50 Mbit/s 15 ms + 20 Mbit/s 60 ms', links: [link(50, 15), link(20, 60)], goal: 0.92 },
  { name: 'the same, 1 % loss on the slow link', links: [link(50, 15), link(20, 60, 1)], goal: 0.88 },
]

const unlike: readonly [LinkSpec, LinkSpec] = [link(50, 15), link(20, 60)]
const alike: readonly [LinkSpec, LinkSpec] = [link(50, 10), link(50, 10)]
const failures = ['silent', 'told'] as const

export const outageCases: readonly OutageCase[] = failures.flatMap((how) => [
  { name: '50 Mbit/s 10 ms + 50 Mbit/s 10 ms', links: alike, fails: 1 as const, how },
  { name: '50 Mbit/s 15 ms + 20 Mbit/s 60 ms', links: unlike, fails: 1 as const, how },
  { name: '50 Mbit/s 15 ms + 20 Mbit/s 60 ms', links: unlike, fails: 2 as const, how },
])

export const rebindCases: readonly RebindCase[] = [
  { name: 'one path, 50 Mbit/s 15 ms', links: [natLink(50, 15)] },
  { name: 'two paths, 50 Mbit/s 15 ms behind the NAT + 20 Mbit/s 60 ms', links: [natLink(50, 15), link(20, 60)] },
]

/** The sum of what the links can carry, Ethernet frames counted, as the emulator does. */
export function sumMbit(links: readonly LinkSpec[]): number {
  return links.reduce((sum, { rateMbit }) => sum + rateMbit, 0)
}

/** Round trip of a link right now: twice the delay, and the queue towards the client. */
export function rttMs({ delayMs }: LinkSpec, queueMs: number): number {
  return 2 * delayMs + queueMs
}

/** Probe timeout without variance: the RTT, and 25 ms for which the peer may hold an acknowledgment back (RFC 9002 §6.2.1). */
export function ptoMs(roundTripMs: number): number {
  return roundTripMs + 25
}

/** Goal G4 for the round trips right before the failure. */
export function gapGoalMs(how: OutageCase['how'], survivorRttMs: number, deadRttMs: number): number {
  return how === 'told' ? survivorRttMs + 50 : Math.max(250, 3 * survivorRttMs + ptoMs(deadRttMs))
}

/** Goal G6. */
export function rebindGoalMs(roundTripMs: number): number {
  return 1.5 * roundTripMs + ptoMs(roundTripMs)
}
