/** `quicether get`: files over HTTP/3 and over every interface given at once. */
import { constants } from 'node:os'
import { setTimeout as delayed } from 'node:timers/promises'
import { Http3Client } from '@quicether/http3'
import type { QuicConnection } from '@quicether/net'
import { formatMs, UserError } from '@quicether/router'
import { type Command, InvalidArgumentError } from 'commander'
import { addDiagnosticsOptions, type DiagnosticsFlags, diagnosticsOf } from '../files/diagnostics-flags.ts'
import {
  type DownloadResult,
  type DownloadTarget,
  download,
  downloadTargets,
  parseUrls,
  STANDARD_OUTPUT,
} from '../files/download.ts'
import { DownloadProgress } from '../files/download-progress.ts'
import { type GetFacts, getReport, getSummary } from '../files/get-report.ts'
import { type ConnectionFlags, furtherPath, openConnection, type PathPlan, planOf } from '../files/open-connection.ts'
import { PathKeeper, pathTrouble } from '../files/path-keeper.ts'
import { PathMonitor } from '../files/path-monitor.ts'
import { PATHS_MAX } from '../files/path-plan.ts'
import { addTransportOptions, type TransportFlags, transportConfig } from '../files/transport-flags.ts'
import { examples } from '../help.ts'
import { list, wholeNumber } from '../option-values.ts'
import { PathBars } from '../terminal/path-view.ts'

interface GetFlags extends ConnectionFlags, TransportFlags, DiagnosticsFlags {
  readonly output?: string
  readonly range?: string
  readonly continue?: boolean
  readonly delay: number
  readonly verbose?: boolean
  readonly json?: boolean
}

/** Closing waits this long for the server to acknowledge. */
const closeMs = 1_000
/** Most paths of `--paths auto`. */
const pathsAuto = 8

/** Adds the command to the program. */
export function addGetCommand(program: Command): void {
  const command = program
    .command('get')
    .summary('download files, over several paths at once')
    .description(
      "Downloads files over HTTP/3. With several interfaces or addresses, one connection uses them all at once (RFC 10069): the first one talks to the URL's address, the n-th further one to the n-th --mip address. An aborted download goes on where it ended. The flags of the 2017 fork (-n, -mip, -c, -f, -sc, -ssc, -d, -fmp, -v) work, too.",
    )
    .argument('<url...>', 'what to download, all from one server')
    .option(
      '-o, --output <file>',
      'where to; a directory for several URLs; - = standard output (default: the name in the URL)',
    )
    .option('--range <bytes>', 'only these bytes: first-last, first- or -count', byteRange)
    .option('--continue', 'go on where an aborted run of the same download ended (default)')
    .option('--no-continue', 'begin at the first byte, whatever an aborted run has left')
    .option('-n, --interfaces <names>', 'network interfaces to use, separated by commas; beginnings of names do', list)
    .option('--local-addresses <addresses>', 'addresses of this machine to use instead, separated by commas', list)
    .option('--mip <addresses>', 'further addresses of the server, as address or address:port', list)
    .option(
      '--paths <count>',
      'paths to open in all, taking interfaces in turn; auto = all interfaces, or those given, and the addresses that the server announces, as they come and go',
      pathCount,
    )
    .option('--fake-multipath', 'use the one interface twice, to try several paths without having them')
    .option('--delay <ms>', 'request each further URL so much later than the one before', wholeNumber(0, 3_600_000), 0)
    .option('--ca <file>', "trusted certificates in PEM (default: well-known ones and this machine's self-made one)")
    .option('--insecure', 'do not verify the certificate')
    .option('--server-name <name>', 'name to ask for and to verify (default: the host)')
    .option(
      '--timeout <ms>',
      'give up connecting, and opening a path, after this time',
      wholeNumber(10, 600_000),
      5_000,
    )
  addDiagnosticsOptions(addTransportOptions(command))
    .option('-v, --verbose', 'tell of each change of a path')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples([
        'quicether get https://127.0.0.1:4433/file.bin',
        'quicether get https://192.0.2.1:4433/f --interfaces eth,wlan --mip 198.51.100.1:4433 --output f',
        'quicether get https://127.0.0.1:4433/f --local-addresses 127.0.0.1,127.0.0.2 --json',
        'quicether get https://127.0.0.1:4433/f --interfaces eth,wlan --scheduler ./my-scheduler.ts',
      ]),
    )
    .action(runGet)
}

async function runGet(texts: readonly string[], flags: GetFlags): Promise<void> {
  const urls = parseUrls(texts)
  const targets = downloadTargets(urls, flags.output)
  const plan = await planOf(urls[0], flags)
  if (flags.paths === 'auto' && flags.localAddresses !== undefined) {
    throw new UserError('ERR_OPTION', {
      what: 'local addresses are given, which --paths auto chooses itself',
      where: '--local-addresses',
      remedy: 'Name interfaces with --interfaces instead, or give a number of paths.',
    })
  }
  const maxPaths = flags.paths === 'auto' ? Math.max(plan.length, pathsAuto) : plan.length
  const config = { ...(await transportConfig(flags)), maxPaths }
  const diagnostics = await diagnosticsOf(flags, 'QuicEther get')
  try {
    if (flags.insecure === true)
      warn('the certificate is not verified (--insecure). Anybody on the way can read and change.')
    const connection = await openConnection(urls[0], flags, plan, config, diagnostics)
    await fetchAll(connection, targets, plan, flags)
  } finally {
    await diagnostics.close()
  }
}

