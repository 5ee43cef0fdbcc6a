/** `quicether serve`: the files of a directory over HTTP/3, on several addresses and paths. */
import { isIP } from 'node:net'
import { join } from 'node:path'
import { h3ErrorCodes, type Http3ServerConnection, serveHttp3 } from '@quicether/http3'
import type { QuicConnection, QuicListener } from '@quicether/net'
import { codeOf, messageOf, UserError } from '@quicether/router'
import {
  type PacketSchedulerName,
  packetSchedulers,
  type StreamSchedulerName,
  streamSchedulers,
} from '@quicether/transport'
import { type Command, Option } from 'commander'
import { type CertificateFiles, loadCertificate, selfMadeCertificate } from '../certificates.ts'
import { findInterfaces } from '../files/interfaces.ts'
import { PATHS_MAX } from '../files/path-plan.ts'
import { servedDirectory, staticFiles } from '../files/static-files.ts'
import { examples } from '../help.ts'
import { list, portNumber, windowKiB, wholeNumber } from '../option-values.ts'
import { untilStopped } from '../parent-link.ts'

interface ServeFlags {
  readonly www: string
  readonly port: number
  readonly host?: readonly string[]
  readonly interfaces?: readonly string[]
  readonly cert?: string
  readonly key?: string
  readonly certpath?: string
  readonly paths: number
  readonly flowWindow?: number
  readonly scheduler: PacketSchedulerName
  readonly streamScheduler: StreamSchedulerName
  readonly verbose?: boolean
}

/** Running downloads get this long to end. */
const graceMs = 2_000

