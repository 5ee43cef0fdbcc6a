/** Drives one Endpoint over node:dgram sockets: the smallest driver that can also move a client to a new port. */
import { createSocket, type Socket } from 'node:dgram'
import {
  type Connection,
  type ConnectionEvent,
  createTransmitBatch,
  createTuple,
  type DatagramBatch,
  type Endpoint,
  NEVER,
  type PathTuple,
} from '@quicether/transport'

const SLAB_BYTES = 65_536
const TIMER_MAX_MS = 60_000

export class DgramDriver {
  endpoint!: Endpoint
  onIncoming: ((connection: Connection) => void) | undefined
  readonly handlers = new Map<Connection, (event: ConnectionEvent) => void>()
  readonly #sockets: Socket[] = []
  readonly #tuples = new Map<string, PathTuple>()
  readonly #out = createTransmitBatch(new Uint8Array(SLAB_BYTES), 16)
  readonly #batch: { -readonly [K in keyof DatagramBatch]: DatagramBatch[K] } = {
    bytes: new Uint8Array(SLAB_BYTES),
    offsets: new Int32Array(1),
    lengths: new Int32Array(1),
    ecns: new Uint8Array(1),
    tuples: [],
    count: 0,
  }
  #timer: NodeJS.Timeout | undefined
  #isScheduled = false

  nowUs(): number {
    return Math.floor(performance.now() * 1000)
  }

  async bind(host: string, port: number): Promise<number> {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind(port, host, resolve)
    })
    socket.setRecvBufferSize(4 * 1024 * 1024)
    const index = this.#sockets.push(socket) - 1
    socket.on('message', (bytes, from) => {
      const batch = this.#batch
      batch.bytes.set(bytes)
      batch.offsets[0] = 0
      batch.lengths[0] = bytes.length
      batch.tuples[0] = this.tuple(index, from.address, from.port)
      batch.count = 1
      this.endpoint.handleDatagrams(batch, this.nowUs())
      this.schedule()
    })
    return index
  }

  port(socket: number): number {
    return this.#sockets[socket]?.address().port ?? 0
  }

  tuple(socket: number, remoteAddress: string, remotePort: number): PathTuple {
    const local = this.#sockets[socket]?.address()
    const tuple = createTuple({
      localAddress: local?.address ?? '',
      localPort: local?.port ?? 0,
      remoteAddress,
      remotePort,
      interfaceIndex: 0,
      socket,
    })
    const known = this.#tuples.get(tuple.key)
    if (known !== undefined) return known
    this.#tuples.set(tuple.key, tuple)
    return tuple
  }

  schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.run()
    })
  }

  run(): void {
    const { endpoint } = this
    if (endpoint.pollTimeout() <= this.nowUs()) endpoint.handleTimeout(this.nowUs())
    for (let round = 0; round < 100; round += 1) {
      this.#transmit()
      if (!this.#dispatch()) break
    }
    clearTimeout(this.#timer)
    const at = endpoint.pollTimeout()
    if (at === NEVER) return
    const delayMs = Math.max(0, Math.min(TIMER_MAX_MS, Math.ceil((at - this.nowUs()) / 1000)))
    this.#timer = setTimeout(() => this.run(), delayMs)
  }

  #transmit(): void {
    const out = this.#out
    while (this.endpoint.pollTransmit(out, this.nowUs())) {
      const tuple = out.tuple as PathTuple
      for (let at = 0; at < out.length; at += out.segmentSize) {
        const part = Buffer.from(out.bytes.slice(at, Math.min(out.length, at + out.segmentSize)))
        this.#sockets[tuple.socket]?.send(part, tuple.remotePort, tuple.remoteAddress)
      }
    }
  }

  #dispatch(): boolean {
    let any = false
    for (let event = this.endpoint.pollEvent(); event !== undefined; event = this.endpoint.pollEvent()) {
      any = true
      if (event.kind === 'incoming') this.onIncoming?.(event.connection)
      else if (event.kind === 'connection') this.handlers.get(event.connection)?.(event.event)
      else this.handlers.delete(event.connection)
    }
    return any
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const socket of this.#sockets) socket.close()
  }
}