async function fetchAll(
  connection: QuicConnection,
  targets: readonly DownloadTarget[],
  plan: PathPlan,
  flags: GetFlags,
): Promise<void> {
  const client = new Http3Client(connection)
  const progress = new DownloadProgress()
  const isDrawn = flags.json !== true && process.stderr.isTTY === true
  const keeper = new PathKeeper({ connection, timeoutMs: flags.timeout, onTrouble: warn })
  const monitor = watchPaths(connection, keeper, flags.verbose === true, isDrawn)
  const bars = isDrawn ? new PathBars(monitor, progress, process.stderr) : undefined
  const server = connection.remote
  let results: readonly DownloadResult[]
  try {
    openPaths(connection, keeper, plan, flags)
    results = await downloadAll(client, targets, progress, flags)
  } finally {
    bars?.stop()
    keeper.stop()
    connection.pathPolicy?.stop()
    monitor.stop()
  }
  const facts = { server, durationMs: progress.elapsedMs, paths: monitor.sample(), results, progress, monitor }
  await Promise.race([client.close(), new Promise((resolve) => setTimeout(resolve, closeMs).unref())])
  report(facts, flags)
}

/** The planned paths; with `--paths auto` also all that interfaces and server have to offer, as they come and go. */
function openPaths(connection: QuicConnection, keeper: PathKeeper, plan: PathPlan, flags: GetFlags): void {
  for (const path of plan.slice(1)) keeper.keep(furtherPath(path, plan))
  if (flags.paths !== 'auto') return keeper.keep(furtherPath(plan[0], plan), 0)
  const { interfaces = 'auto' } = flags
  const policy = connection.managePaths({ interfaces, announced: true, pathsMax: Math.max(plan.length, pathsAuto) })
  policy.onProblem = ({ lastError, troubles }) => {
    if (troubles <= 1 || flags.verbose === true) warn(pathTrouble(lastError))
  }
}

/** Off a terminal, a line tells when no path works any more, and one when one does again. */
function watchPaths(connection: QuicConnection, keeper: PathKeeper, isVerbose: boolean, isDrawn: boolean): PathMonitor {
  return new PathMonitor(connection, {
    onEvent: ({ path, change }) => {
      if (isVerbose) process.stderr.write(`path ${path} ${change}\n`)
      if (change === 'abandoned') keeper.onAbandoned(path)
    },
    ...(isDrawn
      ? {}
      : {
          onDegraded: (nextTryMs) => {
            const next = nextTryMs === undefined ? '' : `; trying again in ${formatMs(nextTryMs)}`
            warn(`no path works${next}. The download goes on when one does.`)
          },
          onRestored: ({ durationMs }) => warn(`a path works again after ${formatMs(durationMs)}.`),
        }),
  })
}

function report(facts: GetFacts, flags: GetFlags): void {
  // The report keeps out of the way of a file that goes to standard output.
  const out = flags.output === STANDARD_OUTPUT ? process.stderr : process.stdout
  out.write(`${flags.json === true ? JSON.stringify(getReport(facts), null, 2) : getSummary(facts)}\n`)
  for (const result of facts.results)
    if (result.error !== null) warn(`the download failed: ${result.error} (${result.url}). ${remedyOf(result)}`)
  if (facts.results.some(({ error }) => error !== null)) process.exitCode ??= 1
}

function remedyOf({ status, isKept, file }: DownloadResult): string {
  if (isKept) return `Run the command again to go on: ${file}.part has what came.`
  if (status === 416) return 'Check --range.'
  return status === null || status === 200 || status === 206 ? 'Run the command again.' : 'Check the path in the URL.'
}

/** All at once, or one after the other by `--delay`; an interrupt ends them and keeps what another run can go on with. */
async function downloadAll(
  client: Http3Client,
  targets: readonly DownloadTarget[],
  progress: DownloadProgress,
  { range, continue: mayContinue = true, delay: delayMs }: GetFlags,
): Promise<readonly DownloadResult[]> {
  const abort = new AbortController()
  const { signal } = abort
  const onSignal = (name: NodeJS.Signals): void => {
    process.exitCode = 128 + constants.signals[name]
    abort.abort(new Error('interrupted'))
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  const options = {
    range,
    mayContinue,
    signal,
    onNote: (note: string) => process.stderr.write(`quicether: ${note}.\n`),
  }
  try {
    return await Promise.all(
      targets.map(async (target, index) => {
        if (index > 0 && delayMs > 0) await delayed(index * delayMs, undefined, { signal }).catch(() => {})
        return download(client, target, progress, options)
      }),
    )
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

function pathCount(text: string): number | 'auto' {
  if (text === 'auto') return text
  try {
    return wholeNumber(1, PATHS_MAX)(text)
  } catch {
    throw new InvalidArgumentError(`Expected a whole number from 1 to ${PATHS_MAX}, or auto.`)
  }
}

function byteRange(text: string): string {
  const [, first = '', last = ''] = /^(\d{0,15})-(\d{0,15})$/u.exec(text) ?? []
  const isRight = first === '' ? Number(last) > 0 : last === '' || Number(last) >= Number(first)
  if (isRight) return text
  throw new InvalidArgumentError('Expected bytes such as 0-99 (the first hundred), 100- (from there on) or -500.')
}

function warn(message: string): void {
  process.stderr.write(`quicether: ${message}\n`)
}
