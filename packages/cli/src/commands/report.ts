/** `quicether report`: compares the latest runs from the history. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { compareRuns, History, historyFileName, runsReport, UserError } from '@quicether/router'
import type { Command } from 'commander'
import { examples } from '../help.ts'
import { wholeNumber } from '../option-values.ts'

interface ReportFlags {
  readonly last: number
  readonly results: string
  readonly json?: boolean
}

/** Adds the command to the program. */
export function addReportCommand(program: Command): void {
  program
    .command('report')
    .summary('compare the latest runs')
    .description('Shows the latest runs of the router side by side, and how the last one differs from the one before.')
    .option('--last <runs>', 'runs to show', wholeNumber(1, 1_000), 10)
    .option('--results <directory>', 'where the router keeps its results', 'results')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples([
        'quicether report',
        'quicether report --last 3 --json',
        'quicether report --results /var/lib/quicether/results',
      ]),
    )
    .action(runReport)
}

function runReport(flags: ReportFlags): void {
  const file = join(flags.results, historyFileName)
  if (!existsSync(file)) {
    throw new UserError('ERR_HISTORY', {
      what: 'there is no history of runs yet',
      where: file,
      remedy: 'Run `quicether demo` or `quicether router` first, or name their results with --results.',
    })
  }
  const history = new History(file, { readOnly: true })
  try {
    const runs = history.last(flags.last)
    const [before, after] = [runs.at(-2), runs.at(-1)]
    if (flags.json !== true) process.stdout.write(runsReport(runs))
    else
      process.stdout.write(
        `${JSON.stringify({ runs, changes: before && after ? compareRuns(before, after) : [] }, null, 2)}\n`,
      )
  } finally {
    history.close()
  }
}
