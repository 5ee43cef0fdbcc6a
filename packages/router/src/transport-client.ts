/** HTTP/3 over our QUIC as the client's side: one connection that carries all requests. */
import { Http3Client } from '@quicether/http3'
import { connect, type Diagnostics, openDiagnostics, type QuicConnection } from '@quicether/net'
import type { ClientConnect, ClientConnection, ClientConnectOptions, ClientRequest, ClientResponse } from './ports.ts'
import { countersOf, establishedOf } from './transport-facts.ts'
import { diagnosticsError } from './transport-server.ts'
import { codeOf, messageOf, UserError } from './user-error.ts'

/** Closing waits this long for the server to acknowledge. */
const closeMs = 1_000

/** What helps, by the code of the failure. */
const remedies: Readonly<Record<string, string>> = {
  ERR_HANDSHAKE_TIMEOUT: 'Check that a router listens there and that no firewall drops UDP.',
  ERR_CONNECTION_REFUSED: 'The server is there but takes no connections now; try again later.',
  ERR_TLS: 'Name the certificate or its authority with --ca, or skip the check with --insecure for a test.',
  ERR_TLS_REFUSED: 'The server refused the TLS handshake; check --server-name.',
  ERR_RESOLVE: 'Check the host name.',
  ERR_CA: 'Give a PEM file with certificates to --ca.',
}

/** Throws `UserError` (`ERR_CONNECT`, `ERR_RESULTS`). */
export const connectHttp3: ClientConnect = async (options) => {
  const { close: closeDiagnostics, ...hooks } = open(options)
  try {
    const connection = await connect({
      host: options.host,
      port: options.port,
      alpn: ['h3'],
      handshakeTimeoutMs: options.timeoutMs,
      ...(options.serverName === undefined ? {} : { serverName: options.serverName }),
      ...(options.insecure
        ? { insecure: true }
        : { ca: [{ pem: options.caPem ?? '', label: 'the trusted certificates' }] }),
      ...hooks,
    })
    return new Http3ClientConnection(connection, options, await connection.connected, closeDiagnostics)
  } catch (error) {
    await closeDiagnostics()
    throw connectError(error, options)
  }
}

/** Made by `connectHttp3`. */
class Http3ClientConnection implements ClientConnection {
  readonly remote: string
  readonly established: ClientConnection['established']
  readonly closed: ClientConnection['closed']
  readonly #connection: QuicConnection
  readonly #client: Http3Client
  readonly #authority: string
  readonly #closeDiagnostics: () => Promise<void>

  constructor(
    connection: QuicConnection,
    options: ClientConnectOptions,
    handshake: Parameters<typeof establishedOf>[0],
    closeDiagnostics: () => Promise<void>,
  ) {
    const host = options.serverName ?? options.host
    this.remote = connection.remote
    this.established = establishedOf(handshake)
    this.closed = connection.closed
    this.#connection = connection
    this.#client = new Http3Client(connection)
    this.#authority = `${host.includes(':') ? `[${host}]` : host}:${options.port}`
    this.#closeDiagnostics = closeDiagnostics
  }

  async request(request: ClientRequest): Promise<ClientResponse> {
    const response = await this.#client.request({ ...request, authority: this.#authority })
    return {
      streamId: response.streamId,
      status: response.status,
      headers: response.headers,
      body: response.body,
      get trailers() {
        return response.trailers
      },
      stats: () => response.stats(),
    }
  }

  counters(): ReturnType<ClientConnection['counters']> {
    return countersOf(this.#connection)
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, closeMs)
    await Promise.race([this.#client.close(), promise])
    clearTimeout(timer)
    await this.#closeDiagnostics()
  }
}

function open(options: ClientConnectOptions): Diagnostics {
  const { keylogFile, qlogDirectory, captureFile, onTrouble } = options
  try {
    return openDiagnostics({
      keylogFile,
      qlogDirectory,
      captureFile,
      application: 'QuicEther client',
      onWarning: onTrouble,
    })
  } catch (error) {
    throw diagnosticsError(error)
  }
}

function connectError(error: unknown, options: ClientConnectOptions): unknown {
  const code = codeOf(error)
  if (error instanceof UserError || !code.startsWith('ERR_')) return error
  // The message may end with a hint after a semicolon; ours takes its place.
  const what = messageOf(error).split('; ')[0] ?? ''
  return new UserError('ERR_CONNECT', {
    what: what.replace(/\.$/u, ''),
    where: `${options.host}:${options.port}`,
    remedy: remedies[code] ?? 'See --help for the options of the connection.',
    cause: error,
  })
}
