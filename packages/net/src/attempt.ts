/** One attempt to connect to one address: a socket, an engine, a handshake. */
import { createNativeCrypto, type KeyLog, systemRandom } from '@quicether/native'
import {
  type ConnectionObserver,
  Endpoint,
  type ObserverInfo,
  QuicError,
  type TransportConfig,
} from '@quicether/transport'
import type { DatagramTap } from './capture/tap.ts'
import type { ClientContext } from './client-context.ts'
import { ClientPaths } from './client-paths.ts'
import { connectError } from './close-reason.ts'
import { QuicConnection } from './connection.ts'
import { Driver, nowUs } from './driver.ts'
import { type BindOptions, UdpPort } from './udp-port.ts'

export interface AttemptOptions {
  /** What to call the server in errors. */
  readonly target: string
  readonly context: ClientContext
  /** IP address, an IPv6 zone allowed. */
  readonly address: string
  readonly port: number
  readonly serverName: string
  readonly alpn: readonly string[]
  readonly local: BindOptions
  readonly earlyData: boolean
  readonly followPreferredAddress: boolean
  readonly version?: number
  readonly config: Partial<TransportConfig>
  readonly keyLogs: readonly KeyLog[]
  readonly tap?: DatagramTap
  readonly observe?: (info: ObserverInfo) => ConnectionObserver | null
  readonly signal: AbortSignal
}

/** How long a closed connection keeps its socket, so that the peer learns of the end; RFC 9000 §10.2 allows less. */
const LINGER_MS = 100
const ECONNREFUSED = 111
/** ICMP can be forged; a server that really is not there refuses the first packet and its retransmission alike. */
const REFUSALS_MAX = 2

/** Settles when streams can be written: after the handshake, or before it with 0-RTT. */
export async function startAttempt(options: AttemptOptions): Promise<QuicConnection> {
  const { context, tap, observe, signal, target } = options
  const port = new UdpPort()
  const crypto = createNativeCrypto()
  const removeKeyLogs = options.keyLogs.map((log) => context.addKeyLog(log))
  const early = Promise.withResolvers<void>()
  const refused = Promise.withResolvers<never>()
  let refusals = 0
  let connection: QuicConnection | undefined
  const release = () => {
    driver.close()
    crypto.close()
    for (const remove of removeKeyLogs) remove()
  }
  const driver = new Driver({
    port,
    tap,
    onSocketError: (errno) => {
      if (errno !== ECONNREFUSED || ++refusals !== REFUSALS_MAX) return
      const message = `cannot connect to ${target}: nothing listens on that UDP port; start the server or check the port`
      refused.reject(new QuicError('ERR_NOT_LISTENING', message))
    },
    onEvent: (event, now) => {
      if (event.kind === 'drained') return release()
      if (event.kind !== 'connection') return
      if (event.event.kind === 'earlyDataReady') early.resolve()
      connection?.handleEvent(event.event, now)
    },
  })
  // Not from within the engine's own call: the path it was sending on is about to change.
  port.onSendFailed = (tuple) => queueMicrotask(() => connection?.onSendFailed(tuple))
  try {
    const socket = port.bind({ ...options.local, reportErrors: true })
    const endpoint = new Endpoint({
      crypto,
      random: systemRandom(),
      config: options.config,
      onReady: driver.wake,
      ...(observe === undefined ? {} : { observe }),
    })
    driver.start(endpoint, [socket.handle])
    connection = open(endpoint, port, driver, socket.handle, options, release)
  } catch (error) {
    release()
    throw error
  }
  const opened = connection
  const onAbort = () => void opened.close(0, 'the attempt was given up')
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([opened.connected, early.promise, refused.promise])
    return opened
  } catch (error) {
    const reason = opened.closeReason
    void opened.close()
    throw reason === undefined ? error : connectError(target, reason)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function open(
  endpoint: Endpoint,
  port: UdpPort,
  driver: Driver,
  handle: number,
  options: AttemptOptions,
  release: () => void,
): QuicConnection {
  const { context, serverName, alpn, earlyData, version, address, local } = options
  const server = `${serverName} ${address} ${options.port}`
  const token = context.takeToken(server)
  let paths: ClientPaths | undefined
  const connection = endpoint.connect(
    {
      tls: context.tls,
      tuple: port.tupleTo(handle, address, options.port),
      serverName,
      alpn,
      earlyData,
      ...(options.followPreferredAddress ? { tupleTo: (to, toPort) => paths?.tupleToPreferred(to, toPort) } : {}),
      onNewToken: (fresh) => context.rememberToken(server, fresh),
      ...(version === undefined ? {} : { version }),
      ...(token === undefined ? {} : { token }),
    },
    nowUs(),
  )
  paths = new ClientPaths(connection, { port, driver, socket: handle, address, remotePort: options.port, local })
  return new QuicConnection(connection, () => void setTimeout(release, LINGER_MS), paths)
}
