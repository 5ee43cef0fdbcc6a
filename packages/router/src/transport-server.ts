/** HTTP/3 over our QUIC as the router's front: listening, one handler per request, orderly shutdown. */
import { lookup } from 'node:dns/promises'
import { type Http3ServerConnection, h3ErrorCodes, serveHttp3 } from '@quicether/http3'
import { type Diagnostics, listen, type QuicConnection, type QuicListener, type WorkerSeat } from '@quicether/net'
import { TcpFront } from './front/tcp-front.ts'
import { toExchangeRequest, toExchangeResponse } from './http3-exchange.ts'
import { diagnosticsOf } from './transport-diagnostics.ts'
import { countersOf, establishedOf } from './transport-facts.ts'
import type { CertificatePair, OnServerConnection, ServerListen, ServerListener, ServerListenOptions } from './ports.ts'
import { codeOf, messageOf, UserError } from './user-error.ts'

/** After the last response a client gets this long to close by itself. */
const closeGraceMs = 200
const defaultHeaderBytes = 65_536
const defaultHeaderTimeoutMs = 10_000
const portAttempts = 20
/** WebTransport sessions that one client may have open. */
const webTransportSessions = 16
/** RFC 9110 §9.2.1 */
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Throws `UserError` (`ERR_PORT_IN_USE`, `ERR_LISTEN`, `ERR_CERTIFICATE`, `ERR_RESULTS`). */
export const listenHttp3: ServerListen = (options, onConnection) => listenAt(options, onConnection)

/** The same for a worker, on the sockets of its seat. */
export function listenOnSeat(seat: WorkerSeat): ServerListen {
  return (options, onConnection) => listenAt({ ...options, seat }, onConnection)
}

interface Options extends ServerListenOptions {
  readonly seat?: WorkerSeat
}

async function listenAt(options: Options, onConnection: OnServerConnection): Promise<ServerListener> {
  const address = await resolveAddress(options)
  if (options.tcp !== true) return await listenQuic(options, address, onConnection)
  if (options.seat === undefined) return await listenBoth(options, address, onConnection)
  // All workers listen on the port; the kernel gives each TCP connection to one of them.
  const quic = await listenQuic(options, address, onConnection)
  try {
    return withFront(quic, await listenTcp({ ...options, port: quic.port }, address, onConnection), options)
  } catch (error) {
    await quic.close(0)
    throw error
  }
}

async function listenQuic(
  options: Options,
  address: string,
  onConnection: OnServerConnection,
): Promise<ServerListener> {
  const diagnostics = diagnosticsOf(options, 'QuicEther router')
  try {
    return await serve(options, address, diagnostics, onConnection)
  } catch (error) {
    await diagnostics.close()
    throw listenError(error, options)
  }
}

/** TCP and UDP on one port number; when any will do, one that is free for both. */
async function listenBoth(
  options: Options,
  address: string,
  onConnection: OnServerConnection,
): Promise<ServerListener> {
  for (let attempt = 1; ; attempt++) {
    const front = await listenTcp(options, address, onConnection)
    try {
      return withFront(await listenQuic({ ...options, port: front.port }, address, onConnection), front, options)
    } catch (error) {
      await front.close(0)
      const mayTryAnother = options.port === 0 && attempt < portAttempts && codeOf(error) === 'ERR_PORT_IN_USE'
      if (!mayTryAnother) throw error
    }
  }
}

async function listenTcp(options: Options, address: string, onConnection: OnServerConnection): Promise<TcpFront> {
  return await TcpFront.listen(
    {
      ...options,
      address,
      isShared: options.seat !== undefined,
      maxHeaderBytes: options.maxHeaderBytes ?? defaultHeaderBytes,
      headerTimeoutMs: options.headerTimeoutMs ?? defaultHeaderTimeoutMs,
      // RFC 7838 §3: the alternative is on the same host.
      altSvc: (port) => `h3=":${port}"; ma=${options.altSvcSeconds ?? 86_400}`,
    },
    onConnection,
  )
}

function withFront(quic: ServerListener, front: TcpFront, first: CertificatePair): ServerListener {
  let current = first
  return {
    ...quic,
    async close(graceMs) {
      await Promise.all([quic.close(graceMs), front.close(graceMs)])
    },
    closeNow() {
      quic.closeNow?.()
      front.closeNow()
    },
    replaceCertificate(certificate) {
      front.replaceCertificate(certificate)
      try {
        quic.replaceCertificate?.(certificate)
      } catch (error) {
        // What one of the two refuses must not be in use at the other.
        front.replaceCertificate(current)
        throw error
      }
      current = certificate
    },
  }
}

