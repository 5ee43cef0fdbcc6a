/** `quicether report`: the latest runs side by side, and how the last one differs from the one before. */
import { formatBytes, formatMs, formatRate, formatRatio, formatTable } from './format.ts'
import type { HistoryRun } from './history.ts'

/** How one figure moved between two runs. */
export interface Change {
  readonly figure: string
  readonly before: number
  readonly after: number
  /** (after - before) / before; null when before is 0. */
  readonly ratio: number | null
}

const figures = [
  ['establishment p50', 'establishmentMsP50', formatMs],
  ['QUIC latency p50', 'quicLatencyMsP50', formatMs],
  ['QUIC latency p95', 'quicLatencyMsP95', formatMs],
  ['HTTP latency p50', 'httpLatencyMsP50', formatMs],
  ['HTTP latency p95', 'httpLatencyMsP95', formatMs],
  ['stream rate', 'streamRatePerSecond', (value: number) => `${value.toFixed(1)}/s`],
  ['loss', 'lossRatio', formatRatio],
  ['errors', 'errors', String],
] as const

/** Figures that both runs have. */
export function compareRuns(before: HistoryRun, after: HistoryRun): Change[] {
  const changes: Change[] = []
  for (const [figure, key] of figures) {
    const [old, now] = [before[key], after[key]]
    if (old === null || now === null) continue
    changes.push({ figure, before: old, after: now, ratio: old === 0 ? null : (now - old) / old })
  }
  return changes
}

/** A table of runs, oldest first, followed by the change between the last two. */
export function runsReport(runs: readonly HistoryRun[]): string {
  const rows = runs.map((run) => [
    run.id,
    `${run.uptimeSeconds.toFixed(1)} s`,
    String(run.connections),
    String(run.streams),
    String(run.streamsFailed),
    String(run.maxConcurrentStreams),
    formatBytes(run.bytesReceived),
    formatBytes(run.bytesSent),
    formatRatio(run.lossRatio),
    formatMs(run.establishmentMsP50),
    formatMs(run.quicLatencyMsP50),
    formatMs(run.httpLatencyMsP50),
    String(run.errors),
  ])
  const titles = [
    'run',
    'uptime',
    'conns',
    'streams',
    'failed',
    'at once',
    'received',
    'sent',
    'loss',
    'establ. p50',
    'QUIC p50',
    'HTTP p50',
    'errors',
  ]
  const table = formatTable(
    titles.map((title, at) => ({ title, align: at === 0 ? 'left' : 'right' })),
    rows,
  )
  const [before, after] = [runs.at(-2), runs.at(-1)]
  const parts = [table, typesTable(runs)]
  if (before !== undefined && after !== undefined) parts.push(changeTable(before, after))
  return `${parts.join('\n\n')}\n`
}

function typesTable(runs: readonly HistoryRun[]): string {
  const rows = runs.flatMap((run) =>
    run.types.map((type) => [
      run.id,
      type.type,
      String(type.streams),
      String(type.failed),
      formatMs(type.durationMsP50),
      type.throughputBytesPerSecond === null ? '-' : formatRate(type.throughputBytesPerSecond),
      formatMs(type.jitterMs),
    ]),
  )
  const titles = ['run', 'type', 'streams', 'failed', 'duration p50', 'mean rate', 'jitter']
  return formatTable(
    titles.map((title, at) => ({ title, align: at < 2 ? 'left' : 'right' })),
    rows,
  )
}

function changeTable(before: HistoryRun, after: HistoryRun): string {
  const formats = new Map<string, (value: number) => string>(figures.map(([figure, , format]) => [figure, format]))
  const rows = compareRuns(before, after).map((change) => {
    const format = formats.get(change.figure) ?? String
    const ratio = change.ratio === null ? '-' : `${change.ratio >= 0 ? '+' : ''}${(change.ratio * 100).toFixed(1)} %`
    return [change.figure, format(change.before), format(change.after), ratio]
  })
  const titles = [`${after.id} against ${before.id}`, 'before', 'after', 'change']
  return formatTable(
    titles.map((title, at) => ({ title, align: at === 0 ? 'left' : 'right' })),
    rows,
  )
}
