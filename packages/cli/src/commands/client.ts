/** `quicether client`: sample data to all services over parallel streams of one connection. */
import { rootCertificates } from 'node:tls'
import { type ClientReport, runClient, UserError } from '@quicether/router'
import type { Command } from 'commander'
import { loadAuthorities, selfMadeAuthority } from '../certificates.ts'
import { examples } from '../help.ts'
import { byteSize, portNumber, wholeNumber } from '../option-values.ts'
import { clientSummary, clientTable } from '../terminal/client-table.ts'
import { environmentKeylog } from './router.ts'

interface ClientFlags {
  readonly url?: string
  readonly host: string
  readonly port: number
  readonly serverName?: string
  readonly ca?: string
  readonly insecure?: boolean
  readonly count: number
  readonly size: number
  readonly concurrency: number
  readonly repeat: number
  readonly fps: number
  readonly timeout: number
  readonly earlyData?: boolean
  readonly keylog?: string
  readonly qlog?: string
  readonly capture?: string
  readonly json?: boolean
}

/** Adds the command to the program. */
export function addClientCommand(program: Command): void {
  program
    .command('client')
    .summary('send sample data through a router')
    .description(
      'Sends sample data to the video, text and control services over parallel streams of one QUIC connection and checks every answer.',
    )
    .option('-u, --url <url>', 'router to talk to, e.g. https://127.0.0.1:4433')
    .option('--host <host>', 'router to talk to', '127.0.0.1')
    .option('-p, --port <port>', 'its UDP port', portNumber, 4433)
    .option('--server-name <name>', 'name to ask for and to verify (default: the host)')
    .option('--ca <file>', "trusted certificates in PEM (default: well-known ones and this machine's self-made one)")
    .option('--insecure', 'do not verify the certificate')
    .option('-n, --count <requests>', 'requests per service and round', wholeNumber(1, 10_000), 3)
    .option('-s, --size <bytes>', 'size of each video and text, e.g. 64k, 2M', byteSize, 262_144)
    .option('--concurrency <streams>', 'streams open at once', wholeNumber(1, 10_000), 16)
    .option('--repeat <rounds>', 'rounds over the same connection', wholeNumber(1, 100_000), 1)
    .option('--fps <rate>', 'frame rate of the videos, 0 = as fast as possible', wholeNumber(0, 1_000), 60)
    .option('--timeout <ms>', 'give up connecting after this time', wholeNumber(10, 600_000), 5_000)
    .option('--early-data', 'connect twice and send the requests of the second connection as 0-RTT')
    .option('--keylog <file>', 'append TLS secrets for Wireshark (default: $SSLKEYLOGFILE)')
    .option('--qlog <directory>', 'write a qlog file')
    .option('--capture <file>', 'write a pcapng capture with the secrets inside')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples([
        'quicether client',
        'quicether client --count 20 --size 1M --fps 0 --concurrency 32',
        'quicether client --url https://router.example.org:4433 --ca ca.pem --json',
        'SSLKEYLOGFILE=keys.log quicether client --capture client.pcapng',
      ]),
    )
    .action(runClientCommand)
}

async function runClientCommand(flags: ClientFlags): Promise<void> {
  const { host, port } = target(flags)
  const { connectHttp3 } = await import('@quicether/router/transport')
  const connection = await connectHttp3({
    host,
    port,
    serverName: flags.serverName,
    caPem: authorities(flags),
    insecure: flags.insecure === true,
    timeoutMs: flags.timeout,
    earlyData: flags.earlyData === true,
    keylogFile: flags.keylog ?? environmentKeylog(),
    qlogDirectory: flags.qlog,
    captureFile: flags.capture,
    onTrouble: (message) => process.stderr.write(`quicether: ${message}\n`),
  })
  try {
    const { count, size: sizeBytes, concurrency, repeat, fps: framesPerSecond } = flags
    const report = await runClient(connection, { count, sizeBytes, concurrency, repeat, framesPerSecond })
    print(report, flags.json === true)
    if (report.wrong > 0) process.exitCode = 1
  } finally {
    await connection.close()
  }
}

function print(report: ClientReport, isJson: boolean): void {
  if (isJson) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  else process.stdout.write(`${clientTable(report.streams)}\n\n${clientSummary(report)}\n`)
}

function target(flags: ClientFlags): { readonly host: string; readonly port: number } {
  if (flags.url === undefined) return { host: flags.host, port: flags.port }
  const url = URL.canParse(flags.url) ? new URL(flags.url) : undefined
  if (url === undefined || url.protocol !== 'https:' || url.hostname === '') {
    throw new UserError('ERR_OPTION', {
      what: `"${flags.url}" is not an https address`,
      where: '--url',
      remedy: 'Expected something like https://127.0.0.1:4433.',
    })
  }
  return { host: url.hostname.replace(/^\[|\]$/gu, ''), port: url.port === '' ? 443 : Number(url.port) }
}

/**
 * What to trust, undefined for nothing (--insecure). Without --ca: the well-known authorities, and the certificate that a router on this machine makes for itself.
 * Throws `UserError` (`ERR_CERTIFICATE`).
 */
export function authorities(flags: Pick<ClientFlags, 'ca' | 'insecure'>): string | undefined {
  if (flags.insecure === true) return undefined
  if (flags.ca !== undefined) return loadAuthorities(flags.ca)
  const own = selfMadeAuthority()
  return [...(own === undefined ? [] : [own]), ...rootCertificates].join('\n')
}
