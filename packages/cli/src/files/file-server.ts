/** The files of a directory on one QUIC listener: in the command's own thread, or in each of its workers. */
import { h3ErrorCodes, type Http3ServerConnection, serveHttp3 } from '@quicether/http3'
import type { AddressOption, ListenOptions, QuicConnection, QuicListener } from '@quicether/net'
import { messageOf, UserError } from '@quicether/router'
import type { CertificateFiles } from '../certificates.ts'
import { formatEnd } from './address-text.ts'
import { type DiagnosticsFlags, diagnosticsOf } from './diagnostics-flags.ts'
import { type ServedFile, staticFiles } from './static-files.ts'
import { type TransportFlags, transportConfig } from './transport-flags.ts'

/** What a server is told, in a form that can be given to a worker. */
export interface FileServerOptions {
  readonly flags: TransportFlags & DiagnosticsFlags & { readonly paths: number; readonly verbose?: boolean }
  /** Real path of the directory. */
  readonly root: string
  readonly certificate: CertificateFiles
  /** Told to clients with several paths. */
  readonly announce: readonly AddressOption[]
}

/** A running server of files. */
export interface FileServer {
  readonly listener: QuicListener
  readonly onServed: (file: ServedFile) => void
  /** Tells clients, lets downloads end for at most `graceMs`, closes. */
  close(graceMs: number): Promise<void>
}

/** Serves at `where`. Throws `UserError` for files and modules that cannot be used, and what `listen` throws. */
export async function startFileServer(
  { flags, root, certificate, announce }: FileServerOptions,
  where: Pick<ListenOptions, 'port' | 'addresses' | 'seat'>,
): Promise<FileServer> {
  const { listen } = await import('@quicether/net')
  const config = { ...(await transportConfig(flags)), maxPaths: flags.paths }
  const { close: closeDiagnostics, ...hooks } = await diagnosticsOf(flags, 'QuicEther serve')
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
  const close = async (listener: QuicListener, graceMs: number): Promise<void> => {
    for (const server of serving) void server.shutdown()
    await listener.close({ graceMs, code: h3ErrorCodes.H3_NO_ERROR, reason: 'the server is shutting down' })
    await closeDiagnostics()
  }
  let listener: QuicListener | undefined
  try {
    listener = await listen({ identities: [identityOf(certificate)], alpn: ['h3'], config, ...hooks, ...where }, serve)
    announceAll(listener, announce)
  } catch (error) {
    await (listener === undefined ? closeDiagnostics() : close(listener, 0))
    throw error
  }
  const started = listener
  return { listener, onServed, close: (graceMs) => close(started, graceMs) }
}

function announceAll(listener: QuicListener, addresses: readonly AddressOption[]): void {
  try {
    for (const { address, port } of addresses) listener.announceAddress(address, port)
  } catch (error) {
    const what = messageOf(error).replace(/\.$/u, '')
    const remedy = 'Give at most 16 addresses that clients reach.'
    throw new UserError('ERR_OPTION', { what, where: '--announce', remedy, cause: error })
  }
}

function identityOf({ certificatePem, certificateLabel, privateKeyPem, privateKeyLabel }: CertificateFiles) {
  return {
    certificate: { pem: certificatePem, label: certificateLabel },
    privateKey: { pem: privateKeyPem, label: privateKeyLabel },
  }
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
