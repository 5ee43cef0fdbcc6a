/** NewReno congestion control as RFC 9002 §7 specifies it for QUIC. */
import type { CongestionController } from './controller.ts'
import { type AvoidanceLaw, WindowController } from './window-controller.ts'

/** RFC 9002 §B.1: kLossReductionFactor. */
const LOSS_REDUCTION_FACTOR = 0.5

/** A NewReno controller with HyStart++ in its initial slow start. `mtuBytes`: maximum datagram size of the path. */
export function createNewReno(mtuBytes: number, initialPackets?: number): CongestionController {
  return new WindowController(new NewRenoLaw(), mtuBytes, initialPackets)
}

class NewRenoLaw implements AvoidanceLaw {
  readonly name = 'new_reno'
  readonly canUndo = false

  grow(windowBytes: number, ackedBytes: number, mtuBytes: number): number {
    // RFC 9002 §7.3.3: "MUST limit the increase to the congestion window to at most one maximum datagram size for each congestion window that is acknowledged"
    return windowBytes + (mtuBytes * ackedBytes) / windowBytes
  }

  skipTime(): void {}

  reduce(windowBytes: number): number {
    // RFC 9002 §7.3.2: "MUST set the slow start threshold to half the value of the congestion window when loss is detected"
    return windowBytes * LOSS_REDUCTION_FACTOR
  }

  onSlowStartExit(): void {}

  onPersistentCongestion(): void {}

  undo(): void {}

  reset(): void {}
}
