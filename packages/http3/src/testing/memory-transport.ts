/**
 * Two stream transports joined in memory: streams are cut anywhere and overtake each other as a seed says, windows and
 * stream limits are enforced, and calls from inside `read` fail, as the contract of the engine demands.
 */
import {
  type CloseReason,
  type ConnectionEvent,
  QuicError,
  type ReadStatus,
  type StreamId,
  type StreamKind,
  type StreamPriority,
  type StreamStats,
  type StreamTransport,
} from '@quicether/transport'

export interface MemoryNetworkOptions {
  readonly seed?: number
  /** Bytes of one stream that may be on the way or unread. */
  readonly windowBytes?: number
  /** Largest piece delivered at once. */
  readonly fragmentBytes?: number
  /** Streams that each side may have open, by kind. */
  readonly bidirectionalMax?: number
  readonly unidirectionalMax?: number
  /** Largest DATAGRAM; 0 = none. */
  readonly datagramBytes?: number
}

/** One direction of one stream. */
interface Pipe {
  readonly id: StreamId
  readonly to: MemoryTransport
  readonly sent: Uint8Array[]
  sentBytes: number
  readonly arrived: Uint8Array[]
  arrivedBytes: number
  totalBytes: number
  isFinSent: boolean
  isFinArrived: boolean
  isFinRead: boolean
  /** Reset by the sender or stopped by the receiver. */
  isDead: boolean
  isReadableArmed: boolean
  isWriterBlocked: boolean
}

