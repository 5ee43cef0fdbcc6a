/** Streams that may go the same ways, in two queues: what goes out again, and what goes out for the first time. */
import type { PathId } from '../events.ts'
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'

/** Streams of this class go wherever there is room. */
export const ANY_PATH = -1

/** One per connection, and one more for interactive streams and for each path that streams are bound to. */
export class StreamClass {
  /** Path its streams keep to while it works; ANY_PATH for none. */
  readonly pathId: PathId
  /** Set apart by the send policy: goes before bulk where it is admitted. */
  readonly isInteractive: boolean
  /** Retransmissions and bare FINs: need no connection credit and go first. */
  readonly urgent: StreamScheduler = new RoundRobinScheduler()
  readonly fresh: StreamScheduler
  /** Whether the path that packets are being built for may carry it; kept by the path picker. */
  isAdmitted = true

  constructor(fresh: StreamScheduler, pathId: PathId, isInteractive: boolean) {
    this.fresh = fresh
    this.pathId = pathId
    this.isInteractive = isInteractive
  }

  get isEmpty(): boolean {
    return this.urgent.size === 0 && this.fresh.size === 0
  }

  /** Whether something of it could be sent, new data only if the connection has credit. */
  hasData(hasCredit: boolean): boolean {
    return this.urgent.size > 0 || (hasCredit && this.fresh.size > 0)
  }
}
