/** Figures of a connection that must never be, whatever happened on the wire. */
import type { Connection } from '@quicether/transport'
import { SafetyError } from './transfers.ts'

/** Looks at what the engine says of itself; throws `SafetyError`. */
export function inspectConnection(connection: Connection): void {
  const { credit } = connection.core.streams
  if (credit.available < 0) throw new SafetyError(`${credit.used} bytes of stream data sent, ${credit.limit} allowed`)
  for (const { id, amplificationCredit } of connection.core.paths.paths) {
    if (amplificationCredit < 0)
      throw new SafetyError(`path ${id}: amplification credit of ${amplificationCredit} bytes`)
  }
  for (const path of connection.paths()) {
    if (!(path.inFlightBytes >= 0)) throw new SafetyError(`path ${path.id}: ${path.inFlightBytes} bytes in flight`)
    if (!(path.windowBytes >= 2_400))
      throw new SafetyError(`path ${path.id}: congestion window of ${path.windowBytes} bytes`)
    if (!(path.mtuBytes >= 1_200)) throw new SafetyError(`path ${path.id}: MTU of ${path.mtuBytes} bytes`)
    if (!(path.smoothedRttUs >= 0 && path.rttMinUs >= 0))
      throw new SafetyError(`path ${path.id}: smoothed RTT ${path.smoothedRttUs} us`)
  }
}
