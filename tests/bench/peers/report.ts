/** Prints a result as text for the terminal and as the page docs/performance.md holds between its marks. */
import { cases, type Unit } from './cases.ts'
import { isOurs, type Ratio, type Result } from './result.ts'

export function format(value: number, unit: Unit): string {
  switch (unit) {
    case 'bit/s':
      return value >= 1e9
        ? `${(value / 1e9).toFixed(2)} Gbit/s`
        : `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)} Mbit/s`
    case 's/Gbit':
      return `${value.toFixed(2)} s/Gbit`
    case 'per s':
      return `${Math.round(value)}/s`
    case 'us':
      return value >= 10_000 ? `${(value / 1000).toFixed(1)} ms` : `${Math.round(value)} µs`
    case 'bytes':
      return `${(value / 1000).toFixed(1)} kB`
    case 'ratio':
      return `${value.toFixed(2)}×`
  }
}

interface Cell {
  readonly contender: string
  readonly text: string
  readonly spread: string
  readonly ratio: string
}

/** Rows of one figure: every contender that ran or should have, ours first. */
function cellsOf(result: Result, subject: string, metric: string): Cell[] {
  const samples = result.samples.filter((sample) => sample.subject === subject && sample.metric === metric)
  const measured = samples.map((sample): Cell => {
    const ratio = result.ratios.find(
      (r) => r.subject === subject && r.metric === metric && r.against === sample.contender,
    )
    return {
      contender: sample.contender,
      text: format(sample.median, sample.unit),
      spread: sample.spread === undefined ? '' : `±${Math.round(100 * sample.spread)} %`,
      ratio: isOurs(sample.contender) || ratio === undefined ? '' : formatRatio(ratio),
    }
  })
  const absent = result.absent
    .filter((absence) => absence.subject === subject && !samples.some((s) => s.contender === absence.contender))
    .map(({ contender, reason }): Cell => ({ contender, text: 'n/a', spread: '', ratio: reason }))
  return [...measured, ...absent]
}

export function formatRatio({ value, low, high }: Ratio): string {
  return low === high
    ? value.toPrecision(3)
    : `${value.toPrecision(3)} (${low.toPrecision(3)} to ${high.toPrecision(3)})`
}

export function table(result: Result): string {
  const lines = [
    `${result.machine}, ${result.kernel}, commit ${result.commit}, rounds: ${result.repeats} of ${result.seconds} s`,
  ]
  for (const { name, about, metrics } of cases) {
    if (!result.samples.some((sample) => sample.subject === name)) continue
    for (const metric of metrics) {
      lines.push('', `${name} ${metric.name}: ${about}`)
      for (const { contender, text, spread, ratio } of cellsOf(result, name, metric.name)) {
        const against = ratio === '' || text === 'n/a' ? ratio : `ours is ${ratio} times as good`
        lines.push(`  ${contender.padEnd(11)}${text.padStart(14)}${spread.padStart(8)}   ${against}`)
      }
    }
  }
  const limits = result.ratios.filter(({ subject, against }) => isLimit(subject, against))
  if (limits.length > 0) lines.push('', 'ours against the limits of the machine:')
  for (const ratio of limits) {
    lines.push(`  ${`${ratio.subject} ${ratio.metric} / ${ratio.against}`.padEnd(32)}${formatRatio(ratio)}`)
  }
  return lines.join('\n')
}

/** The limits are cases of their own names. */
function isLimit(subject: string, against: string): boolean {
  return subject !== against && cases.some(({ name, group }) => group === 'limits' && name === against)
}

export function markdown(result: Result): string {
  const { machine, kernel, date, commit, command, repeats, seconds, versions } = result
  const lines = [
    `Machine: ${machine}, ${kernel}. ${date}, commit ${commit}. Command: \`${command}\`. Rounds: ${repeats}; each runs each case of every implementation once, ${seconds} s measured after a warm-up. Medians; ± is half the distance between the quartiles. "Ours" = how many times as good ours is, median of the rounds and their quartiles.`,
    '',
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(' · '),
  ]
  for (const { name, about, metrics, group } of cases) {
    if (group === 'limits' || !result.samples.some((sample) => sample.subject === name)) continue
    lines.push('', `### ${name}`, '', `${about[0]?.toUpperCase()}${about.slice(1)}.`, '')
    for (const metric of metrics) {
      lines.push(`| ${metric.name} | figure | spread | ours |`, '|---|---:|---:|---|')
      for (const { contender, text, spread, ratio } of cellsOf(result, name, metric.name)) {
        lines.push(`| ${contender} | ${text} | ${spread} | ${ratio} |`)
      }
      lines.push('')
    }
    if (lines.at(-1) === '') lines.pop()
  }
  const own = cases.filter(({ name, group }) => group === 'limits' && result.samples.some((s) => s.subject === name))
  if (own.length > 0) lines.push('', '### Limits of the machine', '', '| limit | figure | what |', '|---|---:|---|')
  for (const { name, about, metrics } of own) {
    for (const metric of metrics) {
      for (const { text } of cellsOf(result, name, metric.name))
        lines.push(`| ${name} ${metric.name} | ${text} | ${about} |`)
    }
  }
  const limits = result.ratios.filter(({ subject, against }) => isLimit(subject, against))
  if (limits.length > 0) lines.push('', '| ours against a limit | times as good |', '|---|---|')
  for (const ratio of limits)
    lines.push(`| ${ratio.subject} ${ratio.metric} / ${ratio.against} | ${formatRatio(ratio)} |`)
  return lines.join('\n')
}

const BEGIN = '<!-- peers:begin (written by npm run bench:peers -- --docs) -->'
const END = '<!-- peers:end -->'

/** The page with its part between the marks replaced. @throws Error when the page has no marks. */
export function replaceMarked(page: string, text: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`the page has no marks ${BEGIN} and ${END}`)
  return `${page.slice(0, from)}${BEGIN}\n${text}\n${page.slice(to)}`
}
