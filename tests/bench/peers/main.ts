/** `npm run bench:peers`: every implementation that can be had, case by case, interleaved, in one run. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeCertificates, repositoryRoot } from '../../interop/peers.ts'
import { cases, groups } from './cases.ts'
import { chart } from './chart.ts'
import { contenders } from './contenders.ts'
import { installCertificateMaker } from './install.ts'
import { markdown, replaceMarked, table } from './report.ts'
import { type Absence, isOurs, type Result } from './result.ts'
import { type Choice, conclude, environment, installAll, measureAll } from './session.ts'

const usage = `Usage: npm run bench:peers -- [--only NAME,…] [--repeats N] [--seconds X] [--quick] [--docs] [--out FILE] [--keep]

  --only NAMES   implementations, cases and groups of cases; an implementation alone means all its cases
                 implementations: ${contenders.map(({ name }) => name).join(', ')}
                 groups: ${groups.join(', ')}
                 cases: ${cases.map(({ name }) => name).join(', ')}
  --repeats N    rounds; every round runs each case of every implementation once (default 5)
  --seconds X    measured time of a case, after a warm-up of half of it (default 3)
  --quick        1 round, 0.5 s, a tenth of the connections
  --docs         write docs/performance.md, .svg and tests/bench/peers/result.json
  --out FILE     write the result as JSON
  --keep         keep the logs and say where they are

Implementations come from their registries, pinned, and are built once in ~/.cache/quicether/bench-peers.`

class UsageError extends Error {}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      repeats: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      docs: { type: 'boolean', default: false },
      out: { type: 'string' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const repeats = Math.ceil(positive('--repeats', values.repeats ?? (values.quick ? '1' : '5')))
  const seconds = positive('--seconds', values.seconds ?? (values.quick ? '0.5' : '3'))
  const chosen = choose(values.only)
  const folder = mkdtempSync(join(tmpdir(), 'quicether-bench-peers-'))
  try {
    const absent: Absence[] = []
    const { ready, versions } = await installAll(chosen, absent)
    await installCertificateMaker()
    await makeCertificates(folder)
    const options = { folder, seconds, warmupSeconds: seconds / 2, shrink: values.quick ? 10 : 1 }
    const samples = await measureAll(ready, chosen.cases, repeats, options, absent)
    const command = `npm run bench:peers${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`
    const result = { ...environment(), command, repeats, seconds, versions, ...conclude(samples), absent }
    console.log(`\n${table(result)}`)
    if (values.out !== undefined) write(values.out, result)
    if (values.docs) writeDocs(result)
    return judge(absent)
  } finally {
    if (values.keep) process.stderr.write(`logs: ${folder}\n`)
    else rmSync(folder, { recursive: true, force: true })
  }
}

function choose(only: string | undefined): Choice {
  const words = only?.split(',') ?? []
  const named = contenders.filter(({ name }) => words.includes(name))
  const cased = cases.filter(({ name, group }) => words.includes(name) || words.includes(group))
  const known = new Set<string>([...contenders, ...cases].map(({ name }) => name).concat(groups))
  const wrong = words.find((word) => !known.has(word))
  if (wrong !== undefined) throw new UsageError(`--only: there is no "${wrong}"; known: ${[...known].join(', ')}`)
  return { contenders: named.length === 0 ? contenders : named, cases: cased.length === 0 ? cases : cased }
}

/** Only our own failures fail the run: what others cannot do stands in the table. */
function judge(absent: readonly Absence[]): number {
  const failures = absent.filter(({ contender, reason }) => isOurs(contender) && reason.startsWith('failed'))
  for (const { subject, reason } of failures) console.error(`bench:peers: ${subject}: ${reason}`)
  return failures.length === 0 ? 0 : 1
}

function writeDocs(result: Result): void {
  const page = join(repositoryRoot, 'docs', 'performance.md')
  writeFileSync(page, replaceMarked(readFileSync(page, 'utf8'), markdown(result)))
  writeFileSync(join(repositoryRoot, 'docs', 'performance.svg'), chart(result))
  write(join(repositoryRoot, 'tests', 'bench', 'peers', 'result.json'), result)
}

function write(file: string, result: Result): void {
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
}

function positive(flag: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new UsageError(`${flag} "${text}" is not a positive number`)
  return value
}

try {
  process.exitCode = await main()
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  if (!(error instanceof UsageError) && code?.startsWith('ERR_PARSE_ARGS') !== true) throw error
  console.error(`bench:peers: ${message}\n\n${usage}`)
  process.exitCode = 2
}
