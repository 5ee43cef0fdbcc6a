/** A packet scheduler of one's own: the cheapest link first, a dearer one when the wait would be too long. */
import { type Lane, type PacketScheduler, WAIT } from '@quicether/transport'

/** Cents per gigabyte by path ID; path 0 is the interface the connection began on. Paths beyond the list are dear. */
const prices = [0, 400]
const patienceUs = 200_000

const priceOf = ({ id }: Lane): number => prices[id] ?? 1_000

/** One scheduler for one connection. */
export function scheduler(): PacketScheduler {
  return {
    name: 'cheapest-first',
    pick({ lanes, queuedBytes }) {
      let cheapest = lanes[0] as Lane
      for (const lane of lanes) if (priceOf(lane) < priceOf(cheapest)) cheapest = lane
      if (cheapest.budgetBytes > 0) return lanes.indexOf(cheapest)
      // It carries a window per round trip: what waits would take this long.
      const waitUs = (queuedBytes / cheapest.windowBytes) * cheapest.smoothedRttUs
      if (waitUs < patienceUs) return WAIT
      for (let i = 0; i < lanes.length; i++) if ((lanes[i] as Lane).budgetBytes > 0) return i
      return WAIT
    },
  }
}
