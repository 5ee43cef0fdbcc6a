/** `quicether get`: files over HTTP/3 and over every interface given at once. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { Http3Client } from '@quicether/http3'
import type { OpenPathOptions, Pem, QuicConnection } from '@quicether/net'
import { codeOf, formatBytes, formatMs, formatRate, messageOf, UserError } from '@quicether/router'
import {
  type PacketSchedulerName,
  packetSchedulers,
  type StreamSchedulerName,
  streamSchedulers,
} from '@quicether/transport'
import { type Command, Option } from 'commander'
import {
  type DownloadProgress,
  type DownloadResult,
  type DownloadTarget,
  download,
  downloadTargets,
  parseUrls,
  STANDARD_OUTPUT,
} from '../files/download.ts'
import { findInterfaces } from '../files/interfaces.ts'
import { PATHS_MAX, type PlannedPath, planPaths } from '../files/path-plan.ts'
import { examples } from '../help.ts'
import { list, windowKiB, wholeNumber } from '../option-values.ts'
import { PathBars, PathTracker, pathReport, pathTable } from '../terminal/path-view.ts'
import { authorities } from './client.ts'

interface GetFlags {
  readonly output?: string
  readonly interfaces?: readonly string[]
  readonly localAddresses?: readonly string[]
  readonly mip?: readonly string[]
  readonly paths?: number
  readonly ca?: string
  readonly insecure?: boolean
  readonly serverName?: string
  readonly timeout: number
  readonly flowWindow?: number
  readonly scheduler: PacketSchedulerName
  readonly streamScheduler: StreamSchedulerName
  readonly verbose?: boolean
  readonly json?: boolean
}

/** Closing waits this long for the server to acknowledge. */
const closeMs = 1_000

/** What helps, by the code of the failure. */
const remedies: Readonly<Record<string, string>> = {
  ERR_NOT_LISTENING: 'Start the server there, or check host and port of the URL.',
  ERR_HANDSHAKE_TIMEOUT: 'Check that a QUIC server listens there and that no firewall drops UDP.',
  ERR_TLS: 'Name the certificate or its authority with --ca, or skip the check with --insecure for a test.',
  ERR_TLS_REFUSED: 'The server refused the TLS handshake; check --server-name.',
  ERR_RESOLVE: 'Check the host name.',
  ERR_ADDRESS: 'Give addresses of this machine to --local-addresses, or names of its interfaces to --interfaces.',
}

/** Adds the command to the program. */
export function addGetCommand(program: Command): void {
  program
    .command('get')
    .summary('download files, over several paths at once')
    .description(
      "Downloads files over HTTP/3. With several interfaces or addresses, one connection uses them all at once (RFC 10069): the first one talks to the URL's address, the n-th further one to the n-th --mip address. The flags of the 2017 fork (-n, -mip, -f, -sc, -ssc, -v) work, too.",
    )
    .argument('<url...>', 'what to download, all from one server')
    .option(
      '-o, --output <file>',
      'where to; a directory for several URLs; - = standard output (default: the name in the URL)',
    )
    .option('-n, --interfaces <names>', 'network interfaces to use, separated by commas; beginnings of names do', list)
    .option('--local-addresses <addresses>', 'addresses of this machine to use instead, separated by commas', list)
    .option('--mip <addresses>', 'further addresses of the server, as address or address:port', list)
    .option('--paths <count>', 'paths to open in all, taking interfaces in turn', wholeNumber(1, PATHS_MAX))
    .option('--ca <file>', "trusted certificates in PEM (default: well-known ones and this machine's self-made one)")
    .option('--insecure', 'do not verify the certificate')
    .option('--server-name <name>', 'name to ask for and to verify (default: the host)')
    .option(
      '--timeout <ms>',
      'give up connecting, and opening a path, after this time',
      wholeNumber(10, 600_000),
      5_000,
    )
    .option('-f, --flow-window <kB>', 'initial window of streams and the connection in KiB', windowKiB)
    .addOption(
      new Option('--scheduler <name>', 'which path a packet takes').choices(packetSchedulers).default('minrtt'),
    )
    .addOption(
      new Option('--stream-scheduler <name>', 'which stream goes next').choices(streamSchedulers).default('rr'),
    )
    .option('-v, --verbose', 'tell of each change of a path')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples([
        'quicether get https://127.0.0.1:4433/file.bin',
        'quicether get https://192.0.2.1:4433/f --interfaces eth,wlan --mip 198.51.100.1:4433 --output f',
        'quicether get https://127.0.0.1:4433/f --local-addresses 127.0.0.1,127.0.0.2 --json',
      ]),
    )
    .action(runGet)
}

