/** One side of one transfer: writes the pattern, reads and verifies the other's, resets and stops as planned. */
import type { Connection, StreamId } from '@quicether/transport'
import { Pattern } from './pattern.ts'
import {
  AppCode,
  decodePlan,
  type Ending,
  encodePlan,
  PLAN_BYTES,
  replyKey,
  SafetyError,
  streamName,
  type TransferPlan,
} from './transfers.ts'
import type { World } from './world.ts'

const CHUNK_BYTES = 16_384

export class StreamApp {
  readonly id: StreamId
  readonly isOpener: boolean
  readonly #owner: string
  readonly #world: World
  readonly #connection: Connection
  #plan: TransferPlan | undefined
  readonly #planBytes = new Uint8Array(PLAN_BYTES)
  #planFilled = 0
  #sendEnding: Ending
  #receiveEnding: Ending
  #isDelivered = false
  #sentBytes = 0
  #receivedBytes = 0
  #headerSent = 0
  #outgoing: Pattern | undefined
  #incoming: Pattern | undefined
  #isReadPending = false
  #didStop = false

  /** With a plan: the side that opened the stream. Without: the side that learns the plan from the first bytes. */
  constructor(world: World, connection: Connection, owner: string, id: StreamId, plan: TransferPlan | undefined) {
    this.#world = world
    this.#connection = connection
    this.#owner = owner
    this.id = id
    this.isOpener = plan !== undefined
    const isUnidirectional = (id & 2) !== 0
    this.#sendEnding = isUnidirectional && !this.isOpener ? 'finished' : 'open'
    this.#receiveEnding = isUnidirectional && this.isOpener ? 'finished' : 'open'
    if (this.#sendEnding === 'finished') this.#isDelivered = true
    if (plan !== undefined) this.#adopt(plan)
  }

  /** Nothing more will happen: our end was delivered or given up, the peer's was read to its end or given up. */
  get isDone(): boolean {
    const isSent = this.#sendEnding === 'finished' ? this.#isDelivered : this.#sendEnding !== 'open'
    return isSent && this.#receiveEnding !== 'open'
  }

  get receivedBytes(): number {
    return this.#receivedBytes
  }

  describe(): string {
    const delivered = this.#isDelivered ? '' : ' (not delivered)'
    return `${streamName(this.#owner, this.id)} ${this.isOpener ? 'opener' : 'acceptor'}: sent ${this.#sentBytes} ${this.#sendEnding}${delivered}, received ${this.#receivedBytes} ${this.#receiveEnding}`
  }

  #adopt(plan: TransferPlan): void {
    this.#plan = plan
    const reply = new Pattern(replyKey(plan.key))
    const upload = new Pattern(plan.key)
    this.#outgoing = this.isOpener ? upload : reply
    this.#incoming = this.isOpener ? reply : upload
  }

  // ---- sending

