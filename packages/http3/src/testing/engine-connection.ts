/** The promise API over two real engines in virtual time, with a wire that loses, delays and reorders by a seed. */
import type { CloseReason, Connection, ConnectionEvent, StreamTransport, TransportConfig } from '@quicether/transport'
import { createSeededRandom, Pair } from '@quicether/transport/testing'
import type { Http3Connection } from '../connection.ts'

export interface EngineWorldOptions {
  readonly seed?: number
  readonly client?: Partial<TransportConfig>
  readonly server?: Partial<TransportConfig>
  /** Share of datagrams that the wire loses, both directions. */
  readonly lossRatio?: number
  /** Share of datagrams that arrive up to 30 ms late. */
  readonly lateRatio?: number
}

class EngineConnection implements Http3Connection {
  onEvent: ((event: ConnectionEvent) => void) | null
  readonly closed: Promise<CloseReason>
  readonly #connection: Connection
  readonly #closed: PromiseWithResolvers<CloseReason>
  #isEstablished: boolean

  constructor(connection: Connection) {
    this.#connection = connection
    this.#closed = Promise.withResolvers()
    this.closed = this.#closed.promise
    this.onEvent = null
    this.#isEstablished = false
  }

  get isEstablished(): boolean {
    return this.#isEstablished
  }

  get transport(): StreamTransport {
    return this.#connection
  }

  close(code: number, reason: string): Promise<CloseReason> {
    this.#connection.close(code, reason)
    return this.closed
  }

  handle(event: ConnectionEvent): void {
    if (event.kind === 'connected') this.#isEstablished = true
    this.onEvent?.(event)
    if (event.kind === 'closed') this.#closed.resolve(event.reason)
  }
}

/** One client and one server connection; `onAccept` sees the server's before its first event. */
export class EngineWorld {
  readonly pair: Pair
  /** The newest one. */
  client!: EngineConnection
  readonly #clients: Map<Connection, EngineConnection>
  readonly #servers: Map<Connection, EngineConnection>

  constructor(options: EngineWorldOptions, onAccept: (connection: Http3Connection) => void) {
    const seed = options.seed ?? 1
    this.pair = new Pair({
      seed,
      connect: { alpn: ['h3'] },
      tlsServer: { alpn: ['h3'] },
      ...(options.client === undefined ? {} : { client: options.client }),
      ...(options.server === undefined ? {} : { server: options.server }),
    })
    this.#addFaults(seed, options.lossRatio ?? 0, options.lateRatio ?? 0)
    this.#clients = new Map()
    this.#servers = new Map()
    this.pair.onEvent = (side, connection, event) => {
      if (side === 'client') {
        this.#clients.get(connection)?.handle(event)
        return
      }
      let server = this.#servers.get(connection)
      if (server === undefined) {
        server = new EngineConnection(connection)
        this.#servers.set(connection, server)
        onAccept(server)
      }
      server.handle(event)
    }
    this.connect()
  }

  /** One more connection of the same client, which has the tickets of the earlier ones. */
  connect(options: { readonly earlyData?: boolean } = {}): EngineConnection {
    const connection = this.pair.connect(options)
    this.client = new EngineConnection(connection)
    this.#clients.set(connection, this.client)
    return this.client
  }

  /** Lets virtual time pass until `promise` settles. Throws when it takes more than `withinUs`. */
  async settle<T>(promise: Promise<T>, withinUs = 60_000_000): Promise<T> {
    let isSettled = false
    const note = () => {
      isSettled = true
    }
    promise.then(note, note)
    const deadlineUs = this.pair.nowUs + withinUs
    while (!isSettled) {
      // What runs in promises gets its turn before time moves on.
      await new Promise((resolve) => setImmediate(resolve))
      if (isSettled) break
      this.pair.flush()
      if (!this.pair.step()) throw new Error(`nothing happens any more at ${this.pair.nowUs} us`)
      if (this.pair.nowUs > deadlineUs) throw new Error(`not settled after ${withinUs} us of virtual time`)
    }
    return promise
  }

  /** Lets virtual time pass until `isDone`. Throws when it takes more than `withinUs`. */
  until(isDone: () => boolean, withinUs = 60_000_000): void {
    const deadlineUs = this.pair.nowUs + withinUs
    while (!isDone()) {
      this.pair.flush()
      if (!this.pair.step()) throw new Error(`nothing happens any more at ${this.pair.nowUs} us`)
      if (this.pair.nowUs > deadlineUs) throw new Error(`not done after ${withinUs} us of virtual time`)
    }
  }

  #addFaults(seed: number, lossRatio: number, lateRatio: number): void {
    const random = createSeededRandom(seed + 1_000)
    const draw = new Uint8Array(4)
    const next = () => {
      random.fill(draw)
      return ((draw[0] as number) * 65_536 + (draw[1] as number) * 256 + (draw[2] as number)) / 2 ** 24
    }
    this.pair.filter = (datagram) => {
      if (next() < lossRatio) return false
      if (next() < lateRatio) datagram.atUs += Math.floor(next() * 30_000)
      return true
    }
  }
}
