/** `npm run sim`: runs simulations by seed. One seed reruns byte for byte; many look for the seed that breaks something. */
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { runSeed, type SimOptions, type SimReport } from '../src/sim.ts'
import { runManyModels, runOneModel } from './model-runs.ts'
import { nativePartyCrypto } from './native-crypto.ts'

const usage = `usage: npm run sim -- [--model] [--seed N] [--seeds COUNT] [--from N] [--verbose] [--keep-going] [--native]
  --model        run the path model: drawn commands on paths, links and NATs, each checked against a simple model;
                 the seeds that once failed come first; one seed prints its commands, a failing one is cut down
  --seed N       run one seed (decimal or 0x…) and print its digest; the same seed always gives the same digest
  --seeds COUNT  run COUNT seeds, starting at --from (default 1)
  --verbose      print the timeline of the run
  --keep-going   do not stop at the first failure
  --native       real TLS and packet protection instead of the toy (runs then differ from time to time)`

function integer(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`--${name} ${text}: expected a whole number such as 7 or 0x5eed`)
    process.exit(2)
  }
  return value
}

function parse(): {
  seed?: string
  seeds?: string
  from?: string
  verbose?: boolean
  'keep-going'?: boolean
  native?: boolean
  model?: boolean
} {
  try {
    return parseArgs({
      options: {
        seed: { type: 'string' },
        seeds: { type: 'string' },
        from: { type: 'string' },
        verbose: { type: 'boolean' },
        'keep-going': { type: 'boolean' },
        native: { type: 'boolean' },
        model: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${usage}`)
    process.exit(2)
  }
}

function describe(report: SimReport): string {
  const virtual = (report.virtualUs / 1e6).toFixed(1)
  return `seed ${report.seed} digest ${report.digest}: ${report.connections} connections, ${report.transfers} transfers, ${report.faults} faults, ${report.datagrams} datagrams in ${virtual} virtual seconds`
}

function fail(report: SimReport): void {
  console.log(`\nFAILED ${describe(report)}\n${report.failure}\n${report.timeline}`)
  console.log(`rerun: npm run sim -- --seed 0x${report.seed.toString(16)} --verbose`)
}

function runOne(seed: number, settings: SimOptions): number {
  const report = runSeed(seed, settings)
  if (report.failure !== undefined) {
    fail(report)
    return 1
  }
  if (settings.isVerbose === true) console.log(report.timeline)
  console.log(describe(report))
  return 0
}

function runMany(from: number, count: number, isKeepingGoing: boolean, settings: SimOptions): number {
  const began = performance.now()
  let failures = 0
  let datagrams = 0
  let virtualUs = 0
  let lastShown = began
  for (let i = 0; i < count; i++) {
    const report = runSeed(from + i, settings)
    datagrams += report.datagrams
    virtualUs += report.virtualUs
    if (report.failure !== undefined) {
      failures++
      fail(report)
      if (!isKeepingGoing) return 1
    }
    const now = performance.now()
    if (now - lastShown > 5_000) {
      lastShown = now
      console.log(`${i + 1} of ${count} seeds, ${failures} failed, ${((now - began) / 1_000).toFixed(0)} s`)
    }
  }
  const seconds = (performance.now() - began) / 1_000
  const minutes = virtualUs / 60e6
  console.log(
    `${count} seeds from ${from}: ${count - failures} passed, ${failures} failed; ${datagrams} datagrams, ${minutes.toFixed(0)} virtual minutes in ${seconds.toFixed(1)} s`,
  )
  return failures === 0 ? 0 : 1
}

const options = parse()
const settings: SimOptions = {
  isVerbose: options.verbose === true,
  ...(options.native === true ? { createCrypto: nativePartyCrypto() } : {}),
}
if ('help' in options) {
  console.log(usage)
} else if (options.model === true && options.native === true) {
  console.error(
    '--model --native: the model runs with the toy cryptography, so that a seed gives the same run; leave one out',
  )
  process.exitCode = 2
} else if (options.seed !== undefined) {
  const seed = integer('seed', options.seed)
  process.exitCode = options.model === true ? runOneModel(seed, settings.isVerbose === true) : runOne(seed, settings)
} else {
  const count = integer('seeds', options.seeds ?? '100')
  const from = integer('from', options.from ?? '1')
  const isKeepingGoing = options['keep-going'] === true
  process.exitCode =
    options.model === true ? runManyModels(from, count, isKeepingGoing) : runMany(from, count, isKeepingGoing, settings)
}