  /** Writes as much as the stream takes. */
  pump(): void {
    const plan = this.#plan
    if (plan === undefined || this.#sendEnding !== 'open' || this.#connection.isClosed) return
    if (this.isOpener && !this.#pumpPlan(plan)) return
    const total = this.isOpener ? plan.uploadBytes : plan.replyBytes
    const resetAt = this.isOpener ? plan.openerResetsAt : plan.acceptorResetsAt
    for (;;) {
      const end = Math.min(total, resetAt)
      if (this.#sentBytes >= end) break
      const wanted = (this.#outgoing as Pattern).slice(this.#sentBytes, Math.min(CHUNK_BYTES, end - this.#sentBytes))
      const accepted = this.#connection.write(this.id, wanted)
      if (!(accepted >= 0 && accepted <= wanted.length))
        throw this.#wrong(`write took ${accepted} of ${wanted.length} bytes`)
      this.#sentBytes += accepted
      if (accepted < wanted.length) return
    }
    if (resetAt < total) {
      this.#connection.reset(this.id, AppCode.Reset)
      this.#sendEnding = 'reset'
    } else {
      this.#connection.finish(this.id)
      this.#sendEnding = 'finished'
    }
  }

  #pumpPlan(plan: TransferPlan): boolean {
    if (this.#headerSent === PLAN_BYTES) return true
    const rest = encodePlan(plan).subarray(this.#headerSent)
    this.#headerSent += this.#connection.write(this.id, rest)
    return this.#headerSent === PLAN_BYTES
  }

  onDelivered(): void {
    if (this.#sendEnding !== 'finished' || this.#isDelivered)
      throw this.#wrong('streamDelivered without an end of ours, or twice')
    this.#isDelivered = true
  }

  onStopped(code: number): void {
    if (code !== AppCode.Stop) throw this.#wrong(`STOP_SENDING with code ${code}, which nobody sent`)
    const stopsAt = this.isOpener ? this.#plan?.acceptorStopsAt : this.#plan?.openerStopsAt
    if (this.#plan !== undefined && stopsAt === Infinity) throw this.#wrong('STOP_SENDING that the peer did not plan')
    if (this.#sendEnding === 'open' || (this.#sendEnding === 'finished' && !this.#isDelivered))
      this.#sendEnding = 'stopped'
  }

  // ---- receiving

  /** There is something to read: now, or after the pause of a slow reader. */
  onReadable(): void {
    const delayUs = (this.isOpener ? this.#plan?.openerReadDelayUs : this.#plan?.acceptorReadDelayUs) ?? 0
    if (delayUs === 0) this.#read()
    else if (!this.#isReadPending) {
      this.#isReadPending = true
      this.#world.after(delayUs, () => {
        this.#isReadPending = false
        this.#read()
      })
    }
  }

  #read(): void {
    if (this.#receiveEnding !== 'open' || this.#connection.isClosed) return
    const status = this.#connection.read(this.id, (chunk) => this.#take(chunk))
    if (status === 'finished') this.#onFinished()
    else if (status === 'reset') this.#onReset()
    else this.#stopIfPlanned()
  }

  #take(chunk: Uint8Array): void {
    let data = chunk
    if (!this.isOpener && this.#plan === undefined) {
      const missing = Math.min(PLAN_BYTES - this.#planFilled, chunk.length)
      this.#planBytes.set(chunk.subarray(0, missing), this.#planFilled)
      this.#planFilled += missing
      data = chunk.subarray(missing)
      if (this.#planFilled < PLAN_BYTES) return
      this.#adopt(decodePlan(this.#planBytes, (this.id & 2) !== 0 ? 'unidirectional' : 'bidirectional'))
    }
    const plan = this.#plan as TransferPlan
    const limit = this.isOpener ? plan.replyBytes : plan.uploadBytes
    const wrongAt = (this.#incoming as Pattern).mismatch(this.#receivedBytes, data)
    if (wrongAt >= 0) throw this.#wrong(`byte ${this.#receivedBytes + wrongAt} differs from what was sent`)
    this.#receivedBytes += data.length
    if (this.#receivedBytes > limit) throw this.#wrong(`${this.#receivedBytes} bytes read where ${limit} were sent`)
  }

  #onFinished(): void {
    const plan = this.#plan
    if (plan === undefined) throw this.#wrong('finished before the plan was read')
    const expected = this.isOpener ? plan.replyBytes : plan.uploadBytes
    if (this.#receivedBytes !== expected)
      throw this.#wrong(`finished after ${this.#receivedBytes} bytes, ${expected} were sent`)
    const resetsAt = this.isOpener ? plan.acceptorResetsAt : plan.openerResetsAt
    if (resetsAt < expected) throw this.#wrong('finished, though the peer resets it')
    this.#receiveEnding = 'finished'
    this.pump()
  }

  /** The peer's side ends with a reset: by its plan, or because we asked it to stop. */
  onReset(code: number): void {
    if (this.#receiveEnding !== 'open') return
    if (code !== AppCode.Reset && code !== AppCode.Stop) throw this.#wrong(`reset with code ${code}, which nobody sent`)
    // The engine keeps the stream until its application has taken note by reading.
    const status = this.#connection.read(this.id, () => {
      throw this.#wrong('data after a reset')
    })
    if (status !== 'reset') throw this.#wrong(`read says ${status} after a reset`)
    this.#onReset()
  }

  #onReset(): void {
    const plan = this.#plan
    const resetsAt = this.isOpener ? plan?.acceptorResetsAt : plan?.openerResetsAt
    // An acceptor that lost the plan to our own reset gives up its side, too.
    const gaveUp = this.isOpener && this.#sendEnding !== 'open' && this.#sendEnding !== 'finished'
    if (plan !== undefined && resetsAt === Infinity && !this.#didStop && !gaveUp) {
      throw this.#wrong('reset that the peer did not plan')
    }
    this.#receiveEnding = 'reset'
    // An acceptor that never saw the plan has no reply to give.
    if (plan === undefined && this.#sendEnding === 'open') {
      this.#connection.reset(this.id, AppCode.Reset)
      this.#sendEnding = 'reset'
    } else {
      this.pump()
    }
  }

  #stopIfPlanned(): void {
    const plan = this.#plan
    if (plan === undefined) return
    const stopsAt = this.isOpener ? plan.openerStopsAt : plan.acceptorStopsAt
    if (this.#receivedBytes >= stopsAt) {
      this.#didStop = true
      this.#receiveEnding = 'stopped'
      this.#connection.stop(this.id, AppCode.Stop)
    }
    this.pump()
  }

  #wrong(what: string): SafetyError {
    return new SafetyError(`${this.describe()}: ${what}`)
  }
}
