/** One worker thread as its group sees it: orders out, reports in, its end. */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { QuicError } from '@quicether/transport'
import { inboxOf, type LaneName, type Order, type Report, type SeatStats, type WorkerPlan } from './messages.ts'

/** A thread that does not answer for so long is taken to hang. */
const ANSWER_MS = 30_000

/** Tells what a thread does; `onEnd` once, when it is gone, with its error if it was not asked to end. */
export interface ThreadListener {
  onTold(value: unknown): void
  onEnd(problem: Error | undefined): void
}

/** Started at once. */
export class WorkerThread {
  readonly index: number
  readonly generation: number
  /** Settles when the module serves, or when it failed to. */
  readonly ready: Promise<void>
  readonly #worker: Worker
  readonly #questions: Map<number, (stats: SeatStats | undefined) => void> = new Map()
  readonly #paused = Promise.withResolvers<boolean>()
  readonly #ended = Promise.withResolvers<void>()
  #problem: Error | undefined
  #asked = 0
  /** The thread was told to end. */
  #isEnding = false
  #isOver = false

  constructor(plan: WorkerPlan, listener: ThreadListener) {
    this.index = plan.index
    this.generation = plan.generation
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.ready = promise
    // Whoever does not wait for it learns of the end.
    promise.catch(() => {})
    this.#worker = new Worker(new URL(import.meta.resolve('@quicether/net/worker-thread')), {
      workerData: plan,
      name: `quicether worker ${plan.index}`,
    })
    this.#worker.on('message', (report: Report) => {
      if (report.kind === 'ready') resolve()
      else if (report.kind === 'paused') this.#paused.resolve(true)
      else if (report.kind === 'closed') void this.#worker.terminate()
      else if (report.kind === 'stats') this.#answer(report.question, report.stats)
      else listener.onTold(report.value)
    })
    this.#worker.on('error', (problem) => {
      this.#problem = problem instanceof Error ? problem : new Error(String(problem))
    })
    this.#worker.on('exit', (code) => {
      this.#isOver = true
      const died = new QuicError('ERR_WORKERS', `worker ${plan.index} ended with code ${code}`)
      const problem = this.#isEnding ? undefined : (this.#problem ?? died)
      reject(problem ?? died)
      this.#paused.resolve(false)
      for (const question of [...this.#questions.keys()]) this.#answer(question, undefined)
      this.#ended.resolve()
      listener.onEnd(problem)
    })
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Opens a way for datagrams between two threads, each under the name it has at the other. */
  static join(a: WorkerThread, nameOfA: LaneName, b: WorkerThread, nameOfB: LaneName): void {
    const { port1, port2 } = new MessageChannel()
    a.#order({ kind: 'lane', to: nameOfB, port: port1, inbox: inboxOf(b.index, b.generation) }, [port1])
    b.#order({ kind: 'lane', to: nameOfA, port: port2, inbox: inboxOf(a.index, a.generation) }, [port2])
  }

  go(): void {
    this.#order({ kind: 'go' })
  }

  tell(value: unknown): void {
    this.#order({ kind: 'told', value })
  }

  forgetPredecessor(): void {
    this.#order({ kind: 'no-predecessor' })
  }

  /** The thread reads no more from its sockets, or is gone: false. One that hangs is ended. */
  async pause(): Promise<boolean> {
    this.#order({ kind: 'pause' })
    const isPaused = await within(ANSWER_MS, this.#paused.promise)
    if (isPaused === undefined) await this.terminate()
    return isPaused ?? false
  }

  /** Undefined when the thread is gone or does not answer. */
  async stats(): Promise<SeatStats | undefined> {
    if (this.#isOver) return undefined
    const question = this.#asked++
    const { promise, resolve } = Promise.withResolvers<SeatStats | undefined>()
    this.#questions.set(question, resolve)
    this.#order({ kind: 'stats', question })
    const stats = await within(ANSWER_MS, promise)
    this.#questions.delete(question)
    return stats
  }

  /** Ends in good order, or by force when that takes longer. */
  async close(graceMs: number): Promise<void> {
    this.#isEnding = true
    this.#order({ kind: 'close', graceMs })
    const isOver = await within(
      graceMs + ANSWER_MS,
      this.#ended.promise.then(() => true),
    )
    if (isOver === undefined) await this.terminate()
  }

  /** Ends at once. */
  async terminate(): Promise<void> {
    this.#isEnding = true
    await this.#worker.terminate()
    await this.#ended.promise
  }

  #answer(question: number, stats: SeatStats | undefined): void {
    this.#questions.get(question)?.(stats)
    this.#questions.delete(question)
  }

  #order(order: Order, transfer: readonly MessagePort[] = []): void {
    if (!this.#isOver) this.#worker.postMessage(order, transfer)
  }
}

async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => resolve(undefined), milliseconds)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