async function serve(
  options: Options,
  address: string,
  diagnostics: Diagnostics,
  onConnection: OnServerConnection,
): Promise<ServerListener> {
  const serving = new Map<QuicConnection, Http3ServerConnection>()
  const { close: closeDiagnostics, ...hooks } = diagnostics
  const listener: QuicListener = await listen(
    {
      addresses: [address],
      port: options.port,
      identities: [identityOf(options)],
      alpn: ['h3'],
      earlyData: options.earlyData,
      // RFC 9218: responses in the order of their priorities; those without one take turns
      config: {
        idleTimeoutUs: options.idleTimeoutMs * 1000,
        maxStreamsBidi: options.maxStreams,
        streamScheduler: 'rfc9218',
      },
      ...hooks,
      ...(options.seat === undefined ? {} : { seat: options.seat }),
    },
    (connection) => {
      serving.set(connection, serveConnection(connection, options, onConnection))
      void connection.closed.then(() => serving.delete(connection))
    },
  )
  const headerTimeoutMs = options.headerTimeoutMs ?? defaultHeaderTimeoutMs
  const sweep = setInterval(
    () => {
      const beforeUs = (performance.now() - headerTimeoutMs) * 1000
      for (const { session } of serving.values()) if (session.activeExchanges > 0) session.rejectUnheard(beforeUs)
    },
    Math.min(1_000, headerTimeoutMs / 2),
  )
  sweep.unref()
  return {
    host: options.host,
    port: listener.port,
    async close(graceMs) {
      clearInterval(sweep)
      for (const server of serving.values()) void server.shutdown()
      await listener.close({ graceMs, code: h3ErrorCodes.H3_NO_ERROR, reason: 'the router is shutting down' })
      await closeDiagnostics()
    },
    closeNow() {
      for (const connection of serving.keys()) {
        void connection.close(h3ErrorCodes.H3_NO_ERROR, 'the router is shutting down')
      }
    },
    replaceCertificate(certificate) {
      try {
        listener.replaceIdentities([identityOf(certificate)])
      } catch (error) {
        throw listenError(error, { ...options, ...certificate })
      }
    },
    counters() {
      const { datagramsReceived, datagramsSent, retries, versionNegotiations, resets, refused } = listener.stats()
      return { datagramsReceived, datagramsSent, retries, versionNegotiations, statelessResets: resets, refused }
    },
  }
}

function identityOf(pair: CertificatePair) {
  return {
    certificate: { pem: pair.certificatePem, label: pair.certificateLabel },
    privateKey: { pem: pair.privateKeyPem, label: pair.privateKeyLabel },
  }
}

function serveConnection(
  connection: QuicConnection,
  options: ServerListenOptions,
  onConnection: OnServerConnection,
): Http3ServerConnection {
  const handler = onConnection({
    remote: connection.remote,
    remoteAddress: connection.tuple.remoteAddress,
    established: connection.connected.then(establishedOf),
    closed: connection.closed,
    counters: () => countersOf(connection),
    paths: () => connection.paths(),
    close: (reason) => void connection.close(h3ErrorCodes.H3_NO_ERROR, reason),
  })
  const authority = `${options.host}:${options.port}`
  return serveHttp3(
    connection,
    async (request, response) => {
      // RFC 8470 §3: "The server can choose to defer processing until after the handshake completes", which rules out a
      // replay; requests that change nothing need not wait.
      if (request.isEarly && !safeMethods.has(request.method)) await connection.connected
      const confirmed = request.isEarly && connection.handshake === undefined ? connection.connected : undefined
      await handler(toExchangeRequest(request, authority, confirmed), toExchangeResponse(request, response))
    },
    {
      closeGraceMs,
      earlyData: 'all',
      config: {
        extendedConnect: true,
        datagrams: true,
        webTransportSessions,
        maxHeaderBytes: options.maxHeaderBytes ?? defaultHeaderBytes,
      },
    },
  )
}

/** Throws `UserError` (`ERR_LISTEN`) for a name that does not resolve. */
export async function resolveAddress(options: Pick<ServerListenOptions, 'host'>): Promise<string> {
  try {
    return (await lookup(options.host)).address
  } catch (error) {
    throw new UserError('ERR_LISTEN', {
      what: `the host name does not resolve: ${messageOf(error)}`,
      where: `--host ${options.host}`,
      remedy: 'Give an address of this machine, e.g. 127.0.0.1 or ::.',
      cause: error,
    })
  }
}

/** What `listen` throws, in the user's words. */
export function listenError(
  error: unknown,
  options: Pick<ServerListenOptions, 'host' | 'port' | 'certificateLabel'>,
): unknown {
  if (error instanceof UserError) return error
  const code = codeOf(error)
  const where = `${options.host}:${options.port}`
  if (code === 'ERR_PORT_IN_USE') {
    return new UserError('ERR_PORT_IN_USE', {
      what: `UDP port ${options.port} is already in use`,
      where,
      remedy: 'Stop what uses it, or choose another one with --port.',
      cause: error,
    })
  }
  if (!code.startsWith('ERR_')) return error
  const isCertificate = /CERTIFICATE|KEY|CA$/u.test(code)
  return new UserError(isCertificate ? 'ERR_CERTIFICATE' : 'ERR_LISTEN', {
    what: messageOf(error),
    where: isCertificate ? options.certificateLabel : where,
    remedy: isCertificate
      ? 'Give a fitting pair with --cert and --key, or make one with `quicether certs`.'
      : 'Choose another address with --host or another port with --port.',
    cause: error,
  })
}
