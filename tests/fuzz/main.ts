/** `npm run fuzz`: fuzzes one target, or replays every kept input of all of them. */
import { relative } from 'node:path'
import { parseArgs } from 'node:util'
import { keep, keepFinding, loadCorpus } from './corpus.ts'
import { type Finding, fuzz, HEAP_GROWTH_BYTES_MAX, minimize } from './fuzzer.ts'
import { replay } from './replay.ts'
import type { FuzzTarget } from './target.ts'
import { targets } from './targets/index.ts'

const usage = `Usage: npm run fuzz -- TARGET [--seconds N] [--seed S] [--runs N] [--keep]
       npm run fuzz -- --replay

  TARGET       one of: ${[...targets.keys()].join(', ')}; or "all"
  --seconds N  stop after N seconds (default 30)
  --seed S     what the mutations are drawn from (default: from the clock; printed)
  --runs N     stop after N inputs: with the same seed and corpus, the same inputs
  --keep       keep inputs that showed new outcomes in the corpus
  --replay     run every kept input once

Findings are always kept, shortened, as tests/fuzz/corpus/TARGET/finding-*.bin; "npm test" replays them.`

interface Options {
  readonly seconds: number
  readonly runs: number
  readonly seed: number
  readonly keep: boolean
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string' },
      seed: { type: 'string' },
      runs: { type: 'string' },
      keep: { type: 'boolean', default: false },
      replay: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  if (values.replay) return replayAll()
  const [wanted, ...surplus] = positionals
  if (wanted === undefined || surplus.length > 0) throw new UsageError('give exactly one TARGET, or --replay')
  const names = wanted === 'all' ? [...targets.keys()] : [wanted]
  const options = {
    seconds: positive('--seconds', values.seconds, 30),
    runs: positive('--runs', values.runs, Infinity),
    seed: values.seed === undefined ? Date.now() >>> 0 : seedOf(values.seed),
    keep: values.keep,
  }
  let findings = 0
  for (const name of names) {
    const load = targets.get(name)
    if (load === undefined)
      throw new UsageError(`there is no target "${name}"; targets: ${[...targets.keys()].join(', ')}`)
    if (!(await fuzzOne(await load(), options))) findings++
  }
  return findings === 0 ? 0 : 1
}

async function fuzzOne(target: FuzzTarget, options: Options): Promise<boolean> {
  const corpus = loadCorpus(target.name).map((file) => file.input)
  const startedAt = performance.now()
  const deadline = startedAt + options.seconds * 1000
  console.log(`${target.name}: seed ${options.seed}, ${corpus.length} kept inputs`)
  const result = fuzz(target, corpus, {
    seed: options.seed,
    runsMax: options.runs,
    isOver: () => performance.now() >= deadline,
  })
  const seconds = (performance.now() - startedAt) / 1000
  const rate = Math.round(result.runs / seconds)
  console.log(
    `${target.name}: ${result.runs} inputs in ${seconds.toFixed(1)} s (${rate}/s), ${result.outcomes} outcomes`,
  )
  if (options.keep) {
    console.log(`${target.name}: kept ${keep(target.name, result.fresh)} of ${result.fresh.length} new inputs`)
  }
  if (result.finding !== undefined) return reportFinding(target, result.finding)
  if (result.heapGrowthBytes > HEAP_GROWTH_BYTES_MAX) {
    console.error(
      `${target.name}: live memory grew by ${Math.round(result.heapGrowthBytes / 1e6)} MB: something is kept between inputs`,
    )
    return false
  }
  return true
}

function reportFinding(target: FuzzTarget, finding: Finding): false {
  const short = minimize(target, finding)
  const path = keepFinding(target.name, short.input)
  console.error(`${target.name}: FOUND with ${short.input.length} bytes, kept as ${relative(process.cwd(), path)}`)
  console.error(`  ${Buffer.from(short.input).toString('hex')}`)
  console.error(short.error.stack ?? short.error.message)
  return false
}

async function replayAll(): Promise<number> {
  let failures = 0
  for (const [name, load] of targets) {
    const result = replay(await load())
    console.log(
      `${name}: ${result.inputs} inputs, ${result.outcomes} outcomes${result.finding === undefined ? '' : ', FAILED'}`,
    )
    if (result.finding === undefined) continue
    failures++
    console.error(`  input ${Buffer.from(result.finding.input).toString('hex')}\n  ${result.finding.error.stack ?? ''}`)
  }
  return failures === 0 ? 0 : 1
}

class UsageError extends Error {}

function positive(flag: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!(value > 0)) throw new UsageError(`${flag} "${text}" is not a positive number`)
  return value
}

function seedOf(text: string): number {
  const seed = Number(text)
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new UsageError(`--seed "${text}" is not a whole number, e.g. 7 or 0x5eed`)
  return seed
}

try {
  process.exitCode = await main()
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  if (!(error instanceof UsageError) && code?.startsWith('ERR_PARSE_ARGS') !== true) throw error
  console.error(`fuzz: ${message}\n\n${usage}`)
  process.exitCode = 2
}
