/** `quicether router`: HTTP/3 in front of HTTP services. */
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import {
  checkCertificateNames,
  defaultConfig,
  formatMs,
  isLoopback,
  loadConfig,
  messageOf,
  type Operations,
  parseListenPlace,
  type ReportPaths,
  type Router,
  type RouterConfig,
  type RouterLog,
  type RouterSetup,
  startOperations,
  startRouter,
  UserError,
  upstreamsOf,
} from '@quicether/router'
import type { Command } from 'commander'
import { type Logger, pino } from 'pino'
import { type CertificateFiles, loadCertificate, selfMadeCertificate } from '../certificates.ts'
import { addWorkersOption } from '../files/worker-flags.ts'
import { examples } from '../help.ts'
import { logLevel, portNumber, wholeNumber } from '../option-values.ts'
import { tellParent, untilStopped } from '../parent-link.ts'
import { startTcpdump, type Tcpdump } from '../tcpdump.ts'
import { LiveView } from '../terminal/live-view.ts'
import { checkReport } from './router-check.ts'
import { runRouterWorkers } from './router-workers.ts'

interface RouterFlags {
  readonly config?: string
  readonly host?: string
  readonly port?: number
  readonly cert?: string
  readonly key?: string
  readonly idleTimeout?: number
  readonly results?: string
  readonly reportInterval?: number
  readonly keylog?: string
  readonly qlog?: string
  readonly capture?: string
  readonly tcpdump?: string
  readonly admin?: string
  readonly accessLog?: string
  readonly watch?: boolean
  readonly check?: string
  readonly workers?: number
  readonly logLevel: string
  readonly live: boolean
}

/** Adds the command to the program. */
export function addRouterCommand(program: Command): void {
  addWorkersOption(program.command('router'))
    .summary('route HTTP/3 streams to services')
    .description(
      'Serves HTTP/3 and routes each stream by its path to an HTTP service. Without a configuration: /video, /text and /control to the demo services.',
    )
    .option('-c, --config <file>', 'TOML configuration')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('-p, --port <port>', 'UDP port, 0 = any (default: 4433)', portNumber)
    .option('--cert <file>', 'certificate chain in PEM (default: a self-made one)')
    .option('--key <file>', 'its private key in PEM')
    .option(
      '--idle-timeout <ms>',
      'close silent connections after this time (default: 5000)',
      wholeNumber(100, 3_600_000),
    )
    .option('--results <directory>', 'where reports go (default: results)')
    .option('--report-interval <ms>', 'time between reports (default: 60000)', wholeNumber(100, 86_400_000))
    .option('--keylog <file>', 'append TLS secrets for Wireshark (default: $SSLKEYLOGFILE)')
    .option('--qlog <directory>', 'write one qlog file per connection')
    .option('--capture <file>', 'write a pcapng capture with the secrets inside')
    .option('--tcpdump <file>', 'run tcpdump beside, where it is installed')
    .option(
      '--admin <address>',
      'live page, metrics, drain and reload, e.g. 127.0.0.1:9180 or unix:/run/quicether.sock',
    )
    .option('--access-log <file>', 'one JSON object per request; - = standard output')
    .option('--watch', 'reload when the configuration or the certificate changes; SIGHUP always does')
    .option('--check <file>', 'only check a configuration, and show how it differs from a router that runs')
    .option(
      '--log-level <level>',
      'JSON log on standard error: trace, debug, info, warn, error, silent',
      logLevel,
      'warn',
    )
    .option('--no-live', 'plain lines, also on a terminal')
    .addHelpText(
      'after',
      examples([
        'quicether router',
        'quicether router --config router.toml --port 8443',
        'quicether router --keylog keys.log --capture router.pcapng',
        'quicether router --cert cert.pem --key key.pem --host 0.0.0.0',
        'quicether router --config router.toml --admin 127.0.0.1:9180',
        'quicether router --config router.toml --workers auto',
        'quicether router --check router.toml',
      ]),
    )
    .action(runRouter)
}

