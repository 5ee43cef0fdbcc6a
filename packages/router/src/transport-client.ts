/** HTTP/3 over our QUIC as the client's side: one connection that carries all requests. */
import { Http3Client, h3ErrorCodes } from '@quicether/http3'
import { ClientContext, type ConnectOptions, connect, type QuicConnection, type Trust } from '@quicether/net'
import type { ClientConnect, ClientConnection, ClientConnectOptions, ClientRequest, ClientResponse } from './ports.ts'
import { diagnosticsOf } from './transport-diagnostics.ts'
import { countersOf, establishedOf } from './transport-facts.ts'
import { codeOf, messageOf, UserError } from './user-error.ts'

/** Closing waits this long for the server to acknowledge. */
const closeMs = 1_000
/** A server sends its session tickets when the handshake is confirmed; this is how long they may be late. */
const ticketMs = 100

/** What helps, by the code of the failure. */
const remedies: Readonly<Record<string, string>> = {
  ERR_NOT_LISTENING: 'Start the router, or check --host and --port.',
  ERR_HANDSHAKE_TIMEOUT: 'Check that a router listens there and that no firewall drops UDP.',
  ERR_CONNECTION_REFUSED: 'The server is there but takes no connections now; try again later.',
  ERR_TLS: 'Name the certificate or its authority with --ca, or skip the check with --insecure for a test.',
  ERR_TLS_REFUSED: 'The server refused the TLS handshake; check --server-name.',
  ERR_RESOLVE: 'Check the host name.',
  ERR_CA: 'Give a PEM file with certificates to --ca.',
}

/** Throws `UserError` (`ERR_CONNECT`, `ERR_RESULTS`). */
export const connectHttp3: ClientConnect = async (options) => {
  const { close: closeDiagnostics, ...hooks } = diagnosticsOf(options, 'QuicEther client')
  let context: ClientContext | undefined
  const release = async (): Promise<void> => {
    context?.close()
    await closeDiagnostics()
  }
  try {
    const trust: Trust = options.insecure
      ? { kind: 'insecure' }
      : { kind: 'ca', ca: [{ pem: options.caPem ?? '', label: 'the trusted certificates' }] }
    context = new ClientContext({ trust })
    const target: ConnectOptions = {
      host: options.host,
      port: options.port,
      alpn: ['h3'],
      handshakeTimeoutMs: options.timeoutMs,
      context,
      ...(options.serverName === undefined ? {} : { serverName: options.serverName }),
      ...hooks,
    }
    if (options.earlyData) await fetchSession(target)
    const connection = await connect({ ...target, earlyData: options.earlyData })
    return new Http3ClientConnection(connection, options, release)
  } catch (error) {
    await release()
    throw connectError(error, options)
  }
}

/** A connection that only brings home what 0-RTT needs. */
async function fetchSession(target: ConnectOptions): Promise<void> {
  const connection = await connect(target)
  const { promise: confirmed, resolve } = Promise.withResolvers<void>()
  connection.onEvent = (event) => {
    if (event.kind === 'confirmed' || event.kind === 'closed') resolve()
  }
  await confirmed
  await new Promise((done) => setTimeout(done, ticketMs))
  await connection.close(h3ErrorCodes.H3_NO_ERROR, '')
}

/** Made by `connectHttp3`. */
class Http3ClientConnection implements ClientConnection {
  readonly remote: string
  readonly established: ClientConnection['established']
  readonly closed: ClientConnection['closed']
  readonly #connection: QuicConnection
  readonly #client: Http3Client
  readonly #authority: string
  readonly #release: () => Promise<void>

  constructor(connection: QuicConnection, options: ClientConnectOptions, release: () => Promise<void>) {
    const host = options.serverName ?? options.host
    this.remote = connection.remote
    this.established = connection.connected.then(establishedOf)
    // A connection that fails is reported by the requests on it.
    this.established.catch(() => {})
    this.closed = connection.closed
    this.#connection = connection
    this.#client = new Http3Client(connection)
    this.#authority = `${host.includes(':') ? `[${host}]` : host}:${options.port}`
    this.#release = release
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
    await this.#release()
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
