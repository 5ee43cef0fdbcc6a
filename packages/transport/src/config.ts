/** Settings of an endpoint's connections, their defaults and their bounds. */
import { Version } from '@quicether/wire'
import { type AckPath, ackPaths } from './ack/ack-path.ts'
import { type CongestionAlgorithm, congestionAlgorithms } from './congestion/algorithms.ts'
import { INITIAL_WINDOW_PACKETS } from './congestion/controller.ts'
import { QuicError } from './errors.ts'
import type { Micros } from './ports/datagrams.ts'
import type { PacketSchedulerFactory } from './schedule/packet-scheduler.ts'
import { type PacketSchedulerName, packetSchedulers } from './schedule/schedulers.ts'
import type { SendPolicyFactory } from './schedule/send-policy.ts'
import { type StreamSchedulerName, streamSchedulers } from './stream/stream-schedulers.ts'

export interface TransportConfig {
  /** Close silently after this long without a packet; 0 = never. The smaller value of both sides holds. */
  readonly idleTimeoutUs: Micros
  /** Give up a handshake that takes longer. */
  readonly handshakeTimeoutUs: Micros
  /** Send a PING when idle for this long; 0 = never. */
  readonly keepAliveUs: Micros
  readonly streamWindowBytes: number
  readonly streamWindowMaxBytes: number
  readonly connectionWindowBytes: number
  readonly connectionWindowMaxBytes: number
  readonly maxStreamsBidi: number
  readonly maxStreamsUni: number
  /** Bytes one stream buffers for sending before `write` blocks (at least; grows with the congestion window). */
  readonly sendBufferBytes: number
  /**
   * Bytes all streams together buffer for sending; beyond it each stream still gets 64 KiB. More, up to 64 MiB, while
   * four congestion windows of all paths are more.
   */
  readonly connectionSendBufferBytes: number
  /** Largest DATAGRAM frame accepted; 0 = not supported. */
  readonly datagramFrameBytesMax: number
  /** DATAGRAMs queued in each direction. */
  readonly datagramQueueMax: number
  readonly congestion: CongestionAlgorithm
  /** Datagrams of the congestion window that a path begins with. More than 10 goes beyond RFC 9002 §7.2. */
  readonly initialWindowPackets: number
  readonly isPaced: boolean
  /** Mark packets ECT(0) and react to CE. */
  readonly isEcnEnabled: boolean
  /** Largest UDP payload probed for (DPLPMTUD) and accepted. */
  readonly mtuBytesMax: number
  readonly maxAckDelayUs: Micros
  /** Connection IDs the peer may give us. */
  readonly activeCidLimit: number
  /** Randomise the fixed bit when the peer allows it (RFC 9287). */
  readonly isGreaseEnabled: boolean
  /**
   * Versions offered and accepted, most preferred first; a client starts with the first. A server moves a client up to
   * version 2 when it prefers that and the client speaks it, but never down to version 1: who starts in version 2 chose it.
   */
  readonly versions: readonly number[]
  /** CRYPTO bytes buffered out of order per level. */
  readonly cryptoBufferBytesMax: number
  readonly isActiveMigrationDisabled: boolean
  /** Paths at once (RFC 10069); 1 = the extension is not offered. */
  readonly maxPaths: number
  /** Which path carries acknowledgments: the one they are about, the fastest one, or whichever sends first. */
  readonly ackPath: AckPath
  /**
   * Client: further addresses of the server that it may announce and we keep; 0 = the extension is not offered. Nor is it
   * with `maxPaths` 1.
   */
  readonly announcedAddressesMax: number
  /** Which path the next burst of application data goes on, by name or a scheduler of your own. */
  readonly packetScheduler: PacketSchedulerName | PacketSchedulerFactory
  /** For the packet scheduler `weighted`: weights by path ID, 1 beyond the list; empty = by estimated rate. */
  readonly pathWeights: readonly number[]
  /** Which stream fills the next packet: in turn, by strict priority, or sharing by weight (`setStreamPriority`). */
  readonly streamScheduler: StreamSchedulerName
  /** A policy of your own for paths and streams together, instead of `packetScheduler` and `streamScheduler`. */
  readonly sendPolicy?: SendPolicyFactory | undefined
  /** 1-RTT packets after which the keys are updated, besides the AEAD's own limit. */
  readonly keyUpdatePackets: number
  /**
   * The first packet number skipped on each path, on average; further ones come at twice the distance each, up to 128
   * times: acknowledgments of what never came show, and a peer that counts gaps is not misled. 0 = never.
   */
  readonly skipPacketNumberEvery: number
}

const PATH_WEIGHT_MIN = 0.001
const PATH_WEIGHT_MAX = 1000
const KiB = 1024
const MiB = 1024 * KiB

