/** The congestion control algorithms an application can name, and their construction. */
import type { RandomSource } from '../ports/crypto.ts'
import { Bbr } from './bbr.ts'
import type { CongestionController } from './controller.ts'
import { type CoupledGroup, type CoupledPath, createCoupled } from './coupled.ts'
import { createCubic, createTolerantCubic } from './cubic.ts'
import { createNewReno } from './new-reno.ts'

export const congestionAlgorithms = ['tolerant', 'cubic', 'new_reno', 'bbr', 'lia', 'olia', 'balia'] as const
export type CongestionAlgorithm = (typeof congestionAlgorithms)[number]

/** What a controller may need of its connection. */
export interface CongestionContext {
  readonly random: RandomSource
  /** The coupled controllers of all its paths. */
  readonly coupled: CoupledGroup
}

/** A fresh controller for one path whose maximum datagram size is `mtuBytes`; its first window has `initialPackets`. */
export function createCongestionController(
  algorithm: CongestionAlgorithm,
  mtuBytes: number,
  initialPackets: number,
  path: CoupledPath,
  context: CongestionContext,
): CongestionController {
  switch (algorithm) {
    case 'tolerant':
      return createTolerantCubic(mtuBytes, initialPackets)
    case 'cubic':
      return createCubic(mtuBytes, initialPackets)
    case 'new_reno':
      return createNewReno(mtuBytes, initialPackets)
    case 'bbr':
      return new Bbr(mtuBytes, initialPackets, drawSeed(context.random))
    case 'lia':
    case 'olia':
    case 'balia':
      return createCoupled(algorithm, mtuBytes, initialPackets, path, context.coupled)
  }
}

function drawSeed(random: RandomSource): number {
  const bytes = new Uint8Array(4)
  random.fill(bytes)
  return new DataView(bytes.buffer).getUint32(0)
}
