/** The demo's download over two paths, one of which is cut on the way: real commands, real sockets, two links between. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatBytes, formatMs, formatTable, UserError } from '@quicether/router'
import type { DemoChild } from '../demo-children.ts'
import type { GetReport } from '../files/get-report.ts'
import { sparkline } from '../terminal/live-view.ts'
import { UdpLink } from './udp-link.ts'

/** What happened, as `multipath.json` keeps it. */
export interface MultipathReport {
  readonly sizeBytes: number
  readonly isWhole: boolean
  /** The links in front of the server, in the order of the paths. */
  readonly links: readonly {
    readonly address: string
    readonly megabitsPerSecond: number
    readonly delayMs: number
    readonly deliveredBytes: number
    /** Bytes delivered in each step of `stepMs`. */
    readonly steps: readonly number[]
  }[]
  readonly stepMs: number
  /** When link 0 went silent, counted like the steps. */
  readonly cutAtMs: number
  readonly longestGapMs: number
  readonly download: GetReport
}

const SIZE_BYTES = 8_000_000
const MEGABITS = 40
const DELAY_MS = 5
const STEP_MS = 50
/** The cut comes when so much is there, and some of it over the second link. */
const CUT_SHARE = 0.4
const SECOND_SHARE = 0.02
const PICTURE_COLUMNS_MAX = 60

/** Serves a file, fetches it over both links and cuts the first one. Throws `UserError` when it does not come whole. */
export async function playMultipath(
  start: (name: string, args: readonly string[]) => DemoChild,
): Promise<MultipathReport> {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-demo-'))
  const links: UdpLink[] = []
  try {
    const bytes = randomBytes(SIZE_BYTES)
    writeFileSync(join(directory, 'film.bin'), bytes)
    const server = start('serve', ['serve', '--www', directory, '--port', '0'])
    const { port } = await server.message('serve')
    // Elsewhere than on Linux only one address of the loopback works unasked.
    for (const address of ['127.0.0.1', process.platform === 'linux' ? '127.0.0.2' : '127.0.0.1'])
      links.push(await openLink(address, port))
    const got = join(directory, 'got.bin')
    const watch = new LinkWatch(links)
    const client = start('get', getArguments(links, got))
    const { code, stdout } = await client.exit()
    watch.stop()
    if (code !== 0) throw client.failure(`ended with code ${code}`)
    const download = JSON.parse(stdout) as GetReport
    await server.stop()
    return watch.report(download, hash(readFileSync(got)) === hash(bytes))
  } finally {
    for (const link of links) link.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

function openLink(address: string, port: number): Promise<UdpLink> {
  const server = { address: '127.0.0.1', port }
  return UdpLink.open({ address, server, megabitsPerSecond: MEGABITS, delayMs: DELAY_MS })
}

function getArguments([first, second]: readonly UdpLink[], file: string): readonly string[] {
  const url = `https://${first?.address}:${first?.port}/film.bin`
  return ['get', url, '--mip', `${second?.address}:${second?.port}`, '--output', file, '--json', '--timeout', '15000']
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Counts what each link delivers, and cuts the first one in the middle. */
class LinkWatch {
  readonly #links: readonly UdpLink[]
  readonly #steps: number[][]
  readonly #timer: NodeJS.Timeout
  #startMs = 0
  #cutAtMs: number | undefined

  constructor(links: readonly UdpLink[]) {
    this.#links = links
    this.#steps = links.map(() => [])
    this.#timer = setInterval(() => this.#step(), STEP_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#step()
  }

  /** Throws `UserError` when the demo did not show what it is for. */
  report(download: GetReport, isWhole: boolean): MultipathReport {
    const cutAtMs = this.#cutAtMs
    if (!isWhole || cutAtMs === undefined) {
      throw new UserError('ERR_DEMO', {
        what: isWhole ? 'the second path carried nothing, so that none was cut' : 'the file came with other bytes',
        where: 'the download over two paths',
        remedy: 'Run the demo again, and report it when it happens twice.',
      })
    }
    const links = this.#links.map((link, at) => ({
      address: `${link.address}:${link.port}`,
      megabitsPerSecond: MEGABITS,
      delayMs: DELAY_MS,
      deliveredBytes: link.deliveredBytes,
      steps: this.#steps[at] ?? [],
    }))
    const { longestGapMs } = download
    return { sizeBytes: SIZE_BYTES, isWhole, links, stepMs: STEP_MS, cutAtMs, longestGapMs, download }
  }

  #step(): void {
    const delivered = this.#links.map((link) => link.deliveredBytes)
    const sum = delivered.reduce((total, bytes) => total + bytes, 0)
    if (sum === 0) return
    if (this.#startMs === 0) this.#startMs = performance.now() - STEP_MS
    for (const [at, steps] of this.#steps.entries())
      steps.push((delivered[at] ?? 0) - steps.reduce((total, bytes) => total + bytes, 0))
    if (this.#cutAtMs !== undefined) return
    if (sum < CUT_SHARE * SIZE_BYTES || (delivered[1] ?? 0) < SECOND_SHARE * SIZE_BYTES) return
    this.#links[0]?.cut()
    this.#cutAtMs = performance.now() - this.#startMs
  }
}

/** The report for people. */
export function multipathText({ sizeBytes, links, stepMs, cutAtMs, longestGapMs, download }: MultipathReport): string {
  const titles = ['path', 'link', 'received', 'share', 'RTT', 'state']
  const left = new Set(['link', 'state'])
  const sum = download.paths.reduce((total, path) => total + path.bytesReceived, 0)
  const table = formatTable(
    titles.map((title) => ({ title, align: left.has(title) ? 'left' : 'right' })),
    download.paths.map((path, at) => [
      String(path.id),
      `${path.remote}, ${links[at]?.megabitsPerSecond} Mbit/s${at === 0 ? ', cut' : ''}`,
      formatBytes(path.bytesReceived),
      `${Math.round((100 * path.bytesReceived) / Math.max(1, sum))} %`,
      formatMs(path.rttMs),
      path.state,
    ]),
  )
  const most = Math.max(...links.flatMap(({ steps }) => steps))
  const picture = links.map(({ steps }, at) => {
    const shown = [most, ...steps.slice(0, PICTURE_COLUMNS_MAX - 1)]
    const line = sparkline(shown).slice(1)
    const note = at === 0 ? `cut after ${formatMs(cutAtMs)}` : ''
    return `path ${at}  │${line}│ ${note}`.trimEnd()
  })
  return [
    `${formatBytes(sizeBytes)} over two links at once; the first one falls silent on the way, and nobody is told:`,
    '',
    table,
    '',
    `Received over time (a column is ${stepMs} ms):`,
    '',
    ...picture,
    '',
    `download     ${formatBytes(sizeBytes)} in ${formatMs(download.durationMs)}, whole and right, longest gap ${formatMs(longestGapMs)}`,
  ].join('\n')
}
