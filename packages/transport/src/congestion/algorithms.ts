/** The congestion control algorithms an application can name, and their construction. */
import type { CongestionController } from './controller.ts'
import { createCubic } from './cubic.ts'
import { createNewReno } from './new-reno.ts'

export const congestionAlgorithms = ['cubic', 'new_reno'] as const
export type CongestionAlgorithm = (typeof congestionAlgorithms)[number]

/** A fresh controller for one path whose maximum datagram size is `mtuBytes`; its first window has `initialPackets`. */
export function createCongestionController(
  algorithm: CongestionAlgorithm,
  mtuBytes: number,
  initialPackets?: number,
): CongestionController {
  switch (algorithm) {
    case 'cubic':
      return createCubic(mtuBytes, initialPackets)
    case 'new_reno':
      return createNewReno(mtuBytes, initialPackets)
  }
}
