/** What the engine tells packet schedulers about one path; made with the path, brought up to date at each decision. */
import type { PathId } from '../events.ts'
import type { Micros } from '../ports/datagrams.ts'
import type { Lane } from './packet-scheduler.ts'

/** Packets between two looks at losses, and packets over which they are averaged. */
const LOSS_SPAN_PACKETS = 32
const LOSS_AVERAGE_PACKETS = 512

export class PathLane implements Lane {
  readonly id: PathId
  budgetBytes = 0
  smoothedRttUs: Micros = 0
  rttVarUs: Micros = 0
  hasRttSample = false
  windowBytes = 0
  inFlightBytes = 0
  mtuBytes = 0
  lossRatio = 0
  isStartingUp = true
  account = 0
  /** Packets sent and lost when `lossRatio` was brought up to date last. */
  #packetsSent = 0
  #packetsLost = 0
  /** It could send, but the scheduler would rather wait. */
  isHeld = false

  constructor(id: PathId) {
    this.id = id
  }

  /** Takes note of the counters of the path: a moving average over a few hundred packets. */
  updateLoss(packetsSent: number, packetsLost: number): void {
    const sent = packetsSent - this.#packetsSent
    if (sent < LOSS_SPAN_PACKETS) return
    const ratio = Math.min(1, (packetsLost - this.#packetsLost) / sent)
    const weight = Math.min(1, sent / LOSS_AVERAGE_PACKETS)
    this.lossRatio += (ratio - this.lossRatio) * weight
    this.#packetsSent = packetsSent
    this.#packetsLost = packetsLost
  }
}
