/** `quicether serve`: the files of a directory over HTTP/3, on several addresses and paths. */
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { AddressOption } from '@quicether/net'
import { codeOf, messageOf, UserError } from '@quicether/router'
import { ANNOUNCED_ADDRESSES_MAX } from '@quicether/transport'
import { type Command, InvalidArgumentError } from 'commander'
import { type CertificateFiles, loadCertificate, selfMadeCertificate } from '../certificates.ts'
import { formatEnd, parseAddress } from '../files/address-text.ts'
import { addDiagnosticsOptions, type DiagnosticsFlags } from '../files/diagnostics-flags.ts'
import { servedDirectory } from '../files/file-answers.ts'
import { type FileServer, type FileServerOptions, startFileServer } from '../files/file-server.ts'
import { findInterfaces } from '../files/interfaces.ts'
import { PATHS_MAX } from '../files/path-plan.ts'
import { serveTcp, type TcpServers } from '../files/tcp-server.ts'
import { addTransportOptions, type TransportFlags } from '../files/transport-flags.ts'
import { addWorkersOption, checkWorkers, describeGroup, revived, sayFailure } from '../files/worker-flags.ts'
import { examples } from '../help.ts'
import { list, portNumber, wholeNumber } from '../option-values.ts'
import { tellParent, untilStopped } from '../parent-link.ts'

interface ServeFlags extends TransportFlags, DiagnosticsFlags {
  readonly www: string
  readonly port: number
  readonly host?: readonly string[]
  readonly interfaces?: readonly string[]
  readonly cert?: string
  readonly key?: string
  readonly certpath?: string
  readonly tcp?: boolean
  /** False = nothing is announced, not even what is listened on. */
  readonly announce?: readonly AddressOption[] | false
  readonly paths: number
  readonly workers?: number
  readonly verbose?: boolean
}

/** Running downloads get this long to end. */
const graceMs = 2_000

/** Adds the command to the program. */
export function addServeCommand(program: Command): void {
  const command = program
    .command('serve')
    .summary('serve the files of a directory, over several paths')
    .description(
      'Serves the files of a directory over HTTP/3 until it is interrupted. Clients may use several paths at once (RFC 10069). The flags of the 2017 fork (-www, -port, -certpath, -tcp, -n, -c, -f, -sc, -ssc, -v) work, too.',
    )
    .requiredOption('--www <directory>', 'what to serve')
    .option('-p, --port <port>', 'UDP port, 0 = any, the same on all addresses', portNumber, 4433)
    .option('--host <addresses>', 'addresses to listen on, separated by commas (default: 127.0.0.1)', list)
    .option('-n, --interfaces <names>', 'listen on the addresses of these interfaces; beginnings of names do', list)
    .option('--cert <file>', 'certificate chain in PEM (default: a self-made one)')
    .option('--key <file>', 'its private key in PEM')
    .option('--certpath <directory>', 'directory with fullchain.pem and privkey.pem')
    .option('--announce <addresses>', 'tell clients of these addresses, too, as address or address:port', announced)
    .option('--no-announce', 'do not tell clients of the other addresses that are listened on')
    .option('--paths <count>', 'paths that one client may use', wholeNumber(1, PATHS_MAX), 8)
    .option('--tcp', 'also serve HTTP/1.1 over TLS on TCP, on the same port')
  addDiagnosticsOptions(addTransportOptions(addWorkersOption(command)))
    .option('-v, --verbose', 'tell of each request and path')
    .addHelpText(
      'after',
      examples([
        'quicether serve --www public',
        'quicether serve --www public --port 4433 --interfaces eth0,wlan',
        'quicether serve --www public --workers auto',
        'quicether serve --www public --host 127.0.0.1,127.0.0.2,::1 --verbose',
      ]),
    )
    .action(runServe)
}

async function runServe(flags: ServeFlags): Promise<void> {
  const stopped = untilStopped()
  const { workers = 1 } = flags
  checkWorkers(workers, flags)
  const addresses = addressesOf(flags)
  const options = await optionsOf(flags, addresses)
  const server =
    workers === 1 ? await serveAlone(flags, options, addresses) : await serveShared(flags, options, addresses, workers)
  let tcp: TcpServers | undefined
  try {
    if (flags.tcp === true) {
      const { root, certificate } = options
      tcp = await serveTcp({ root, addresses: server.addresses, ...certificate, onServed: server.onServed })
    }
    printWhere(server, options, tcp !== undefined)
    tellParent({ kind: 'serve', port: server.addresses[0]?.port ?? 0 })
    await stopped
  } finally {
    await Promise.all([server.close(graceMs), tcp?.close(graceMs)])
  }
}

/** Who serves: this thread, or workers. */
interface Server extends Pick<FileServer, 'onServed' | 'close'> {
  readonly addresses: readonly { readonly address: string; readonly port: number }[]
  readonly workers?: string
}

async function optionsOf(flags: ServeFlags, addresses: readonly string[]): Promise<FileServerOptions> {
  const { announce, paths, verbose = false } = flags
  return {
    // What cannot be given to a worker stays here.
    flags: { ...(JSON.parse(JSON.stringify(flags)) as ServeFlags), paths, verbose },
    root: servedDirectory(flags.www),
    certificate: await certificateOf(flags),
    announce: announcedOf(announce, addresses),
  }
}

