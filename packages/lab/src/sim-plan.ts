/** Draws a random experiment from a seed: topology, links, endpoint settings, traffic. Bounds keep it feasible. */
import { type TransportConfig, transportDefaults } from '@quicether/transport'
import type { SeededRandom } from '@quicether/transport/testing'
import { Version } from '@quicether/wire'
import type { LinkOptions, PipeOptions } from './link.ts'
import type { NatKind } from './nat.ts'
import type { TransferPlan } from './transfers.ts'

export interface ClientPlan {
  readonly isIpv6: boolean
  readonly nat: NatKind | undefined
  readonly link: LinkOptions
  /** A second interface to migrate to, or for a second path. */
  readonly secondLink: LinkOptions | undefined
  readonly config: Partial<TransportConfig>
  readonly receiveDelayUs: number
  readonly datagramsMax: number
  readonly clientHelloBytesMin: number
  readonly transfers: readonly { readonly plan: TransferPlan; readonly afterUs: number; readonly byServer: boolean }[]
  readonly datagrams: readonly { readonly lengthBytes: number; readonly afterUs: number; readonly byServer: boolean }[]
  readonly actions: readonly { readonly kind: ActionKind; readonly afterUs: number; readonly byServer: boolean }[]
  /** Connect a second time, with 0-RTT where the ticket allows it. */
  readonly reconnects: boolean
  readonly closesByServer: boolean
  /** The client loses power and says nothing. */
  readonly vanishesAfterUs: number | undefined
}

export type ActionKind = 'update-keys' | 'rotate-cid' | 'migrate' | 'open-path' | 'close-path' | 'path-status'

const actionKinds: readonly ActionKind[] = [
  'update-keys',
  'rotate-cid',
  'migrate',
  'open-path',
  'open-path',
  'open-path',
  'close-path',
  'close-path',
  'path-status',
]

export interface SimPlan {
  readonly clients: readonly ClientPlan[]
  readonly serverLink: LinkOptions
  readonly serverConfig: Partial<TransportConfig>
  readonly retry: 'always' | 'auto' | 'never'
  readonly earlyData: 'accept' | 'reject' | 'off'
  readonly certificateBytes: number
  readonly tickets: number
  readonly serverReceiveDelayUs: number
  /** The server crashes and comes back with no memory but its own keys. */
  readonly restart: { readonly afterUs: number; readonly pauseUs: number } | undefined
  readonly faults: number
  readonly faultsEndUs: number
}

/** Faults and new work stop this long after the start. */
const STORM_US = 8_000_000
const KIB = 1_024

export function drawPlan(random: SeededRandom): SimPlan {
  const versions = drawVersions(random)
  const clients = random.chance(0.7) ? 1 : random.between(2, 3)
  return {
    clients: Array.from({ length: clients }, () => drawClient(random, versions.client)),
    serverLink: random.chance(0.7) ? {} : drawLink(random),
    serverConfig: { ...drawConfig(random), versions: versions.server },
    retry: random.pick(['auto', 'auto', 'always', 'never'] as const),
    earlyData: random.pick(['accept', 'accept', 'reject', 'off'] as const),
    certificateBytes: random.pick([500, 2_500, 2_500, 5_000, 12_000]),
    tickets: random.between(0, 2),
    serverReceiveDelayUs: random.chance(0.3) ? random.between(0, 2_000) : 0,
    restart: random.chance(0.06)
      ? { afterUs: random.between(100_000, STORM_US - 1_000_000), pauseUs: random.between(0, 900_000) }
      : undefined,
    faults: random.chance(0.15) ? 0 : random.between(1, 14),
    faultsEndUs: STORM_US,
  }
}

function drawVersions(random: SeededRandom): { client: number[]; server: number[] } {
  const both = [Version.V1, Version.V2]
  const reversed = [Version.V2, Version.V1]
  const server = random.pick([both, both, reversed, [Version.V1], [Version.V2]])
  const client = random.pick([both, both, reversed, server])
  return { client, server }
}

/** Uniform in the exponent: as many small values as large ones. */
function logarithmic(random: SeededRandom, low: number, high: number): number {
  return Math.round(low * (high / low) ** random.fraction())
}

function drawLink(random: SeededRandom): LinkOptions {
  const both: PipeOptions = {
    rateBitsPerSecond: random.chance(0.15) ? Infinity : logarithmic(random, 1e6, 300e6),
    delayUs: logarithmic(random, 200, 150_000),
    ...(random.chance(0.3) ? { jitterUs: logarithmic(random, 100, 20_000) } : {}),
    ...(random.chance(0.4) ? { lossRatio: 0.03 * random.fraction() } : {}),
    ...(random.chance(0.2)
      ? { reorderRatio: 0.05 * random.fraction(), reorderDelayUs: random.between(100, 20_000) }
      : {}),
    ...(random.chance(0.2) ? { duplicateRatio: 0.05 * random.fraction() } : {}),
    ...(random.chance(0.2) ? { corruptRatio: 0.01 * random.fraction() } : {}),
    ...(random.chance(0.2) ? { ecnThresholdBytes: random.between(3_000, 60_000) } : {}),
    ...(random.chance(0.1) ? { bleachesEcn: true } : {}),
    ...(random.chance(0.3) ? { mtuBytes: random.between(1_260, 1_500) } : {}),
  }
  return random.chance(0.2) ? { ...both, up: { rateBitsPerSecond: logarithmic(random, 1e6, 20e6) } } : both
}

