/** Drives one endpoint on a virtual host, the way the socket driver does on a real one, and polices the contract. */
import {
  createTransmitBatch,
  type DatagramBatch,
  type Micros,
  NEVER,
  type PathTuple,
  type TransmitBatch,
} from '@quicether/transport'
import type { Datagram } from './datagram.ts'
import type { Host } from './host.ts'

/** The five verbs of an endpoint. */
export interface DrivenEndpoint<Event> {
  handleDatagrams(batch: DatagramBatch, nowUs: Micros): void
  handleTimeout(nowUs: Micros): void
  pollTransmit(out: TransmitBatch, nowUs: Micros): boolean
  pollTimeout(): Micros
  pollEvent(): Event | undefined
}

export interface DriverOptions<Event> {
  readonly host: Host
  /** UDP port; 0 takes a free one. */
  readonly port: number
  readonly onEvent: (event: Event, nowUs: Micros) => void
  /** Datagrams that arrive within this time form one batch, as interrupt coalescing does. Default 0. */
  readonly receiveDelayUs?: Micros
  /** Longest GSO train. Default 48. */
  readonly datagramsMax?: number
}

export interface DriverStats {
  drives: number
  batches: number
  trains: number
  datagramsSent: number
  datagramsReceived: number
  unreachable: number
}

const BATCH_MAX = 64
const SLAB_BYTES = 65_536
/** What arrives while a program is busy waits in a socket buffer of this size, here payload only. */
const SOCKET_BYTES = 1_048_576

/** A datagram that waits for a program that is busy. */
interface Waiting {
  readonly bytes: Uint8Array
  readonly ecn: number
  readonly tuple: PathTuple
}

/** Rounds of one drive after which the endpoint is considered to spin. */
const ROUNDS_MAX = 10_000

export class EndpointDriver<Event> {
  readonly host: Host
  readonly port: number
  readonly stats: DriverStats = {
    drives: 0,
    batches: 0,
    trains: 0,
    datagramsSent: 0,
    datagramsReceived: 0,
    unreachable: 0,
  }
  readonly #onEvent: (event: Event, nowUs: Micros) => void
  readonly #receiveDelayUs: Micros
  readonly #out: TransmitBatch
  readonly #batch: DatagramBatch
  #filledBytes = 0
  readonly #waiting: Waiting[] = []
  #waitingBytes = 0
  #endpoint: DrivenEndpoint<Event> | undefined
  /** Time of the wake-up that counts; others in the heap are stale. */
  #wakeAtUs: Micros = NEVER
  #isDriving = false
  #isSuspended = false
  #isBusy = false
  #isStopped = false

  constructor(options: DriverOptions<Event>) {
    this.host = options.host
    this.#onEvent = options.onEvent
    this.#receiveDelayUs = options.receiveDelayUs ?? 0
    this.#out = createTransmitBatch(new Uint8Array(SLAB_BYTES), options.datagramsMax ?? 48)
    this.#batch = {
      bytes: new Uint8Array(SLAB_BYTES),
      offsets: new Int32Array(BATCH_MAX),
      lengths: new Int32Array(BATCH_MAX),
      ecns: new Uint8Array(BATCH_MAX),
      tuples: [],
      count: 0,
    }
    this.port = options.host.bind(options.port, (datagram, tuple, nowUs) => this.#onDatagram(datagram, tuple, nowUs))
  }

