/** The toy application of one connection: opens planned transfers, accepts the peer's, exchanges datagrams. */
import type { CloseReason, Connection, ConnectionEvent, DatagramOptions, Micros, StreamId } from '@quicether/transport'
import { Pattern } from './pattern.ts'
import { StreamApp } from './stream-app.ts'
import { SafetyError, type TransferPlan } from './transfers.ts'
import type { World } from './world.ts'

const DATAGRAM_HEADER_BYTES = 8
/** One transfer as its opener sees it. */
export interface TransferHandle {
  readonly plan: TransferPlan
  readonly startedAtUs: Micros
  /** When both sides of the stream had ended; undefined while it runs. */
  finishedAtUs: Micros | undefined
  /** Bytes read so far by the opener. */
  receivedBytes: number
  /** The stream, once the peer's limits allowed to open it. */
  id: StreamId | undefined
}

export class ConnectionApp {
  readonly name: string
  readonly connection: Connection
  isConnected = false
  isConfirmed = false
  closed: CloseReason | undefined
  earlyData = ''
  transfersDone = 0
  transfersOpened = 0
  transfersAccepted = 0
  bytesReceived = 0
  datagramsSent = 0
  datagramsReceived = 0
  /** Told of each event after the application acted on it. */
  onEvent: ((event: ConnectionEvent, nowUs: Micros) => void) | undefined
  readonly #world: World
  readonly #isClient: boolean
  /** Plans waiting for the peer's stream limit or the handshake. */
  readonly #waiting: TransferHandle[] = []
  readonly #handles = new Map<StreamId, TransferHandle>()
  readonly #streams = new Map<StreamId, StreamApp>()
  /** Streams forgotten after they were done: late events for them are fine. */
  readonly #seen = new Set<StreamId>()
  readonly #datagramsSeen = new Set<number>()

  constructor(world: World, connection: Connection, name: string, isClient: boolean) {
    this.#world = world
    this.connection = connection
    this.name = name
    this.#isClient = isClient
  }

  /** Nothing left to do: no plan waits, no stream is open. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#streams.size === 0
  }

  get openTransfers(): number {
    return this.#streams.size
  }

  /** Starts a transfer as soon as the connection and the peer's limits allow. */
  transfer(plan: TransferPlan): TransferHandle {
    const startedAtUs = this.#world.nowUs
    const handle: TransferHandle = { plan, startedAtUs, finishedAtUs: undefined, receivedBytes: 0, id: undefined }
    this.#waiting.push(handle)
    this.#openWaiting()
    return handle
  }

  #openWaiting(): void {
    if ((!this.isConnected && this.earlyData !== 'ready') || this.connection.isClosed) return
    for (let i = 0; i < this.#waiting.length; ) {
      const handle = this.#waiting[i] as TransferHandle
      const { plan } = handle
      const id = this.connection.openStream(plan.kind)
      if (id === undefined) {
        i++
        continue
      }
      this.#waiting.splice(i, 1)
      this.#checkId(id, plan.kind === 'unidirectional', true)
      const stream = new StreamApp(this.#world, this.connection, this.name, id, plan)
      this.transfersOpened++
      handle.id = id
      this.#handles.set(id, handle)
      this.#add(stream)
      stream.pump()
      this.#settle(stream)
    }
  }

  #checkId(id: StreamId, isUnidirectional: boolean, isOurs: boolean): void {
    // RFC 9000 §2.1: the two low bits say who opened the stream and in how many directions it flows.
    const expected = (isUnidirectional ? 2 : 0) | (this.#isClient === isOurs ? 0 : 1)
    if ((id & 3) !== expected)
      throw new SafetyError(`${this.name}: stream ${id} has the type of another kind of stream`)
    if (this.#seen.has(id) || this.#streams.has(id)) throw new SafetyError(`${this.name}: stream ${id} opened twice`)
  }

  #add(stream: StreamApp): void {
    this.#streams.set(stream.id, stream)
    this.#seen.add(stream.id)
  }

  /** Sends a datagram that the peer can verify, on one path when told so; false when the engine did not take it. */
  sendDatagram(lengthBytes: number, options?: DatagramOptions): boolean {
    if (!this.isConnected || this.connection.isClosed) return false
    const sequence = this.datagramsSent
    const data = new Uint8Array(DATAGRAM_HEADER_BYTES + lengthBytes)
    const view = new DataView(data.buffer)
    view.setUint32(0, sequence)
    view.setUint32(4, lengthBytes)
    data.set(new Pattern(sequence).slice(0, lengthBytes), DATAGRAM_HEADER_BYTES)
    if (!this.connection.sendDatagram(data, options)) return false
    this.datagramsSent++
    return true
  }

