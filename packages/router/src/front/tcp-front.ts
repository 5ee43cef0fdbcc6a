/** HTTP/1.1 and HTTP/2 over TLS on TCP: the same routes for clients that do not know HTTP/3 yet, which Alt-Svc tells them of. */
import { once } from 'node:events'
import { createServer as createHttp1, type Server as Http1Server } from 'node:http'
import { createServer as createHttp2, type Http2Server, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { createServer as createTls, type Server as TlsServer, type TLSSocket } from 'node:tls'
import type { CloseReason } from '@quicether/transport'
import { systemClock } from '../clock.ts'
import type { ExchangeHandler } from '../exchange.ts'
import type { CertificatePair, OnServerConnection } from '../ports.ts'
import { codeOf, messageOf, UserError } from '../user-error.ts'
import { Watchdog } from '../watchdog.ts'
import { serveHttp1, upgradeHttp1 } from './http1-exchange.ts'
import { serveHttp2 } from './http2-exchange.ts'

export interface TcpFrontOptions extends CertificatePair {
  /** IP address. */
  readonly address: string
  /** 0 = any free port. */
  readonly port: number
  /** Other processes or threads listen on the same port. */
  readonly isShared: boolean
  readonly maxStreams: number
  readonly maxHeaderBytes: number
  /** For the TLS handshake, and for the header section of each request. */
  readonly headerTimeoutMs: number
  /** A connection without requests is closed then. */
  readonly idleTimeoutMs: number
  /** Told to clients in every response; made from the port of QUIC. */
  readonly altSvc: (port: number) => string
}

/** TCP connections that may be open at once. */
const connectionsMax = 20_000

/** A connection with what the handlers of its requests need. */
export interface FrontConnection {
  readonly handler: ExchangeHandler
  readonly altSvc: string
}

export class TcpFront {
  readonly port: number
  readonly #tls: TlsServer
  readonly #http1: Http1Server
  readonly #http2: Http2Server
  readonly #sockets: Set<TLSSocket>
  readonly #sessions: Set<ServerHttp2Session>

  /** Use `TcpFront.listen`. */
  constructor(parts: {
    tls: TlsServer
    http1: Http1Server
    http2: Http2Server
    sockets: Set<TLSSocket>
    sessions: Set<ServerHttp2Session>
  }) {
    this.port = (parts.tls.address() as AddressInfo).port
    this.#tls = parts.tls
    this.#http1 = parts.http1
    this.#http2 = parts.http2
    this.#sockets = parts.sockets
    this.#sessions = parts.sessions
  }

  /** Throws `UserError` (`ERR_PORT_IN_USE`, `ERR_CERTIFICATE`, `ERR_LISTEN`). */
  static async listen(options: TcpFrontOptions, onConnection: OnServerConnection): Promise<TcpFront> {
    const connections = new WeakMap<object, FrontConnection>()
    const sockets = new Set<TLSSocket>()
    const sessions = new Set<ServerHttp2Session>()
    const http1 = createHttp1Server(options, connections)
    const http2 = createHttp2Server(options)
    const tls = createTlsServer(options)
    tls.on('secureConnection', (socket) => {
      const startedAtMs = startOf(socket)
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      socket.on('error', () => {})
      const altSvc = options.altSvc((tls.address() as AddressInfo).port)
      const connection: FrontConnection = { handler: onConnection(connectionOf(socket, startedAtMs)), altSvc }
      if (socket.alpnProtocol !== 'h2') {
        connections.set(socket, connection)
        http1.emit('connection', socket)
        return
      }
      // The session is made, and told of, inside `emit`.
      http2.once('session', (session) => {
        sessions.add(session)
        session.once('close', () => sessions.delete(session))
        serveSession(session, connection, options)
      })
      http2.emit('connection', socket)
    })
    await listening(tls, options)
    // Node looks after header timeouts from this event on, which connections handed over by TLS do not bring about.
    http1.emit('listening')
    return new TcpFront({ tls, http1, http2, sockets, sessions })
  }

  /** New connections get this certificate. Throws `UserError`; the old one then stays. */
  replaceCertificate(certificate: CertificatePair): void {
    try {
      this.#tls.setSecureContext({ cert: certificate.certificatePem, key: certificate.privateKeyPem })
    } catch (error) {
      throw certificateError(error, certificate)
    }
  }

  /** Takes no new connections and requests and lets running ones finish for at most `graceMs`. */
  async close(graceMs: number): Promise<void> {
    const closed = once(this.#tls, 'close')
    this.#tls.close()
    for (const session of this.#sessions) session.close()
    this.#http1.close()
    this.#http1.closeIdleConnections()
    const timer = setTimeout(() => this.closeNow(), graceMs)
    await closed
    clearTimeout(timer)
    this.#http2.close()
  }

  /** Cuts what still runs. */
  closeNow(): void {
    for (const session of this.#sessions) session.destroy()
    for (const socket of this.#sockets) socket.destroy()
  }
}

function createTlsServer(options: TcpFrontOptions): TlsServer {
  try {
    const server = createTls({
      cert: options.certificatePem,
      key: options.privateKeyPem,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: options.headerTimeoutMs,
      minVersion: 'TLSv1.2',
    })
    server.maxConnections = connectionsMax
    server.on('connection', (socket) => noteStart(socket))
    // Failed handshakes concern nobody but the client.
    server.on('tlsClientError', (_error, socket) => socket.destroy())
    return server
  } catch (error) {
    throw certificateError(error, options)
  }
}

function createHttp1Server(options: TcpFrontOptions, connections: WeakMap<object, FrontConnection>): Http1Server {
  const server = createHttp1({
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: options.headerTimeoutMs,
    // Bodies have a watch of their own, which an upload that goes on does not run down.
    requestTimeout: 0,
    keepAliveTimeout: options.idleTimeoutMs,
    connectionsCheckingInterval: Math.min(options.headerTimeoutMs, 1_000),
    shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
  })
  server.on('request', (request, response) => {
    const connection = connections.get(request.socket)
    if (connection !== undefined) serveHttp1(connection, request, response)
  })
  server.on('upgrade', (request, socket, head) => {
    const connection = connections.get(request.socket)
    if (connection !== undefined) upgradeHttp1(connection, request, socket, head)
  })
  // `Expect: 100-continue` is answered by Node, and other expectations as if they were not there (RFC 9110 §10.1.1).
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  return server
}

function createHttp2Server(options: TcpFrontOptions): Http2Server {
  return createHttp2({
    settings: {
      maxConcurrentStreams: options.maxStreams,
      maxHeaderListSize: options.maxHeaderBytes,
      enableConnectProtocol: true,
    },
    maxSessionMemory: 10,
    // CVE-2023-44487: clients that open and reset streams.
    streamResetBurst: 200,
    streamResetRate: 20,
  })
}

/** Serves the streams of one connection; without any it is closed after a while. */
function serveSession(session: ServerHttp2Session, connection: FrontConnection, options: TcpFrontOptions): void {
  let running = 0
  const idle = new Watchdog(systemClock, () => session.destroy())
  idle.feed(options.headerTimeoutMs)
  session.once('close', () => idle.stop())
  session.on('error', () => {})
  session.on('stream', (stream, headers, _flags, raw?: readonly string[]) => {
    running++
    idle.pause()
    stream.once('close', () => {
      running--
      if (running === 0) idle.feed(options.idleTimeoutMs)
    })
    serveHttp2(connection, stream, headers, raw ?? [])
  })
}

const starts = new WeakMap<object, number>()

function noteStart(socket: object): void {
  starts.set(socket, performance.now())
}

/** When TCP was established under a TLS socket. */
function startOf(socket: TLSSocket): number {
  const parent: unknown = Reflect.get(socket, '_parent')
  return (typeof parent === 'object' && parent !== null ? starts.get(parent) : undefined) ?? performance.now()
}

function connectionOf(socket: TLSSocket, startedAtMs: number): Parameters<OnServerConnection>[0] {
  const closed = Promise.withResolvers<CloseReason>()
  socket.once('close', (hadError) => {
    closed.resolve({ kind: 'application', by: 'peer', code: hadError ? 0x102 : 0x100, reason: '' })
  })
  const { remoteAddress = '', remotePort = 0 } = socket
  const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/u, '')
  const protocol = socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1'
  return {
    protocol,
    remote: `${address.includes(':') ? `[${address}]` : address}:${remotePort} (${protocol === 'h2' ? 'HTTP/2' : 'HTTP/1.1'})`,
    remoteAddress: address,
    established: Promise.resolve({
      earlyData: false,
      resumed: socket.isSessionReused(),
      establishmentMs: performance.now() - startedAtMs,
    }),
    closed: closed.promise,
    counters: () => ({
      bytesSent: socket.bytesWritten,
      bytesReceived: socket.bytesRead,
      packetsSent: 0,
      packetsReceived: 0,
      packetsLost: 0,
      smoothedRttUs: undefined,
    }),
    close: () => socket.destroy(),
  }
}

async function listening(tls: TlsServer, options: TcpFrontOptions): Promise<void> {
  tls.listen({ port: options.port, host: options.address, reusePort: options.isShared })
  try {
    await once(tls, 'listening')
  } catch (error) {
    const where = `${options.address}:${options.port}`
    const isInUse = codeOf(error) === 'EADDRINUSE'
    throw new UserError(isInUse ? 'ERR_PORT_IN_USE' : 'ERR_LISTEN', {
      what: isInUse ? `TCP port ${options.port} is already in use` : messageOf(error),
      where,
      remedy: isInUse
        ? 'Stop what uses it, choose another one with --port, or set `tcp = false` to serve HTTP/3 only.'
        : 'Choose another address with --host or another port with --port.',
      cause: error,
    })
  }
}

function certificateError(error: unknown, { certificateLabel }: CertificatePair): UserError {
  return new UserError('ERR_CERTIFICATE', {
    what: messageOf(error),
    where: certificateLabel,
    remedy: 'Give a fitting pair with --cert and --key, or make one with `quicether certs`.',
    cause: error,
  })
}
