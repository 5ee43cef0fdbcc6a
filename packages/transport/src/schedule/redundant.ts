/** Everything on every path: the first copy to arrive counts. For little data that must not wait. */
import { type PacketScheduler, fastestSendable } from './packet-scheduler.ts'

/**
 * New data goes on the fastest path that has room; each path then repeats what the others have sent and what is not
 * acknowledged yet. Takes as many bytes as there are paths; the rate is that of the best one.
 */
export function createRedundant(): PacketScheduler {
  return { name: 'redundant', isRedundant: true, pick: ({ lanes }) => fastestSendable(lanes) }
}
