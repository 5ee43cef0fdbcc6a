/** One path carries everything, the one with the lowest path ID that works; the others wait for its failure. */
import { type Lane, type PacketScheduler, WAIT } from './packet-scheduler.ts'

export function createBackup(): PacketScheduler {
  // Lanes come by path ID, and only those of the best rank: the first one silent, the next one is the first.
  return { name: 'backup', pick: ({ lanes }) => ((lanes[0] as Lane).budgetBytes > 0 ? 0 : WAIT) }
}
