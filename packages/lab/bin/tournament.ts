/** Prints what one scheduler makes of the 16 published link pairs, beside each link alone, in virtual time. */
import { parseArgs } from 'node:util'
import { congestionAlgorithms, packetSchedulers, resolveConfig } from '@quicether/transport'
import { mqvpnPairNames, mqvpnPairs } from '../src/pairs.ts'
import { multipathGoodput, type PathConfig, singleGoodput, sumOfRates } from '../src/tournament.ts'

const usage = `usage: node packages/lab/bin/tournament.ts [options]
  --scheduler NAME   ${packetSchedulers.join(', ')} (default: the engine's)
  --congestion NAME  ${congestionAlgorithms.join(', ')} (default: the engine's)
  --pairs LIST       names with commas, or all (default): ${mqvpnPairNames.join(' ')}
  --seconds LENGTH   of each download, virtual (default 8)
  --seeds COUNT      seeds 1 to COUNT; means are printed (default 1)
  --check            fail when a pair is under 95 % of the better link alone (goal G3)
  --overtaking       jitter lets datagrams overtake each other; without it their order is kept`

function fail(message: string): never {
  console.error(`${message}\n${usage}`)
  process.exit(2)
}

function parse() {
  try {
    return parseArgs({
      options: {
        scheduler: { type: 'string' },
        congestion: { type: 'string' },
        pairs: { type: 'string', default: 'all' },
        seconds: { type: 'string', default: '8' },
        seeds: { type: 'string', default: '1' },
        check: { type: 'boolean', default: false },
        overtaking: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

function count(name: string, text: string, max: number): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1 || value > max)
    fail(`--${name} ${text}: expected a whole number from 1 to ${max}`)
  return value
}

function configOf(scheduler: string | undefined, congestion: string | undefined): PathConfig {
  const config = {
    ...(scheduler === undefined ? {} : { packetScheduler: scheduler }),
    ...(congestion === undefined ? {} : { congestion }),
  } as PathConfig
  try {
    resolveConfig(config)
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error))
  }
  return config
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

function main(): void {
  const options = parse()
  if (options.help) {
    console.log(usage)
    return
  }
  const config = configOf(options.scheduler, options.congestion)
  const all = mqvpnPairs(options.overtaking ? 'overtaking' : 'normal')
  const names = options.pairs === 'all' ? mqvpnPairNames : options.pairs.split(',')
  for (const name of names) if (!mqvpnPairNames.includes(name)) fail(`--pairs: there is no pair ${name}`)
  const lengthUs = count('seconds', options.seconds, 600) * 1_000_000
  const seeds = Array.from({ length: count('seeds', options.seeds, 1_000) }, (_, index) => index + 1)
  console.log('| pair | A alone | B alone | both | of the better one | of the sum |\n|---|---|---|---|---|---|')
  const ratios: number[] = []
  for (const pair of all.filter(({ name }) => names.includes(name))) {
    const runs = seeds.map((seed) => {
      const run = { pair, seed, lengthUs, config }
      return { a: singleGoodput(run, 'a'), b: singleGoodput(run, 'b'), both: multipathGoodput(run) }
    })
    const a = mean(runs.map((run) => run.a))
    const b = mean(runs.map((run) => run.b))
    const both = mean(runs.map((run) => run.both))
    const ratio = both / Math.max(a, b)
    ratios.push(ratio)
    const megabits = (rate: number): string => (rate / 1e6).toFixed(1)
    const share = (100 * both) / sumOfRates(pair)
    console.log(
      `| ${pair.name} | ${megabits(a)} | ${megabits(b)} | ${megabits(both)} | ${ratio.toFixed(2)}${ratio < 0.95 ? ' (!)' : ''} | ${share.toFixed(0)} % |`,
    )
  }
  const under = ratios.filter((ratio) => ratio < 0.95).length
  console.log(`\nMbit/s of payload; ${under} of ${ratios.length} pairs under 95 % of the better link alone`)
  if (!options.check) return
  console.log(`${ratios.length - under} passed, ${under} failed`)
  if (under > 0) process.exitCode = 1
}

main()