export const transportDefaults: TransportConfig = {
  idleTimeoutUs: 30_000_000,
  handshakeTimeoutUs: 10_000_000,
  keepAliveUs: 0,
  streamWindowBytes: 1 * MiB,
  streamWindowMaxBytes: 16 * MiB,
  connectionWindowBytes: 2 * MiB,
  connectionWindowMaxBytes: 32 * MiB,
  maxStreamsBidi: 128,
  maxStreamsUni: 128,
  sendBufferBytes: 1 * MiB,
  connectionSendBufferBytes: 4 * MiB,
  datagramFrameBytesMax: 65_535,
  datagramQueueMax: 256,
  congestion: 'tolerant',
  initialWindowPackets: INITIAL_WINDOW_PACKETS,
  isPaced: true,
  isEcnEnabled: true,
  mtuBytesMax: 1452,
  maxAckDelayUs: 25_000,
  activeCidLimit: 8,
  isGreaseEnabled: true,
  versions: [Version.V1, Version.V2],
  cryptoBufferBytesMax: 64 * KiB,
  isActiveMigrationDisabled: false,
  maxPaths: 1,
  announcedAddressesMax: 8,
  ackPath: 'same',
  packetScheduler: 'adaptive',
  pathWeights: [],
  streamScheduler: 'rr',
  keyUpdatePackets: 2 ** 23,
  skipPacketNumberEvery: 500,
}

const bounds: Readonly<Partial<Record<keyof TransportConfig, readonly [number, number]>>> = {
  idleTimeoutUs: [0, 3_600_000_000],
  handshakeTimeoutUs: [100_000, 600_000_000],
  keepAliveUs: [0, 3_600_000_000],
  streamWindowBytes: [1 * KiB, 1024 * MiB],
  streamWindowMaxBytes: [1 * KiB, 1024 * MiB],
  connectionWindowBytes: [1 * KiB, 1024 * MiB],
  connectionWindowMaxBytes: [1 * KiB, 1024 * MiB],
  maxStreamsBidi: [0, 65_536],
  maxStreamsUni: [0, 65_536],
  sendBufferBytes: [1 * KiB, 1024 * MiB],
  connectionSendBufferBytes: [1 * KiB, 1024 * MiB],
  datagramFrameBytesMax: [0, 65_535],
  datagramQueueMax: [0, 65_536],
  initialWindowPackets: [2, 1_000],
  mtuBytesMax: [1200, 65_507],
  maxAckDelayUs: [0, 16_000_000],
  activeCidLimit: [2, 64],
  cryptoBufferBytesMax: [4 * KiB, 16 * MiB],
  maxPaths: [1, 32],
  announcedAddressesMax: [0, 16],
  keyUpdatePackets: [100, 2 ** 36],
  skipPacketNumberEvery: [0, 2 ** 30],
}

/** Fills in defaults and checks every bound; throws QuicError ERR_CONFIG naming the field and its range. */
export function resolveConfig(partial: Partial<TransportConfig> = {}): TransportConfig {
  const config: TransportConfig = { ...transportDefaults, ...partial }
  for (const [name, range] of Object.entries(bounds)) {
    const value = config[name as keyof TransportConfig] as number
    const [min, max] = range as readonly [number, number]
    if (!(value >= min && value <= max))
      throw new QuicError('ERR_CONFIG', `${name} is ${value}; allowed: ${min} to ${max}`)
  }
  if (!congestionAlgorithms.includes(config.congestion)) {
    throw new QuicError('ERR_CONFIG', `congestion is ${config.congestion}; allowed: ${congestionAlgorithms.join(', ')}`)
  }
  if (!ackPaths.includes(config.ackPath)) {
    throw new QuicError('ERR_CONFIG', `ackPath is ${config.ackPath}; allowed: ${ackPaths.join(', ')}`)
  }
  checkSchedulers(config)
  const known = config.versions.filter((version) => version === Version.V1 || version === Version.V2)
  if (known.length === 0 || known.length !== config.versions.length) {
    throw new QuicError('ERR_CONFIG', 'versions must list QUIC versions 1 (0x1) and 2 (0x6b3343cf) only, at least one')
  }
  return config
}

function checkSchedulers({ packetScheduler, pathWeights, streamScheduler }: TransportConfig): void {
  if (typeof packetScheduler !== 'function' && !packetSchedulers.includes(packetScheduler)) {
    const known = packetSchedulers.join(', ')
    throw new QuicError('ERR_CONFIG', `packetScheduler is ${packetScheduler}; allowed: ${known}, or a function`)
  }
  if (!streamSchedulers.includes(streamScheduler)) {
    throw new QuicError('ERR_CONFIG', `streamScheduler is ${streamScheduler}; allowed: ${streamSchedulers.join(', ')}`)
  }
  const wrong = pathWeights.findIndex((weight) => !(weight >= PATH_WEIGHT_MIN && weight <= PATH_WEIGHT_MAX))
  if (wrong >= 0) {
    const range = `${PATH_WEIGHT_MIN} to ${PATH_WEIGHT_MAX}`
    throw new QuicError('ERR_CONFIG', `pathWeights[${wrong}] is ${pathWeights[wrong]}; allowed: ${range}`)
  }
}