async function runRouter(flags: RouterFlags): Promise<void> {
  if (flags.check !== undefined) {
    const config = mergeFlags(loadConfig(flags.check), flags)
    await certificateFor(config)
    process.stdout.write(await checkReport(flags.check, config))
    return
  }
  const setup = await readSetup(flags)
  const { config, certificate } = setup
  const output = new Output(flags.logLevel)
  const late: { router?: Router; operations?: Operations } = {}
  const isReloadable = flags.config !== undefined || config.router.certificate !== undefined
  const keylogFile = config.diagnostics.keylog ?? environmentKeylog()
  if (flags.workers !== undefined && flags.workers > 1) {
    const paths = await runRouterWorkers({
      setup,
      workers: flags.workers,
      keylogFile,
      log: output.log,
      load: isReloadable ? () => readSetup(flags) : undefined,
      watchedFiles: config.reload.watch ? watchedFiles(flags, config) : [],
      hasTcpdump: flags.tcpdump !== undefined,
      onLine: (line) => output.print(line),
      announce: (place) => announceRoutes(place, config, certificate, output),
    })
    return printReports(paths, output)
  }
  const stopped = untilStopped({
    ...(isReloadable ? { onHangup: () => void late.operations?.reload('SIGHUP') } : {}),
    onSecond: () => void late.router?.closeNow(),
  })
  const { listenHttp3 } = await import('@quicether/router/transport')
  const router = await startRouter({
    ...setup,
    diagnostics: {
      keylogFile,
      qlogDirectory: config.diagnostics.qlog,
      captureFile: config.diagnostics.capture,
    },
    log: output.log,
    listen: listenHttp3,
  })
  late.router = router
  onCrash(router)
  // Log rotation without a reload; SIGUSR1 belongs to the debugger of Node.
  process.on('SIGUSR2', () => router.observers.reopen())
  let tcpdump: Tcpdump | undefined
  try {
    late.operations = await startOperations({
      router,
      load: () => readSetup(flags),
      configFile: flags.config,
      onLine: (line) => output.print(line),
      onTrouble: output.log.onTrouble,
    })
    if (flags.tcpdump !== undefined) tcpdump = await startTcpdump(flags.tcpdump, router.port)
    announce(router, config, certificate, late.operations, output)
    if (flags.live && process.stdout.isTTY) output.startLive(router)
    tellParent({ kind: 'router', host: router.host, port: router.port, ...router.paths })
    await Promise.race([stopped, router.ended])
    output.stopLive()
  } finally {
    await router.close()
    await late.operations?.close()
    await tcpdump?.stop()
  }
  printReports(router.paths, output)
}

/** On a disk that fails there may be none; that has been said already. */
function printReports({ report, metrics }: ReportPaths, output: Output): void {
  for (const [name, file] of [
    ['report', report],
    ['metrics', metrics],
  ] as const) {
    if (existsSync(file)) output.print(`${name.padEnd(8)} ${file}`)
  }
}

/** What a reload reads. */
function watchedFiles({ config: file }: RouterFlags, { router }: RouterConfig): string[] {
  return [file, router.certificate, router.private_key].filter((name) => name !== undefined)
}

/** Configuration and certificate as files and flags say now. */
async function readSetup(flags: RouterFlags): Promise<RouterSetup> {
  const config = mergeFlags(flags.config === undefined ? defaultConfig() : loadConfig(flags.config), flags)
  return { config, certificate: await certificateFor(config) }
}

function mergeFlags(config: RouterConfig, flags: RouterFlags): RouterConfig {
  if ((flags.cert === undefined) !== (flags.key === undefined)) {
    throw new UserError('ERR_OPTION', {
      what: `${flags.cert === undefined ? '--key' : '--cert'} is given without ${flags.cert === undefined ? '--cert' : '--key'}`,
      where: 'quicether router',
      remedy: 'Give both, or neither to use a self-made certificate.',
    })
  }
  const { router, results, diagnostics } = config
  return {
    ...config,
    router: {
      ...router,
      host: flags.host ?? router.host,
      port: flags.port ?? router.port,
      idle_timeout_ms: flags.idleTimeout ?? router.idle_timeout_ms,
      ...(flags.cert === undefined || flags.key === undefined
        ? {}
        : { certificate: flags.cert, private_key: flags.key }),
    },
    results: {
      ...results,
      directory: flags.results ?? results.directory,
      interval_ms: flags.reportInterval ?? results.interval_ms,
    },
    diagnostics: {
      ...diagnostics,
      ...(flags.keylog === undefined ? {} : { keylog: flags.keylog }),
      ...(flags.qlog === undefined ? {} : { qlog: flags.qlog }),
      ...(flags.capture === undefined ? {} : { capture: flags.capture }),
    },
    admin: { ...config.admin, ...(flags.admin === undefined ? {} : { listen: adminPlace(flags.admin) }) },
    access_log: { ...config.access_log, ...(flags.accessLog === undefined ? {} : { file: flags.accessLog }) },
    reload: { watch: flags.watch ?? config.reload.watch },
  }
}