  /** Gives the driver its endpoint, once; made apart because endpoints take `wake` as their `onReady`. */
  attach(endpoint: DrivenEndpoint<Event>): void {
    if (this.#endpoint !== undefined) throw new Error(`the driver of ${this.host.name} has an endpoint already`)
    this.#endpoint = endpoint
    this.wake()
  }

  /** Asks for a drive at the present time; cheap, callable from anywhere, also from within the endpoint. */
  wake(): void {
    if (!this.#isDriving) this.#armAt(this.host.world.nowUs)
  }

  /** The host sleeps: datagrams pile up (and overflow), timers run late. */
  suspend(): void {
    this.#isSuspended = true
  }

  resume(): void {
    this.#isSuspended = false
    this.wake()
  }

  /** The program has other things to do until `endBusy`: datagrams wait in the socket buffer, timers run late. */
  beginBusy(): void {
    this.#isBusy = true
  }

  /** Reads what has piled up, batch by batch. */
  endBusy(): void {
    this.#isBusy = false
    this.wake()
  }

  /** Leaves the host for good; what arrives later finds nobody. */
  stop(): void {
    this.#isStopped = true
    this.host.unbind(this.port)
  }

  #onDatagram(datagram: Datagram, tuple: PathTuple, nowUs: Micros): void {
    if (!this.#hasRoom(datagram.length)) {
      if (this.#isSuspended) return // A socket buffer that nobody reads overflows.
      if (this.#isBusy || this.#waiting.length > 0) return this.#keep(datagram, tuple)
      this.#drive(nowUs)
    }
    this.#fill(datagram.bytes.subarray(0, datagram.length), datagram.ecn, tuple)
    if (this.#batch.count === 1) this.#armAt(nowUs + this.#receiveDelayUs)
  }

  #hasRoom(length: number): boolean {
    // What waits already goes first.
    return (
      this.#waiting.length === 0 &&
      this.#batch.count < BATCH_MAX &&
      this.#filledBytes + length <= this.#batch.bytes.length
    )
  }

  #fill(bytes: Uint8Array, ecn: number, tuple: PathTuple): void {
    const batch = this.#batch
    const index = batch.count++
    batch.bytes.set(bytes, this.#filledBytes)
    batch.offsets[index] = this.#filledBytes
    batch.lengths[index] = bytes.length
    batch.ecns[index] = ecn
    batch.tuples[index] = tuple
    this.#filledBytes += bytes.length
    this.stats.datagramsReceived++
  }

  #keep(datagram: Datagram, tuple: PathTuple): void {
    if (this.#waitingBytes + datagram.length > SOCKET_BYTES) return
    this.#waitingBytes += datagram.length
    this.#waiting.push({ bytes: datagram.bytes.slice(0, datagram.length), ecn: datagram.ecn, tuple })
  }

  /** The next batch of what waited, if anything did. */
  #refill(): void {
    const waiting = this.#waiting
    let taken = 0
    for (; taken < waiting.length && this.#batch.count < BATCH_MAX; taken++) {
      const { bytes, ecn, tuple } = waiting[taken] as Waiting
      if (this.#filledBytes + bytes.length > this.#batch.bytes.length) break
      this.#fill(bytes, ecn, tuple)
      this.#waitingBytes -= bytes.length
    }
    waiting.splice(0, taken)
  }

  #armAt(atUs: Micros): void {
    if (atUs >= this.#wakeAtUs) return
    this.#wakeAtUs = atUs
    this.host.world.schedule(atUs, { run: (nowUs) => this.#onWake(atUs, nowUs) })
  }

  #onWake(atUs: Micros, nowUs: Micros): void {
    if (atUs !== this.#wakeAtUs) return
    this.#wakeAtUs = NEVER
    if (!this.#isSuspended && !this.#isBusy) this.#drive(nowUs)
  }

  #drive(nowUs: Micros): void {
    const endpoint = this.#endpoint
    if (endpoint === undefined || this.#isStopped) return
    this.stats.drives++
    this.#isDriving = true
    if (this.#batch.count > 0) {
      this.stats.batches++
      endpoint.handleDatagrams(this.#batch, nowUs)
      this.#batch.count = 0
      this.#filledBytes = 0
      this.#refill()
    }
    const { trains } = this.stats
    let timeouts = 0
    let events = 0
    for (let rounds = 0; ; rounds++) {
      if (rounds > ROUNDS_MAX) {
        const sent = this.stats.trains - trains
        throw new Error(
          `the endpoint of ${this.host.name} spins at ${nowUs} us: ${timeouts} timeouts, ${sent} trains, ${events} events, next timeout ${endpoint.pollTimeout()}`,
        )
      }
      let isIdle = true
      if (endpoint.pollTimeout() <= nowUs) {
        endpoint.handleTimeout(nowUs)
        timeouts++
        isIdle = false
      }
      while (endpoint.pollTransmit(this.#out, nowUs)) {
        this.#send(nowUs)
        isIdle = false
      }
      for (let event = endpoint.pollEvent(); event !== undefined; event = endpoint.pollEvent()) {
        this.#onEvent(event, nowUs)
        events++
        isIdle = false
      }
      if (isIdle) break
    }
    this.#isDriving = false
    if (this.#batch.count > 0) return this.#armAt(nowUs)
    const deadlineUs = endpoint.pollTimeout()
    if (deadlineUs < NEVER) this.#armAt(deadlineUs)
  }

  #send(nowUs: Micros): void {
    const { tuple, bytes, length, segmentSize, count, datagramsMax, ecn } = this.#out
    if (tuple === undefined) throw new Error('pollTransmit returned true without a tuple')
    if (!(length > 0 && segmentSize > 0 && length <= bytes.length)) {
      throw new Error(`pollTransmit made a train of ${length} bytes in segments of ${segmentSize}`)
    }
    if (count !== Math.ceil(length / segmentSize) || count > datagramsMax) {
      throw new Error(
        `pollTransmit says ${count} datagrams for ${length} bytes in segments of ${segmentSize}; at most ${datagramsMax} are allowed`,
      )
    }
    this.stats.trains++
    for (let at = 0; at < length; at += segmentSize) {
      const outcome = this.host.send(tuple, bytes, at, Math.min(length, at + segmentSize), ecn, nowUs)
      if (outcome === 'sent') this.stats.datagramsSent++
      else this.stats.unreachable++
    }
  }
}