/** mulberry32: small, seeded, good enough to choose what moves next. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export class MemoryNetwork {
  readonly client: MemoryTransport
  readonly server: MemoryTransport
  readonly options: Required<MemoryNetworkOptions>
  readonly #random: () => number

  constructor(options: MemoryNetworkOptions = {}) {
    this.options = {
      seed: 1,
      windowBytes: 65_536,
      fragmentBytes: 1_200,
      bidirectionalMax: 100,
      unidirectionalMax: 10,
      datagramBytes: 1_200,
      ...options,
    }
    this.#random = createRandom(this.options.seed)
    this.client = new MemoryTransport(this.options, 0)
    this.server = new MemoryTransport(this.options, 1)
    this.client.peer = this.server
    this.server.peer = this.client
  }

  /** Moves one random piece, or hands over one event. False = nothing is left to do. */
  step(): boolean {
    const moves = [...this.client.moves(), ...this.server.moves()]
    if (moves.length === 0) return false
    const pick = moves[Math.floor(this.#random() * moves.length)]
    pick?.(this.#random)
    return true
  }

  /** Steps until nothing is left. Throws after `limit` steps: a live-lock. */
  run(limit = 200_000): void {
    for (let steps = 0; this.step(); steps++) if (steps > limit) throw new Error(`still busy after ${limit} steps`)
  }
}

export class MemoryTransport implements StreamTransport {
  peer: MemoryTransport | undefined
  /** Receives events, one at a time. */
  onEvent: ((event: ConnectionEvent) => void) | null
  closeReason: CloseReason | undefined
  /** Set false to keep this side from being acknowledged and heard: nothing it sends moves. */
  isConnected: boolean
  /** What was asked for with `setStreamPriority`. */
  readonly priorities: Map<StreamId, StreamPriority>
  readonly #options: Required<MemoryNetworkOptions>
  readonly #side: 0 | 1
  readonly #events: ConnectionEvent[]
  readonly #outgoing: Map<StreamId, Pipe>
  readonly #incoming: Map<StreamId, Pipe>
  readonly #max: { bidirectional: number; unidirectional: number }
  readonly #opened: { bidirectional: number; unidirectional: number }
  readonly #live: { bidirectional: Set<StreamId>; unidirectional: Set<StreamId> }
  readonly #wanted: Set<StreamKind>
  #isReading: boolean

  constructor(options: Required<MemoryNetworkOptions>, side: 0 | 1) {
    this.peer = undefined
    this.onEvent = null
    this.closeReason = undefined
    this.isConnected = true
    this.priorities = new Map()
    this.#options = options
    this.#side = side
    this.#events = []
    this.#outgoing = new Map()
    this.#incoming = new Map()
    this.#max = { bidirectional: options.bidirectionalMax, unidirectional: options.unidirectionalMax }
    this.#opened = { bidirectional: 0, unidirectional: 0 }
    this.#live = { bidirectional: new Set(), unidirectional: new Set() }
    this.#wanted = new Set()
    this.#isReading = false
  }

  emit(event: ConnectionEvent): void {
    this.#events.push(event)
  }

  /** Unread and undelivered bytes towards this side. */
  get unreadBytes(): number {
    let bytes = 0
    for (const pipe of this.#incoming.values()) bytes += pipe.arrivedBytes
    return bytes
  }

  *moves(): Iterable<(random: () => number) => void> {
    if (this.#events.length > 0 && this.onEvent !== null) {
      yield () => {
        const event = this.#events.shift()
        if (event !== undefined) this.onEvent?.(event)
      }
    }
    if (this.closeReason !== undefined || !this.isConnected) return
    for (const pipe of this.#outgoing.values()) {
      if (pipe.isDead || (pipe.sent.length === 0 && (!pipe.isFinSent || pipe.isFinArrived))) continue
      yield (random) => this.#deliver(pipe, random)
    }
  }

  /** The peer allows this side to have `max` streams open. */
  allow(kind: StreamKind, max: number): void {
    this.#max[kind] = max
    if (this.#wanted.delete(kind)) this.emit({ kind: 'streamsAvailable', streamKind: kind })
  }

  openStream(kind: StreamKind): StreamId | undefined {
    this.#enter()
    if (this.#live[kind].size >= this.#max[kind]) {
      this.#wanted.add(kind)
      return undefined
    }
    const id = this.#opened[kind]++ * 4 + (kind === 'bidirectional' ? 0 : 2) + this.#side
    this.#live[kind].add(id)
    const peer = this.#mustHavePeer()
    this.#outgoing.set(id, createPipe(id, peer))
    if (kind === 'bidirectional') {
      const back = createPipe(id, this)
      peer.#outgoing.set(id, back)
      this.#incoming.set(id, back)
    }
    return id
  }

  write(id: StreamId, data: Uint8Array): number {
    this.#enter()
    this.#checkOpen()
    const pipe = this.#outgoing.get(id)
    if (pipe === undefined || pipe.isDead) return data.length
    if (pipe.isFinSent) throw new Error(`stream ${id} was finished`)
    const room = this.#options.windowBytes - pipe.sentBytes - pipe.arrivedBytes
    const accepted = Math.max(0, Math.min(room, data.length))
    if (accepted > 0) pipe.sent.push(data.slice(0, accepted))
    pipe.sentBytes += accepted
    pipe.totalBytes += accepted
    pipe.isWriterBlocked = accepted < data.length
    return accepted
  }

  read(id: StreamId, visit: (chunk: Uint8Array) => void, maxBytes = Infinity): ReadStatus {
    this.#enter()
    const pipe = this.#incoming.get(id)
    if (pipe === undefined) return 'blocked'
    if (pipe.isDead) return 'reset'
    this.#isReading = true
    try {
      let left = maxBytes
      for (let chunk = pipe.arrived.shift(); chunk !== undefined; chunk = left > 0 ? pipe.arrived.shift() : undefined) {
        const part = chunk.subarray(0, left)
        if (part.length < chunk.length) pipe.arrived.unshift(chunk.subarray(part.length))
        left -= part.length
        pipe.arrivedBytes -= part.length
        visit(part)
        // Borrowed means borrowed: whoever keeps the chunk sees rubbish.
        part.fill(0xee)
      }
    } finally {
      this.#isReading = false
    }
    if (pipe.arrivedBytes > 0) {
      pipe.isReadableArmed = true
      return 'blocked'
    }
    if (pipe.isWriterBlocked) {
      pipe.isWriterBlocked = false
      this.#mustHavePeer().emit({ kind: 'writable', id })
    }
    if (pipe.isFinArrived) {
      pipe.isFinRead = true
      this.#settle(id)
      return 'finished'
    }
    pipe.isReadableArmed = true
    return 'blocked'
  }

  finish(id: StreamId): void {
    this.#enter()
    this.#checkOpen()
    const pipe = this.#outgoing.get(id)
    if (pipe !== undefined && !pipe.isDead) pipe.isFinSent = true
  }

  reset(id: StreamId, code: number): void {
    this.#enter()
    const pipe = this.#outgoing.get(id)
    if (pipe === undefined || pipe.isDead || (pipe.isFinSent && pipe.isFinArrived)) return
    this.#kill(pipe)
    const peer = this.#mustHavePeer()
    this.#introduce(pipe)
    peer.emit({ kind: 'streamReset', id, code })
    this.#settle(id)
  }

  stop(id: StreamId, code: number): void {
    this.#enter()
    const pipe = this.#incoming.get(id)
    if (pipe === undefined || pipe.isDead || pipe.isFinRead) return
    const peer = this.#mustHavePeer()
    const wasComplete = pipe.isFinArrived
    this.#kill(pipe)
    if (!wasComplete) peer.emit({ kind: 'streamStopped', id, code })
    this.#settle(id)
  }

  /** Datagrams arrive at once and in order, or never: `isConnected` false loses them. */
  sendDatagram(data: Uint8Array): boolean {
    this.#enter()
    if (data.length > this.datagramBytesMax) return false
    if (this.isConnected) this.#mustHavePeer().emit({ kind: 'datagram', data: data.slice() })
    return true
  }

  get datagramBytesMax(): number {
    return this.#options.datagramBytes
  }

  setStreamPriority(id: StreamId, priority: StreamPriority): boolean {
    this.#enter()
    const pipe = this.#outgoing.get(id)
    if (pipe === undefined || pipe.isDead) return false
    this.priorities.set(id, { ...this.priorities.get(id), ...priority })
    return true
  }

  close(code: number, reason: string): void {
    this.#enter()
    if (this.closeReason !== undefined) return
    const peer = this.#mustHavePeer()
    this.closeReason = { kind: 'application', by: 'local', code, reason }
    peer.closeReason = { kind: 'application', by: 'peer', code, reason }
    this.emit({ kind: 'closed', reason: this.closeReason })
    peer.emit({ kind: 'closed', reason: peer.closeReason })
  }

  streamStats(id: StreamId): StreamStats | undefined {
    const out = this.#outgoing.get(id)
    const into = this.#incoming.get(id)
    if (out === undefined && into === undefined) return undefined
    return {
      bytesSent: out?.totalBytes ?? 0,
      bytesReceived: into?.totalBytes ?? 0,
      packetsSent: 0,
      packetsReceived: 0,
      packetBytesSent: 0,
      packetBytesReceived: 0,
      retransmissions: 0,
      framesLost: 0,
    }
  }

  #deliver(pipe: Pipe, random: () => number): void {
    this.#introduce(pipe)
    const chunk = pipe.sent[0]
    if (chunk !== undefined) {
      const length = Math.min(chunk.length, 1 + Math.floor(random() * this.#options.fragmentBytes))
      if (length === chunk.length) pipe.sent.shift()
      else pipe.sent[0] = chunk.subarray(length)
      pipe.arrived.push(chunk.slice(0, length))
      pipe.sentBytes -= length
      pipe.arrivedBytes += length
    }
    if (pipe.sent.length === 0 && pipe.isFinSent && random() < 0.5) {
      pipe.isFinArrived = true
      this.emit({ kind: 'streamDelivered', id: pipe.id })
    } else if (chunk === undefined) return
    if (pipe.isReadableArmed) {
      pipe.isReadableArmed = false
      pipe.to.emit({ kind: 'readable', id: pipe.id })
    }
  }

  /** The peer hears of a stream of ours with its first piece. */
  #introduce(pipe: Pipe): void {
    const isOurs = (pipe.id & 1) === this.#side
    if (!isOurs || pipe.to.#incoming.has(pipe.id)) return
    pipe.to.#incoming.set(pipe.id, pipe)
    pipe.to.emit({ kind: 'streamOpened', id: pipe.id })
  }

  #kill(pipe: Pipe): void {
    pipe.isDead = true
    pipe.sent.length = 0
    pipe.arrived.length = 0
    pipe.sentBytes = 0
    pipe.arrivedBytes = 0
  }

  /** Gives the opener its stream credit back when both directions are over. */
  #settle(id: StreamId): void {
    const out = this.#outgoing.get(id)
    const into = this.#incoming.get(id)
    const isOver = (pipe: Pipe | undefined) => pipe === undefined || pipe.isDead || pipe.isFinRead
    if (!isOver(out) || !isOver(into)) return
    const opener = (id & 1) === this.#side ? this : this.#mustHavePeer()
    const kind: StreamKind = (id & 2) === 0 ? 'bidirectional' : 'unidirectional'
    if (!opener.#live[kind].delete(id) || !opener.#wanted.delete(kind)) return
    opener.emit({ kind: 'streamsAvailable', streamKind: kind })
  }

  #mustHavePeer(): MemoryTransport {
    if (this.peer === undefined) throw new Error('transport is not joined to a peer')
    return this.peer
  }

  #checkOpen(): void {
    if (this.closeReason !== undefined) throw new QuicError('ERR_CONNECTION_CLOSED', 'the connection is closed')
  }

  #enter(): void {
    if (this.#isReading) throw new Error('transport was called from inside read()')
  }
}

function createPipe(id: StreamId, to: MemoryTransport): Pipe {
  return {
    id,
    to,
    sent: [],
    sentBytes: 0,
    arrived: [],
    arrivedBytes: 0,
    totalBytes: 0,
    isFinSent: false,
    isFinArrived: false,
    isFinRead: false,
    isDead: false,
    isReadableArmed: true,
    isWriterBlocked: false,
  }
}
