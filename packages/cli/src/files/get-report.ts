/** What `get` tells at its end: tables for people, an object for scripts. */
import { formatBytes, formatMs, formatRate } from '@quicether/router'
import type { PathView } from '@quicether/transport'
import { type PathReport, pathReport, pathTable } from '../terminal/path-view.ts'
import type { DownloadResult } from './download.ts'
import type { DownloadProgress, Gap } from './download-progress.ts'
import type { Outage, PathEvent, PathMonitor } from './path-monitor.ts'

/** The output of `get --json`. Times are milliseconds since the connection stood. */
export interface GetReport {
  readonly server: string
  readonly bytes: number
  readonly durationMs: number
  readonly bytesPerSecond: number
  readonly downloads: readonly DownloadResult[]
  readonly paths: readonly PathReport[]
  readonly pathEvents: readonly PathEvent[]
  /** Times of 100 ms and more in which no byte came, the first 200 of them. */
  readonly gaps: readonly Gap[]
  readonly longestGapMs: number
  /** Times in which no path worked. */
  readonly outages: readonly Outage[]
  readonly degradedMs: number
}

/** Everything that is known at the end. */
export interface GetFacts {
  readonly server: string
  readonly durationMs: number
  readonly paths: readonly PathView[]
  readonly results: readonly DownloadResult[]
  readonly progress: DownloadProgress
  readonly monitor: PathMonitor
}

/** The report as an object. */
export function getReport({ server, durationMs, paths, results, progress, monitor }: GetFacts): GetReport {
  const bytes = progress.receivedBytes
  return {
    server,
    bytes,
    durationMs,
    bytesPerSecond: rateOf(bytes, durationMs),
    downloads: results,
    paths: paths.map(pathReport),
    pathEvents: monitor.events,
    gaps: progress.gaps,
    longestGapMs: progress.longestGapMs,
    outages: monitor.outages,
    degradedMs: monitor.outageMs,
  }
}

/** The report as text. */
export function getSummary({ durationMs, paths, results, progress, monitor }: GetFacts): string {
  const files = results
    .filter(({ error }) => error === null)
    .map(({ file, bytes, continuedAt }) => {
      const rest = continuedAt === 0 ? '' : ` after the ${formatBytes(continuedAt)} that were there`
      return `${file}  ${formatBytes(bytes)}${rest}`
    })
  const bytes = progress.receivedBytes
  const total = `${formatBytes(bytes)} in ${formatMs(durationMs)}, ${formatRate(rateOf(bytes, durationMs))}`
  const gap = progress.gaps.length === 0 ? '' : `, longest gap ${formatMs(progress.longestGapMs)}`
  const dead = monitor.outageMs === 0 ? '' : `, no path worked for ${formatMs(monitor.outageMs)}`
  return [pathTable(paths, durationMs), '', ...files, `${total}${gap}${dead}`].join('\n')
}

function rateOf(bytes: number, durationMs: number): number {
  return (bytes * 1000) / Math.max(1, durationMs)
}
