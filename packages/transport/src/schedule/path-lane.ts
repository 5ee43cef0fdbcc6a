/** What the engine tells packet schedulers about one path; made with the path, brought up to date at each decision. */
import type { PathId } from '../events.ts'
import type { Micros } from '../ports/datagrams.ts'
import type { Lane } from './packet-scheduler.ts'

export class PathLane implements Lane {
  readonly id: PathId
  budgetBytes = 0
  smoothedRttUs: Micros = 0
  rttVarUs: Micros = 0
  hasRttSample = false
  windowBytes = 0
  inFlightBytes = 0
  mtuBytes = 0
  account = 0
  /** It could send, but the scheduler would rather wait. */
  isHeld = false

  constructor(id: PathId) {
    this.id = id
  }
}
