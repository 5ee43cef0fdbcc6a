/** Serves QUIC on several cores: worker threads on the same port, each with the connections whose IDs belong to it. */
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { closeSessionStore, createSessionStore } from '@quicether/native'
import { QuicError } from '@quicether/transport'
import { nativeCall } from '../native-call.ts'
import { GroupSockets } from './group-sockets.ts'
import type { SeatStats, WorkerPlan } from './messages.ts'
import { Steering, STEERING_KEY_BYTES, WORKERS_MAX } from './steering.ts'
import { WorkerThread } from './worker-thread.ts'

export interface WorkerGroupOptions {
  /** Module that exports `serve(seat)`, see `WorkerModule`; loaded once in each thread. */
  readonly module: URL
  /** Threads; as many as there are processors when absent. */
  readonly workers?: number
  /** Addresses of this machine. Absent: all, over IPv6 and IPv4. Preferred and announced ones must be among them. */
  readonly addresses?: readonly string[]
  /** 0 = any free port, the same one on every address. */
  readonly port: number
  /** Given to every worker as `seat.data`; anything that can be cloned. */
  readonly data?: unknown
  /** Sessions kept for resumption, for each QUIC version, by all workers together; 0 = none, 4096 when absent. */
  readonly sessionsMax?: number
  /** 32 bytes each, so that tokens and resets survive a restart. Random when absent. */
  readonly tokenKey?: Uint8Array
  readonly resetKey?: Uint8Array
  /**
   * How the kernel finds the worker of a datagram. `connection-id`, the default, where the system can (Linux); else, or by
   * choice, `addresses`: a client that changes its address is then served through another worker.
   */
  readonly steering?: 'connection-id' | 'addresses'
  /** Told of a worker that has failed; it is started again after `restartMs`. */
  readonly onWorkerFailed?: (failure: WorkerFailure) => void
  /** Takes what workers say by `seat.tell`. */
  readonly onTold?: (index: number, value: unknown) => void
}

export interface WorkerFailure {
  readonly index: number
  readonly problem: Error
  readonly restartMs: number
}

export interface ReloadOptions {
  /** What the new workers get as `seat.data`; the present data when absent. */
  readonly data?: unknown
  /** Connections of an old worker may go on for so long; 30 s when absent. */
  readonly graceMs?: number
}

export interface WorkerGroupStats {
  /** By worker; undefined for one that is down or does not answer. */
  readonly workers: readonly (SeatStats | undefined)[]
  /** Old workers whose connections still go on. */
  readonly draining: number
  /** Times a worker had to be started again. */
  readonly restarts: number
}

const RESTART_MS_MIN = 100
const RESTART_MS_MAX = 10_000
/** A worker that has served for so long has started well. */
const SETTLED_MS = 10_000
const RELOAD_GRACE_MS = 30_000

/** One index of the group: who serves there now, and who did before. */
interface Post {
  readonly index: number
  generation: number
  current: WorkerThread | undefined
  /** Replaced, with connections that still go on. */
  predecessor: WorkerThread | undefined
  failures: number
  startedAtMs: number
  timer: NodeJS.Timeout | undefined
}

/** Made by `serveWorkers`. */
export class WorkerGroup implements AsyncDisposable {
  readonly #options: WorkerGroupOptions
  readonly #sockets: GroupSockets
  readonly #posts: readonly Post[]
  readonly #base: Omit<WorkerPlan, 'index' | 'generation' | 'sockets' | 'mustWait' | 'data'>
  #data: unknown
  #restarts = 0
  #isStarted = false
  #isClosing = false
  #reloading: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined

