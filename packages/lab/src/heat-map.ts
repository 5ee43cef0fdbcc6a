/** Draws standings as an SVG heat map that reads on light and on dark pages: every cell carries its figure. */
import { goals, type Standing, type Standings } from './standings.ts'

interface Cell {
  readonly label: string
  /** -1 (bad) to 1 (good); 0 is where the goal or the better link alone is. */
  readonly heat: number
  readonly title: string
}

interface Panel {
  readonly heading: string
  readonly columns: readonly string[]
  readonly rows: readonly { readonly name: string; readonly cells: readonly Cell[] }[]
}

const CELL_WIDTH = 58
const CELL_HEIGHT = 26
const NAME_WIDTH = 96
const HEAD_HEIGHT = 86
const HEADING_HEIGHT = 34
const MARGIN = 16
/** Titles lean to the right, past their columns. */
const TITLE_OVERHANG = 48
const FOOT_HEIGHT = 22

/** One file, nothing loaded from elsewhere; the same standings always give the same bytes. */
export function heatMap(standings: Standings): string {
  const panels = [downloadsPanel(standings), goalsPanel(standings)].filter(({ columns }) => columns.length > 0)
  const width =
    2 * MARGIN + TITLE_OVERHANG + NAME_WIDTH + CELL_WIDTH * Math.max(10, ...panels.map(({ columns }) => columns.length))
  const heights = panels.map(({ rows }) => HEADING_HEIGHT + HEAD_HEIGHT + rows.length * CELL_HEIGHT + FOOT_HEIGHT)
  const height = 2 * MARGIN + heights.reduce((sum, each) => sum + each, 0)
  let y = MARGIN
  const drawn = panels.map((panel, at) => {
    const text = drawPanel(panel, y)
    y += heights[at] as number
    return text
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Packet schedulers compared">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff }
.heading { font-weight: 600; font-size: 13px }
.name { text-anchor: end }
.dark { fill: #101418; text-anchor: middle }
.light { fill: #ffffff; text-anchor: middle }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .page { fill: #0d1117 } .dark { fill: #101418 } .light { fill: #ffffff } }
</style>
<rect class="page" width="${width}" height="${height}"/>
${drawn.join('\n')}
</svg>
`
}

function downloadsPanel({ alone, standings }: Standings): Panel {
  return {
    heading: 'One download over both links, as a multiple of the better link alone (goal: at least 0.95)',
    columns: alone.map(({ pair }) => pair),
    rows: standings.map(({ scheduler, pairs }) => ({
      name: scheduler,
      cells: pairs.map(({ pair, ofBetter, ofSum, benefit }) => ({
        label: ofBetter.toFixed(2),
        // Red is for misses of the goal only.
        heat: ofBetter < goals.ofBetter ? Math.min(-0.35, (ofBetter - 1) * 3) : Math.max(0, benefit),
        title: `${scheduler}, ${pair}: ${ofBetter.toFixed(2)} of the better link alone, ${percent(ofSum)} of the sum`,
      })),
    })),
  }
}

function goalsPanel({ standings }: Standings): Panel {
  const rows = standings.map((standing) => ({ name: standing.scheduler, cells: goalCells(standing) }))
  const [first] = standings
  return {
    heading: 'The other goals: share of both links, gaps as a multiple of what is allowed, requests, fairness',
    columns: [
      ...(first?.shares ?? []).map(({ pairing }) => shortName(pairing)),
      ...((first?.outages ?? []).length === 0 ? [] : ['silent death', 'return']),
      ...((first?.told ?? []).length === 0 ? [] : ['told death']),
      ...((first?.rebindings ?? []).length === 0 ? [] : ['NAT rebinds']),
      ...(first?.requests === undefined ? [] : ['p99', 'extra bytes']),
      ...(first?.fairness ?? []).filter(({ isCoupled }) => isCoupled).map(({ algorithm }) => algorithm),
    ],
    rows,
  }
}

function goalCells(standing: Standing): Cell[] {
  return [...shareCells(standing), ...gapCells(standing), ...requestCells(standing), ...fairnessCells(standing)]
}

function shareCells({ scheduler, shares }: Standing): Cell[] {
  return shares.map(({ pairing, share }, at) => {
    const goal = goals.shares[at] ?? 1
    return {
      label: `${(100 * share).toFixed(1)} %`,
      heat: share >= goal ? 1 : Math.max(-1, -0.35 + (share - goal) * 5),
      title: `${scheduler}, ${pairing}: ${percent(share)} of both links; goal ${percent(goal)}`,
    }
  })
}

function gapCells({ scheduler, outages, told, rebindings }: Standing): Cell[] {
  const cells: Cell[] = []
  if (outages.length > 0) {
    const back = Math.min(...outages.map(({ returnShare }) => returnShare))
    cells.push(gapCell(`${scheduler}: longest gap after a silent death`, outages), {
      label: percent(back),
      heat: back >= goals.returnShare ? 1 : Math.max(-1, -0.35 + (back - goals.returnShare) * 2),
      title: `${scheduler}: lowest rate in the third second after the link's return, of the rate before`,
    })
  }
  if (told.length > 0) cells.push(gapCell(`${scheduler}: longest gap after a death that the client knows of`, told))
  if (rebindings.length > 0) cells.push(gapCell(`${scheduler}: longest gap after a NAT rebinding`, rebindings))
  return cells
}

function gapCell(title: string, results: readonly { readonly gapOfAllowed: number }[]): Cell {
  const gap = Math.max(...results.map(({ gapOfAllowed }) => gapOfAllowed))
  return {
    label: gap === Infinity ? '✘' : gap.toFixed(2),
    heat: gap <= goals.gapOfAllowed ? 1 - gap / 2 : Math.max(-1, -0.35 - (gap - 1)),
    title: `${title}, as a multiple of what is allowed`,
  }
}

function requestCells({ scheduler, requests }: Standing): Cell[] {
  if (requests === undefined) return []
  const { p99Change, extraBytes } = requests
  return [
    {
      label: p99Change === Infinity ? '✘' : signedPercent(p99Change),
      heat: p99Change <= goals.p99Change ? Math.min(1, -p99Change) : Math.max(-1, -0.35 - p99Change),
      title: `${scheduler}: 99th percentile of request times against the better link alone`,
    },
    {
      label: signedPercent(extraBytes),
      heat: extraBytes <= goals.extraBytes ? 0.6 : Math.max(-1, -0.35 - extraBytes),
      title: `${scheduler}: bytes sent beyond those over the better link alone`,
    },
  ]
}

function fairnessCells({ scheduler, fairness }: Standing): Cell[] {
  return fairness
    .filter(({ isCoupled }) => isCoupled)
    .map(({ algorithm, ratio }) => ({
      label: ratio === Infinity ? '✘' : ratio.toFixed(2),
      heat: ratio <= goals.fairRatio ? 0.6 : Math.max(-1, -0.35 - (ratio - goals.fairRatio)),
      title: `${scheduler}, ${algorithm}: what two paths through one link take of what a flow of one path takes`,
    }))
}

function drawPanel({ heading, columns, rows }: Panel, top: number): string {
  const left = MARGIN + NAME_WIDTH
  const bodyTop = top + HEADING_HEIGHT + HEAD_HEIGHT
  const parts = [`<text class="heading" x="${MARGIN}" y="${top + 16}">${escaped(heading)}</text>`]
  columns.forEach((column, at) => {
    const x = left + at * CELL_WIDTH + CELL_WIDTH / 2
    parts.push(`<text transform="translate(${x} ${bodyTop - 8}) rotate(-45)">${escaped(column)}</text>`)
  })
  rows.forEach(({ name, cells }, row) => {
    const y = bodyTop + row * CELL_HEIGHT
    parts.push(`<text class="name" x="${left - 8}" y="${y + 17}">${escaped(name)}</text>`)
    cells.forEach((cell, at) => {
      const x = left + at * CELL_WIDTH
      const { color, isDark } = colorOf(cell.heat)
      parts.push(
        `<g><title>${escaped(cell.title)}</title><rect x="${x}" y="${y}" width="${CELL_WIDTH - 2}" height="${CELL_HEIGHT - 2}" rx="3" fill="${color}"/><text class="${isDark ? 'light' : 'dark'}" x="${x + CELL_WIDTH / 2 - 1}" y="${y + 17}">${escaped(cell.label)}</text></g>`,
      )
    })
  })
  return parts.join('\n')
}

type Rgb = readonly [number, number, number]
/** Orange against blue: told apart by nearly everybody who confuses other colours. */
const bad: Rgb = [204, 76, 2]
const middle: Rgb = [232, 232, 228]
const good: Rgb = [24, 92, 158]

function colorOf(heat: number): { color: string; isDark: boolean } {
  const end = heat < 0 ? bad : good
  const weight = Math.min(1, Math.abs(heat))
  const rgb = middle.map((value, at) => Math.round(value + weight * ((end[at] as number) - value)))
  const [red = 0, green = 0, blue = 0] = rgb
  return { color: `rgb(${red},${green},${blue})`, isDark: 0.299 * red + 0.587 * green + 0.114 * blue < 140 }
}

/** `100 Mbit/s + 20 Mbit/s, both 10 ms` as `100 + 20`. */
function shortName(pairing: string): string {
  const [first, second] = pairing.matchAll(/(\d+) Mbit/g)
  return first === undefined || second === undefined ? 'with loss' : `${first[1]} + ${second[1]}`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}

function signedPercent(share: number): string {
  const rounded = Math.round(100 * share)
  return rounded > 0 ? `+${rounded} %` : rounded < 0 ? `−${-rounded} %` : '0 %'
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