  #onDatagram(data: Uint8Array): void {
    if (data.length < DATAGRAM_HEADER_BYTES)
      throw new SafetyError(`${this.name}: a datagram of ${data.length} bytes, which nobody sent`)
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    const sequence = view.getUint32(0)
    const body = data.subarray(DATAGRAM_HEADER_BYTES)
    if (view.getUint32(4) !== body.length || new Pattern(sequence).mismatch(0, body) >= 0) {
      throw new SafetyError(`${this.name}: datagram ${sequence} is not what was sent`)
    }
    if (this.#datagramsSeen.has(sequence)) throw new SafetyError(`${this.name}: datagram ${sequence} delivered twice`)
    this.#datagramsSeen.add(sequence)
    this.datagramsReceived++
  }

  handle(event: ConnectionEvent, nowUs: Micros): void {
    if (this.closed !== undefined) throw new SafetyError(`${this.name}: event ${event.kind} after closed`)
    if ('id' in event) this.#handleStream(event)
    else this.#handleConnection(event)
    this.onEvent?.(event, nowUs)
  }

  #handleConnection(event: Exclude<ConnectionEvent, { readonly id: StreamId }>): void {
    if (event.kind === 'connected') {
      if (this.isConnected) throw new SafetyError(`${this.name}: connected twice`)
      this.isConnected = true
      this.#world.note(
        'connection',
        `${this.name} connected${event.resumed ? ` (resumed, 0-RTT ${event.earlyData})` : ''}`,
      )
      this.earlyData = event.earlyData
      this.#openWaiting()
    } else if (event.kind === 'earlyDataReady') {
      this.earlyData = 'ready'
      this.#openWaiting()
    } else if (event.kind === 'confirmed') this.isConfirmed = true
    else if (event.kind === 'streamsAvailable') this.#openWaiting()
    else if (event.kind === 'datagram') this.#onDatagram(event.data)
    else if (event.kind === 'path') this.#world.note('path', `${this.name} path ${event.path} ${event.change}`)
    else if (event.kind === 'closed') this.#onClosed(event.reason)
  }

  #onClosed(reason: CloseReason): void {
    this.closed = reason
    this.#world.note('closed', `${this.name} ${describeClose(reason)}`)
  }

  #handleStream(event: Extract<ConnectionEvent, { readonly id: StreamId }>): void {
    if (event.kind === 'streamOpened') {
      this.#checkId(event.id, (event.id & 2) !== 0, false)
      this.transfersAccepted++
      this.#add(new StreamApp(this.#world, this.connection, this.name, event.id, undefined))
      return
    }
    const stream = this.#streams.get(event.id)
    if (stream === undefined) {
      if (!this.#seen.has(event.id))
        throw new SafetyError(`${this.name}: ${event.kind} for stream ${event.id}, which was never opened`)
      return
    }
    if (event.kind === 'readable') stream.onReadable()
    else if (event.kind === 'writable') stream.pump()
    else if (event.kind === 'streamReset') stream.onReset(event.code)
    else if (event.kind === 'streamStopped') stream.onStopped(event.code)
    else stream.onDelivered()
    this.#settle(stream)
  }

  #settle(stream: StreamApp): void {
    if (!stream.isDone || !this.#streams.delete(stream.id)) return
    this.transfersDone++
    this.bytesReceived += stream.receivedBytes
    const handle = this.#handles.get(stream.id)
    if (handle === undefined) return
    this.#handles.delete(stream.id)
    handle.finishedAtUs = this.#world.nowUs
    handle.receivedBytes = stream.receivedBytes
  }

  /** Bytes read so far on a stream, also after its end as long as the transfer is remembered. */
  progress(handle: TransferHandle): number {
    const stream = handle.id === undefined ? undefined : this.#streams.get(handle.id)
    return stream?.receivedBytes ?? handle.receivedBytes
  }

  /** Looks again at streams whose slow readers finished between events. */
  sweep(): void {
    for (const stream of this.#streams.values()) this.#settle(stream)
  }

  describe(): string {
    const streams = [...this.#streams.values()].slice(0, 5).map((stream) => `\n    ${stream.describe()}`)
    const state =
      this.closed !== undefined
        ? `closed: ${describeClose(this.closed)}`
        : this.isConnected
          ? 'connected'
          : 'handshaking'
    return `${this.name} ${state}, ${this.#waiting.length} transfers waiting, ${this.#streams.size} open${streams.join('')}`
  }
}

/** Why a connection ended, as one line for logs and failures. */
export function describeClose(reason: CloseReason): string {
  if (reason.kind === 'transport') return `transport ${reason.name} by ${reason.by}: ${reason.reason}`
  if (reason.kind === 'application') return `application ${reason.code} by ${reason.by}: ${reason.reason}`
  if (reason.kind === 'idle') return `idle after ${reason.afterUs} us`
  return reason.kind === 'version' ? `no common version, offered ${reason.offered.join(', ')}` : 'stateless reset'
}