/** Throws `UserError` (`ERR_OPTION`) for a place that other machines reach. */
function adminPlace(value: string): string {
  const place = parseListenPlace(value)
  if (place !== undefined && isLoopback(place)) return value
  throw new UserError('ERR_OPTION', {
    what: `"${value}" is no loopback address with a port and no unix: socket`,
    where: '--admin',
    remedy: 'Give e.g. 127.0.0.1:9180 or unix:/run/quicether/admin.sock; for a scraper elsewhere see [metrics] listen.',
  })
}

/** The variable that browsers and curl obey too; empty means unset. */
export function environmentKeylog(): string | undefined {
  const file = process.env['SSLKEYLOGFILE']
  return file === '' ? undefined : file
}

async function certificateFor(config: RouterConfig): Promise<CertificateFiles> {
  const { certificate, private_key: key } = config.router
  const isSelfMade = certificate === undefined || key === undefined
  const pair = isSelfMade ? await selfMadeCertificate() : loadCertificate(certificate, key)
  checkCertificateNames(config, pair)
  return pair
}

function announce(
  router: Router,
  config: RouterConfig,
  certificate: CertificateFiles,
  operations: Operations,
  output: Output,
): void {
  announceRoutes(router, config, certificate, output)
  const [first, second] = operations.addresses
  const admin = config.admin.listen === undefined ? undefined : first
  const metrics = config.admin.listen === undefined ? first : second
  if (admin !== undefined) output.print(`admin       ${admin}`)
  if (metrics !== undefined) output.print(`metrics     ${metrics}`)
  output.print(`results     ${router.paths.directory}`)
}

function announceRoutes(
  { host, port }: Pick<Router, 'host' | 'port'>,
  config: RouterConfig,
  certificate: CertificateFiles,
  output: Output,
): void {
  output.print(`listening   https://${host.includes(':') ? `[${host}]` : host}:${port} (HTTP/3 over QUIC)`)
  for (const service of config.service) {
    const where = `${service.hosts.join(',')}${service.prefix}`
    const urls = upstreamsOf(service).map(({ url }) => url)
    output.print(`route       ${where} -> ${urls.join(', ')} (${service.name})`)
  }
  output.print(`certificate ${certificate.certificateLabel}`)
}

/** A crash still leaves a report behind. */
function onCrash(router: Router): void {
  const crash = (error: unknown): void => {
    router.writeReports('crash')
    process.stderr.write(
      `quicether: internal error: ${messageOf(error)} (router). The last report is ${router.paths.report}; run again with QUICETHER_DEBUG=1 for more.\n`,
    )
    if (process.env['QUICETHER_DEBUG'] !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`)
    process.exit(constants.signals.SIGABRT + 128)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
}

/** Plain lines or the live view on standard output, a JSON log on standard error. */
class Output {
  readonly log: RouterLog
  readonly #logger: Logger
  #live: LiveView | undefined

  constructor(level: string) {
    this.#logger = pino({ level, base: null }, pino.destination({ dest: 2, sync: true }))
    this.log = {
      onConnection: (connection, remote) => this.#logger.debug({ connection, remote }, 'connection attempt'),
      onEstablished: (connection, establishmentMs, handshake) => {
        this.#logger.info({ connection, establishmentMs, handshake }, 'connected')
        this.print(`connection ${connection}: ${handshake} handshake in ${formatMs(establishmentMs)}`)
      },
      onConnectionClosed: (connection, reason, isError) => {
        this.#logger[isError ? 'warn' : 'info']({ connection, reason }, 'closed')
        this.print(`connection ${connection}: closed, ${reason}`)
      },
      onFailure: (failure) => this.#logger.warn(failure, 'stream failed'),
      onTrouble: (message) => {
        process.stderr.write(`quicether: ${message}\n`)
      },
    }
  }

  print(line: string): void {
    if (this.#live === undefined) process.stdout.write(`${line}\n`)
    else this.#live.print(line)
  }

  startLive(router: Router): void {
    const title = `quicether router on ${router.host}:${router.port} (Ctrl-C ends it)`
    this.#live = new LiveView(
      { title, live: () => router.live(), upstreamStats: () => router.upstreamStats() },
      process.stdout,
    )
  }

  stopLive(): void {
    this.#live?.stop()
    this.#live = undefined
  }
}
