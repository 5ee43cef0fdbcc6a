/** A UDP proxy between one server and its clients that loses, corrupts, delays, reorders and rebinds by a seed. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { type Direction, WireFacts } from './wire-facts.ts'

export interface Impairments {
  /** Same seed, same decision for the n-th datagram of a direction. */
  readonly seed?: number
  readonly lossRatio?: number
  /** Share of datagrams with one to three bits flipped. */
  readonly corruptRatio?: number
  readonly duplicateRatio?: number
  /** Share of datagrams held back by `reorderMs`. */
  readonly reorderRatio?: number
  readonly reorderMs?: number
  /** One-way delay of both directions. */
  readonly delayMs?: number
  /** Datagrams of a direction, counted from 0, that are dropped whatever the ratios say. */
  readonly drop?: { readonly [direction in Direction]?: readonly number[] }
  /** Ratios hold only for the first so many datagrams of each direction. */
  readonly untilDatagram?: number
  /** After so many bytes to the client: nothing passes for a while. */
  readonly blackhole?: { readonly afterBytes: number; readonly forMs: number }
  /** After so many bytes in both directions: the NAT forgets its mapping, the server sees a new port. */
  readonly rebindAfterBytes?: readonly number[]
  /** The address from which a rebound NAT sends; absent = the same one. */
  readonly rebindHost?: string
  /** One of so many ECN-marked datagrams of a direction comes out as CE. Needs `EcnRelay`. */
  readonly congestEvery?: number
}

/** One client address and the socket that stands for it towards the server. */
interface Flow {
  readonly client: RemoteInfo
  readonly name: string
  readonly isMoved: boolean
  upstream: Socket
}