/** Adds the command to the program. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .summary('serve the files of a directory, over several paths')
    .description(
      'Serves the files of a directory over HTTP/3 until it is interrupted. Clients may use several paths at once (RFC 10069). The flags of the 2017 fork (-www, -port, -certpath, -n, -f, -sc, -ssc, -v) work, too.',
    )
    .requiredOption('--www <directory>', 'what to serve')
    .option('-p, --port <port>', 'UDP port, 0 = any, the same on all addresses', portNumber, 4433)
    .option('--host <addresses>', 'addresses to listen on, separated by commas (default: 127.0.0.1)', list)
    .option('-n, --interfaces <names>', 'listen on the addresses of these interfaces; beginnings of names do', list)
    .option('--cert <file>', 'certificate chain in PEM (default: a self-made one)')
    .option('--key <file>', 'its private key in PEM')
    .option('--certpath <directory>', 'directory with fullchain.pem and privkey.pem')
    .option('--paths <count>', 'paths that one client may use', wholeNumber(1, PATHS_MAX), 8)
    .option('-f, --flow-window <kB>', 'initial window of streams and connections in KiB', windowKiB)
    .addOption(
      new Option('--scheduler <name>', 'which path a packet takes').choices(packetSchedulers).default('minrtt'),
    )
    .addOption(
      new Option('--stream-scheduler <name>', 'which stream goes next').choices(streamSchedulers).default('rr'),
    )
    .option('-v, --verbose', 'tell of each request and path')
    .addHelpText(
      'after',
      examples([
        'quicether serve --www public',
        'quicether serve --www public --port 4433 --interfaces eth0,wlan',
        'quicether serve --www public --host 127.0.0.1,127.0.0.2,::1 --verbose',
      ]),
    )
    .action(runServe)
}

async function runServe(flags: ServeFlags): Promise<void> {
  const stopped = untilStopped()
  const root = servedDirectory(flags.www)
  const addresses = addressesOf(flags)
  const certificate = await certificateOf(flags)
  const say = (line: string): void => {
    if (flags.verbose === true) process.stdout.write(`${line}\n`)
  }
  const serving = new Set<Http3ServerConnection>()
  const files = staticFiles(root, ({ method, path, status, bytes }) =>
    say(`request    ${method} ${JSON.stringify(path)} ${status}, ${bytes} bytes`),
  )
  const serve = (connection: QuicConnection): void => {
    const server = serveHttp3(connection, files, {
      onError: (error) => say(`request    failed: ${messageOf(error)}`),
    })
    serving.add(server)
    watch(connection, say)
    void connection.closed.then(() => serving.delete(server))
  }
  const listener = await start(flags, addresses, certificate, serve)
  for (const { address, port } of listener.addresses)
    process.stdout.write(
      `listening   https://${address.includes(':') ? `[${address}]` : address}:${port} (HTTP/3 over QUIC)\n`,
    )
  process.stdout.write(`files       ${root}\ncertificate ${certificate.certificateLabel}\n`)
  try {
    await stopped
  } finally {
    for (const server of serving) void server.shutdown()
    await listener.close({ graceMs, code: h3ErrorCodes.H3_NO_ERROR, reason: 'the server is shutting down' })
  }
}

function watch(connection: QuicConnection, say: (line: string) => void): void {
  const { remote } = connection
  say(`connection ${remote}`)
  connection.onPath = (id, change) => {
    const path = connection.paths().find((view) => view.id === id)
    const ends = path === undefined ? '' : `: ${path.remoteAddress}:${path.remotePort} to ${path.localAddress}`
    say(`connection ${remote} path ${id} ${change}${ends}`)
  }
}

async function start(
  flags: ServeFlags,
  addresses: readonly string[],
  { certificatePem, certificateLabel, privateKeyPem, privateKeyLabel }: CertificateFiles,
  onConnection: (connection: QuicConnection) => void,
): Promise<QuicListener> {
  const { port, paths: maxPaths, flowWindow: windowBytes } = flags
  const { listen } = await import('@quicether/net')
  try {
    return await listen(
      {
        addresses,
        port,
        identities: [
          {
            certificate: { pem: certificatePem, label: certificateLabel },
            privateKey: { pem: privateKeyPem, label: privateKeyLabel },
          },
        ],
        alpn: ['h3'],
        config: {
          maxPaths,
          packetScheduler: flags.scheduler,
          streamScheduler: flags.streamScheduler,
          ...(windowBytes === undefined ? {} : { streamWindowBytes: windowBytes, connectionWindowBytes: windowBytes }),
        },
      },
      onConnection,
    )
  } catch (error) {
    const code = codeOf(error)
    if (!code.startsWith('ERR_') || error instanceof UserError) throw error
    const isTaken = code === 'ERR_PORT_IN_USE'
    throw new UserError(isTaken ? 'ERR_PORT_IN_USE' : 'ERR_LISTEN', {
      what: isTaken ? `UDP port ${port} is already in use` : (messageOf(error).split('; ')[0] ?? ''),
      where: `${addresses.join(', ')}, port ${port}`,
      remedy: isTaken
        ? 'Stop what uses it, or choose another one with --port.'
        : 'Choose addresses of this machine with --host or --interfaces, or another port with --port.',
      cause: error,
    })
  }
}

function addressesOf({ host, interfaces }: ServeFlags): readonly string[] {
  if (host !== undefined && interfaces !== undefined) {
    throw problem('both addresses and interfaces are given', '--host and --interfaces', 'Give one of them.')
  }
  if (interfaces !== undefined) return findInterfaces(interfaces).flatMap((found) => found.addresses)
  for (const address of host ?? [])
    if (isIP(address) === 0)
      throw problem(`"${address}" is not an IP address`, '--host', 'Expected e.g. 127.0.0.1 or ::1.')
  return host ?? ['127.0.0.1']
}

async function certificateOf({ cert, key, certpath }: ServeFlags): Promise<CertificateFiles> {
  if (certpath !== undefined) {
    if (cert !== undefined || key !== undefined)
      throw problem('--certpath is given beside --cert or --key', '--certpath', 'Give one or the other.')
    return loadCertificate(join(certpath, 'fullchain.pem'), join(certpath, 'privkey.pem'))
  }
  if (cert === undefined && key === undefined) return await selfMadeCertificate()
  if (cert !== undefined && key !== undefined) return loadCertificate(cert, key)
  const [given, missing] = cert === undefined ? ['--key', '--cert'] : ['--cert', '--key']
  throw problem(`${given} is given without ${missing}`, given, 'Give both, or neither for a self-made pair.')
}

function problem(what: string, where: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where, remedy })
}
