/** The fastest path first; the next one takes what its window does not. Never waits. */
import { type PacketScheduler, fastestSendable } from './packet-scheduler.ts'

export function createMinRtt(): PacketScheduler {
  return { name: 'minrtt', pick: ({ lanes }) => fastestSendable(lanes) }
}
