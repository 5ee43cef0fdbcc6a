/** `npm run bench:guard`: this tree against the last accepted result, on ratios to limits of the machine and on counts. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measureAllocation } from '../allocation.ts'
import { cases } from '../peers/cases.ts'
import { contenders } from '../peers/contenders.ts'
import { makeOwnCertificates } from '../peers/certificates.ts'
import { OURS, type Sample } from '../peers/result.ts'
import { environment, installAll, measureAll } from '../peers/session.ts'
import { type Accepted, compareAll, describe, type Figure, isFailure, ROUNDS_MIN } from './compare.ts'

const acceptedFile = join(import.meta.dirname, 'accepted.json')
const ALLOCATION_TRANSFER_BYTES = 32_000_000

const usage = `Usage: npm run bench:guard -- [--rounds N] [--seconds X] [--accept]

  --rounds N   interleaved rounds of ours and of the limits of the machine (default 5, at least ${ROUNDS_MIN})
  --seconds X  measured time of each case (default 2)
  --accept     write the result as the one to compare with from now on: tests/bench/guard/accepted.json

Every figure is a ratio to a limit that ran within the same minute, so that the speed of the machine cancels out; the
bytes allocated per packet are counted. A figure fails when its median is worse by more than twice the spread of both runs.`

/** Ours against a limit, both as medians of one round: \`cpu\` figures hardly suffer from other work on the machine. */
const guarded: readonly (readonly [subject: string, metric: string, limit: string])[] = [
  ['download-1', 'cpu', 'sealed'],
  ['upload-1', 'cpu', 'sealed'],
  ['download-100', 'cpu', 'sealed'],
  ['download-1', 'rate', 'sealed'],
  ['upload-1', 'rate', 'sealed'],
  ['requests', 'cpu', 'dgram'],
  ['latency-idle', 'cpu', 'dgram'],
  ['latency-idle', 'p50', 'dgram'],
]

class UsageError extends Error {}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      accept: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < ROUNDS_MIN) {
    throw new UsageError(`--rounds "${values.rounds}" is not a whole number of at least ${ROUNDS_MIN}`)
  }
  const seconds = Number(values.seconds)
  if (!(seconds > 0)) throw new UsageError(`--seconds "${values.seconds}" is not a positive number`)
  const { figures, failures } = await measureGuarded(rounds, seconds)
  const { bytesAllocatedPerPacket } = measureAllocation(ALLOCATION_TRANSFER_BYTES)
  for (const failure of failures) console.error(`bench:guard: ${failure}`)
  if (failures.length > 0) return 1
  if (values.accept) {
    const { date, commit, machine } = environment()
    const accepted: Accepted = { date, commit, machine, bytesAllocatedPerPacket, figures }
    writeFileSync(acceptedFile, `${JSON.stringify(accepted, null, 2)}\n`)
    console.log(`accepted: ${acceptedFile}`)
    return 0
  }
  return judge(figures, bytesAllocatedPerPacket)
}

async function measureGuarded(rounds: number, seconds: number): Promise<{ figures: Figure[]; failures: string[] }> {
  const names = new Set(guarded.flatMap(([subject, , limit]) => [subject, limit]))
  const chosen = {
    contenders: contenders.filter(({ name }) => name === OURS || name === 'limits' || name === 'node:dgram'),
    cases: cases.filter(({ name }) => names.has(name)),
  }
  const folder = mkdtempSync(join(tmpdir(), 'quicether-guard-'))
  try {
    const absent: { contender: string; subject: string; reason: string }[] = []
    const { ready } = await installAll(chosen, absent)
    makeOwnCertificates(folder)
    const options = { folder, seconds, warmupSeconds: seconds / 2, shrink: 1 }
    const samples = await measureAll(ready, chosen.cases, rounds, options, absent)
    const failures = absent.map(({ contender, subject, reason }) => `${contender} ${subject}: ${reason}`)
    return { figures: guarded.map((entry) => figureOf(samples, ...entry)), failures }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Round by round; above 1 = better than the limit, whichever way the figure counts. */
function figureOf(samples: readonly Sample[], subject: string, metric: string, limit: string): Figure {
  const ours = samples.find((s) => s.contender === OURS && s.subject === subject && s.metric === metric)
  const theirs = samples.find((s) => s.subject === limit && s.metric === metric)
  const values = (ours?.values ?? []).flatMap((value, round) => {
    const other = theirs?.values[round]
    if (other === undefined) return []
    const ratio = ours?.better === 'more' ? value / other : other / value
    // Processor time is counted in ticks: a very short run may have none.
    return Number.isFinite(ratio) && ratio > 0 ? [ratio] : []
  })
  return { name: `${subject} ${metric} / ${limit}`, values }
}

function judge(figures: readonly Figure[], bytesAllocatedPerPacket: number): number {
  if (!existsSync(acceptedFile)) {
    console.error(
      `bench:guard: there is no ${acceptedFile}; run "npm run bench:guard -- --accept" on a good tree first`,
    )
    return 1
  }
  const accepted = JSON.parse(readFileSync(acceptedFile, 'utf8')) as Accepted
  console.log(`against commit ${accepted.commit} of ${accepted.date} on ${accepted.machine}`)
  const comparisons = compareAll(accepted, figures, bytesAllocatedPerPacket)
  for (const comparison of comparisons) console.log(describe(comparison))
  const failed = comparisons.filter(isFailure)
  if (failed.length > 0) console.error(`bench:guard: ${failed.length} of ${comparisons.length} figures are worse`)
  return failed.length === 0 ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  if (!(error instanceof UsageError) && code?.startsWith('ERR_PARSE_ARGS') !== true) throw error
  console.error(`bench:guard: ${message}\n\n${usage}`)
  process.exitCode = 2
}
