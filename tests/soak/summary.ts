/** What a soak found, in words, and whether that is good enough. */
import { slopeOf } from './regression.ts'
import type { MemorySample, SoakResult } from './soak.ts'

/** Of the run: buffers, caches and compiled code are still filling. */
const WARM_UP_RATIO = 0.5
/** Fewer samples after the warm-up say nothing about a trend. */
const SAMPLES_MIN = 20
/** More requests than this share that run into a time limit are no accident of a busy machine. */
const TIMED_OUT_RATIO_MAX = 0.01
/** Bytes a minute that are surely there: more is called a leak. A gigabyte would take ten days. */
const LEAK_BYTES_PER_MINUTE = 64 * 1024

const kinds = ['heapBytes', 'externalBytes', 'residentBytes'] as const
const names = { heapBytes: 'heap after collection', externalBytes: 'external', residentBytes: 'resident' } as const

/** Samples after the warm-up. */
function steady(result: SoakResult): readonly MemorySample[] {
  const fromMinutes = (result.seconds / 60) * WARM_UP_RATIO
  return result.samples.filter((sample) => sample.atMinutes >= fromMinutes)
}

/** One line for each figure. */
export function summaryOf(result: SoakResult): string {
  const { requests, bytes, rounds, resumed, earlyData, migrated, clientKills, serviceKills } = result
  const lines = [
    `${(result.seconds / 60).toFixed(1)} minutes, seed ${result.seed}`,
    `${requests} requests on ${rounds} connections, ${(bytes / 1e9).toFixed(2)} GB checked; resumed ${resumed}, 0-RTT ${earlyData}, migrated ${migrated}`,
    `killed: ${clientKills} clients, ${serviceKills} services; failed because of that: ${result.explained}`,
    `ran into a time limit: ${result.timedOut}`,
    `wrong bodies: ${result.wrong.length}, failures that no kill explains: ${result.unexplained.length}`,
  ]
  const samples = steady(result)
  const [first, last] = [samples.at(0), samples.at(-1)]
  if (first !== undefined && last !== undefined && samples.length > 2) {
    for (const kind of kinds) {
      const { perX, margin } = slope(samples, kind)
      const span = `${megabytes(first[kind])} to ${megabytes(last[kind])} MB`
      lines.push(`${names[kind]}: ${span}, ${kilobytes(perX)} ± ${kilobytes(margin)} kB a minute`)
    }
  }
  return lines.join('\n')
}

/** Sentences about what is wrong; none = passed. */
export function verdictOf(result: SoakResult): string[] {
  const reasons: string[] = []
  const [wrong] = result.wrong
  if (wrong !== undefined) reasons.push(`${result.wrong.length} wrong bodies, the first: ${wrong}`)
  const [failure] = result.unexplained
  if (failure !== undefined) reasons.push(`${result.unexplained.length} unexplained failures, the first: ${failure}`)
  if (result.timedOut > TIMED_OUT_RATIO_MAX * result.requests) {
    reasons.push(`${result.timedOut} of ${result.requests} requests ran into a time limit`)
  }
  if (result.requests === 0) reasons.push('not one request succeeded')
  if (result.routerEnd !== null) reasons.push(`the router ended by itself: ${result.routerEnd}`)
  const samples = steady(result)
  if (samples.length >= SAMPLES_MIN) {
    for (const kind of ['heapBytes', 'externalBytes'] as const) {
      const { perX, margin } = slope(samples, kind)
      if (perX - margin > LEAK_BYTES_PER_MINUTE) {
        reasons.push(`${names[kind]} grows by ${kilobytes(perX)} ± ${kilobytes(margin)} kB a minute`)
      }
    }
  }
  return reasons
}

function slope(samples: readonly MemorySample[], kind: (typeof kinds)[number]): { perX: number; margin: number } {
  return slopeOf(
    samples.map((sample) => sample.atMinutes),
    samples.map((sample) => sample[kind]),
  )
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)
const kilobytes = (bytes: number): string => (bytes / 1e3).toFixed(1)
