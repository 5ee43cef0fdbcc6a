/** Line charts over the last minutes: uPlot inside, words for those who cannot see it outside. */
import { h, type ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import Plot from 'uplot'
import type { Columns } from './series.ts'

export interface ChartProps {
  readonly title: string
  /** One sentence below the title. */
  readonly about: string
  readonly columns: Columns
  readonly format: (value: number) => string
  /** Changes when the colours of the page change. */
  readonly theme: string
}

const heightPx = 190
const seriesColours = 6

/** A chart with its legend; the legend carries the latest values as text. */
export function Chart({ title, about, columns, format, theme }: ChartProps): ComponentChildren {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<Plot | undefined>(undefined)
  const shape = `${theme} ${columns.labels.join('\n')}`
  useEffect(() => {
    const element = host.current
    if (element === null) return undefined
    const made = new Plot(plotOptions(columns.labels, element.clientWidth, format), columns.data as never, element)
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: heightPx }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = undefined
    }
  }, [shape])
  useEffect(() => plot.current?.setData(columns.data as never), [columns])
  const latest = columns.labels.map((label, at) => ({ label, value: lastValue(columns.data[at + 1]) }))
  const words = latest.map(({ label, value }) => `${label} ${value === undefined ? 'none' : format(value)}`).join(', ')
  return h('section', { class: 'card' }, [
    h('h2', null, title),
    h('p', { class: 'about' }, about),
    h('div', { ref: host, class: 'plot', role: 'img', 'aria-label': `${title}. Now: ${words || 'no data yet'}` }),
    h(
      'ul',
      { class: 'legend' },
      latest.map(({ label, value }, at) =>
        h('li', { key: label }, [
          h('span', { class: `swatch series-${at % seriesColours}`, 'aria-hidden': 'true' }),
          h('span', { class: 'name' }, label),
          h('span', { class: 'value' }, value === undefined ? '–' : format(value)),
        ]),
      ),
    ),
  ])
}

function lastValue(column: readonly (number | null)[] | undefined): number | undefined {
  return column?.at(-1) ?? undefined
}

function plotOptions(labels: readonly string[], width: number, format: (value: number) => string): Plot.Options {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string): string => style.getPropertyValue(name).trim()
  const axis: Plot.Axis = {
    stroke: colour('--muted'),
    grid: { stroke: colour('--grid'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  }
  return {
    width: Math.max(width, 100),
    height: heightPx,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 } },
    scales: { x: { time: true }, y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { ...axis, space: 70, size: 30, values: (_plot, splits) => splits.map(clockTime) },
      { ...axis, size: 74, values: (_plot, splits) => splits.map((value) => (value === 0 ? '0' : format(value))) },
    ],
    series: [
      {},
      ...labels.map((label, at) => ({
        label,
        stroke: colour(`--series-${at % seriesColours}`),
        width: 2,
        points: { show: false },
        spanGaps: false,
      })),
    ],
  }
}

function clockTime(epochSeconds: number): string {
  return new Date(epochSeconds * 1_000).toTimeString().slice(0, 8)
}
