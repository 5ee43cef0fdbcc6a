/** `quicether serve`: the files of a directory over HTTP/3, on several addresses and paths. */
import { isIP } from 'node:net'
import { join } from 'node:path'
import { h3ErrorCodes, type Http3ServerConnection, serveHttp3 } from '@quicether/http3'
import type { AddressOption, Diagnostics, QuicConnection, QuicListener } from '@quicether/net'
import { codeOf, messageOf, UserError } from '@quicether/router'
import { ANNOUNCED_ADDRESSES_MAX, type TransportConfig } from '@quicether/transport'
import { type Command, InvalidArgumentError } from 'commander'
import { type CertificateFiles, loadCertificate, selfMadeCertificate } from '../certificates.ts'
import { formatEnd, parseAddress } from '../files/address-text.ts'
import { addDiagnosticsOptions, type DiagnosticsFlags, diagnosticsOf } from '../files/diagnostics-flags.ts'
import { servedDirectory } from '../files/file-answers.ts'
import { findInterfaces } from '../files/interfaces.ts'
import { PATHS_MAX } from '../files/path-plan.ts'
import { type ServedFile, staticFiles } from '../files/static-files.ts'
import { serveTcp, type TcpServers } from '../files/tcp-server.ts'
import { addTransportOptions, type TransportFlags, transportConfig } from '../files/transport-flags.ts'
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
  addDiagnosticsOptions(addTransportOptions(command))
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
  const config = { ...(await transportConfig(flags)), maxPaths: flags.paths }
  const certificate = await certificateOf(flags)
  const diagnostics = await diagnosticsOf(flags, 'QuicEther serve')
  const say = (line: string): void => {
    if (flags.verbose === true) process.stdout.write(`${line}\n`)
  }
  const onServed = ({ method, path, status, bytes }: ServedFile): void =>
    say(`request    ${method} ${JSON.stringify(path)} ${status}, ${bytes} bytes`)
  const serving = new Set<Http3ServerConnection>()
  const files = staticFiles(root, onServed)
  const serve = (connection: QuicConnection): void => {
    const onError = (error: unknown): void => say(`request    failed: ${messageOf(error)}`)
    const server = serveHttp3(connection, files, { onError })
    serving.add(server)
    watch(connection, say)
    void connection.closed.then(() => serving.delete(server))
  }
  const listener = await start(flags.port, addresses, certificate, config, diagnostics, serve)
  let tcp: TcpServers | undefined
  try {
    if (flags.tcp === true) tcp = await serveTcp({ root, addresses: listener.addresses, ...certificate, onServed })
    announce(listener, flags.announce)
    printWhere(listener, root, certificate, tcp !== undefined)
    tellParent({ kind: 'serve', port: listener.port })
    await stopped
  } finally {
    for (const server of serving) void server.shutdown()
    const reason = 'the server is shutting down'
    await Promise.all([listener.close({ graceMs, code: h3ErrorCodes.H3_NO_ERROR, reason }), tcp?.close(graceMs)])
    await diagnostics.close()
  }
}

/** Tells clients of what is given, and of what is listened on when that is several addresses. */
function announce(listener: QuicListener, given: ServeFlags['announce']): void {
  if (given === false) return
  try {
    for (const { address, port } of given ?? []) listener.announceAddress(address, port)
  } catch (error) {
    throw problem(messageOf(error).replace(/\.$/u, ''), '--announce', 'Give at most 16 addresses that clients reach.')
  }
  const own = listener.addresses.filter(({ address }) => address !== '0.0.0.0' && address !== '::')
  const isLoopback = ({ address }: { readonly address: string }): boolean => /^(?:127\.|::1$)/u.test(address)
  // Nobody elsewhere reaches a loopback address.
  const useful = own.every(isLoopback) ? own : own.filter((each) => !isLoopback(each))
  if (useful.length < 2) return
  for (const { address, port } of useful.slice(0, ANNOUNCED_ADDRESSES_MAX - listener.announced.length))
    listener.announceAddress(address, port)
}

function printWhere(
  listener: QuicListener,
  root: string,
  { certificateLabel }: CertificateFiles,
  hasTcp: boolean,
): void {
  const how = hasTcp ? 'HTTP/3 over QUIC, HTTP/1.1 over TCP' : 'HTTP/3 over QUIC'
  for (const { address, port } of listener.addresses)
    process.stdout.write(`listening   https://${formatEnd(address, port)} (${how})\n`)
  const announced = listener.announced.map(({ address, port }) => formatEnd(address, port))
  if (announced.length > 0) process.stdout.write(`announced   ${announced.join(', ')}\n`)
  process.stdout.write(`files       ${root}\ncertificate ${certificateLabel}\n`)
}

function watch(connection: QuicConnection, say: (line: string) => void): void {
  const { remote } = connection
  say(`connection ${remote}`)
  connection.onPath = (id, change) => {
    const path = connection.paths().find((view) => view.id === id)
    const ends = path === undefined ? '' : `: ${formatEnd(path.remoteAddress, path.remotePort)} to ${path.localAddress}`
    say(`connection ${remote} path ${id} ${change}${ends}`)
  }
  void connection.closed.then((reason) => {
    say(`connection ${remote} closed`)
    // Our own fault, e.g. of a scheduler module: that is worth a word in any case.
    const isOurs = reason.kind === 'transport' && reason.by === 'local' && reason.name === 'INTERNAL_ERROR'
    if (isOurs) process.stderr.write(`quicether: the connection of ${remote} failed: ${reason.reason}.\n`)
  })
}

async function start(
  port: number,
  addresses: readonly string[],
  { certificatePem, certificateLabel, privateKeyPem, privateKeyLabel }: CertificateFiles,
  config: Partial<TransportConfig>,
  { keyLog, tap, observe }: Diagnostics,
  onConnection: (connection: QuicConnection) => void,
): Promise<QuicListener> {
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
        config,
        ...(keyLog === undefined ? {} : { keyLog }),
        ...(tap === undefined ? {} : { tap }),
        ...(observe === undefined ? {} : { observe }),
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