async function runGet(texts: readonly string[], flags: GetFlags): Promise<void> {
  const urls = parseUrls(texts)
  const targets = downloadTargets(urls, flags.output)
  const [first, ...further] = await plan(urls[0], flags)
  if (flags.insecure === true)
    warn('the certificate is not verified (--insecure). Anybody on the way can read and change.')
  const connection = await open(urls[0], flags, first, 1 + further.length)
  const client = new Http3Client(connection)
  const tracker = new PathTracker(connection)
  const progress: DownloadProgress = { receivedBytes: 0, expectedBytes: 0 }
  const isDrawn = flags.json !== true && process.stderr.isTTY === true
  if (flags.verbose === true) connection.onPath = (id, change) => process.stderr.write(`path ${id} ${change}\n`)
  const bars = isDrawn ? new PathBars(tracker, progress, process.stderr) : undefined
  const startMs = performance.now()
  let results: readonly DownloadResult[]
  try {
    for (const path of further) void openPath(connection, atServer(path, first), flags.timeout)
    results = await downloadAll(client, targets, progress)
  } finally {
    bars?.stop()
  }
  const durationMs = performance.now() - startMs
  const paths = tracker.sample()
  await Promise.race([client.close(), new Promise((resolve) => setTimeout(resolve, closeMs).unref())])
  const bytes = results.reduce((sum, result) => sum + result.bytes, 0)
  if (flags.json === true) {
    const report = { server: connection.remote, bytes, durationMs, bytesPerSecond: (bytes * 1000) / durationMs }
    writeReport(flags, JSON.stringify({ ...report, downloads: results, paths: paths.map(pathReport) }, null, 2))
  } else {
    const total = `${formatBytes(bytes)} in ${formatMs(durationMs)}, ${formatRate((bytes * 1000) / durationMs)}`
    const lines = results
      .filter(({ error }) => error === null)
      .map((result) => `${result.file}  ${formatBytes(result.bytes)}`)
    writeReport(flags, [pathTable(paths, durationMs), '', ...lines, total].join('\n'))
  }
  for (const { url, status, error } of results) {
    const remedy = status === null || status === 200 ? 'Run the command again.' : 'Check the path in the URL.'
    if (error !== null) warn(`the download failed: ${error} (${url}). ${remedy}`)
  }
  if (results.some(({ error }) => error !== null)) process.exitCode = 1
}

/** The report keeps out of the way of a file that goes to standard output. */
function writeReport({ output }: GetFlags, text: string): void {
  const out = output === STANDARD_OUTPUT ? process.stderr : process.stdout
  out.write(`${text}\n`)
}

/** All at once; an interrupt ends them and removes what is not whole. */
async function downloadAll(
  client: Http3Client,
  targets: readonly DownloadTarget[],
  progress: DownloadProgress,
): Promise<readonly DownloadResult[]> {
  const abort = new AbortController()
  const onSignal = (): void => abort.abort(new Error('interrupted'))
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  try {
    return await Promise.all(targets.map((target) => download(client, target, progress, abort.signal)))
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

/** A path that cannot be opened is told of; the download goes on over the others. */
async function openPath(connection: QuicConnection, path: OpenPathOptions, timeoutMs: number): Promise<void> {
  try {
    await connection.openPath({ ...path, timeoutMs })
  } catch (error) {
    if (!connection.isClosed) warn(`${messageOf(error)}. The download goes on without that path.`)
  }
}

/** Of a name with several addresses, the connection may have got another one than planned: further paths follow it. */
function atServer({ remoteAddress, ...path }: PlannedPath, first: PlannedPath): OpenPathOptions {
  const isFree = path.localAddress === undefined && remoteAddress === first.remoteAddress
  return isFree ? path : { ...path, remoteAddress }
}

async function plan(url: URL, flags: GetFlags): Promise<readonly [PlannedPath, ...PlannedPath[]]> {
  const { interfaces = [], localAddresses = [], mip = [], paths } = flags
  const found = findInterfaces(interfaces)
  const addresses = await resolve(url)
  const port = url.port === '' ? 443 : Number(url.port)
  return planPaths({ addresses, port, interfaces: found, localAddresses, further: mip, paths })
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/gu, '')
}

async function resolve(url: URL): Promise<readonly string[]> {
  const host = hostOf(url)
  if (isIP(host) !== 0) return [host]
  try {
    return (await lookup(host, { all: true, order: 'verbatim' })).map(({ address }) => address)
  } catch (error) {
    throw connectProblem(`the host name does not resolve: ${messageOf(error)}`, url, 'ERR_RESOLVE', error)
  }
}

async function open(url: URL, flags: GetFlags, first: PlannedPath, pathCount: number): Promise<QuicConnection> {
  const { localAddress, interfaceName, remoteAddress, remotePort } = first
  const { serverName, timeout: handshakeTimeoutMs, flowWindow: windowBytes } = flags
  const { connect } = await import('@quicether/net')
  const pem = authorities(flags)
  const trusted: { readonly ca: readonly Pem[] } | undefined =
    pem === undefined ? undefined : { ca: [{ pem, label: 'the trusted certificates' }] }
  try {
    return await connect({
      host: hostOf(url),
      port: remotePort,
      alpn: ['h3'],
      handshakeTimeoutMs,
      ...(trusted ?? { insecure: true }),
      ...(serverName === undefined ? {} : { serverName }),
      ...(localAddress === undefined ? {} : { localAddress, resolve: async () => [remoteAddress] }),
      ...(interfaceName === undefined ? {} : { interfaceName }),
      config: {
        maxPaths: pathCount,
        packetScheduler: flags.scheduler,
        streamScheduler: flags.streamScheduler,
        ...(windowBytes === undefined ? {} : { streamWindowBytes: windowBytes, connectionWindowBytes: windowBytes }),
      },
    })
  } catch (error) {
    const code = codeOf(error)
    if (error instanceof UserError || !code.startsWith('ERR_')) throw error
    throw connectProblem(messageOf(error).split('; ')[0] ?? '', url, code, error)
  }
}

function connectProblem(what: string, url: URL, code: string, cause: unknown): UserError {
  return new UserError('ERR_CONNECT', {
    what: what.replace(/\.$/u, ''),
    where: url.host,
    remedy: remedies[code] ?? 'See --help for the options of the connection.',
    cause,
  })
}

function warn(message: string): void {
  process.stderr.write(`quicether: ${message}\n`)
}
