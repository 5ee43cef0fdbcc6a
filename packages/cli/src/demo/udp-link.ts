/** A link of the demo: real UDP sockets with a rate, a delay and a queue between them, which can be cut. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'

export interface UdpLinkOptions {
  /** Where clients find the link; a free port is taken. */
  readonly address: string
  /** The server behind it. */
  readonly server: { readonly address: string; readonly port: number }
  /** In each direction. */
  readonly megabitsPerSecond: number
  /** One way. */
  readonly delayMs: number
}

/** Longest wait in the queue; what would wait longer is dropped. */
const QUEUE_MS = 100
/** Clients that a link tells apart; those beyond it are not served. */
const CLIENTS_MAX = 16
const OVERHEAD_BYTES = 28

/** A client has a socket of its own towards the server, as behind a NAT. */
export class UdpLink {
  readonly #options: UdpLinkOptions
  readonly #front: Socket
  readonly #clients: Map<string, Socket> = new Map()
  readonly #up: Lane
  readonly #down: Lane
  #isCut = false

  constructor(options: UdpLinkOptions) {
    const { megabitsPerSecond, delayMs, address } = options
    this.#options = options
    this.#front = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    this.#up = new Lane(megabitsPerSecond, delayMs)
    this.#down = new Lane(megabitsPerSecond, delayMs)
  }

  /** Opens the link. Rejects when the address cannot be bound. */
  static async open(options: UdpLinkOptions): Promise<UdpLink> {
    const link = new UdpLink(options)
    const front = link.#front
    front.on('message', (datagram, from) => link.#toServer(datagram, from))
    front.bind(0, options.address)
    await once(front, 'listening')
    front.on('error', () => {})
    return link
  }

  get address(): string {
    return this.#options.address
  }

  get port(): number {
    return this.#front.address().port
  }

  /** Bytes of datagrams delivered to clients so far. */
  get deliveredBytes(): number {
    return this.#down.deliveredBytes
  }

  /** From now on everything is swallowed, what is under way included; nobody is told. */
  cut(): void {
    this.#isCut = true
    this.#up.clear()
    this.#down.clear()
  }

  mend(): void {
    this.#isCut = false
  }

  close(): void {
    this.cut()
    this.#front.close()
    for (const socket of this.#clients.values()) socket.close()
    this.#clients.clear()
  }

  #toServer(datagram: Buffer, from: RemoteInfo): void {
    if (this.#isCut) return
    const back = this.#clientSocket(from)
    const { address, port } = this.#options.server
    if (back !== undefined) this.#up.push(datagram, () => back.send(datagram, port, address))
  }

  #clientSocket({ address, port }: RemoteInfo): Socket | undefined {
    const key = `${address} ${port}`
    const known = this.#clients.get(key)
    if (known !== undefined || this.#clients.size >= CLIENTS_MAX) return known
    const socket = createSocket(this.#options.server.address.includes(':') ? 'udp6' : 'udp4')
    socket.on('error', () => {})
    socket.on('message', (datagram) => {
      if (!this.#isCut) this.#down.push(datagram, () => this.#front.send(datagram, port, address))
    })
    this.#clients.set(key, socket)
    return socket
  }
}

interface Waiting {
  readonly atMs: number
  readonly bytes: number
  readonly send: () => void
}

/** One direction: datagrams leave at the rate and arrive after the delay, in order. */
class Lane {
  deliveredBytes = 0
  readonly #bytesPerMs: number
  readonly #delayMs: number
  #waiting: Waiting[] = []
  #freeAtMs = 0
  #timer: NodeJS.Timeout | undefined

  constructor(megabitsPerSecond: number, delayMs: number) {
    this.#bytesPerMs = (megabitsPerSecond * 1_000) / 8
    this.#delayMs = delayMs
  }

  push({ length: bytes }: Buffer, send: () => void): void {
    const nowMs = performance.now()
    const beginMs = Math.max(nowMs, this.#freeAtMs)
    if (beginMs - nowMs > QUEUE_MS) return
    this.#freeAtMs = beginMs + (bytes + OVERHEAD_BYTES) / this.#bytesPerMs
    this.#waiting.push({ atMs: this.#freeAtMs + this.#delayMs, bytes, send })
    this.#arm(nowMs)
  }

  clear(): void {
    this.#waiting = []
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  readonly #deliver = (): void => {
    this.#timer = undefined
    const nowMs = performance.now()
    const due = this.#waiting.findIndex(({ atMs }) => atMs > nowMs)
    for (const { bytes, send } of this.#waiting.splice(0, due < 0 ? this.#waiting.length : due)) {
      this.deliveredBytes += bytes
      send()
    }
    this.#arm(nowMs)
  }

  #arm(nowMs: number): void {
    const first = this.#waiting[0]
    if (first !== undefined) this.#timer ??= setTimeout(this.#deliver, Math.max(0, first.atMs - nowMs))
  }
}