/** Mulberry32: small, seedable, good enough to pick datagrams. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024

export class LossyProxy {
  readonly facts = new WireFacts()
  readonly #impairments: Impairments
  readonly #host: string
  readonly #serverPort: number
  readonly #socket: Socket
  readonly #family: 'udp4' | 'udp6'
  readonly #flows = new Map<string, Flow>()
  readonly #retired: Socket[] = []
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #random: Record<Direction, () => number>
  #blackholeUntilMs = 0
  #isBlackholeSpent = false
  #rebindsDone = 0
  #isClosed = false

  /** Use `open`, which waits for the sockets. */
  constructor(host: string, serverPort: number, impairments: Impairments) {
    this.#host = host
    this.#serverPort = serverPort
    this.#impairments = impairments
    this.#family = host.includes(':') ? 'udp6' : 'udp4'
    this.#socket = createSocket(this.#family)
    const seed = impairments.seed ?? 1
    this.#random = { toServer: randomFrom(seed), toClient: randomFrom(seed ^ 0x5bd1e995) }
    this.#socket.on('message', (bytes, from) => this.#onClientDatagram(bytes, from))
  }

  /** Listens on an ephemeral port of `host` for clients of the server at `host`:`serverPort`. */
  static async open(host: string, serverPort: number, impairments: Impairments): Promise<LossyProxy> {
    const proxy = new LossyProxy(host, serverPort, impairments)
    await bind(proxy.#socket, host)
    return proxy
  }

  get port(): number {
    return this.#socket.address().port
  }

  /** Gives every flow a new port towards the server and forgets the old one, as a NAT does. */
  rebind(): void {
    this.facts.rebinds += 1
    for (const [key, flow] of this.#flows) {
      this.#retired.push(flow.upstream)
      flow.upstream.removeAllListeners('message')
      this.#flows.set(key, this.#newFlow(flow.client, true))
    }
  }

  close(): void {
    this.#isClosed = true
    for (const timer of this.#timers) clearTimeout(timer)
    for (const flow of this.#flows.values()) flow.upstream.close()
    for (const socket of this.#retired) socket.close()
    this.#socket.close()
  }

  #onClientDatagram(bytes: Buffer, from: RemoteInfo): void {
    const key = `${from.address}:${from.port}`
    let flow = this.#flows.get(key)
    if (flow === undefined) {
      // A client that starts with a short header did its handshake elsewhere: it has moved here.
      flow = this.#newFlow(from, ((bytes[0] ?? 0) & 0x80) === 0)
      this.#flows.set(key, flow)
    }
    this.facts.onFromClient(bytes, key)
    const target = flow
    this.#pass('toServer', bytes, (out) => {
      const current = this.#flows.get(target.name) ?? target
      this.facts.onDeliveredToServer(bytes, target.name)
      current.upstream.send(out, this.#serverPort, this.#host)
    })
  }

  #onServerDatagram(bytes: Buffer, flow: Flow): void {
    this.facts.onFromServer(bytes, flow.name, flow.isMoved)
    this.#pass('toClient', bytes, (out) => this.#socket.send(out, flow.client.port, flow.client.address))
  }

  #newFlow(client: RemoteInfo, isMoved: boolean): Flow {
    const upstream = createSocket(this.#family)
    const flow: Flow = { client, name: `${client.address}:${client.port}`, isMoved, upstream }
    upstream.on('message', (bytes) => this.#onServerDatagram(bytes, flow))
    upstream.on('error', () => undefined) // a server that is gone answers with ICMP; its clients time out by themselves
    void bind(upstream, isMoved ? (this.#impairments.rebindHost ?? this.#host) : this.#host)
    return flow
  }

  #pass(direction: Direction, bytes: Buffer, send: (out: Uint8Array) => void): void {
    const counts = this.facts[direction]
    const index = counts.datagrams
    counts.datagrams += 1
    counts.bytes += bytes.length
    this.#happen()
    const random = this.#random[direction]
    const isOver = index >= (this.#impairments.untilDatagram ?? Infinity)
    // Four draws for each datagram whatever happens, so that one decision never shifts the others.
    const [loss, corrupt, duplicate, reorder] = [random(), random(), random(), random()]
    const hits = (draw: number, ratio: number | undefined): boolean => !isOver && draw < (ratio ?? 0)
    const isNamed = this.#impairments.drop?.[direction]?.includes(index) ?? false
    if (isNamed || hits(loss, this.#impairments.lossRatio) || performance.now() < this.#blackholeUntilMs) {
      counts.dropped += 1
      return
    }
    let out: Uint8Array = bytes
    if (hits(corrupt, this.#impairments.corruptRatio)) {
      counts.corrupted += 1
      out = corrupted(bytes, random)
    }
    const isHeld = hits(reorder, this.#impairments.reorderRatio)
    if (isHeld) counts.reordered += 1
    const delayMs = (this.#impairments.delayMs ?? 0) + (isHeld ? (this.#impairments.reorderMs ?? 10) : 0)
    this.#later(delayMs, () => send(out))
    if (hits(duplicate, this.#impairments.duplicateRatio)) {
      counts.duplicated += 1
      this.#later(delayMs + 1, () => send(out))
    }
  }

  /** Rebinding and blackhole come due by bytes that have passed. */
  #happen(): void {
    const { blackhole, rebindAfterBytes } = this.#impairments
    if (blackhole !== undefined && !this.#isBlackholeSpent && this.facts.toClient.bytes >= blackhole.afterBytes) {
      this.#isBlackholeSpent = true
      this.#blackholeUntilMs = performance.now() + blackhole.forMs
    }
    const due = rebindAfterBytes?.[this.#rebindsDone]
    if (due !== undefined && this.facts.toClient.bytes + this.facts.toServer.bytes >= due) {
      this.#rebindsDone += 1
      this.rebind()
    }
  }

  #later(delayMs: number, run: () => void): void {
    if (delayMs === 0) {
      run()
      return
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!this.#isClosed) run()
    }, delayMs)
    this.#timers.add(timer)
  }
}

function corrupted(bytes: Uint8Array, random: () => number): Uint8Array {
  const out = Uint8Array.from(bytes)
  const flips = 1 + Math.floor(random() * 3)
  for (let flip = 0; flip < flips; flip += 1) {
    const at = Math.floor(random() * out.length)
    out[at] = (out[at] ?? 0) ^ (1 << Math.floor(random() * 8))
  }
  return out
}

function bind(socket: Socket, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(0, host, () => {
      socket.removeListener('error', reject)
      try {
        socket.setRecvBufferSize(SOCKET_BUFFER_BYTES)
        socket.setSendBufferSize(SOCKET_BUFFER_BYTES)
      } catch {
        // Smaller buffers only add loss, which is what this proxy is for.
      }
      resolve()
    })
  })
}
