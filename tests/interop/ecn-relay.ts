/** A UDP relay between one server and its clients that keeps ECN marks (RFC 3168) and turns some into CE. */
import { UdpPort } from '@quicether/net'
import { createTransmitBatch, type PathTuple } from '@quicether/transport'
import type { Impairments } from './lossy-proxy.ts'
import { type Direction, WireFacts } from './wire-facts.ts'

const NOT_ECT = 0
const CE = 3
/** Of so many datagrams at the end is told how many were marked. */
const LAST_DATAGRAMS = 40
const TRAIN_BYTES = 65_536

/** Knows `delayMs` and `congestEvery` of the impairments; dgram sockets, on which the proxy stands, show no marks. */
export class EcnRelay {
  readonly facts = new WireFacts()
  readonly #host: string
  readonly #serverPort: number
  readonly #impairments: Impairments
  readonly #udp = new UdpPort()
  readonly #clientHandle: number
  readonly #clientPort: number
  readonly #upstreams: Map<PathTuple, number> = new Map()
  readonly #clients: Map<number, PathTuple> = new Map()
  readonly #timers: Set<NodeJS.Timeout> = new Set()
  readonly #lastMarks: Record<Direction, boolean[]> = { toServer: [], toClient: [] }
  readonly #marked: Record<Direction, number> = { toServer: 0, toClient: 0 }
  readonly #train = createTransmitBatch(new Uint8Array(TRAIN_BYTES), 1)

  constructor(host: string, serverPort: number, impairments: Impairments) {
    this.#host = host
    this.#serverPort = serverPort
    this.#impairments = impairments
    const { handle, port } = this.#udp.bind({ address: host, port: 0 })
    this.#clientHandle = handle
    this.#clientPort = port
    this.#watch(handle)
  }

  get port(): number {
    return this.#clientPort
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const handle of this.#upstreams.values()) this.#udp.unbind(handle)
    this.#udp.unbind(this.#clientHandle)
  }

  #watch(handle: number): void {
    this.#udp.start(handle, (ready, isWritable) => {
      if (isWritable) this.#udp.onWritable(ready)
      while (this.#udp.receive(ready)) this.#takeBatch(ready)
    })
  }

  #takeBatch(handle: number): void {
    const { bytes, offsets, lengths, ecns, tuples, count } = this.#udp.batch
    for (let index = 0; index < count; index += 1) {
      const at = offsets[index] ?? 0
      const datagram = bytes.slice(at, at + (lengths[index] ?? 0))
      const tuple = tuples[index]
      if (tuple === undefined) continue
      if (handle === this.#clientHandle) this.#onClientDatagram(datagram, ecns[index] ?? 0, tuple)
      else this.#onServerDatagram(datagram, ecns[index] ?? 0, handle)
    }
  }

  #onClientDatagram(datagram: Uint8Array, ecn: number, client: PathTuple): void {
    let upstream = this.#upstreams.get(client)
    if (upstream === undefined) {
      upstream = this.#udp.bind({ address: this.#host, port: 0 }).handle
      this.#upstreams.set(client, upstream)
      this.#clients.set(upstream, client)
      this.#watch(upstream)
    }
    this.facts.onFromClient(datagram, client.key)
    this.facts.onDeliveredToServer(datagram, client.key)
    this.#pass('toServer', datagram, ecn, this.#udp.tupleTo(upstream, this.#host, this.#serverPort))
  }

  #onServerDatagram(datagram: Uint8Array, ecn: number, upstream: number): void {
    const client = this.#clients.get(upstream)
    if (client === undefined) return
    this.facts.onFromServer(datagram, client.key, false)
    this.#pass('toClient', datagram, ecn, client)
  }

  #pass(direction: Direction, datagram: Uint8Array, ecn: number, tuple: PathTuple): void {
    const counts = this.facts[direction]
    counts.datagrams += 1
    counts.bytes += datagram.length
    const out = this.#congested(direction, ecn)
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#send(datagram, out, tuple)
    }, this.#impairments.delayMs ?? 0)
    this.#timers.add(timer)
  }

  /** The mark with which a datagram goes on, as a queue would set it (RFC 3168 §5). */
  #congested(direction: Direction, ecn: number): number {
    const counts = this.facts[direction]
    const last = this.#lastMarks[direction]
    last.push(ecn !== NOT_ECT)
    if (last.length > LAST_DATAGRAMS) last.shift()
    counts.lastMarkedRatio = last.filter(Boolean).length / last.length
    if (ecn === NOT_ECT) return ecn
    this.#marked[direction] += 1
    const { congestEvery = Infinity } = this.#impairments
    if (this.#marked[direction] % congestEvery !== 0) return ecn
    counts.congested += 1
    return CE
  }

  #send(datagram: Uint8Array, ecn: number, tuple: PathTuple): void {
    const train = this.#train
    train.bytes.set(datagram)
    train.tuple = tuple
    train.length = datagram.length
    train.segmentSize = datagram.length
    train.count = 1
    train.ecn = ecn
    if (!this.#udp.send(train)) this.#udp.dropTrain()
  }
}
