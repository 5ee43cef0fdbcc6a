/** `quicether demo`: services, router and client in one go, each in a process of its own. */
import { readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import { makeDirectory } from '@quicether/net/files'
import {
  type ClientReport,
  createRunId,
  demoPorts,
  formatBytes,
  formatMs,
  formatRate,
  formatTable,
  type MetricsDocument,
  messageOf,
  UserError,
} from '@quicether/router'
import type { Command } from 'commander'
import { type MultipathReport, multipathText, playMultipath } from '../demo/multipath.ts'
import { DemoChild, freeTcpPort, freeUdpPort } from '../demo-children.ts'
import { examples } from '../help.ts'
import { byteSize, wholeNumber } from '../option-values.ts'
import { untilStopped } from '../parent-link.ts'
import { clientSummary, clientTable, streamPicture } from '../terminal/client-table.ts'

interface DemoFlags {
  readonly count: number
  readonly size: number
  readonly results: string
}

/** Adds the command to the program. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .summary('see it work: services, router and client in one go, then a download over two paths')
    .description(
      'Starts the three services, a router and a client as processes of their own and shows what each stream did. Then a file is downloaded over two paths, one of which is cut on the way. Ends by itself.',
    )
    .option('-n, --count <requests>', 'requests per service', wholeNumber(1, 1_000), 4)
    .option('-s, --size <bytes>', 'size of each video and text', byteSize, 262_144)
    .option('--results <directory>', 'where everything is kept', 'results')
    .addHelpText('after', examples(['quicether demo', 'quicether demo --count 10 --size 1M']))
    .action(runDemo)
}

interface DemoFiles {
  readonly directory: string
  readonly config: string
  readonly routerKeylog: string
  readonly clientKeylog: string
  readonly routerCapture: string
  readonly clientCapture: string
  readonly qlog: string
  /** The download over two paths: without an ending, .json and .txt follow. */
  readonly multipath: string
}

async function runDemo(flags: DemoFlags): Promise<void> {
  const stopped = untilStopped()
  const files = demoFiles(resolve(flags.results))
  const children: DemoChild[] = []
  let isOver = false
  const start: StartChild = (name, args) => {
    if (isOver) throw new Error('the demo is over')
    const child = new DemoChild(name, args)
    children.push(child)
    return child
  }
  try {
    const why = await Promise.race([stopped, play(flags, files, start)])
    if (why === undefined) return
    process.exitCode = 128 + (constants.signals[why as NodeJS.Signals] ?? constants.signals.SIGTERM)
    process.stderr.write(
      `quicether: the demo was ended before it was done (${why}). Its files so far are in ${files.directory}.\n`,
    )
  } finally {
    isOver = true
    await Promise.all(children.map((child) => child.stop()))
  }
}

type StartChild = (name: string, args: readonly string[]) => DemoChild

