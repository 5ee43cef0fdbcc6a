/** Two paths of one connection and a single-path flow through the same link: who takes how much of it (goal G8). */
import type { CongestionAlgorithm, EndpointOptions, Micros } from '@quicether/transport'
import { twoLinks } from './multipath-figures.ts'
import { Party } from './parties.ts'
import { ScenarioClient } from './scenario.ts'

export interface SharedBottleneckOptions {
  readonly seed: number
  /** Congestion control of the connection with two paths. The other one uses NewReno. */
  readonly congestion: CongestionAlgorithm
  /** Congestion control of the single-path flow. Default `new_reno`. */
  readonly rival?: CongestionAlgorithm
  /** Paths of the first connection. Default 2. */
  readonly paths?: 1 | 2
  /** Further settings of the connection with two paths, e.g. its packet scheduler. */
  readonly config?: EndpointOptions['config']
  readonly rateBitsPerSecond?: number
  /** One way, of the access links. The shared link has none. */
  readonly delayUs?: Micros
  readonly queueBytes?: number
  readonly warmUpUs?: Micros
  readonly durationUs?: Micros
}

export interface SharedBottleneckReport {
  readonly multipathBitsPerSecond: number
  readonly singleBitsPerSecond: number
  /** What both paths take together over what the single-path flow takes. */
  readonly ratio: number
  /** What both take together of the link. */
  readonly utilisation: number
}

export const sharedBottleneckDefaults = {
  rival: 'new_reno',
  paths: 2,
  rateBitsPerSecond: 10e6,
  delayUs: 20_000,
  queueBytes: 60_000,
  warmUpUs: 5_000_000,
  durationUs: 40_000_000,
} as const satisfies Partial<SharedBottleneckOptions>

/** Small and drawn from the seed: keeps flows from being dropped in step, as they never are on real links. */
const ACCESS_JITTER_US = 1_000
/** More than any of them can send in the time. */
const UPLOAD_BYTES = 4e9

/** Uploads of both for the whole time, through the server's link. */
export function sharedBottleneck(options: SharedBottleneckOptions): SharedBottleneckReport {
  const { seed, congestion, rival, paths, rateBitsPerSecond, delayUs, queueBytes, warmUpUs, durationUs } = {
    ...sharedBottleneckDefaults,
    ...options,
  }
  const access = { delayUs, jitterUs: ACCESS_JITTER_US }
  const lab = twoLinks({
    seed,
    a: access,
    b: access,
    server: { down: { rateBitsPerSecond, queueBytes } },
    config: { ...options.config, congestion },
  })
  if (paths === 1) lab.closePath('b')
  const host = lab.world.addHost('rival')
  host.addInterface('eth0', { addresses: ['192.0.2.200'], link: lab.world.addLink('rival', access) })
  const party = new Party({ host, config: { congestion: rival } })
  const [path] = lab.client.app.connection.paths()
  if (path === undefined) throw new Error('the client has no path')
  const single = new ScenarioClient(lab.world, party, party.connect(path.remoteAddress, path.remotePort))
  lab.until(() => single.app.isConfirmed, { withinUs: 10_000_000, what: 'the handshake of the single-path flow' })
  lab.client.upload(UPLOAD_BYTES)
  single.upload(UPLOAD_BYTES)
  lab.run(warmUpUs)
  const received = (): number[] => lab.accepted.map(({ connection }) => connection.stats().bytesReceived)
  const before = received()
  lab.run(durationUs)
  const [multipathBitsPerSecond, singleBitsPerSecond] = received().map(
    (bytes, index) => ((bytes - (before[index] as number)) * 8e6) / durationUs,
  ) as [number, number]
  return {
    multipathBitsPerSecond,
    singleBitsPerSecond,
    ratio: multipathBitsPerSecond / singleBitsPerSecond,
    utilisation: (multipathBitsPerSecond + singleBitsPerSecond) / rateBitsPerSecond,
  }
}
