/** The packet schedulers an application can name, and their construction. */
import { Adaptive } from './adaptive.ts'
import { createBackup } from './backup.ts'
import { Blest } from './blest.ts'
import { EarliestCompletionFirst } from './ecf.ts'
import { LatencyPaths } from './latency.ts'
import { createMinRtt } from './min-rtt.ts'
import type { PacketScheduler, PacketSchedulerFactory } from './packet-scheduler.ts'
import { createRedundant } from './redundant.ts'
import { RoundRobinPaths } from './round-robin.ts'
import { WeightedPaths } from './weighted.ts'

export const packetSchedulers = [
  'adaptive',
  'minrtt',
  'rr',
  'weighted',
  'latency',
  'blest',
  'ecf',
  'redundant',
  'backup',
] as const
export type PacketSchedulerName = (typeof packetSchedulers)[number]

/** A fresh scheduler for one connection. `weights` by path ID are for `weighted`. */
export function createPacketScheduler(
  choice: PacketSchedulerName | PacketSchedulerFactory,
  weights: readonly number[],
): PacketScheduler {
  if (typeof choice === 'function') return choice()
  switch (choice) {
    case 'adaptive':
      return new Adaptive()
    case 'minrtt':
      return createMinRtt()
    case 'rr':
      return new RoundRobinPaths()
    case 'weighted':
      return new WeightedPaths(weights)
    case 'latency':
      return new LatencyPaths()
    case 'redundant':
      return createRedundant()
    case 'backup':
      return createBackup()
    case 'blest':
      return new Blest()
    case 'ecf':
      return new EarliestCompletionFirst()
  }
}
