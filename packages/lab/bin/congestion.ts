/** Prints the figures of docs/congestion.md: every congestion control on the same links, in virtual time. */
import { parseArgs } from 'node:util'
import { type CongestionAlgorithm, congestionAlgorithms } from '@quicether/transport'
import { outage, pairings, shareOfLinks } from '../src/multipath-figures.ts'
import { world } from '../src/scenario.ts'
import { sharedBottleneck } from '../src/shared-bottleneck.ts'

const usage = `usage: node packages/lab/bin/congestion.ts [--congestion NAME,…] [--seeds COUNT]
  --congestion NAMES  of ${congestionAlgorithms.join(', ')} (default all)
  --seeds COUNT       runs per figure, seeds 1 to COUNT; the median is printed (default 3)`

const WINDOW_BYTES = 64 * 1024 * 1024

function fail(text: string): never {
  console.error(`${text}\n${usage}`)
  process.exit(2)
}

function parse(): { congestion: string; seeds: string; help: boolean } {
  try {
    return parseArgs({
      options: {
        congestion: { type: 'string', default: congestionAlgorithms.join(',') },
        seeds: { type: 'string', default: '3' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

function named(text: string): CongestionAlgorithm {
  const found = congestionAlgorithms.find((name) => name === text)
  return found ?? fail(`--congestion ${text}: expected names of ${congestionAlgorithms.join(', ')}`)
}

function seedsOf(text: string): number[] {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1 || count > 100) fail(`--seeds ${text}: expected a number from 1 to 100`)
  return Array.from({ length: count }, (_, index) => index + 1)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((x, y) => x - y)
  return sorted[Math.floor(sorted.length / 2)] as number
}

/** One row per case, one column per algorithm. */
function table(
  title: string,
  algorithms: readonly CongestionAlgorithm[],
  rows: readonly (readonly [string, (congestion: CongestionAlgorithm) => string])[],
): void {
  console.log(`\n| ${title} | ${algorithms.join(' | ')} |\n|---|${'---|'.repeat(algorithms.length)}`)
  for (const [name, cell] of rows) console.log(`| ${name} | ${algorithms.map(cell).join(' | ')} |`)
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

/** Goodput of a 10 s download over one link as a share of its rate. */
function oneLink(seed: number, congestion: CongestionAlgorithm, megabits: number, ms: number, loss: number): number {
  const rateBitsPerSecond = megabits * 1e6
  const config = { congestion, streamWindowMaxBytes: WINDOW_BYTES, connectionWindowMaxBytes: WINDOW_BYTES }
  const link = { rateBitsPerSecond, delayUs: ms * 1_000, lossRatio: loss }
  const lab = world({ seed, links: { only: link }, clientConfig: config, serverConfig: config })
  const download = lab.client.download(Math.round((rateBitsPerSecond * 10) / 8))
  lab.until(download.finished, { withinUs: 2_000_000_000, what: 'the download' })
  return download.goodputBitsPerSecond / rateBitsPerSecond
}

const options = parse()
if (options.help) console.log(usage)
else {
  const algorithms = options.congestion.split(',').map(named)
  const seeds = seedsOf(options.seeds)
  const of = (figure: (seed: number) => number): number => median(seeds.map(figure))
  table(
    'one link, loss',
    algorithms,
    (
      [
        [100, 10, 0],
        [20, 60, 0],
        [20, 60, 0.001],
        [20, 60, 0.01],
        [20, 60, 0.02],
      ] as const
    ).map(([rate, ms, loss]) => [
      `${rate} Mbit/s, ${ms} ms, ${100 * loss} %`,
      (congestion) => percent(of((seed) => oneLink(seed, congestion, rate, ms, loss))),
    ]),
  )
  table(
    'two links, share of the sum',
    algorithms,
    pairings.map(({ name, a, b }) => [
      name,
      (congestion) => percent(of((seed) => shareOfLinks({ seed, a, b, lengthUs: 10_000_000, config: { congestion } }))),
    ]),
  )
  table(
    'gap when the first link falls silent',
    algorithms,
    pairings.map(({ name, a, b }) => [
      name,
      (congestion) =>
        `${(of((seed) => outage({ seed, a, b, fails: 'a', how: 'silent', config: { congestion } }).gapUs) / 1_000).toFixed(0)} ms`,
    ]),
  )
  table(
    'beside a NewReno flow in one link, bytes to its one',
    algorithms,
    (
      [
        ['two paths, queue of 48 ms', 2, 60_000],
        ['two paths, queue of 160 ms', 2, 200_000],
        ['one path, queue of 48 ms', 1, 60_000],
        ['one path, queue of 160 ms', 1, 200_000],
      ] as const
    ).map(([name, paths, queueBytes]) => [
      name,
      (congestion) => of((seed) => sharedBottleneck({ seed, congestion, paths, queueBytes }).ratio).toFixed(2),
    ]),
  )
}