  /** Use `serveWorkers`. */
  constructor(options: WorkerGroupOptions) {
    const { workers = Math.min(availableParallelism(), WORKERS_MAX), sessionsMax = 4096 } = options
    if (!Number.isInteger(workers) || workers < 1 || workers > WORKERS_MAX) {
      throw new QuicError('ERR_WORKERS', `workers is ${workers}; give a whole number from 1 to ${WORKERS_MAX}`)
    }
    this.#options = options
    this.#data = options.data
    const steeringKey = new Uint8Array(randomBytes(STEERING_KEY_BYTES))
    const isWanted = options.steering !== 'addresses' && workers > 1
    this.#sockets = new GroupSockets({
      addresses: options.addresses,
      port: options.port,
      workers,
      program: isWanted ? new Steering(steeringKey, workers).program() : undefined,
    })
    this.#posts = Array.from({ length: workers }, (_, index) => vacantPost(index))
    this.#base = {
      module: options.module.href,
      count: workers,
      isSteered: this.#sockets.refusal === 0,
      steeringKey,
      tokenKey: options.tokenKey ?? new Uint8Array(randomBytes(32)),
      resetKey: options.resetKey ?? new Uint8Array(randomBytes(32)),
      sessionsMax,
      sessionStore: nativeCall(() => createSessionStore(sessionsMax)),
      inboxes: new SharedArrayBuffer(workers * 2 * Int32Array.BYTES_PER_ELEMENT),
    }
  }

  /** The port, the same on all addresses. */
  get port(): number {
    return this.addresses[0]?.port ?? 0
  }

  get addresses(): readonly { readonly address: string; readonly port: number }[] {
    return (this.#sockets.seats[0] ?? []).map(({ address, port }) => ({ address, port }))
  }

  get workers(): number {
    return this.#posts.length
  }

  /** Whether the kernel delivers by connection ID. */
  get isSteered(): boolean {
    return this.#base.isSteered
  }

  /** errno with which the system refused to deliver by connection ID; undefined = it was not asked or does it. */
  get steeringRefusal(): number | undefined {
    return this.#sockets.refusal === 0 ? undefined : this.#sockets.refusal
  }

  /** For `serveWorkers`: resolves once all serve. Whatever fails ends the group. */
  async start(): Promise<void> {
    try {
      const threads = this.#posts.map((post) => this.#hire(post, false))
      await Promise.all(threads.map((thread) => thread.ready))
      this.#isStarted = true
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /** What workers that are started later get as `seat.data`. */
  setData(data: unknown): void {
    this.#data = data
  }

  /** Says something to every worker's `seat.onTold`. */
  tell(value: unknown): void {
    for (const { current } of this.#posts) current?.tell(value)
  }

  async stats(): Promise<WorkerGroupStats> {
    const workers = await Promise.all(this.#posts.map(({ current }) => current?.stats()))
    const draining = this.#posts.filter(({ predecessor }) => predecessor !== undefined).length
    return { workers, draining, restarts: this.#restarts }
  }

  /**
   * Replaces one worker after the other by a fresh one, without losing a connection before `graceMs` have passed: new
   * ones are for the fresh worker, the others stay with the old one until they end. Returns when all new ones serve.
   * @throws what the module throws with the new data; the old workers then go on, but for those replaced already.
   */
  reload(options: ReloadOptions = {}): Promise<void> {
    const turn = this.#reloading.then(() => this.#reload(options))
    this.#reloading = turn.catch(() => {})
    return turn
  }

  /**
   * Ends all workers: new connections are refused, running ones may end within `graceMs`. Never rejects. A second call can
   * only hasten the first.
   */
  close({ graceMs = 0 }: { readonly graceMs?: number } = {}): Promise<void> {
    if (this.#closed === undefined) this.#closed = this.#close(graceMs)
    else
      for (const { current, predecessor } of this.#posts)
        for (const each of [current, predecessor]) void each?.close(graceMs)
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(graceMs: number): Promise<void> {
    this.#isClosing = true
    for (const post of this.#posts) clearTimeout(post.timer)
    const threads = this.#posts.flatMap(({ current, predecessor }) => [current, predecessor])
    await Promise.all(threads.map((thread) => thread?.close(graceMs)))
    this.#sockets.close()
    closeSessionStore(this.#base.sessionStore)
  }

  async #reload({ data = this.#data, graceMs = RELOAD_GRACE_MS }: ReloadOptions): Promise<void> {
    const before = this.#data
    this.#data = data
    for (const post of this.#posts) {
      if (this.#isClosing) return
      try {
        await this.#replace(post, graceMs)
      } catch (error) {
        this.#data = before
        throw error
      }
    }
  }

  async #replace(post: Post, graceMs: number): Promise<void> {
    const old = post.current
    if (old === undefined) return
    // One that was replaced before has had its time: there is room for one predecessor.
    await post.predecessor?.terminate()
    const fresh = this.#spawn(post, true)
    await fresh.ready
    const hasPaused = await old.pause()
    if (post.current === old || post.current === undefined) clearTimeout(post.timer)
    else await post.current.terminate()
    post.current = fresh
    this.#introduce(fresh)
    if (hasPaused) {
      post.predecessor = old
      WorkerThread.join(fresh, 'successor', old, 'predecessor')
      void old.close(graceMs)
    }
    fresh.go()
  }

  /** A worker for a vacant post. */
  #hire(post: Post, isAgain: boolean): WorkerThread {
    const { predecessor } = post
    const thread = this.#spawn(post, isAgain)
    post.current = thread
    this.#introduce(thread)
    if (predecessor !== undefined) WorkerThread.join(thread, 'successor', predecessor, 'predecessor')
    if (isAgain) thread.go()
    return thread
  }

  #spawn(post: Post, mustWait: boolean): WorkerThread {
    const generation = post.generation++
    post.startedAtMs = performance.now()
    const sockets = this.#sockets.seats[post.index] ?? []
    const plan = { ...this.#base, index: post.index, generation, sockets, mustWait, data: this.#data }
    const thread: WorkerThread = new WorkerThread(plan, {
      onTold: (value) => this.#options.onTold?.(post.index, value),
      onEnd: (problem) => this.#onEnd(post, thread, problem),
    })
    return thread
  }

  #introduce(thread: WorkerThread): void {
    for (const { current } of this.#posts) {
      if (current !== undefined && current !== thread) WorkerThread.join(thread, thread.index, current, current.index)
    }
  }

  #onEnd(post: Post, thread: WorkerThread, problem: Error | undefined): void {
    if (post.predecessor === thread) {
      post.predecessor = undefined
      post.current?.forgetPredecessor()
    }
    if (post.current !== thread || problem === undefined) return
    post.current = undefined
    // Before that the whole group fails.
    if (this.#isClosing || !this.#isStarted) return
    if (performance.now() - post.startedAtMs > SETTLED_MS) post.failures = 0
    const restartMs = Math.min(RESTART_MS_MIN * 2 ** post.failures++, RESTART_MS_MAX)
    this.#options.onWorkerFailed?.({ index: post.index, problem, restartMs })
    post.timer = setTimeout(() => {
      this.#restarts++
      this.#hire(post, true)
    }, restartMs)
  }
}

/**
 * Serves with several worker threads on one port, as one server: certificates, tokens, sessions and resets of one are
 * good at all of them, and a connection stays with its worker whatever its client's addresses do. The threads are ended
 * by `close`.
 * @throws QuicError `ERR_WORKERS`, `ERR_PORT_IN_USE`, `ERR_ADDRESS`, `ERR_REUSEPORT`, …, or what the module throws.
 */
export async function serveWorkers(options: WorkerGroupOptions): Promise<WorkerGroup> {
  const group = new WorkerGroup(options)
  await group.start()
  return group
}

function vacantPost(index: number): Post {
  return {
    index,
    generation: 0,
    current: undefined,
    predecessor: undefined,
    failures: 0,
    startedAtMs: 0,
    timer: undefined,
  }
}
