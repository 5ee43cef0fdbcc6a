/** The result as Markdown: medians and goals first, then every run. */
import { median } from '../statistics.ts'
import { type OutageCase, outageCases, rebindCases, shareCases } from './cases.ts'
import type { OutageResult, RebindResult, ShareResult } from './measure.ts'
import { QUEUE_MS } from './topology.ts'
import type { Cell, LinksResult } from './result.ts'

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`
const wholePercent = (value: number): string => `${(100 * value).toFixed(0)} %`
const ms = (value: number): string => `${value.toFixed(0)} ms`

/** The name of an outage case in tables and results. */
export function outageName({ name, fails, how }: OutageCase): string {
  return `${name}, ${fails === 1 ? 'first' : 'second'} fails, ${how}`
}

/** The whole page. */
export function markdown(result: LinksResult): string {
  const sections = [
    introduction(result),
    shareTable(result),
    outageTable(result),
    rebindTable(result),
    failureSection(result),
    everyRun(result),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

/** What a terminal shows: the tables without the rest. */
export function summary(result: LinksResult): string {
  const tables = [shareTable(result), outageTable(result), rebindTable(result), failureSection(result)]
  return `${tables.filter((section) => section !== '').join('\n\n')}\n`
}

function introduction({ command, machine, repeats, seconds, contenders, leftOut }: LinksResult): string {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`)
  const steal = machine.stealShare === null ? '' : `, ${percent(machine.stealShare)} of the time taken by the host`
  return [
    '# Several paths on real kernels',
    '',
    `Written by \`${command}\` (root; it builds everything it needs and removes it). Two network namespaces joined by emulated`,
    `links ([tools/topo.sh](../tools/topo.sh), [tools/linkem.c](../tools/linkem.c)): rate, delay one way, ${QUEUE_MS} ms of tail-drop`,
    `queue, Ethernet frames of 1514 bytes counted. Real processes, real sockets, real time. ${repeats} repeats; in each of them`,
    'every case is run by every contender before the next case. Figures are medians; every run stands below.',
    '',
    ...contenders.map(({ name, about }) => `- \`${name}\`: ${about}`),
    ...leftOut.map((line) => `- not measured: ${line}`),
    '',
    `${machine.when}, ${machine.processor}, ${machine.cores} cores for both ends and the emulators, ${machine.memoryMB} MB,`,
    `Linux ${machine.kernel}, Node ${machine.node}; ${versions.join(', ')}. Load before: ${machine.loadBefore.toFixed(2)}${steal}.`,
    `Transfers of shares last ${seconds} s at the sum of the link rates, slow start included.`,
  ].join('\n')
}

function shareTable({ shares, contenders }: LinksResult): string {
  if (shares.length === 0) return ''
  const names = contenders.map(({ name }) => name)
  const rows = shareCases.map(({ name, goal }) => {
    const cells = names.map((contender) => {
      const middle = middleOf(cellOf(shares, contender, name), ({ share }) => share)
      return middle === undefined ? '-' : percent(middle)
    })
    const ours = middleOf(cellOf(shares, names[0] ?? '', name), ({ share }) => share)
    return [
      name,
      ...cells,
      wholePercent(goal),
      verdict(
        ours,
        (value) => value >= goal,
        (value) => percent(goal - value),
      ),
    ]
  })
  return table(
    '## Goodput as a share of the sum of the link rates (goal G2)',
    ['links', ...names, 'goal', 'reached'],
    rows,
  )
}

