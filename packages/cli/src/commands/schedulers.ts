/** `quicether schedulers`: what there is, and the tournament that compares them in virtual time. */
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { Standings, TournamentCase, TournamentPlan } from '@quicether/lab'
import { codeOf, formatTable, messageOf, UserError } from '@quicether/router'
import { congestionAlgorithms, packetSchedulers } from '@quicether/transport'
import { type Command, Option } from 'commander'
import { isModulePath, loadScheduler } from '../files/scheduler-module.ts'
import { examples } from '../help.ts'
import { list, wholeNumber } from '../option-values.ts'
import { betweenMarkers } from '../tournament/markers.ts'
import { runJobs } from '../tournament/pool.ts'
import { ProgressLine } from '../tournament/progress.ts'
import { labelOf } from '../tournament/worker.ts'

interface BenchFlags {
  readonly schedulers: readonly string[]
  readonly pairs: readonly string[]
  readonly cases: readonly string[]
  readonly congestion?: string
  readonly seeds: number
  readonly seconds: number
  readonly overtaking?: boolean
  readonly threads: number
  readonly json?: boolean
  readonly svg?: string
  readonly write?: string
}

/** Adds the command to the program. */
export function addSchedulersCommand(program: Command): void {
  const schedulers = program
    .command('schedulers')
    .summary('compare packet schedulers')
    .description('Compares the rules by which packets are spread over paths.')
    .addHelpText('after', examples(['quicether schedulers bench', 'quicether schedulers bench --help']))
  schedulers
    .command('bench')
    .summary('run the tournament in virtual time')
    .description(
      'Runs every scheduler over the link pairs that mqvpn publishes results for, through outages and over fading links, in virtual time: the same seeds give the same figures on any machine.',
    )
    .option(
      '--schedulers <list>',
      `who takes part, with commas: ${packetSchedulers.join(', ')}, or paths of modules`,
      list,
      packetSchedulers,
    )
    .option('--pairs <list>', 'link pairs of the downloads, e.g. fiber_lte,lte_geo', list, ['all'])
    .option('--cases <list>', 'what is run: downloads, shares, outages, told, rebindings, requests, fairness', list, [
      'all',
    ])
    .addOption(new Option('--congestion <name>', 'congestion control of each path').choices(congestionAlgorithms))
    .option('--seeds <count>', 'runs per figure', wholeNumber(1, 1_000), 1)
    .option('--seconds <length>', 'virtual length of each download', wholeNumber(1, 600), 8)
    .option('--overtaking', 'jitter lets datagrams overtake each other (otherwise it keeps their order)')
    .option('--threads <count>', 'threads to compute with', wholeNumber(1, 256), Math.min(8, availableParallelism()))
    .option('--json', 'print JSON')
    .option('--svg <file>', 'draw a heat map into this file')
    .option('--write <file>', 'replace the tables between the tournament markers of this Markdown file')
    .addHelpText(
      'after',
      examples([
        'quicether schedulers bench',
        'quicether schedulers bench --schedulers minrtt,./my-scheduler.ts --cases downloads --pairs lte_geo,rtt_320',
        'quicether schedulers bench --seeds 3 --svg heat.svg',
      ]),
    )
    .allowExcessArguments(false)
    .action(runBench)
}

async function runBench(flags: BenchFlags): Promise<void> {
  const plan = await planOf(flags)
  // Files that cannot be written are better found before the work than after it.
  if (flags.write !== undefined) betweenMarkers(readText(flags.write), '', flags.write)
  if (flags.svg !== undefined) writeText(flags.svg, '', 'a')
  const { describeJob, heatMap, planJobs, standingsOf, tournamentMarkdown } = await import('@quicether/lab')
  const jobs = planJobs(plan)
  const progress = new ProgressLine(process.stderr)
  const outcomes = await runJobs(jobs, {
    plan,
    schedulers: flags.schedulers,
    threads: flags.threads,
    onDone: (done, of, last) => progress.show(done, of, describeJob(last)),
  })
  progress.clear()
  const standings = standingsOf(plan, outcomes)
  if (flags.svg !== undefined) writeText(flags.svg, heatMap(standings), 'w')
  if (flags.write !== undefined)
    writeText(flags.write, betweenMarkers(readText(flags.write), tournamentMarkdown(standings), flags.write), 'w')
  if (flags.json === true) process.stdout.write(`${JSON.stringify(standings, null, 2)}\n`)
  else await printTables(standings)
  for (const { job, message } of standings.failures)
    process.stderr.write(`quicether: a run got stuck (${describeJob(job)}): ${message}\n`)
  if (standings.failures.length > 0) process.exitCode = 1
}

async function printTables(standings: Standings): Promise<void> {
  const { tournamentTables } = await import('@quicether/lab')
  for (const { heading, titles, rows } of tournamentTables(standings)) {
    const columns = titles.map((title, at) => ({ title, align: at === 0 ? ('left' as const) : ('right' as const) }))
    process.stdout.write(`\n${heading}\n\n${formatTable(columns, rows)}\n`)
  }
}

async function planOf(flags: BenchFlags): Promise<TournamentPlan> {
  const { mqvpnPairNames, tournamentCases } = await import('@quicether/lab')
  const known: readonly string[] = packetSchedulers
  for (const name of flags.schedulers) {
    if (isModulePath(name)) await loadScheduler(name)
    else if (!known.includes(name)) throw unknown('--schedulers', name, [...known, 'or the path of a module'])
  }
  const labels = flags.schedulers.map(labelOf)
  const twice = labels.find((label, at) => labels.indexOf(label) !== at)
  if (twice !== undefined) {
    throw new UserError('ERR_OPTION', {
      what: `two schedulers are called ${twice}`,
      where: '--schedulers',
      remedy: 'Name each one once, and give modules different file names.',
    })
  }
  return {
    schedulers: labels,
    ...(flags.congestion === undefined ? {} : { congestion: flags.congestion }),
    cases: chosen('--cases', flags.cases, tournamentCases) as readonly TournamentCase[],
    pairs: chosen('--pairs', flags.pairs, mqvpnPairNames),
    seeds: flags.seeds,
    lengthUs: flags.seconds * 1_000_000,
    jitterMode: flags.overtaking === true ? 'overtaking' : 'normal',
  }
}

/** In the order of `known`, each once. */
function chosen(flag: string, names: readonly string[], known: readonly string[]): readonly string[] {
  for (const name of names) if (name !== 'all' && !known.includes(name)) throw unknown(flag, name, ['all', ...known])
  return names.includes('all') ? known : known.filter((name) => names.includes(name))
}

function unknown(flag: string, name: string, known: readonly string[]): UserError {
  return new UserError('ERR_OPTION', {
    what: `there is no ${name}`,
    where: flag,
    remedy: `Known: ${known.join(', ')}.`,
  })
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw fileProblem('cannot be read', file, error)
  }
}

function writeText(file: string, text: string, flag: 'a' | 'w'): void {
  try {
    writeFileSync(file, text, { flag })
  } catch (error) {
    throw fileProblem('cannot be written', file, error)
  }
}

function fileProblem(what: string, file: string, error: unknown): UserError {
  return new UserError('ERR_OPTION', {
    what: `the file ${what}: ${codeOf(error) || messageOf(error)}`,
    where: file,
    remedy: 'Name a file in a directory that exists and may be used.',
    cause: error,
  })
}
