/** The loop that joins one engine to real sockets and real time. */
import { type DatagramBatch, type Endpoint, type EndpointEvent, type Micros, NEVER } from '@quicether/transport'
import type { DatagramTap } from './capture/tap.ts'
import type { UdpPort } from './udp-port.ts'

/** Kernel calls for one readiness event; the rest waits for the next turn, so that other work gets its share. */
const RECEIVE_ROUNDS = 4
/** Trains sent in one turn, for the same reason. */
const TRAINS_PER_TURN = 128
/** A train waits this long for its socket while there are other sockets: one that is stuck must not hold up their paths. */
const BLOCKED_US_MAX = 50_000
/** Longest delay that setTimeout keeps, about 24 days. */
const TIMER_MAX_MS = 2_147_483_647

export interface DriverOptions {
  readonly port: UdpPort
  /** Takes every event of the engine. May call the engine's connections; must not call the driver. */
  readonly onEvent: (event: EndpointEvent, nowUs: Micros) => void
  readonly tap?: DatagramTap | undefined
  /** Takes errno of ICMP errors, from sockets that report them. */
  readonly onSocketError?: (errno: number) => void
}

/** Monotonic microseconds since the process began: the engine's clock. */
export function nowUs(): Micros {
  return Math.floor(performance.now() * 1000)
}

/** What added to `nowUs()` gives microseconds since 1970. */
export function epochOffsetUs(): Micros {
  return Math.round(performance.timeOrigin * 1000)
}

/**
 * One endpoint, its sockets, one timer. Input pushes into the engine and then flushes: trains out, events up, timer set.
 * Calls of the application reach the engine at any time; the engine's `onReady` must call `wake`.
 */
export class Driver {
  readonly #options: DriverOptions
  readonly #port: UdpPort
  #endpoint: Endpoint | undefined
  #timer: NodeJS.Timeout | undefined
  #timerAtUs: Micros = NEVER
  #immediate: NodeJS.Immediate | undefined
  #isFlushing = false
  #isFlushPlanned = false
  #isDirty = false
  #isClosed = false
  /** The train in the port's hands was not taken by the kernel. */
  #isBlocked = false
  #blockedAtUs: Micros = 0

  constructor(options: DriverOptions) {
    this.#options = options
    this.#port = options.port
  }

  /** Begins with an engine whose `onReady` calls `wake`, on sockets bound before. */
  start(endpoint: Endpoint, handles: readonly number[]): void {
    this.#endpoint = endpoint
    for (const handle of handles) this.watch(handle)
  }

  /** Adds a socket that was bound later. */
  watch(handle: number): void {
    this.#port.start(handle, this.#onReady)
  }

