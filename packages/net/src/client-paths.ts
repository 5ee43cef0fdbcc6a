/** The sockets of a client and the paths over them: migration (RFC 9000 §9) and further paths (RFC 10069 §3). */
import {
  type Connection,
  type ConnectionEvent,
  type PathId,
  type PathStatus,
  type PathTuple,
  QuicError,
} from '@quicether/transport'
import { describeCloseReason } from './close-reason.ts'
import { type Driver, nowUs } from './driver.ts'
import { canonicalIp, formatAddress, mayFollow } from './ip-address.ts'
import { pathEnds } from './path-ends.ts'
import type { BindOptions, UdpPort } from './udp-port.ts'

/** Where a client moves to; what is absent is left to the kernel. */
export interface MigrateOptions {
  readonly localAddress?: string
  readonly localPort?: number
  readonly interfaceName?: string
}

/** A further path; what is absent is left to the kernel, or as on the first path. */
export interface OpenPathOptions extends MigrateOptions {
  /** IP address of the server; default: the one in use. */
  readonly remoteAddress?: string
  readonly remotePort?: number
  /** `backup` = used only while no available path works. Default `available`. */
  readonly status?: PathStatus
  /** Give up when the path is not validated after this long. 3,000 when absent. */
  readonly timeoutMs?: number
}

/** The first socket of a client and what is needed to bind more. */
export interface ClientSockets {
  readonly port: UdpPort
  readonly driver: Driver
  readonly socket: number
  /** The server as it was connected to. */
  readonly address: string
  readonly remotePort: number
  readonly local: BindOptions
}

interface Waiter {
  readonly resolve: (id: PathId) => void
  readonly reject: (error: Error) => void
}

const OPEN_TIMEOUT_MS = 3_000
/** The peer's connection IDs for a new path may still be under way; asking again costs nothing. */
const RETRY_MS = 20
/** An abandoned path keeps its socket this long for packets under way; three probe timeouts of most paths. */
const ABANDONED_MS = 1_000

/** Made for each client connection. */
export class ClientPaths {
  readonly #connection: Connection
  readonly #sockets: ClientSockets
  /** Sockets that migration has used and not closed. */
  #migrated: number[]
  #server: { readonly address: string; readonly remotePort: number }
  readonly #waiting: Map<PathId, Waiter> = new Map()
  /** Told when the connection is confirmed or has ended. */
  readonly #unconfirmed: Set<() => void> = new Set()

  constructor(connection: Connection, sockets: ClientSockets) {
    this.#connection = connection
    this.#sockets = sockets
    this.#migrated = [sockets.socket]
    this.#server = { address: sockets.address, remotePort: sockets.remotePort }
  }