function outageTable({ outages, contenders }: LinksResult): string {
  if (outages.length === 0) return ''
  const rows = outageCases.flatMap((entry) =>
    contenders.flatMap(({ name: contender }, index) => {
      const cell = cellOf(outages, contender, outageName(entry))
      const gap = middleOf(cell, ({ gapMs }) => gapMs)
      if (gap === undefined) return []
      const goal = middleOf(cell, ({ goalMs }) => goalMs) ?? 0
      const back = middleOf(cell, ({ returnShare }) => returnShare) ?? 0
      const survivor = middleOf(cell, ({ survivorShare }) => survivorShare) ?? 0
      const reached = index > 0 ? '' : verdict(gap - goal, (over) => over <= 0, ms)
      const returned =
        index > 0
          ? ''
          : verdict(
              back,
              (share) => share >= 0.9,
              (share) => percent(0.9 - share),
            )
      const failure = `${entry.fails === 1 ? 'first' : 'second'}, ${entry.how}`
      return [[entry.name, failure, contender, ms(gap), ms(goal), reached, percent(survivor), percent(back), returned]]
    }),
  )
  const text =
    '`silent`: the line swallows everything and tells nobody. `told`: the interface of the client goes down, as its kernel\nsees it. Gap: longest time without a byte at the application while the link is down. Goal G4, with the round trips (queue\nincluded) right before: silent max(250 ms, 3 RTT of the survivor + 1 PTO of the dead path), told 1 RTT of the survivor +\n50 ms. `survivor`: rate in the second half of the outage, of that link. `back`: rate in the third second after the return,\nof the rate before; goal G5 is 90 %. The client runs with `--paths auto`, which follows interfaces and announced addresses.'
  const head = ['links', 'which fails, how', 'contender', 'gap', 'goal', 'reached', 'survivor', 'back', 'reached']
  return table(`## A link fails and comes back (goals G4 and G5)\n\n${text}`, head, rows)
}

function rebindTable({ rebinds, contenders }: LinksResult): string {
  if (rebinds.length === 0) return ''
  const rows = rebindCases.flatMap(({ name }) =>
    contenders.flatMap(({ name: contender }) => {
      const cell = cellOf(rebinds, contender, name)
      const gap = middleOf(cell, ({ gapMs }) => gapMs)
      const goal = middleOf(cell, ({ goalMs }) => goalMs)
      if (gap === undefined || goal === undefined) return []
      return [[name, contender, ms(gap), ms(goal), verdict(gap - goal, (over) => over <= 0, ms)]]
    }),
  )
  const text =
    'The NAT before the client forgets its ports in the middle of a download: what the server sends to the old port is lost,\nand the client has nothing to send of its own. Goal: 1.5 RTT + 1 PTO, with the queue of that moment.'
  return table(
    `## The NAT gives another port (goal G6)\n\n${text}`,
    ['links', 'contender', 'gap', 'goal', 'reached'],
    rows,
  )
}

function failureSection({ failures }: LinksResult): string {
  if (failures.length === 0) return ''
  return ['## Runs that failed', '', ...failures.map((line) => `- ${line.replaceAll('\n', ' ')}`)].join('\n')
}

function everyRun({ shares, outages, rebinds }: LinksResult): string {
  const run = <Result>(value: Result | null, show: (result: Result) => string): string =>
    value === null ? 'failed' : show(value)
  const share = ({ mbit, linkBytes, cpuSeconds }: ShareResult): string => {
    const parts = linkBytes.map((bytes) => (bytes / 1e6).toFixed(1)).join(' + ')
    const detail =
      parts === ''
        ? ''
        : ` (${parts} MB${cpuSeconds === null ? '' : `, client ${cpuSeconds.toFixed(1)} s of processor`})`
    return `${mbit.toFixed(1)}${detail}`
  }
  const outage = ({ gapMs, goalMs, returnShare }: OutageResult): string =>
    `${gapMs.toFixed(0)}/${goalMs.toFixed(0)} ms, back ${wholePercent(returnShare)}`
  const rebind = ({ gapMs, goalMs }: RebindResult): string => `${gapMs.toFixed(0)}/${goalMs.toFixed(0)} ms`
  const rows = [
    ...shares.map((cell) => [cell.case, cell.contender, cell.runs.map((value) => run(value, share)).join('; ')]),
    ...outages.map((cell) => [cell.case, cell.contender, cell.runs.map((value) => run(value, outage)).join('; ')]),
    ...rebinds.map((cell) => [cell.case, cell.contender, cell.runs.map((value) => run(value, rebind)).join('; ')]),
  ]
  return table('## Every run\n\nMbit/s of payload, or gap/goal.', ['case', 'contender', 'runs'], rows)
}

function cellOf<Result>(cells: readonly Cell<Result>[], contender: string, name: string): Cell<Result> | undefined {
  return cells.find((cell) => cell.contender === contender && cell.case === name)
}

function middleOf<Result>(cell: Cell<Result> | undefined, value: (result: Result) => number): number | undefined {
  return median((cell?.runs ?? []).filter((run) => run !== null).map(value))
}

function verdict(
  value: number | undefined,
  holds: (value: number) => boolean,
  short: (value: number) => string,
): string {
  if (value === undefined) return '-'
  return holds(value) ? 'yes' : `no, by ${short(value)}`
}

function table(title: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [title, '', line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
