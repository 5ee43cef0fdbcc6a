/** Downloads over pairs of links: what each link gives alone, and what a scheduler makes of both. */
import type { EndpointOptions, Micros } from '@quicether/transport'
import type { LinkPair } from './pairs.ts'
import { type Scenario, world } from './scenario.ts'

export type PathConfig = NonNullable<EndpointOptions['config']>

export interface RunOptions {
  readonly pair: LinkPair
  readonly seed: number
  readonly lengthUs: Micros
  /** On top of the default settings of both sides. */
  readonly config: PathConfig
}

/** More than any link carries in the time. */
const ENDLESS_BYTES = 4e9

/** Payload bits per second of one download over one link alone, slow start included. */
export function singleGoodput(options: RunOptions, over: 'a' | 'b'): number {
  const { pair, seed, config } = options
  // One path does not need the extension; everything else is as with two.
  const plain = { ...config, maxPaths: 1 }
  const lab = world({ seed, links: { [over]: pair[over] }, clientConfig: plain, serverConfig: plain })
  lab.join()
  return measure(lab, options.lengthUs)
}

/** The same over both links, begun on `a`; both paths are validated before the download starts. */
export function multipathGoodput(options: RunOptions): number {
  const { pair, seed, config } = options
  const both = { ...config, maxPaths: 4 }
  const lab = world({ seed, links: { a: pair.a, b: pair.b }, clientConfig: both, serverConfig: both })
  lab.join('b')
  return measure(lab, options.lengthUs)
}

/** What the application had in order when the time was up. */
function measure(lab: Scenario, lengthUs: Micros): number {
  const transfer = lab.client.download(ENDLESS_BYTES)
  lab.run(lengthUs)
  return (transfer.receivedBytes * 8e6) / lengthUs
}

/** Sum of both rates in bits per second. */
export function sumOfRates({ name, a, b }: LinkPair): number {
  const sum = (a.rateBitsPerSecond ?? Infinity) + (b.rateBitsPerSecond ?? Infinity)
  if (sum === Infinity) throw new RangeError(`pair ${name}: both links need a rateBitsPerSecond to take a share of`)
  return sum
}