function drawConfig(random: SeededRandom): Partial<TransportConfig> {
  const streamWindowBytes = logarithmic(random, 8 * KIB, 1_024 * KIB)
  const connectionWindowBytes = logarithmic(random, 8 * KIB, 2_048 * KIB)
  return {
    // Outages must never add up to these.
    idleTimeoutUs: 120_000_000,
    handshakeTimeoutUs: 90_000_000,
    // Behind a NAT that forgets, only a client that speaks up now and then can be found again.
    keepAliveUs: random.between(1_000_000, 4_000_000),
    streamWindowBytes,
    streamWindowMaxBytes: Math.max(streamWindowBytes, transportDefaults.streamWindowMaxBytes),
    connectionWindowBytes,
    connectionWindowMaxBytes: Math.max(connectionWindowBytes, transportDefaults.connectionWindowMaxBytes),
    maxStreamsBidi: random.pick([1, 2, 4, 128]),
    maxStreamsUni: random.pick([1, 2, 4, 128]),
    sendBufferBytes: logarithmic(random, 2 * KIB, 1_024 * KIB),
    datagramFrameBytesMax: random.pick([65_535, 65_535, 300, 0]),
    datagramQueueMax: random.pick([1, 16, 256]),
    congestion: random.pick([
      'tolerant',
      'tolerant',
      'cubic',
      'new_reno',
      'bbr',
      'bbr',
      'lia',
      'olia',
      'balia',
    ] as const),
    isPaced: random.chance(0.8),
    isEcnEnabled: random.chance(0.8),
    mtuBytesMax: random.pick([1_200, 1_252, 1_452, 1_452, 8_900]),
    maxAckDelayUs: random.pick([1_000, 25_000, 25_000, 200_000]),
    activeCidLimit: random.pick([2, 3, 8]),
    maxPaths: random.pick([1, 2, 4, 4, 4, 4]),
    isGreaseEnabled: random.chance(0.7),
    keyUpdatePackets: random.pick([100, 300, 2_000, 2 ** 23]),
    skipPacketNumberEvery: random.pick([0, 5, 50, 500]),
    isActiveMigrationDisabled: random.chance(0.1),
  }
}

function drawClient(random: SeededRandom, versions: readonly number[]): ClientPlan {
  const isIpv6 = random.chance(0.2)
  return {
    isIpv6,
    nat: isIpv6 || random.chance(0.4) ? undefined : random.pick(['full-cone', 'restricted', 'symmetric'] as const),
    link: drawLink(random),
    secondLink: random.chance(0.5) ? drawLink(random) : undefined,
    config: { ...drawConfig(random), versions },
    receiveDelayUs: random.chance(0.3) ? random.between(0, 3_000) : 0,
    datagramsMax: random.pick([1, 2, 10, 48]),
    clientHelloBytesMin: random.chance(0.25) ? random.between(1_000, 3_500) : 0,
    transfers: Array.from({ length: random.between(1, 10) }, () => ({
      plan: drawTransfer(random),
      afterUs: random.chance(0.4) ? 0 : random.between(0, STORM_US),
      byServer: random.chance(0.25),
    })),
    datagrams: Array.from({ length: random.chance(0.5) ? random.between(1, 40) : 0 }, () => ({
      lengthBytes: random.between(0, 1_300),
      afterUs: random.between(0, STORM_US),
      byServer: random.chance(0.5),
    })),
    actions: Array.from({ length: random.between(0, 10) }, () => ({
      kind: random.pick(actionKinds),
      afterUs: random.between(0, STORM_US),
      byServer: random.chance(0.4),
    })),
    reconnects: random.chance(0.4),
    closesByServer: random.chance(0.3),
    vanishesAfterUs: random.chance(0.05) ? random.between(0, STORM_US) : undefined,
  }
}

function drawTransfer(random: SeededRandom): TransferPlan {
  const kind = random.chance(0.7) ? 'bidirectional' : 'unidirectional'
  const size = (): number => (random.chance(0.1) ? 0 : logarithmic(random, 1, 300 * KIB))
  const uploadBytes = size()
  const replyBytes = kind === 'bidirectional' ? size() : 0
  const sometimes = (bytes: number): number => (random.chance(0.08) ? random.between(0, bytes) : Infinity)
  const slow = (): number => (random.chance(0.15) ? random.between(1_000, 60_000) : 0)
  return {
    kind,
    key: random.uint32(),
    uploadBytes,
    replyBytes,
    openerResetsAt: sometimes(uploadBytes),
    openerStopsAt: kind === 'bidirectional' ? sometimes(replyBytes) : Infinity,
    acceptorResetsAt: kind === 'bidirectional' ? sometimes(replyBytes) : Infinity,
    acceptorStopsAt: sometimes(uploadBytes),
    openerReadDelayUs: slow(),
    acceptorReadDelayUs: slow(),
  }
}
