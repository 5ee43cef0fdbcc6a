/** One run: makes the contenders ready, measures case by case in interleaved rounds, and concludes. */
import { execFileSync } from 'node:child_process'
import { cpus, release, type as systemType } from 'node:os'
import { repositoryRoot } from '../../interop/peers.ts'
import type { Case } from './cases.ts'
import type { Contender } from './contenders.ts'
import { MissingError } from './install.ts'
import { measure, type RunOptions } from './measure.ts'
import { format } from './report.ts'
import {
  type Absence,
  limitsOf,
  type Ratio,
  ratioAgainst,
  ratiosOf,
  type Result,
  type Sample,
  withMedians,
} from './result.ts'

export interface Choice {
  readonly contenders: readonly Contender[]
  readonly cases: readonly Case[]
}

/** Whether the contender runs the case at all; what it lacks is another matter. */
export function isFor({ only }: Contender, { name, isNamed }: Case): boolean {
  return only === undefined ? isNamed !== true : only.includes(name)
}

/** A contender that cannot be had is absent everywhere, with the reason; ours must be there. */
export async function installAll(
  chosen: Choice,
  absent: Absence[],
): Promise<{ ready: Contender[]; versions: Record<string, string> }> {
  const ready: Contender[] = []
  const versions: Record<string, string> = {}
  for (const contender of chosen.contenders) {
    const wanted = chosen.cases.filter((subject) => isFor(contender, subject))
    if (wanted.length === 0) continue
    process.stderr.write(`making ${contender.name} ready\n`)
    try {
      versions[contender.name] = await contender.install()
      ready.push(contender)
    } catch (error) {
      if (!(error instanceof MissingError)) throw error
      process.stderr.write(`${contender.name}: ${error.message}\n`)
      const reason = 'could not be installed on this machine'
      for (const { name } of wanted) absent.push({ contender: contender.name, subject: name, reason })
    }
  }
  return { ready, versions }
}

/** Case by case within a round, so that those who are compared run within the same minute. */
export async function measureAll(
  ready: readonly Contender[],
  chosen: readonly Case[],
  repeats: number,
  options: RunOptions,
  absent: Absence[],
): Promise<Sample[]> {
  const samples: Sample[] = []
  for (let round = 1; round <= repeats; round++) {
    for (const subject of chosen) {
      for (const contender of ready.filter((candidate) => isFor(candidate, subject))) {
        if (absent.some((a) => a.contender === contender.name && a.subject === subject.name)) continue
        const lack = contender.lacks[subject.name] ?? contender.lacks[subject.group]
        if (lack !== undefined) absent.push({ contender: contender.name, subject: subject.name, reason: lack })
        else await measureOnce(contender, subject, options, samples, absent, `${round}/${repeats}`)
      }
    }
  }
  return samples
}

async function measureOnce(
  contender: Contender,
  subject: Case,
  options: RunOptions,
  samples: Sample[],
  absent: Absence[],
  round: string,
): Promise<void> {
  const label = `round ${round}  ${subject.name.padEnd(19)} ${contender.name.padEnd(11)}`
  try {
    const figures = await measure(contender, subject, options)
    for (const [i, metric] of subject.metrics.entries()) {
      const value = figures[i] as number
      const known = samples.find(
        (s) => s.contender === contender.name && s.subject === subject.name && s.metric === metric.name,
      )
      if (known !== undefined) known.values.push(value)
      else {
        const { name, unit, better } = metric
        samples.push({ contender: contender.name, subject: subject.name, metric: name, unit, better, values: [value] })
      }
    }
    const shown = subject.metrics.map((metric, i) => `${metric.name} ${format(figures[i] as number, metric.unit)}`)
    process.stderr.write(`${label} ${shown.join(', ')}\n`)
  } catch (error) {
    const reason = `failed: ${error instanceof Error ? error.message : String(error)}`
    process.stderr.write(`${label} ${reason}\n`)
    // One failure in several rounds leaves the others standing; the reason is told anyway.
    absent.push({ contender: contender.name, subject: subject.name, reason: reason.replace(/; see .*/s, '') })
  }
}

export function conclude(samples: readonly Sample[]): Pick<Result, 'samples' | 'ratios'> {
  const limits = limitsOf
    .map(([subject, limit, metric]) => ratioAgainst(samples, subject, limit, metric))
    .filter((ratio): ratio is Ratio => ratio !== undefined)
  return { samples: withMedians(samples), ratios: [...ratiosOf(samples), ...limits] }
}

export function environment(): Pick<Result, 'machine' | 'kernel' | 'date' | 'commit'> {
  let commit = 'unknown'
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repositoryRoot, encoding: 'utf8' }).trim()
  } catch {
    // A checkout without git can be measured, too.
  }
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}`
  return { machine, kernel: `${systemType()} ${release()}`, date: new Date().toISOString().slice(0, 10), commit }
}
