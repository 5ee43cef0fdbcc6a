/** A worker thread's place in its group: its sockets, its share of connection IDs, its ways to the other threads. */
import type { MessagePort } from 'node:worker_threads'
import { systemRandom } from '@quicether/native'
import { type DatagramBatch, QuicError, type RandomSource } from '@quicether/transport'
import { type HeaderView, PacketType } from '@quicether/wire'
import type { ListenerStats } from '../listen.ts'
import { inboxOf, type Order, type Report, type SeatStats, type SharedSocket, type WorkerPlan } from './messages.ts'
import { Relay } from './relay.ts'
import { STEERED_BYTES, Steering } from './steering.ts'

/** What a listener offers to the seat that it sits on. */
export interface SeatedListener {
  /** Reads from the sockets from now on. */
  begin(): void
  /** Leaves what comes from now on to another thread; connections go on with what that one hands over. */
  stopReceiving(): void
  receiveFor(handle: number, bytes: Uint8Array, meta: Int32Array): void
  stats(): ListenerStats
}

const noListener: ListenerStats = {
  connections: 0,
  accepted: 0,
  retries: 0,
  versionNegotiations: 0,
  resets: 0,
  refused: 0,
  datagramsReceived: 0,
  bytesReceived: 0,
  datagramsSent: 0,
  bytesSent: 0,
  trainsSent: 0,
  trainsDropped: 0,
  lastErrno: 0,
  blocked: 0,
  offloadFailed: false,
}

/** Given to the module of a worker; `listen({ seat, … })` serves on it. */
export class WorkerSeat {
  readonly index: number
  readonly count: number
  /** How many workers had this index before: 0 at first, one more after each reload and each crash. */
  readonly generation: number
  /** What the group was given for its workers. */
  readonly data: unknown
  readonly sockets: readonly SharedSocket[]
  /** The keys and the session store that all workers share. */
  readonly shared: Pick<WorkerPlan, 'tokenKey' | 'resetKey' | 'sessionsMax' | 'sessionStore'>
  /** Takes what `WorkerGroup.tell` says. */
  onTold: ((value: unknown) => void) | null = null
  readonly #report: (report: Report) => void
  readonly #relay: Relay
  readonly #steering: Steering
  readonly #isSteered: boolean
  #mustWait: boolean
  #listener: SeatedListener | undefined
  /** The datagrams at hand came from another thread: they are handed on to a predecessor at most. */
  #isAdopting = false

  constructor(plan: WorkerPlan, report: (report: Report) => void) {
    const { tokenKey, resetKey, sessionsMax, sessionStore } = plan
    this.index = plan.index
    this.count = plan.count
    this.generation = plan.generation
    this.data = plan.data
    this.sockets = plan.sockets
    this.shared = { tokenKey, resetKey, sessionsMax, sessionStore }
    this.#report = report
    this.#relay = new Relay(plan.inboxes, inboxOf(plan.index, plan.generation))
    this.#steering = new Steering(plan.steeringKey, plan.count)
    this.#isSteered = plan.isSteered
    this.#mustWait = plan.mustWait
  }

  /** The port, the same on all addresses. */
  get port(): number {
    return this.sockets[0]?.port ?? 0
  }

  /** Says something to the group's `onTold`; anything that can be cloned. */
  tell(value: unknown): void {
    this.#report({ kind: 'told', value })
  }

  /** For `listen`: connection IDs by which datagrams find this worker. */
  connectionIds(): RandomSource {
    return this.#steering.connectionIds(this.index, systemRandom())
  }

  /** For `listen`: a listener takes the seat. It reads once a predecessor does not any more. */
  take(listener: SeatedListener): void {
    if (this.#listener !== undefined) {
      const message = 'this worker listens already; a seat is for one listener, other ports need a group of their own'
      throw new QuicError('ERR_WORKERS', message)
    }
    this.#listener = listener
    this.#relay.onParcel = (handle, bytes, meta) => {
      this.#isAdopting = true
      listener.receiveFor(handle, bytes, meta)
      this.#isAdopting = false
    }
    if (!this.#mustWait) listener.begin()
  }

  /** For `listen`: hands a datagram of no connection here to the thread that should know it; false = it is for us. */
  route(batch: DatagramBatch, index: number, header: HeaderView): boolean {
    const isLong = (header.firstByte & 0x80) !== 0
    const owner =
      header.dcidLength < STEERED_BYTES ? this.index : this.#steering.indexOf(batch.bytes, header.dcidOffset)
    if (owner !== this.index) {
      // Where the kernel goes by addresses, a client's handshake stays with the worker that its first packet came to.
      if (this.#isAdopting || (isLong && !this.#isSteered)) return false
      this.#relay.forward(owner, batch, index)
      return true
    }
    // A predecessor has the connections from before; new ones are ours.
    if (!this.#relay.hasLane('predecessor') || (isLong && header.type === PacketType.Initial)) return false
    this.#relay.forward('predecessor', batch, index)
    return true
  }

  /** For the thread: obeys the group. `close` is left to the caller. */
  obey(order: Order): void {
    if (order.kind === 'lane') this.#relay.open(order.to, order.port as MessagePort, order.inbox)
    else if (order.kind === 'no-predecessor') this.#relay.close('predecessor')
    else if (order.kind === 'go') this.#go()
    else if (order.kind === 'pause') {
      this.#listener?.stopReceiving()
      this.#report({ kind: 'paused' })
    } else if (order.kind === 'stats') this.#report({ kind: 'stats', question: order.question, stats: this.stats() })
    else if (order.kind === 'told') this.onTold?.(order.value)
  }

  stats(): SeatStats {
    const { user, system } = process.threadCpuUsage()
    return { ...(this.#listener?.stats() ?? noListener), ...this.#relay.stats, cpuMs: (user + system) / 1000 }
  }

  #go(): void {
    if (!this.#mustWait) return
    this.#mustWait = false
    this.#listener?.begin()
  }
}
