/** Prints the figures of docs/multipath.md: shares of two links, outages and returns, in virtual time. */
import { parseArgs } from 'node:util'
import { type CongestionAlgorithm, congestionAlgorithms } from '@quicether/transport'
import { outage, pairings, shareOfLinks } from '../src/multipath-figures.ts'

const usage = `usage: node packages/lab/bin/multipath.ts [--seeds COUNT] [--seconds LENGTH] [--congestion NAME]
  --seeds COUNT     runs per figure, seeds 1 to COUNT; the median is printed (default 3)
  --seconds LENGTH  size of the transfers, in seconds of both links together (default 10)
  --congestion NAME congestion control of both sides: ${congestionAlgorithms.join(', ')} (default tolerant)`

function parse(): { seeds: string; seconds: string; congestion: string; help: boolean } {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '10' },
        congestion: { type: 'string', default: 'tolerant' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    return values
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${usage}`)
    process.exit(2)
  }
}

function count(name: string, text: string, max: number): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1 || value > max) {
    console.error(`--${name} ${text}: expected a whole number from 1 to ${max}`)
    process.exit(2)
  }
  return value
}

function congestionNamed(text: string): CongestionAlgorithm {
  const found = congestionAlgorithms.find((name) => name === text)
  if (found !== undefined) return found
  console.error(`--congestion ${text}: expected one of ${congestionAlgorithms.join(', ')}`)
  process.exit(2)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((x, y) => x - y)
  return sorted[Math.floor(sorted.length / 2)] as number
}

function printShares(seeds: readonly number[], lengthUs: number, congestion: CongestionAlgorithm): void {
  console.log('| links | download | upload |\n|---|---|---|')
  for (const { name, a, b } of pairings) {
    const cells = (['download', 'upload'] as const).map((direction) => {
      const share = median(
        seeds.map((seed) => shareOfLinks({ seed, a, b, direction, lengthUs, config: { congestion } })),
      )
      return `${(100 * share).toFixed(1)} %`
    })
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
}

function printOutages(seeds: readonly number[], congestion: CongestionAlgorithm): void {
  console.log(
    '\n| links | which fails | how | gap | allowed (G4) | survivor used | rate after return |\n|---|---|---|---|---|---|---|',
  )
  for (const { name, a, b } of pairings) {
    for (const fails of ['a', 'b'] as const) {
      for (const how of ['silent', 'told'] as const) {
        const reports = seeds.map((seed) => outage({ seed, a, b, fails, how, config: { congestion } }))
        const of = (field: keyof (typeof reports)[number]): number => median(reports.map((report) => report[field]))
        const cells = [
          `${(of('gapUs') / 1_000).toFixed(0)} ms`,
          `${(of('allowedUs') / 1_000).toFixed(0)} ms`,
          `${(100 * of('survivorShare')).toFixed(0)} %`,
          `${(100 * of('returnShare')).toFixed(0)} %`,
        ]
        console.log(`| ${name} | ${fails === 'a' ? 'first' : 'second'} | ${how} | ${cells.join(' | ')} |`)
      }
    }
  }
}

const options = parse()
if (options.help) console.log(usage)
else {
  const seeds = Array.from({ length: count('seeds', options.seeds, 1_000) }, (_, index) => index + 1)
  const congestion = congestionNamed(options.congestion)
  printShares(seeds, count('seconds', options.seconds, 600) * 1_000_000, congestion)
  printOutages(seeds, congestion)
}
