/** The paths of a connection: live bars on a terminal, a table at the end, an object for scripts. */
import { formatBytes, formatMs, formatRate, formatTable } from '@quicether/router'
import type { PathView } from '@quicether/transport'
import { formatEnd } from '../files/address-text.ts'
import type { DownloadProgress } from '../files/download-progress.ts'
import type { PathMonitor } from '../files/path-monitor.ts'

/** One path as scripts see it. */
export interface PathReport {
  readonly id: number
  readonly local: string
  readonly remote: string
  readonly state: string
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly packetsReceived: number
  readonly packetsSent: number
  /** Of the packets sent. */
  readonly packetsLost: number
  /** Of the packets the other side sent: what did not come, as far as gaps in their numbers tell. */
  readonly packetsMissing: number
  /** The same as a share of what was sent to us, 0 to 1. */
  readonly lossEstimate: number
  readonly rttMs: number
}

const intervalMs = 250
const barColumns = 16

/** Draws over itself on a terminal until `stop`. */
export class PathBars {
  readonly #monitor: PathMonitor
  readonly #progress: DownloadProgress
  readonly #out: NodeJS.WriteStream
  readonly #timer: NodeJS.Timeout
  readonly #last: Map<number, number> = new Map()
  #lastMs = performance.now()
  #lines = 0

  constructor(monitor: PathMonitor, progress: DownloadProgress, out: NodeJS.WriteStream) {
    this.#monitor = monitor
    this.#progress = progress
    this.#out = out
    this.#timer = setInterval(() => this.#draw(), intervalMs)
  }

  /** Clears the bars; the table follows. */
  stop(): void {
    clearInterval(this.#timer)
    this.#erase()
  }

  #draw(): void {
    const nowMs = performance.now()
    const elapsedMs = Math.max(1, nowMs - this.#lastMs)
    this.#lastMs = nowMs
    const rates = new Map<number, number>()
    const paths = this.#monitor.sample()
    for (const { id, bytesReceived } of paths) {
      rates.set(id, ((bytesReceived - (this.#last.get(id) ?? 0)) * 1000) / elapsedMs)
      this.#last.set(id, bytesReceived)
    }
    const lines = progressLines(paths, rates, this.#progress, trouble(this.#monitor))
    this.#erase()
    this.#out.write(`${lines.map((line) => line.slice(0, (this.#out.columns || 120) - 1)).join('\n')}\n`)
    this.#lines = lines.length
  }

  #erase(): void {
    if (this.#lines > 0) this.#out.write(`\x1b[${this.#lines}A\x1b[J`)
    this.#lines = 0
  }
}

/** A line for each path, its bar showing its share of all bytes, one for the whole, and one for trouble. */
export function progressLines(
  paths: readonly PathView[],
  rates: ReadonlyMap<number, number>,
  { receivedBytes, expectedBytes }: Pick<DownloadProgress, 'receivedBytes' | 'expectedBytes'>,
  trouble?: string,
): readonly string[] {
  const sum = paths.reduce((total, path) => total + path.bytesReceived, 0)
  const lines = shown(paths).map((path) => {
    const rate = formatRate(rates.get(path.id) ?? 0)
    const share = sum === 0 ? 0 : path.bytesReceived / sum
    const facts = `${formatBytes(path.bytesReceived)}  ${rate}  RTT ${formatMs(path.smoothedRttUs / 1000)}  missing ${missing(path)}`
    return `path ${path.id}  ${stateOf(path).padEnd(10)}  ${bar(share)}  ${facts}  ${path.localAddress} → ${path.remoteAddress}`
  })
  const part = expectedBytes === 0 ? 0 : Math.min(1, receivedBytes / expectedBytes)
  const ofWhole = expectedBytes === 0 ? '' : ` of ${formatBytes(expectedBytes)}`
  return [
    ...lines,
    `all                 ${bar(part)}  ${Math.floor(part * 100)} %  ${formatBytes(receivedBytes)}${ofWhole}`,
    ...(trouble === undefined ? [] : [trouble]),
  ]
}

/** The line for the time in which no path works; undefined while one does. */
export function trouble(monitor: Pick<PathMonitor, 'degradedMs' | 'nextTryMs'>): string | undefined {
  const { degradedMs } = monitor
  if (degradedMs === undefined) return undefined
  const nextMs = monitor.nextTryMs()
  const next = nextMs === undefined ? '' : `; trying again in ${Math.ceil(nextMs / 1000)} s`
  return `no path works for ${Math.floor(degradedMs / 1000)} s${next}. The download goes on when one does.`
}

/** Attempts that came to nothing are left out. */
function shown(paths: readonly PathView[]): readonly PathView[] {
  return paths.filter((path) => path.state !== 'abandoned' || path.bytesReceived > 0)
}

function bar(share: number): string {
  const full = Math.round(share * barColumns)
  return `${'█'.repeat(full)}${'░'.repeat(barColumns - full)}`
}

/** Share of the packets sent to us that did not come. */
function lossEstimate({ packetsMissing, packetsReceived }: PathView): number {
  return packetsMissing / Math.max(1, packetsMissing + packetsReceived)
}

function missing(path: PathView): string {
  const percent = 100 * lossEstimate(path)
  return `${path.packetsMissing} (${percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %)`
}

function stateOf(path: PathView): string {
  return path.isBackup && path.state === 'active' ? 'backup' : path.state
}

/** One row per path. */
export function pathTable(paths: readonly PathView[], durationMs: number): string {
  const right = ['received', 'share', 'rate', 'RTT', 'packets', 'lost', 'missing']
  const titles = ['path', 'local', 'remote', ...right, 'state']
  const sum = Math.max(
    1,
    paths.reduce((total, path) => total + path.bytesReceived, 0),
  )
  return formatTable(
    titles.map((title) => ({ title, align: right.includes(title) ? 'right' : 'left' })),
    shown(paths).map((path) => [
      String(path.id),
      path.localAddress,
      formatEnd(path.remoteAddress, path.remotePort),
      formatBytes(path.bytesReceived),
      `${Math.round((100 * path.bytesReceived) / sum)} %`,
      formatRate((path.bytesReceived * 1000) / Math.max(1, durationMs)),
      formatMs(path.smoothedRttUs / 1000),
      `${path.packetsSent}/${path.packetsReceived}`,
      String(path.packetsLost),
      missing(path),
      stateOf(path),
    ]),
  )
}

/** The same for `--json`. */
export function pathReport(path: PathView): PathReport {
  const { id, bytesReceived, bytesSent, packetsReceived, packetsSent, packetsLost, packetsMissing } = path
  return {
    id,
    local: formatEnd(path.localAddress, path.localPort),
    remote: formatEnd(path.remoteAddress, path.remotePort),
    state: stateOf(path),
    bytesReceived,
    bytesSent,
    packetsReceived,
    packetsSent,
    packetsLost,
    packetsMissing,
    lossEstimate: lossEstimate(path),
    rttMs: path.smoothedRttUs / 1000,
  }
}