async function serveAlone(
  { port }: ServeFlags,
  options: FileServerOptions,
  addresses: readonly string[],
): Promise<Server> {
  try {
    const server = await startFileServer(options, { addresses, port })
    return { ...server, addresses: server.listener.addresses }
  } catch (error) {
    throw explained(error, port, addresses)
  }
}

async function serveShared(
  flags: ServeFlags,
  options: FileServerOptions,
  addresses: readonly string[],
  workers: number,
): Promise<Server> {
  const { port } = flags
  const { serveWorkers } = await import('@quicether/net')
  const module = new URL('../files/serve-worker.ts', import.meta.url)
  try {
    const group = await serveWorkers({ module, workers, addresses, port, data: options, onWorkerFailed: sayFailure })
    const renew = async (): Promise<void> => {
      await group.reload({ data: await optionsOf(flags, addresses) })
      process.stdout.write('workers     all have been replaced\n')
    }
    process.on('SIGUSR2', () => {
      renew().catch((error: unknown) =>
        process.stderr.write(`quicether: workers are not replaced: ${messageOf(error)}\n`),
      )
    })
    return {
      addresses: group.addresses,
      workers: describeGroup(group),
      onServed: ({ method, path, status, bytes }) => {
        if (flags.verbose === true)
          process.stdout.write(`request    ${method} ${JSON.stringify(path)} ${status}, ${bytes} bytes\n`)
      },
      close: (graceMs) => group.close({ graceMs }),
    }
  } catch (error) {
    throw explained(error, port, addresses)
  }
}

/** What clients are told of: what is given, and what is listened on when that is several addresses. */
function announcedOf(given: ServeFlags['announce'], addresses: readonly string[]): readonly AddressOption[] {
  if (given === false) return []
  if (given !== undefined && given.length > ANNOUNCED_ADDRESSES_MAX)
    throw problem(
      `${given.length} addresses are announced`,
      '--announce',
      'Give at most 16 addresses that clients reach.',
    )
  const own = addresses.filter((address) => address !== '0.0.0.0' && address !== '::')
  const isLoopback = (address: string): boolean => /^(?:127\.|::1$)/u.test(address)
  // Nobody elsewhere reaches a loopback address.
  const useful = own.every(isLoopback) ? own : own.filter((each) => !isLoopback(each))
  const more =
    useful.length < 2
      ? []
      : useful.filter((address) => given?.some((each) => each.address === address && each.port === undefined) !== true)
  return [...(given ?? []), ...more.map((address) => ({ address }))].slice(0, ANNOUNCED_ADDRESSES_MAX)
}

function printWhere(server: Server, { root, certificate, announce }: FileServerOptions, hasTcp: boolean): void {
  const how = hasTcp ? 'HTTP/3 over QUIC, HTTP/1.1 over TCP' : 'HTTP/3 over QUIC'
  for (const { address, port } of server.addresses)
    process.stdout.write(`listening   https://${formatEnd(address, port)} (${how})\n`)
  const announced = announce.map(({ address, port = server.addresses[0]?.port ?? 0 }) => formatEnd(address, port))
  if (announced.length > 0) process.stdout.write(`announced   ${announced.join(', ')}\n`)
  process.stdout.write(`files       ${root}\ncertificate ${certificate.certificateLabel}\n`)
  if (server.workers !== undefined) process.stdout.write(`workers     ${server.workers}\n`)
}

/** What `listen` and the workers throw, in the user's words. */
function explained(thrown: unknown, port: number, addresses: readonly string[]): unknown {
  const error = revived(thrown)
  const code = codeOf(error)
  if (!code.startsWith('ERR_') || error instanceof UserError) return error
  const isTaken = code === 'ERR_PORT_IN_USE'
  return new UserError(isTaken ? 'ERR_PORT_IN_USE' : 'ERR_LISTEN', {
    what: isTaken ? `UDP port ${port} is already in use` : (messageOf(error).split('; ')[0] ?? ''),
    where: `${addresses.join(', ')}, port ${port}`,
    remedy: isTaken
      ? 'Stop what uses it, or choose another one with --port.'
      : 'Choose addresses of this machine with --host or --interfaces, or another port with --port.',
    cause: error,
  })
}

function addressesOf({ host, interfaces }: ServeFlags): readonly string[] {
  if (host !== undefined && interfaces !== undefined) {
    throw problem('both addresses and interfaces are given', '--host and --interfaces', 'Give one of them.')
  }
  if (interfaces !== undefined) return [...new Set(findInterfaces(interfaces).flatMap((found) => found.addresses))]
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

function announced(text: string): readonly AddressOption[] {
  return list(text).map((each) => {
    const parsed = parseAddress(each)
    if (parsed === undefined) throw new InvalidArgumentError(`"${each}" is no address such as 192.0.2.7:4433.`)
    const { address, port } = parsed
    return port === undefined ? { address } : { address, port }
  })
}

function problem(what: string, where: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where, remedy })
}
