/** When the parts of one exchange were sent and received. */
import type { Micros } from '@quicether/transport'

/** When things happened, by the session's clock; NaN = not (yet), or no clock was given. */
export interface ExchangeTiming {
  readonly openedUs: Micros
  readonly headersSentUs: Micros
  readonly headersReceivedUs: Micros
  readonly firstBodySentUs: Micros
  readonly firstBodyReceivedUs: Micros
  readonly sendFinishedUs: Micros
  readonly receiveFinishedUs: Micros
  /** Everything sent is acknowledged. */
  readonly deliveredUs: Micros
}

export type MutableTiming = { -readonly [K in keyof ExchangeTiming]: ExchangeTiming[K] }

/** Times of an exchange that has just begun. */
export function createTiming(openedUs: Micros): MutableTiming {
  const never = Number.NaN
  return {
    openedUs,
    headersSentUs: never,
    headersReceivedUs: never,
    firstBodySentUs: never,
    firstBodyReceivedUs: never,
    sendFinishedUs: never,
    receiveFinishedUs: never,
    deliveredUs: never,
  }
}