  /** Datagrams that come from now on wait in the kernel, for whoever shares the sockets. Sending goes on. */
  stopReceiving(handles: readonly number[]): void {
    if (this.#isClosed) return
    for (const handle of handles) this.#port.setReadableWanted(handle, false)
  }

  /** Hands over datagrams that another port has received for a socket of ours, laid out as for `UdpPort.adopt`. */
  receiveFor(handle: number, bytes: Uint8Array, meta: Int32Array): void {
    const endpoint = this.#endpoint
    if (this.#isClosed || endpoint === undefined || !this.#port.adopt(handle, bytes, meta)) return
    endpoint.handleDatagrams(this.#port.batch, nowUs())
    this.#flush()
  }

  /** Closes one socket; what waits for it is dropped, so that it does not hold up the others. */
  release(handle: number): void {
    if (this.#isClosed) return
    this.#port.unbind(handle)
    if (!this.#isBlocked) return
    this.#isBlocked = !this.#port.send(this.#port.train)
    if (!this.#isBlocked) this.wake()
  }

  /** The engine has something to do: a flush follows before the event loop goes on. */
  readonly wake = (): void => {
    if (this.#isFlushing) this.#isDirty = true
    else if (!this.#isFlushPlanned && !this.#isClosed) {
      this.#isFlushPlanned = true
      queueMicrotask(this.#flush)
    }
  }

  /** Sends what the engine has now, then closes the timer and the sockets. */
  close(): void {
    if (this.#isClosed) return
    this.#flush()
    this.#isClosed = true
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#port.close()
  }

  readonly #onReady = (handle: number, isWritable: boolean): void => {
    const endpoint = this.#endpoint
    if (this.#isClosed || endpoint === undefined) return
    if (isWritable) {
      this.#port.onWritable(handle)
      this.#isBlocked = this.#isBlocked && !this.#port.send(this.#port.train)
    }
    const { onSocketError } = this.#options
    if (onSocketError !== undefined) this.#port.takeErrors(handle, onSocketError)
    for (let round = 0; (round < RECEIVE_ROUNDS || this.#port.hasLeftover) && this.#port.receive(handle); round++) {
      const now = nowUs()
      const { batch } = this.#port
      if (this.#options.tap !== undefined) this.#tapReceived(batch, now)
      endpoint.handleDatagrams(batch, now)
      this.#flush()
      if (this.#isClosed) return
      if (!this.#port.hasMore) break
    }
    if (isWritable) this.#flush()
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    this.#timerAtUs = NEVER
    this.#flush()
  }

  readonly #flush = (): void => {
    this.#isFlushPlanned = false
    const endpoint = this.#endpoint
    if (this.#isClosed || this.#isFlushing || endpoint === undefined) return
    this.#isFlushing = true
    try {
      let trains = TRAINS_PER_TURN
      let now = nowUs()
      if (endpoint.pollTimeout() <= now) endpoint.handleTimeout(now)
      if (this.#giveUpAtUs() <= now) this.#giveUpTrain()
      do {
        this.#isDirty = false
        for (; !this.#isBlocked && trains > 0 && endpoint.pollTransmit(this.#port.train, now); trains--) {
          this.#send(now)
          now = nowUs()
        }
        for (let event = endpoint.pollEvent(); event !== undefined; event = endpoint.pollEvent()) {
          this.#options.onEvent(event, now)
        }
      } while (this.#isDirty && !this.#isBlocked && trains > 0)
      if (trains === 0) this.#flushNextTurn()
      if (!this.#isBlocked) this.#port.releaseTrain()
      this.#arm(Math.min(endpoint.pollTimeout(), this.#giveUpAtUs()), now)
    } finally {
      this.#isFlushing = false
    }
  }

  #send(now: Micros): void {
    if (this.#options.tap !== undefined) this.#tapSent(now)
    this.#isBlocked = !this.#port.send(this.#port.train)
    if (this.#isBlocked) this.#blockedAtUs = now
  }

  /** When a train that its socket does not take is given up; never, where there is nothing else to send over. */
  #giveUpAtUs(): Micros {
    return this.#isBlocked && this.#port.socketCount > 1 ? this.#blockedAtUs + BLOCKED_US_MAX : NEVER
  }

  /** One more offer, since a busy process may not have seen that the socket is writable; then it counts as lost. */
  #giveUpTrain(): void {
    if (!this.#port.send(this.#port.train)) this.#port.dropTrain()
    this.#isBlocked = false
  }

  #flushNextTurn(): void {
    if (this.#isClosed) return
    this.#immediate ??= setImmediate(() => {
      this.#immediate = undefined
      this.#flush()
    })
  }

  /** A timer that is early costs one empty flush; moving it for every acknowledgment would cost more. */
  #arm(deadlineUs: Micros, now: Micros): void {
    if (this.#isClosed || deadlineUs >= this.#timerAtUs || deadlineUs === NEVER) return
    const delayMs = Math.min(Math.ceil((deadlineUs - now) / 1000), TIMER_MAX_MS)
    clearTimeout(this.#timer)
    if (delayMs <= 0) {
      this.#timer = undefined
      this.#timerAtUs = NEVER
      return this.#flushNextTurn()
    }
    this.#timerAtUs = deadlineUs
    this.#timer = setTimeout(this.#onTimer, delayMs)
  }

  #tapReceived(batch: DatagramBatch, now: Micros): void {
    const { tap } = this.#options
    for (let index = 0; index < batch.count; index++) {
      const [offset, length, ecn] = [batch.offsets[index], batch.lengths[index], batch.ecns[index]] as [
        number,
        number,
        number,
      ]
      const tuple = batch.tuples[index]
      if (tuple !== undefined) tap?.datagram('received', tuple, batch.bytes, offset, length, ecn, now)
    }
  }

  #tapSent(now: Micros): void {
    const { tuple, bytes, length, segmentSize, ecn } = this.#port.train
    if (tuple === undefined) return
    for (let at = 0; at < length; at += segmentSize) {
      this.#options.tap?.datagram('sent', tuple, bytes, at, Math.min(segmentSize, length - at), ecn, now)
    }
  }
}