/** The demo from the first process to the last line. Throws `UserError` when something in it goes wrong. */
async function play(flags: DemoFlags, files: DemoFiles, start: StartChild): Promise<undefined> {
  const services = start('services', await servicesArguments())
  const ports = await services.message('services')
  say(`services   video ${ports.video}, text ${ports.text}, control ${ports.control}`)
  writeConfig(files.config, ports, resolve(flags.results))
  const router = start('router', [
    'router',
    '--config',
    files.config,
    '--port',
    String(await freeUdpPort(4433)),
    '--keylog',
    files.routerKeylog,
    '--capture',
    files.routerCapture,
    '--qlog',
    files.qlog,
  ])
  const ready = await router.message('router')
  say(`router     https://${ready.host}:${ready.port} (HTTP/3 over QUIC)`)
  const client = start('client', clientArguments(flags, files, ready.port))
  const result = await client.exit()
  const report = parseReport(result.stdout, client, result.code)
  await router.stop()
  await services.stop()
  const metrics = readMetrics(ready.metrics)
  show(report, metrics)
  const multipath = await playMultipath(start)
  keepMultipath(files, multipath)
  say(`${multipathText(multipath)}\n`)
  showFiles(files, ready)
  const isComplete =
    report.wrong === 0 && metrics.totals.streams === report.streams.length && metrics.totals.streamsFailed === 0
  if (!isComplete) {
    throw new UserError('ERR_DEMO', {
      what: `${report.wrong} of ${report.streams.length} streams went wrong, and the router saw ${metrics.totals.streams} with ${metrics.totals.streamsFailed} failed`,
      where: ready.report,
      remedy: 'The table above and the report name each of them.',
    })
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function servicesArguments(): Promise<string[]> {
  const [video, text, control] = await Promise.all([
    freeTcpPort(demoPorts.video),
    freeTcpPort(demoPorts.text),
    freeTcpPort(demoPorts.control),
  ])
  return ['services', '--video-port', String(video), '--text-port', String(text), '--control-port', String(control)]
}

function clientArguments(flags: DemoFlags, files: DemoFiles, port: number): string[] {
  const sizes = ['--count', String(flags.count), '--size', String(flags.size), '--concurrency', '16']
  return [
    'client',
    '--port',
    String(port),
    ...sizes,
    '--keylog',
    files.clientKeylog,
    '--capture',
    files.clientCapture,
    '--json',
  ]
}

function demoFiles(results: string): DemoFiles {
  const directory = join(results, `demo-${createRunId(new Date())}`)
  try {
    makeDirectory(directory)
  } catch (error) {
    throw new UserError('ERR_RESULTS', {
      what: `results cannot be written: ${messageOf(error)}`,
      where: directory,
      remedy: 'Choose a writable directory with --results.',
      cause: error,
    })
  }
  return {
    directory,
    config: join(directory, 'router.toml'),
    routerKeylog: join(directory, 'router-keys.log'),
    clientKeylog: join(directory, 'client-keys.log'),
    routerCapture: join(directory, 'router.pcapng'),
    clientCapture: join(directory, 'client.pcapng'),
    qlog: join(directory, 'qlog'),
    multipath: join(directory, 'multipath'),
  }
}

function writeConfig(
  file: string,
  ports: { readonly video: number; readonly text: number; readonly control: number },
  results: string,
): void {
  const services = (['video', 'text', 'control'] as const).map(
    (name) =>
      `[[service]]\nname = "${name}"\nkind = "${name}"\nprefix = "/${name}"\nurl = "http://127.0.0.1:${ports[name]}"\n`,
  )
  writeFileSync(
    file,
    `# The router of this demo run: quicether router --config router.toml\n[results]\ndirectory = ${JSON.stringify(results)}\n\n${services.join('\n')}`,
  )
}

function parseReport(stdout: string, client: DemoChild, code: number): ClientReport {
  try {
    return JSON.parse(stdout) as ClientReport
  } catch {
    throw client.failure(`ended with code ${code} and no report`)
  }
}

function readMetrics(file: string): MetricsDocument {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as MetricsDocument
  } catch (error) {
    throw new UserError('ERR_RESULTS', {
      what: `the router left no metrics: ${messageOf(error)}`,
      where: file,
      remedy: 'Check that the directory is writable and not full.',
      cause: error,
    })
  }
}

function keepMultipath({ multipath }: DemoFiles, report: MultipathReport): void {
  writeFileSync(`${multipath}.txt`, `${multipathText(report)}\n`)
  writeFileSync(`${multipath}.json`, `${JSON.stringify(report, null, 2)}\n`)
}

function show(report: ClientReport, metrics: MetricsDocument): void {
  say(`client     ${report.streams.length} streams over one connection\n`)
  say(`${clientTable(report.streams)}\n`)
  say(`${clientSummary(report)}\n`)
  say('Streams over time (░ until the head of the answer, █ from there to its end):\n')
  say(`${streamPicture(report.streams)}\n`)
  say('As the router saw it, by type:\n')
  const rows = metrics.types.map((type) => [
    type.type,
    String(type.streams),
    formatBytes(type.requestBytes),
    formatBytes(type.responseBytes),
    formatMs(type.quicLatencyMs?.p50),
    formatMs(type.httpLatencyMs?.p50),
    type.throughputBytesPerSecond === null ? '-' : formatRate(type.throughputBytesPerSecond.mean),
    formatMs(type.jitterMs?.mean),
    String(type.retransmissions),
  ])
  const titles = ['type', 'streams', 'up', 'down', 'QUIC p50', 'HTTP p50', 'mean rate', 'jitter', 'retrans.']
  say(
    `${formatTable(
      titles.map((title, at) => ({ title, align: at === 0 ? 'left' : 'right' })),
      rows,
    )}\n`,
  )
  const { totals } = metrics
  say(
    `router       ${totals.streams} streams, at most ${totals.maxConcurrentStreams} at once, ${totals.streamRatePerSecond.toFixed(0)} opened per second, ${totals.errors} errors`,
  )
  say(
    `             handshake ${formatMs(totals.establishmentMs?.p50)}, stream establishment p50 ${formatMs(totals.streamEstablishmentMs?.p50)}, ${totals.packetsSent} packets sent, ${totals.packetsLost} lost\n`,
  )
}

function showFiles(files: DemoFiles, router: { readonly metrics: string; readonly report: string }): void {
  say(`report       ${router.report}`)
  say(`metrics      ${router.metrics}`)
  say(`two paths    ${files.multipath}.txt`)
  say(`             ${files.multipath}.json`)
  say(`key logs     ${files.clientKeylog}`)
  say(`             ${files.routerKeylog}`)
  say(`captures     ${files.clientCapture}`)
  say(`             ${files.routerCapture}`)
  say(`qlog         ${files.qlog}`)
  say(
    '\nOpen a capture with Wireshark: the keys are inside, HTTP/3 shows decrypted. Compare runs with `quicether report`.',
  )
}
