/** Every path in turn, one burst each, in the order of path IDs; paths without budget are passed over. Never waits. */
import type { Lane, PacketScheduler, Schedule } from './packet-scheduler.ts'

export class RoundRobinPaths implements PacketScheduler {
  readonly name: string = 'rr'
  #lastId = -1

  pick({ lanes }: Schedule): number {
    let first = -1
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[i] as Lane
      if (lane.budgetBytes <= 0) continue
      if (lane.id > this.#lastId) return i
      if (first < 0) first = i
    }
    return first
  }

  onSent(lane: Lane): void {
    this.#lastId = lane.id
  }
}