  /** Moves between sockets: the one before stays for packets under way, older ones are closed. False = not now. */
  migrate({ localAddress, localPort = 0, interfaceName }: MigrateOptions): boolean {
    const { port, driver, local } = this.#sockets
    const { address, remotePort } = this.#server
    const { shownAddress } = local
    const wildcard = address.includes(':') ? '::' : '0.0.0.0'
    const { handle } = port.bind({
      address: localAddress ?? wildcard,
      port: localPort,
      reportErrors: true,
      ...(interfaceName === undefined ? {} : { interfaceName }),
      ...(localAddress !== undefined || shownAddress === undefined ? {} : { shownAddress }),
    })
    if (!this.#connection.migrate(port.tupleTo(handle, address, remotePort), nowUs())) {
      driver.release(handle)
      return false
    }
    driver.watch(handle)
    this.#migrated.push(handle)
    const inUse = this.#connection.path.tuple.socket
    for (const old of this.#migrated) if (old !== handle && old !== inUse) driver.release(old)
    this.#migrated = this.#migrated.filter((old) => old === handle || old === inUse)
    return true
  }

  /** The server as it was connected to, with the zone that was given; after that, the address it prefers. */
  get server(): { readonly address: string; readonly remotePort: number } {
    return this.#server
  }

  /** Tuple from the socket in use to the address that the server prefers; undefined = not from here. */
  tupleToPreferred(address: string, remotePort: number): PathTuple | undefined {
    const { tuple } = this.#connection.path
    const preferred = canonicalIp(address)
    if (!mayFollow(tuple.remoteAddress, preferred)) return undefined
    return this.#sockets.port.tupleTo(tuple.socket, preferred, remotePort)
  }

  /** Opens a path and waits until it is validated. Rejects with the QuicErrors that `QuicConnection.openPath` names. */
  async open(options: OpenPathOptions): Promise<PathId> {
    const deadlineMs = performance.now() + (options.timeoutMs ?? OPEN_TIMEOUT_MS)
    const ends = pathEnds(options, this.#server, this.#sockets.local)
    await this.#confirmed(deadlineMs)
    this.#checkNegotiated()
    const { port, driver } = this.#sockets
    const { handle } = port.bind({ ...ends.local, reportErrors: true })
    try {
      const tuple = port.tupleTo(handle, ends.remoteAddress, ends.remotePort)
      driver.watch(handle)
      const id = await this.#allocate(tuple, options.status ?? 'available', deadlineMs)
      return await this.#validated(id, tuple, deadlineMs)
    } catch (error) {
      driver.release(handle)
      throw error
    }
  }

  /** The kernel has no way for datagrams of a path: others carry its data at once, and it is probed on. */
  onSendFailed(tuple: PathTuple): void {
    this.#connection.onSendFailed(tuple)
  }

  /** Called with every event of the connection. */
  handleEvent(event: ConnectionEvent): void {
    if (event.kind === 'confirmed') this.#settleUnconfirmed()
    if (event.kind === 'closed') {
      this.#settleUnconfirmed()
      for (const { reject } of this.#waiting.values()) reject(closedError(describeCloseReason(event.reason)))
      this.#waiting.clear()
    }
    if (event.kind !== 'path') return
    if (event.change === 'migrated' && event.path === 0) this.#followServer()
    const waiter = this.#waiting.get(event.path)
    if (event.change === 'validated') waiter?.resolve(event.path)
    if (event.change === 'abandoned') {
      waiter?.reject(this.#unreachable(event.path))
      this.#releaseLater(event.path)
    }
  }

  /** The first path leads to another address of the server now: that is where further paths go, too. */
  #followServer(): void {
    const tuple = this.#connection.core.paths.get(0)?.tuple
    const { address, remotePort } = this.#server
    if (tuple === undefined) return
    if (tuple.remoteAddress === address.replace(/%.*$/, '') && tuple.remotePort === remotePort) return
    this.#server = { address: tuple.remoteAddress, remotePort: tuple.remotePort }
  }

  async #confirmed(deadlineMs: number): Promise<void> {
    const { core } = this.#connection
    if (!core.handshakeConfirmed && !this.#connection.isClosed) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#unconfirmed.add(resolve)
      const timer = setTimeout(resolve, Math.max(0, deadlineMs - performance.now()))
      await promise
      clearTimeout(timer)
      this.#unconfirmed.delete(resolve)
    }
    if (this.#connection.isClosed) throw closedError('it has ended')
    if (!core.handshakeConfirmed) {
      const message = 'cannot open a path: the server has not confirmed the handshake in time; try again later'
      throw new QuicError('ERR_PATH_TIMEOUT', message)
    }
  }

  #settleUnconfirmed(): void {
    for (const resolve of this.#unconfirmed) resolve()
  }

  #checkNegotiated(): void {
    const { core } = this.#connection
    const { address, remotePort } = this.#sockets
    if (core.multipath.isNegotiated) return
    const why =
      core.config.maxPaths <= 1
        ? 'multipath is off at our end; set config.maxPaths above 1'
        : `${formatAddress(address, remotePort)} does not offer multipath (RFC 10069); all data goes over the first path`
    throw new QuicError('ERR_NO_MULTIPATH', `cannot open a path: ${why}`)
  }

  /** A path ID, as soon as the peer has given a connection ID for one. */
  async #allocate(tuple: PathTuple, status: PathStatus, deadlineMs: number): Promise<PathId> {
    const connection = this.#connection
    for (;;) {
      if (connection.isClosed) throw closedError('it has ended')
      const id = connection.openPath(tuple, { status }, nowUs())
      if (id !== undefined) return id
      this.#checkAllowed(tuple)
      this.#checkLimit()
      if (performance.now() > deadlineMs) {
        const message =
          'cannot open a path: the server has given no connection ID for another path; close one, or try again later'
        throw new QuicError('ERR_PATH_LIMIT', message)
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  #checkAllowed(tuple: PathTuple): void {
    if (!this.#connection.core.multipath.isForbidden(tuple)) return
    const where = formatAddress(tuple.remoteAddress, tuple.remotePort)
    const message = `cannot open a path to ${where}: the server forbids it (disable_active_migration); try another address of the server`
    throw new QuicError('ERR_PATH_FORBIDDEN', message)
  }

  /** Paths that both sides allow at once. */
  get limit(): number {
    const { core } = this.#connection
    return Math.min(core.config.maxPaths, (core.peerParameters?.initialMaxPathId ?? 0) + 1)
  }

  #checkLimit(): void {
    const { core } = this.#connection
    const open = core.paths.paths.filter((path) => !path.isAbandoned).length
    const { limit } = this
    if (open < limit) return
    const whose = limit < core.config.maxPaths ? "the server's limit" : 'our limit, config.maxPaths'
    const message = `cannot open a path: ${open} are open and ${limit} allowed (${whose}); close one first`
    throw new QuicError('ERR_PATH_LIMIT', message)
  }

  async #validated(id: PathId, tuple: PathTuple, deadlineMs: number): Promise<PathId> {
    const { promise, resolve, reject } = Promise.withResolvers<PathId>()
    this.#waiting.set(id, { resolve, reject })
    const giveUp = (): void => {
      reject(unreachableError(tuple))
      this.#connection.closePath(id, nowUs())
    }
    const timer = setTimeout(giveUp, Math.max(0, deadlineMs - performance.now()))
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  #unreachable(id: PathId): Error {
    const tuple = this.#connection.core.paths.get(id)?.tuple
    return tuple === undefined ? closedError(`path ${id} was abandoned`) : unreachableError(tuple)
  }

  #releaseLater(id: PathId): void {
    const { paths } = this.#connection.core.paths
    const socket = paths.find((path) => path.id === id)?.tuple.socket
    if (socket === undefined) return
    const isShared = (): boolean => paths.some((path) => !path.isAbandoned && path.tuple.socket === socket)
    const release = (): void => {
      if (!isShared()) this.#sockets.driver.release(socket)
    }
    setTimeout(release, ABANDONED_MS).unref()
  }
}

function unreachableError({ localAddress, remoteAddress, remotePort }: PathTuple): QuicError {
  const remote = formatAddress(remoteAddress, remotePort)
  const message = `cannot open a path from ${localAddress} to ${remote}: no answer comes over it; does the server listen there, and does a firewall let UDP pass?`
  return new QuicError('ERR_PATH_UNREACHABLE', message)
}

function closedError(why: string): QuicError {
  return new QuicError('ERR_CONNECTION_CLOSED', `cannot open a path: ${why}; connect again`)
}
