/** `quicether router --workers`: the router on several threads, with one set of reports. */
import { constants } from 'node:os'
import { FileWatch, messageOf, type ReportPaths, type RouterLog, type RouterSetup, UserError } from '@quicether/router'
import { checkWorkers, describeGroup, revived, sayFailure } from '../files/worker-flags.ts'
import { tellParent, untilStopped } from '../parent-link.ts'

export interface RouterWorkersOptions {
  readonly setup: RouterSetup
  readonly workers: number
  readonly keylogFile: string | undefined
  readonly log: RouterLog
  /** Reads configuration and certificate again; undefined where there is nothing to read. */
  readonly load: (() => Promise<RouterSetup>) | undefined
  /** Files whose change makes a reload; empty = only SIGHUP does. */
  readonly watchedFiles: readonly string[]
  readonly hasTcpdump: boolean
  readonly onLine: (line: string) => void
  /** Lines about routes, certificate and services. */
  readonly announce: (place: { readonly host: string; readonly port: number }) => void
}

/** Serves until it is stopped; resolves with the paths of the last report. */
export async function runRouterWorkers(options: RouterWorkersOptions): Promise<ReportPaths> {
  const { setup, workers, log, load, onLine } = options
  const { diagnostics, router } = setup.config
  checkWorkers(workers, diagnostics)
  if (options.hasTcpdump) throw noTcpdump()
  const { startRouterGroup } = await import('@quicether/router/transport')
  const late: { reload?: (why: string) => void; hasten?: () => void } = {}
  const stopped = untilStopped({
    ...(load === undefined ? {} : { onHangup: () => late.reload?.('SIGHUP') }),
    onSecond: () => late.hasten?.(),
  })
  const group = await startRouterGroup({
    ...setup,
    workers,
    diagnostics: { keylogFile: options.keylogFile, qlogDirectory: diagnostics.qlog, captureFile: undefined },
    log,
    onWorkerFailed: sayFailure,
  }).catch((error: unknown) => Promise.reject(revived(error)))
  late.hasten = () => void group.close(0)
  late.reload = (why) => {
    const report = async (): Promise<void> => {
      const next = await load?.()
      const problems = next === undefined ? [] : await group.reload(next)
      if (problems.length === 0) onLine(`reloaded (${why}) in ${workers} workers`)
      for (const problem of problems) log.onTrouble(problem)
    }
    report().catch((error: unknown) =>
      log.onTrouble(`the reload failed, the old configuration stays: ${messageOf(error)}`),
    )
  }
  const watch = new FileWatch(
    () => options.watchedFiles,
    () => late.reload?.('files changed'),
  )
  if (options.watchedFiles.length > 0) watch.start()
  process.on('SIGUSR2', () => group.reopenLogs())
  process.on('uncaughtException', (error) => {
    group.writeReports('crash')
    process.stderr.write(
      `quicether: internal error: ${messageOf(error)} (router). The last report is ${group.paths.report}.\n`,
    )
    process.exit(constants.signals.SIGABRT + 128)
  })
  try {
    options.announce(group)
    if (group.metricsAddress !== undefined) onLine(`metrics     ${group.metricsAddress}`)
    if (router.tcp) onLine('tcp         HTTP/1.1 and HTTP/2 are served by worker 0')
    if (group.workers !== undefined) onLine(`workers     ${describeGroup(group.workers)}`)
    onLine(`results     ${group.paths.directory}`)
    tellParent({ kind: 'router', host: group.host, port: group.port, ...group.paths })
    await stopped
  } finally {
    watch.stop()
    await group.close()
  }
  return group.paths
}

function noTcpdump(): UserError {
  return new UserError('ERR_OPTION', {
    what: 'several workers and tcpdump cannot be had together',
    where: '--tcpdump and --workers',
    remedy: 'Run tcpdump by itself with --keylog, or use --workers 1.',
  })
}
