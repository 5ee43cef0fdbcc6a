/** `npm run bench:links`: several paths over emulated links and real kernels, beside Linux MPTCP. Needs root. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ensureTool, type Tool } from '../../../scripts/tools.ts'
import { repositoryRoot } from '../../interop/peers.ts'
import { outageCases, rebindCases, shareCases } from './cases.ts'
import { type Contender, mptcp, quicether } from './contenders.ts'
import { Files } from './material.ts'
import { measureOutage, measureRebind, measureShare } from './measure.ts'
import { picoquic } from './picoquic.ts'
import { markdown, outageName, summary } from './report.ts'
import { type Cell, describeMachine, type LinksResult, versionOf } from './result.ts'

const usage = `Usage: npm run bench:links -- [options]        as root, on Linux

  --repeats N    how often everything is measured (default 5)
  --seconds N    length of a transfer at the sum of the link rates (default 10)
  --quick        one repeat, 3 s, no page: for a look
  --cases LIST   of shares, outages, rebinds (default: all)
  --match TEXT   only cases whose name contains it
  --only LIST    of quicether, mptcp-cubic, mptcp-bbr, picoquic (default: all)
  --flags FLAGS  a contender more: quicether with these flags of serve and get, e.g. --flags="--scheduler rr"; may repeat
  --out FILE     every measurement as JSON
  --docs FILE    the page (default docs/multipath-results.md, unless --quick, --cases, --match or --only is given)

Builds network namespaces and links by tools/topo.sh and removes them, also when interrupted; installs iproute2, iperf3,
mptcpize and ethtool by apt-get when they are missing. Wants two idle cores; on a machine that has other things to do, real-time
priority for everything it starts comes close: chrt -r 1 npm run bench:links`

/** The same on every run, so that repeats differ by the machine and by the losses only. */
const SEED = 1

const tools: readonly Tool[] = [
  { command: 'ip', apt: ['iproute2'], why: 'makes network namespaces' },
  { command: 'ethtool', apt: ['ethtool'], why: 'switches offloads off' },
  { command: 'sysctl', apt: ['procps'], why: 'sets up the namespaces' },
  { command: 'gcc', apt: ['gcc', 'libc6-dev'], why: 'compiles the link emulator' },
]
const mptcpTools: readonly Tool[] = [
  { command: 'iperf3', apt: ['iperf3'], why: 'measures Linux MPTCP' },
  { command: 'mptcpize', apt: ['mptcpize'], why: 'makes programs use MPTCP' },
]

/** Of a message of a run that failed, which may hold a whole log. */
const FAILURE_CHARACTERS_MAX = 400

class UsageError extends Error {}

interface Plan {
  readonly repeats: number
  readonly seconds: number
  readonly kinds: readonly string[]
  readonly match: string
  readonly contenders: readonly Contender[]
  readonly leftOut: readonly string[]
  readonly files: Files
}

