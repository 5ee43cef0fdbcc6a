/** Standings as tables: titles and rows of text, for a terminal and for the documentation. */
import { transportDefaults } from '@quicether/transport'
import { goals, type OutageResult, type Standing, type Standings } from './standings.ts'

export interface ReportTable {
  readonly heading: string
  readonly titles: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** One table per case that was run. A figure that misses its goal carries a `!`. */
export function tournamentTables(standings: Standings): ReportTable[] {
  const tables: ReportTable[] = []
  const [first] = standings.standings
  if (first === undefined) return tables
  if (first.pairs.length > 0) tables.push(downloadsTable(standings), sumsTable(standings))
  if (first.shares.length > 0) tables.push(sharesTable(standings))
  if (first.outages.length > 0) tables.push(outagesTable(standings))
  if (first.told.length > 0) tables.push(toldTable(standings))
  if (first.rebindings.length > 0) tables.push(rebindingsTable(standings))
  if (first.requests !== undefined) tables.push(requestsTable(standings))
  if (first.fairness.length > 0) tables.push(fairnessTable(standings))
  return tables
}

function downloadsTable({ alone, standings }: Standings): ReportTable {
  const megabits = (rate: number): string => (rate / 1e6).toFixed(1)
  return {
    heading: 'One download over both links, as a multiple of the better link alone; goal: 0.95',
    titles: ['pair', 'A alone', 'B alone', ...standings.map(({ scheduler }) => scheduler)],
    rows: alone.map(({ pair, a, b }, at) => [
      pair,
      megabits(a),
      megabits(b),
      ...standings.map(({ pairs }) => {
        const ofBetter = pairs[at]?.ofBetter ?? 0
        return marked(ofBetter.toFixed(2), ofBetter < goals.ofBetter)
      }),
    ]),
  }
}

function sumsTable({ alone, standings }: Standings): ReportTable {
  return {
    heading: 'The same downloads as a share of the sum of both link rates',
    titles: ['pair', ...standings.map(({ scheduler }) => scheduler)],
    rows: alone.map(({ pair }, at) => [pair, ...standings.map(({ pairs }) => percent(pairs[at]?.ofSum ?? 0))]),
  }
}

function sharesTable({ standings }: Standings): ReportTable {
  const [first] = standings as readonly [Standing]
  return {
    heading: 'One transfer of ten seconds as a share of the sum of both links',
    titles: ['links', 'goal', ...standings.map(({ scheduler }) => scheduler)],
    rows: first.shares.map(({ pairing }, at) => {
      const goal = goals.shares[at] ?? 1
      const cells = standings.map(({ shares }) => {
        const share = shares[at]?.share ?? 0
        return marked(percent(share), share < goal)
      })
      return [pairing, `${100 * goal} %`, ...cells]
    }),
  }
}

function outagesTable(standings: Standings): ReportTable {
  return {
    heading: 'A link dies silently during a download: longest gap; and the lowest rate after its return (goal: 90 %)',
    ...gapsAndReturns(standings, ({ outages }) => outages, 'dies'),
  }
}

function toldTable(standings: Standings): ReportTable {
  return {
    heading:
      'A link dies and the client abandons its path: longest gap; and the lowest rate after its return (goal: 90 %)',
    ...gapsAndReturns(standings, ({ told }) => told, 'goes'),
  }
}

function gapsAndReturns(
  { standings }: Standings,
  of: (standing: Standing) => readonly OutageResult[],
  verb: string,
): Omit<ReportTable, 'heading'> {
  const [first] = standings as readonly [Standing]
  const gaps = of(first).map(({ pairing, fails }, at) => [
    `${pairing}: ${fails === 'a' ? 'first' : 'second'} ${verb}`,
    ...standings.map((standing) => gapCell(of(standing)[at])),
  ])
  const returns = standings.map((standing) => {
    const lowest = Math.min(...of(standing).map(({ returnShare }) => returnShare))
    return marked(percent(lowest), lowest < goals.returnShare)
  })
  return {
    titles: ['links', ...standings.map(({ scheduler }) => scheduler)],
    rows: [...gaps, ['rate in the third second after the return', ...returns]],
  }
}

function gapCell(result: { readonly gapUs: number; readonly gapOfAllowed: number } | undefined): string {
  const { gapUs = Infinity, gapOfAllowed = Infinity } = result ?? {}
  return marked(gapUs === Infinity ? 'stuck' : `${(gapUs / 1_000).toFixed(0)} ms`, gapOfAllowed > goals.gapOfAllowed)
}

function rebindingsTable({ standings }: Standings): ReportTable {
  const [first] = standings as readonly [Standing]
  return {
    heading: 'The NAT of the first of two links gives the client another port: longest gap (goal: 1.5 RTT + 1 PTO)',
    titles: ['links', ...standings.map(({ scheduler }) => scheduler)],
    rows: first.rebindings.map(({ pairing, direction }, at) => [
      `${pairing}: ${direction === 'download' ? 'download' : 'both ways'}`,
      ...standings.map(({ rebindings }) => gapCell(rebindings[at])),
    ]),
  }
}

function fairnessTable({ standings }: Standings): ReportTable {
  const [first] = standings as readonly [Standing]
  return {
    heading:
      'Two paths through one link beside a NewReno flow of one path: what they take of what it takes (goal: 1.20)',
    titles: ['congestion control', ...standings.map(({ scheduler }) => scheduler)],
    rows: first.fairness.map(({ algorithm, isCoupled }, at) => [
      isCoupled ? `\`${algorithm}\`` : `\`${algorithm}\`, not coupled (no goal)`,
      ...standings.map(({ fairness }) => {
        const ratio = fairness[at]?.ratio ?? Infinity
        return marked(ratio === Infinity ? 'stuck' : ratio.toFixed(2), isCoupled && ratio > goals.fairRatio)
      }),
    ]),
  }
}

function requestsTable({ standings }: Standings): ReportTable {
  const cells = (of: (requests: NonNullable<Standing['requests']>) => string): string[] =>
    standings.map(({ requests }) => (requests === undefined ? '-' : of(requests)))
  const ms = (us: number): string => (us === Infinity ? 'stuck' : `${(us / 1_000).toFixed(0)} ms`)
  return {
    heading:
      'Requests of 50 kB over two links that fade; against the better link alone (goals: -30 %, at most +5 % bytes)',
    titles: ['figure', ...standings.map(({ scheduler }) => scheduler)],
    rows: [
      ['median', ...cells(({ medianUs }) => ms(medianUs))],
      ['99th percentile', ...cells(({ p99Us }) => ms(p99Us))],
      ['its change', ...cells(({ p99Change }) => marked(signed(p99Change), p99Change > goals.p99Change))],
      ['bytes sent', ...cells(({ extraBytes }) => marked(signed(extraBytes), extraBytes > goals.extraBytes))],
    ],
  }
}

/** The tables in Markdown, each under its heading, with what was run in front. */
export function tournamentMarkdown(standings: Standings): string {
  const { plan, failures } = standings
  const { seeds, lengthUs, jitterMode, congestion } = plan
  const settings = [
    `${seeds === 1 ? 'seed 1' : `seeds 1 to ${seeds}, means (outages: the worst)`}`,
    `downloads of ${lengthUs / 1e6} s`,
    `congestion control \`${congestion ?? transportDefaults.congestion}\``,
    jitterMode === 'overtaking' ? 'jitter lets datagrams overtake' : 'jitter keeps the order',
  ].join('; ')
  const tables = tournamentTables(standings).map(({ heading, titles, rows }) =>
    [
      `${heading}:`,
      '',
      `| ${titles.join(' | ')} |`,
      `|${titles.map(() => '---').join('|')}|`,
      ...rows.map((row) => `| ${row.join(' | ')} |`),
    ].join('\n'),
  )
  const stuck = failures.length === 0 ? [] : [`${failures.length} runs got stuck and count as nothing achieved.`]
  return `${[`${settings[0]?.toUpperCase()}${settings.slice(1)}. A figure with \`!\` misses its goal.`, ...tables, ...stuck].join('\n\n')}\n`
}

function marked(text: string, isMiss: boolean): string {
  return isMiss ? `${text} !` : text
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function signed(share: number): string {
  if (!Number.isFinite(share)) return 'stuck'
  const value = (100 * share).toFixed(1)
  return `${share > 0 ? '+' : ''}${value} %`
}
