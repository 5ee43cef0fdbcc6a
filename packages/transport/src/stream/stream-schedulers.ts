/** The stream schedulers an application can name, and their construction. */
import { RoundRobinScheduler, type StreamScheduler } from './stream-scheduler.ts'
import { StrictPriorityScheduler } from './strict-priority.ts'
import { Urgency } from './urgency.ts'
import { WeightedShareScheduler } from './weighted-share.ts'

export const streamSchedulers = ['rr', 'prio', 'sprio', 'rfc9218'] as const
export type StreamSchedulerName = (typeof streamSchedulers)[number]

/** A fresh scheduler for the streams of one connection. */
export function createStreamScheduler(name: StreamSchedulerName): StreamScheduler {
  switch (name) {
    case 'rr':
      return new RoundRobinScheduler()
    case 'prio':
      return new StrictPriorityScheduler()
    case 'sprio':
      return new WeightedShareScheduler()
    case 'rfc9218':
      return new StrictPriorityScheduler(() => new Urgency())
  }
}
