/** QuicEther in the multipath cases: a client with a socket for each path, and a server that obeys the lines. */
import { readFileSync } from 'node:fs'
import { createNativeCrypto, systemRandom } from '@quicether/native'
import {
  ClientContext,
  type Diagnostics,
  Driver,
  listen,
  nowUs,
  openDiagnostics,
  QuicConnection,
  type QuicListener,
  UdpPort,
} from '@quicether/net'
import { type ConnectionObserver, Endpoint, type PathView } from '@quicether/transport'
import { LineStreams } from './line-streams.ts'
import type { Certificates } from './noq-peer.ts'

const ALPN = 'multipath-interop'
export const MAX_PATHS = 4
const LIMIT_MS = 20_000
const POLL_MS = 5
const LINGER_MS = 100

const pemOf = (file: string): { pem: string; label: string } => ({ pem: readFileSync(file, 'utf8'), label: file })

/** Waits until `isTrue`; rejects with `what` when that takes too long. */
export async function until(what: string, isTrue: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + LIMIT_MS
  while (!isTrue()) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${LIMIT_MS} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** The line commands that act on our side of a connection. */
function obey(connection: QuicConnection, line: string): string {
  const [verb, idText = '', word] = line.split(' ')
  if (verb === 'key-update') {
    connection.engine.updateKeys()
    return 'ok'
  }
  if (verb === 'key-updates') {
    const { keyUpdates } = connection.stats()
    return keyUpdates >= Number(idText) ? 'ok' : `${keyUpdates} key updates so far`
  }
  const id = Number(idText)
  if (!Number.isInteger(id) || !connection.paths().some((path) => path.id === id)) {
    throw new Error(`there is no path "${idText}"`)
  }
  if (verb === 'close') connection.engine.closePath(id, nowUs())
  else if (verb === 'status' && (word === 'backup' || word === 'available')) connection.engine.setPathStatus(id, word)
  else throw new Error(`unknown command "${line}"`)
  return 'ok'
}

export interface OurClientOptions {
  readonly port: number
  readonly files: Certificates
  readonly maxPaths?: number
  readonly localAddress?: string
  readonly remoteAddress?: string
  /** Folder for a qlog file of this side. */
  readonly qlog?: string
}

/** One client connection with as many sockets as paths. */
export class OurClient {
  readonly connection: QuicConnection
  readonly streams: LineStreams
  /** Key updates that this side began. */
  ownKeyUpdates = 0
  readonly #port: UdpPort
  readonly #driver: Driver
  readonly #options: OurClientOptions
  readonly #diagnostics: Diagnostics
  /** Local address to socket. */
  readonly #handles: Map<string, number> = new Map()

  constructor(options: OurClientOptions) {
    const { localAddress = '127.0.0.1', remoteAddress = '127.0.0.1', files, maxPaths = MAX_PATHS } = options
    this.#options = options
    this.#diagnostics = openDiagnostics({ qlogDirectory: options.qlog })
    const port = new UdpPort()
    this.#port = port
    this.#driver = new Driver({
      port,
      onEvent: (event, now) => {
        if (event.kind === 'connection') this.connection.handleEvent(event.event, now)
      },
    })
    const endpoint = new Endpoint({
      crypto: createNativeCrypto(),
      random: systemRandom(),
      config: { maxPaths },
      onReady: this.#driver.wake,
      observe: () => this.#observer(),
    })
    const first = this.#bind(localAddress)
    this.#driver.start(endpoint, [first])
    const context = new ClientContext({ trust: { kind: 'ca', ca: [pemOf(files.certificate)] } })
    const tuple = port.tupleTo(first, remoteAddress, options.port)
    const engine = endpoint.connect({ tls: context.tls, tuple, serverName: 'localhost', alpn: [ALPN] }, nowUs())
    this.connection = new QuicConnection(engine, () => void setTimeout(() => this.#driver.close(), LINGER_MS))
    this.streams = new LineStreams(this.connection, (line) => obey(this.connection, line))
  }

  /** Connects and waits until the handshake is confirmed. */
  static async connect(options: OurClientOptions): Promise<OurClient> {
    const client = new OurClient(options)
    await client.connection.connected
    await until('handshake confirmed', () => client.connection.engine.core.handshakeConfirmed)
    return client
  }

  /** Counts our key updates and passes everything on to the qlog file, if there is one. */
  #observer(): ConnectionObserver {
    const qlog = this.#diagnostics.observe?.()
    return {
      connectionStarted: (...args) => qlog?.connectionStarted(...args),
      packetSent: (...args) => qlog?.packetSent(...args),
      packetReceived: (...args) => qlog?.packetReceived(...args),
      packetDropped: (...args) => qlog?.packetDropped(...args),
      packetLost: (...args) => qlog?.packetLost(...args),
      metricsUpdated: (...args) => qlog?.metricsUpdated(...args),
      event: (name, data, now) => {
        if (name === 'key_updated' && data['trigger'] === 'local_update') this.ownKeyUpdates++
        qlog?.event(name, data, now)
      },
    }
  }

  #bind(address: string): number {
    const { handle } = this.#port.bind({ address, port: 0 })
    this.#handles.set(address, handle)
    return handle
  }

  /** Opens a path from a further local address and waits until it is validated; returns its ID. */
  async openPath(
    localAddress: string,
    remoteAddress = '127.0.0.1',
    remotePort: number = this.#options.port,
  ): Promise<number> {
    const handle = this.#bind(localAddress)
    this.#driver.watch(handle)
    const tuple = this.#port.tupleTo(handle, remoteAddress, remotePort)
    let id: number | undefined
    // Connection IDs for further paths come shortly after the handshake.
    await until(`a path from ${localAddress} can be opened`, () => {
      id ??= this.connection.engine.openPath(tuple, {}, nowUs())
      return id !== undefined
    })
    await until(`path ${id} is validated`, () => this.path(id ?? -1)?.isValidated === true)
    return id ?? -1
  }

  /** The path dies silently: its socket is closed. */
  cut(localAddress: string): void {
    const handle = this.#handles.get(localAddress)
    if (handle === undefined) throw new Error(`no socket on ${localAddress}`)
    this.#port.unbind(handle)
  }

  path(id: number): PathView | undefined {
    return this.connection.paths().find((path) => path.id === id)
  }

  async close(): Promise<void> {
    await this.connection.close(0, 'done')
    await this.#diagnostics.close()
  }
}

/** Our server, its connections in the order of their arrival. */
export interface OurServer {
  readonly port: number
  readonly connections: readonly { readonly connection: QuicConnection; readonly streams: LineStreams }[]
  close(): Promise<void>
}

/** @param qlog folder for a qlog file of each connection */
export async function startOurServer(files: Certificates, qlog?: string): Promise<OurServer> {
  const diagnostics = openDiagnostics({ qlogDirectory: qlog })
  const connections: { connection: QuicConnection; streams: LineStreams }[] = []
  const listener: QuicListener = await listen(
    {
      addresses: ['127.0.0.1', '127.0.0.2'],
      port: 0,
      alpn: [ALPN],
      identities: [{ certificate: pemOf(files.certificate), privateKey: pemOf(files.privateKey) }],
      config: { maxPaths: MAX_PATHS },
      ...(diagnostics.observe === undefined ? {} : { observe: diagnostics.observe }),
    },
    (connection) => {
      const streams = new LineStreams(connection, (line) => obey(connection, line))
      connections.push({ connection, streams })
    },
  )
  return {
    port: listener.port,
    connections,
    close: async () => {
      await listener.close()
      await diagnostics.close()
    },
  }
}
