/** The packet schedulers an application can name, and their construction. */
import { createBackup } from './backup.ts'
import { Blest } from './blest.ts'
import { EarliestCompletionFirst } from './ecf.ts'
import { createMinRtt } from './min-rtt.ts'
import type { PacketScheduler, PacketSchedulerFactory } from './packet-scheduler.ts'
import { RoundRobinPaths } from './round-robin.ts'
import { WeightedPaths } from './weighted.ts'

export const packetSchedulers = ['minrtt', 'rr', 'weighted', 'backup', 'blest', 'ecf'] as const
export type PacketSchedulerName = (typeof packetSchedulers)[number]

/** A fresh scheduler for one connection. `weights` by path ID are for `weighted`. */
export function createPacketScheduler(
  choice: PacketSchedulerName | PacketSchedulerFactory,
  weights: readonly number[],
): PacketScheduler {
  if (typeof choice === 'function') return choice()
  switch (choice) {
    case 'minrtt':
      return createMinRtt()
    case 'rr':
      return new RoundRobinPaths()
    case 'weighted':
      return new WeightedPaths(weights)
    case 'backup':
      return createBackup()
    case 'blest':
      return new Blest()
    case 'ecf':
      return new EarliestCompletionFirst()
  }
}
