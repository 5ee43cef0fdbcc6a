/** The router's live view on a terminal: a few lines drawn over themselves. */
import { formatBytes, formatRate, formatTable, type LiveCounts } from '@quicether/router'

export interface LiveSource {
  readonly title: string
  live(): LiveCounts
  upstreamStats(): readonly {
    readonly name: string
    readonly connected: number
    readonly running: number
    readonly queued: number
  }[]
}

const intervalMs = 500
const sparkLevels = ' ▁▂▃▄▅▆▇█'
const sparkSamplesMax = 60

/** Draws until `stop`; messages printed through `print` scroll above the view. */
export class LiveView {
  readonly #source: LiveSource
  readonly #out: NodeJS.WriteStream
  readonly #rates: number[] = []
  readonly #timer: NodeJS.Timeout
  #linesDrawn = 0
  #lastBytes = 0
  #lastMs = performance.now()
  #lastByType = new Map<string, number>()

  constructor(source: LiveSource, out: NodeJS.WriteStream) {
    this.#source = source
    this.#out = out
    this.#timer = setInterval(() => this.#draw(), intervalMs)
    this.#timer.unref()
    this.#draw()
  }

  print(line: string): void {
    this.#erase()
    this.#out.write(`${line}\n`)
    this.#draw()
  }

  /** Leaves the last picture on the screen. */
  stop(): void {
    clearInterval(this.#timer)
    this.#draw()
    this.#linesDrawn = 0
  }

  #draw(): void {
    const nowMs = performance.now()
    const elapsedMs = nowMs - this.#lastMs
    const counts = this.#source.live()
    const bytes = counts.requestBytes + counts.responseBytes
    // A redraw soon after the last one would measure a rate over almost no time.
    const isSample = elapsedMs >= intervalMs / 2
    if (isSample) {
      this.#rates.push(((bytes - this.#lastBytes) * 1000) / elapsedMs)
      if (this.#rates.length > sparkSamplesMax) this.#rates.shift()
    }
    const lines = renderLive(
      this.#source,
      counts,
      this.#rates,
      (type, now) => ((now - (this.#lastByType.get(type) ?? 0)) * 1000) / Math.max(1, elapsedMs),
    )
    if (isSample) {
      this.#lastBytes = bytes
      this.#lastMs = nowMs
      this.#lastByType = new Map(counts.byType.map((entry) => [entry.type, entry.bytes]))
    }
    this.#erase()
    const width = this.#out.columns > 0 ? this.#out.columns : 80
    for (const line of lines) this.#out.write(`${[...line].slice(0, width).join('')}\n`)
    this.#linesDrawn = lines.length
  }

  #erase(): void {
    if (this.#linesDrawn > 0) this.#out.write(`\x1b[${this.#linesDrawn}F\x1b[0J`)
    this.#linesDrawn = 0
  }
}

/** The lines of one picture. `rateOf` gives bytes per second of a type since the last picture. */
export function renderLive(
  source: LiveSource,
  counts: LiveCounts,
  rates: readonly number[],
  rateOf: (type: string, bytes: number) => number,
): string[] {
  const upstreams = new Map(source.upstreamStats().map((entry) => [entry.name, entry]))
  const rows = counts.byType.map((entry) => {
    const upstream = upstreams.get(entry.type)
    return [
      entry.type,
      String(entry.open),
      String(entry.streams),
      formatBytes(entry.bytes),
      formatRate(Math.max(0, rateOf(entry.type, entry.bytes))),
      upstream === undefined ? '-' : String(upstream.connected),
    ]
  })
  const titles = ['service', 'open', 'streams', 'bytes', 'rate', 'kept connections']
  const table =
    rows.length === 0
      ? 'no streams yet'
      : formatTable(
          titles.map((title, at) => ({ title, align: at === 0 ? 'left' : 'right' })),
          rows,
        )
  return [
    source.title,
    `connections ${counts.connectionsOpen} open, ${counts.connections} in all   streams ${counts.streamsOpen} open, ${counts.streams} in all, ${counts.failed} failed`,
    `rate ${formatRate(rates.at(-1) ?? 0).padStart(12)} ${sparkline(rates)}`,
    ...table.split('\n'),
  ]
}

/** One character per value, scaled to the largest. */
export function sparkline(values: readonly number[]): string {
  const max = Math.max(...values, 1)
  return values.map((value) => sparkLevels[Math.min(8, Math.max(0, Math.ceil((value / max) * 8)))] ?? ' ').join('')
}