interface Job {
  readonly what: string
  run(seed: number): Promise<string>
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      repeats: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      cases: { type: 'string' },
      match: { type: 'string' },
      only: { type: 'string' },
      flags: { type: 'string', multiple: true, default: [] },
      out: { type: 'string' },
      docs: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const isPartial = values.quick || [values.cases, values.match, values.only].some((value) => value !== undefined)
  const kinds = listOf('--cases', values.cases, ['shares', 'outages', 'rebinds'])
  const only = listOf('--only', values.only, ['quicether', 'mptcp-cubic', 'mptcp-bbr', 'picoquic'])
  const repeats = positive('--repeats', values.repeats ?? (values.quick ? '1' : '5'))
  const seconds = positive('--seconds', values.seconds ?? (values.quick ? '3' : '10'))
  await checkMachine()
  using files = new Files()
  const { contenders, leftOut } = await contendersOf(only, values.flags, files.directory)
  const result = await measureAll({
    repeats: Math.ceil(repeats),
    seconds,
    kinds,
    match: values.match ?? '',
    contenders,
    leftOut,
    files,
  })
  console.log(`\n${summary(result)}`)
  if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`)
  const page = values.docs ?? (isPartial ? undefined : join(repositoryRoot, 'docs', 'multipath-results.md'))
  if (page !== undefined) writeFileSync(page, withNotes(page, markdown(result)))
  return result.failures.length === 0 ? 0 : 1
}

/** What people wrote below this line stays when the page is written anew. */
const notesMark = '<!-- notes -->'

function withNotes(page: string, text: string): string {
  const notes = existsSync(page) ? readFileSync(page, 'utf8').split(notesMark).slice(1).join(notesMark) : undefined
  return `${text}\n${notesMark}${notes ?? '\n'}`
}

async function checkMachine(): Promise<void> {
  if (process.platform !== 'linux') throw new UsageError('needs Linux: it builds network namespaces')
  if (process.getuid?.() !== 0) {
    throw new UsageError('needs root, to build network namespaces and links: sudo npm run bench:links')
  }
  for (const tool of tools) {
    const problem = await ensureTool(tool)
    if (problem !== undefined) throw new UsageError(problem)
  }
}

async function contendersOf(
  only: readonly string[],
  variants: readonly string[],
  directory: string,
): Promise<{ contenders: readonly Contender[]; leftOut: readonly string[] }> {
  const contenders: Contender[] = []
  const leftOut: string[] = []
  if (only.includes('quicether')) contenders.push(quicether('quicether', []))
  for (const flags of variants) contenders.push(quicether(`quicether ${flags}`, flags.split(/\s+/u)))
  const available = readOr('/proc/sys/net/ipv4/tcp_available_congestion_control', '').split(/\s+/u)
  for (const congestion of ['cubic', 'bbr'] as const) {
    if (!only.includes(`mptcp-${congestion}`)) continue
    const obstacle = (await mptcpObstacle()) ?? congestionObstacle(available, congestion)
    if (obstacle === undefined) contenders.push(mptcp(congestion))
    else leftOut.push(`mptcp-${congestion}: ${obstacle}`)
  }
  if (only.includes('picoquic')) {
    try {
      contenders.push(await picoquic('cubic', directory))
    } catch (error) {
      leftOut.push(`picoquic: ${error instanceof Error ? error.message.replaceAll('\n', ' ') : String(error)}`)
    }
  }
  for (const line of leftOut) console.error(`left out: ${line}`)
  return { contenders, leftOut }
}

function congestionObstacle(available: readonly string[], name: string): string | undefined {
  return available.includes(name)
    ? undefined
    : `this kernel has no TCP congestion control "${name}" (modprobe tcp_${name})`
}

async function mptcpObstacle(): Promise<string | undefined> {
  if (readOr('/proc/sys/net/mptcp/enabled', '0').trim() !== '1') {
    return 'this kernel has no MPTCP, or it is switched off (sysctl net.mptcp.enabled)'
  }
  for (const tool of mptcpTools) {
    const problem = await ensureTool(tool)
    if (problem !== undefined) return problem
  }
  return undefined
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return otherwise
  }
}

async function measureAll(plan: Plan): Promise<LinksResult> {
  const machine = describeMachine({
    ...Object.fromEntries(plan.contenders.map((contender) => [contender.name.split(' ')[0], contender.version()])),
    iproute2: versionOf('ip', '-V').replace(/^.*iproute2-|,.*$/gu, ''),
    iperf3: versionOf('iperf3', '--version').replace(/^iperf | \(.*$/gu, ''),
  })
  const tables = { shares: [], outages: [], rebinds: [] }
  const failures: string[] = []
  const jobs = jobsOf(plan, tables)
  if (jobs.length === 0) throw new UsageError(`no case is called like --match ${plan.match}`)
  const before = processorTimes()
  for (let repeat = 1; repeat <= plan.repeats; repeat++) {
    for (const [index, { what, run }] of jobs.entries()) {
      const place = `[${repeat}/${plan.repeats}, ${index + 1}/${jobs.length}] ${what}`
      try {
        console.error(`${place}: ${await run(SEED + repeat)}`)
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error)
        failures.push(`repeat ${repeat}, ${what}: ${message.slice(0, FAILURE_CHARACTERS_MAX)}`)
        console.error(`${place}: FAILED, ${message.slice(0, FAILURE_CHARACTERS_MAX)}`)
      }
    }
  }
  machine.stealShare = stealShare(before, processorTimes())
  return {
    command: commandLine(process.argv.slice(2)),
    repeats: plan.repeats,
    seconds: plan.seconds,
    machine,
    contenders: plan.contenders.map(({ name, about }) => ({ name, about })),
    ...tables,
    failures,
    leftOut: plan.leftOut,
  }
}

/** As it can be repeated; where results were written to is no part of it. */
function commandLine(args: readonly string[]): string {
  const kept = args.filter(
    (arg, index) => !/^--(out|docs)\b/u.test(arg) && !/^--(out|docs)$/u.test(args[index - 1] ?? ''),
  )
  const quoted = kept.map((arg) => (/\s/u.test(arg) ? `'${arg}'` : arg))
  return `npm run bench:links${quoted.length > 0 ? ` -- ${quoted.join(' ')}` : ''}`
}

interface Tables {
  readonly shares: Cell<Awaited<ReturnType<typeof measureShare>>>[]
  readonly outages: Cell<Awaited<ReturnType<typeof measureOutage>>>[]
  readonly rebinds: Cell<Awaited<ReturnType<typeof measureRebind>>>[]
}

/** Every case with every contender, neighbours in time. */
function jobsOf({ kinds, match, contenders, seconds, files }: Plan, tables: Tables): Job[] {
  const durations = { shareSeconds: seconds, warmUpMs: 2_500, outageMs: 3_000 }
  const jobs: Job[] = []
  const add = <Result>(
    cells: Cell<Result>[],
    name: string,
    contender: Contender,
    measure: (seed: number) => Promise<Result>,
    show: (result: Result) => string,
  ): void => {
    if (!name.includes(match)) return
    const cell: Cell<Result> = { contender: contender.name, case: name, runs: [] }
    cells.push(cell)
    const run = async (seed: number): Promise<string> => {
      const at = cell.runs.push(null) - 1
      const result = await measure(seed)
      cell.runs[at] = result
      return show(result)
    }
    jobs.push({ what: `${name}, ${contender.name}`, run })
  }
  for (const entry of kinds.includes('shares') ? shareCases : []) {
    for (const contender of contenders) {
      const measure = (seed: number) => measureShare(contender, entry, seed, seconds, files)
      add(
        tables.shares,
        entry.name,
        contender,
        measure,
        ({ mbit, share }) => `${mbit.toFixed(1)} Mbit/s, ${(100 * share).toFixed(1)} %`,
      )
    }
  }
  for (const entry of kinds.includes('outages') ? outageCases : []) {
    for (const contender of contenders.filter(({ outages }) => outages.includes(entry.how))) {
      const measure = (seed: number) => measureOutage(contender, entry, seed, durations, files)
      add(
        tables.outages,
        outageName(entry),
        contender,
        measure,
        ({ gapMs, goalMs, returnShare }) =>
          `gap ${gapMs.toFixed(0)} of ${goalMs.toFixed(0)} ms, back ${(100 * returnShare).toFixed(0)} %`,
      )
    }
  }
  for (const entry of kinds.includes('rebinds') ? rebindCases : []) {
    for (const contender of contenders.filter(({ name }) => name.startsWith('quicether'))) {
      const measure = (seed: number) => measureRebind(contender, entry, seed, durations, files)
      add(
        tables.rebinds,
        entry.name,
        contender,
        measure,
        ({ gapMs, goalMs }) => `gap ${gapMs.toFixed(0)} of ${goalMs.toFixed(0)} ms`,
      )
    }
  }
  return jobs
}

/** Ticks of all processors: in all, and taken by the host. */
function processorTimes(): readonly [number, number] {
  const fields = readOr('/proc/stat', '').split('\n')[0]?.trim().split(/\s+/u).slice(1, 9).map(Number) ?? []
  return [fields.reduce((sum, ticks) => sum + ticks, 0), fields[7] ?? 0]
}

function stealShare(before: readonly [number, number], after: readonly [number, number]): number | null {
  const total = after[0] - before[0]
  return total > 0 ? (after[1] - before[1]) / total : null
}

function listOf(flag: string, text: string | undefined, known: readonly string[]): readonly string[] {
  if (text === undefined) return known
  const names = text.split(',').filter((name) => name !== '')
  const wrong = names.find((name) => !known.includes(name))
  if (wrong !== undefined) throw new UsageError(`${flag} names "${wrong}"; known: ${known.join(', ')}`)
  return names
}

function positive(flag: string, text: string): number {
  const value = Number(text)
  if (!(value > 0) || !Number.isFinite(value)) throw new UsageError(`${flag} is "${text}", expected a number above 0`)
  return value
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  // The exit removes the namespaces and the files.
  process.on(signal, () => process.exit(code))
}
try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof UsageError) && !(error instanceof TypeError && 'code' in error)) throw error
  console.error(`bench:links: ${error.message}`)
  process.exitCode = 2
}
