/** Draws medians as bars, one group of bars for each case, on a logarithmic scale: the slowest differ a thousandfold. */
import { cases } from './cases.ts'
import { format } from './report.ts'
import { isOurs, type Result } from './result.ts'

const WIDTH = 760
const ROW = 17
const LEFT = 92
const BAR = 480
const HEAD = 30

/** `rate` figures only: bars that are longer are better. */
export function chart(result: Result): string {
  const parts: string[] = []
  let y = 26
  for (const { name } of cases) {
    const rows = result.samples
      .filter((sample) => sample.subject === name && sample.metric === 'rate')
      .sort((a, b) => b.median - a.median)
    if (rows.length === 0) continue
    const largest = Math.max(...rows.map(({ median }) => median))
    const decades = Math.max(1, Math.ceil(Math.log10(largest / Math.min(...rows.map(({ median }) => median)))) + 0.3)
    parts.push(`<text class="head" x="8" y="${y + 12}">${xml(name)}</text>`)
    y += HEAD - 10
    for (const { contender, median, unit } of rows) {
      const width = Math.max(2, BAR * (1 - Math.log10(largest / median) / decades))
      const kind = isOurs(contender) ? 'ours' : 'other'
      parts.push(
        `<text class="name" x="${LEFT - 6}" y="${y + 12}">${xml(contender)}</text>`,
        `<rect class="${kind}" x="${LEFT}" y="${y + 2}" width="${width.toFixed(1)}" height="${ROW - 5}" rx="2"/>`,
        `<text x="${(LEFT + width + 6).toFixed(1)}" y="${y + 12}">${xml(format(median, unit))}</text>`,
      )
      y += ROW
    }
    y += HEAD - 18
  }
  const style = [
    'text{font:12px system-ui,sans-serif;fill:#1f2328}.head{font-weight:600}.name{text-anchor:end}',
    '.ours{fill:#0969da}.other{fill:#8c959f}',
    '@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#4493f8}.other{fill:#656c76}}',
  ].join('')
  const title = `${result.machine}, medians of ${result.repeats} round${result.repeats === 1 ? '' : 's'}, logarithmic bars`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 6}" role="img" aria-label="${xml(title)}">`,
    `<style>${style}</style>`,
    `<text x="8" y="16">${xml(title)}</text>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function xml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;')
}
