/** Requests of a player or a page over links that fade now and then: how long the unlucky ones take (goal G7). */
import type { EndpointOptions, Micros } from '@quicether/transport'
import type { LinkPair } from './pairs.ts'
import { type Scenario, type ScenarioTransfer, world } from './scenario.ts'

/**
 * Two radio links, as a telephone has them. Each loses nearly everything for 80 ms on average, every three seconds on
 * average, in each direction by itself (Gilbert-Elliott in continuous time: 2.3 % of all datagrams).
 */
export const fadingPair: LinkPair = {
  name: 'fading',
  a: { rateBitsPerSecond: 50e6, delayUs: 15_000, fade: { goodUs: 3_000_000, badUs: 80_000, lossRatio: 0.9 } },
  b: { rateBitsPerSecond: 30e6, delayUs: 25_000, fade: { goodUs: 3_000_000, badUs: 80_000, lossRatio: 0.9 } },
}

export interface RequestOptions {
  readonly seed: number
  readonly config: NonNullable<EndpointOptions['config']>
  /** Default `fadingPair`. */
  readonly pair?: LinkPair
  /** Requests that count; 10 more before them do not. Default 600. */
  readonly requests?: number
  /** From one request to the next, whether that one is done or not. Default 100 ms. */
  readonly periodUs?: Micros
  /** Default 50 kB. */
  readonly replyBytes?: number
}

export interface RequestReport {
  readonly medianUs: Micros
  readonly p95Us: Micros
  readonly p99Us: Micros
  /** UDP payload bytes that the server sent for each byte of the replies. */
  readonly sentPerByte: number
}

/** Requests over one link alone. */
export function singlePathRequests(options: RequestOptions, over: 'a' | 'b'): RequestReport {
  const { seed, config, pair = fadingPair } = options
  const plain = { ...config, maxPaths: 1 }
  const lab = world({ seed, links: { [over]: pair[over] }, clientConfig: plain, serverConfig: plain })
  lab.join()
  return request(lab, options)
}

/** Requests over both links, both paths validated before the first one. */
export function multipathRequests(options: RequestOptions): RequestReport {
  const { seed, config, pair = fadingPair } = options
  const both = { ...config, maxPaths: 4 }
  const lab = world({ seed, links: { a: pair.a, b: pair.b }, clientConfig: both, serverConfig: both })
  lab.join('b')
  return request(lab, options)
}

const WARM_UP_REQUESTS = 10
/** A request that takes longer has failed. */
const LATENCY_US_MAX = 60_000_000

interface Pending {
  readonly transfer: ScenarioTransfer
  readonly index: number
}

function request(lab: Scenario, options: RequestOptions): RequestReport {
  const { requests = 600, periodUs = 100_000, replyBytes = 50_000 } = options
  const latenciesUs: number[] = []
  const pending = new Set<Pending>()
  let sentBytes = 0
  lab.world.observe({
    onSent: (host, datagram) => {
      if (host.name === 'server') sentBytes += datagram.length
    },
    // When the last byte is there counts, not when its acknowledgment is.
    afterStep: () => {
      for (const each of pending) {
        if (each.transfer.receivedBytes < replyBytes) continue
        pending.delete(each)
        if (each.index >= WARM_UP_REQUESTS) latenciesUs.push(each.transfer.durationUs)
      }
    },
  })
  for (let index = 0; index < WARM_UP_REQUESTS + requests; index++) {
    pending.add({ transfer: lab.client.download(replyBytes), index })
    lab.run(periodUs)
  }
  lab.until(() => pending.size === 0, { withinUs: LATENCY_US_MAX, what: 'the last replies' })
  latenciesUs.sort((x, y) => x - y)
  const at = (share: number): Micros => latenciesUs[Math.ceil(share * latenciesUs.length) - 1] as Micros
  const repliedBytes = (WARM_UP_REQUESTS + requests) * replyBytes
  return { medianUs: at(0.5), p95Us: at(0.95), p99Us: at(0.99), sentPerByte: sentBytes / repliedBytes }
}
