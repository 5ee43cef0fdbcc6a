/** What a connection shows to qlog, statistics and dashboards. Absent observers cost one null check. */
import type { PathId } from './events.ts'
import type { Level } from './ports/crypto.ts'
import type { Micros, PathTuple } from './ports/datagrams.ts'

/** Reused between calls: copy what must be kept. */
export interface PacketInfo {
  readonly level: Level
  readonly pathId: PathId
  readonly packetNumber: number
  /** Bytes on the wire, header and tag included. */
  readonly length: number
  readonly version: number
  /** 1-RTT only. */
  readonly keyPhase: number
  readonly ecn: number
}

export interface PathMetrics {
  readonly pathId: PathId
  readonly smoothedRttUs: number
  readonly rttMinUs: number
  readonly rttLatestUs: number
  readonly rttVarUs: number
  readonly windowBytes: number
  readonly inFlightBytes: number
  readonly slowStartThresholdBytes: number
  readonly ptoCount: number
  readonly mtuBytes: number
  readonly congestionState: string
}

/**
 * Frames are not handed over as objects: `bytes[payloadStart, payloadEnd)` is the plaintext, to be read with
 * `decodeFrames` of `@quicether/wire` and valid during the call only.
 */
export interface ConnectionObserver {
  connectionStarted(info: {
    readonly role: 'client' | 'server'
    readonly version: number
    readonly sourceCid: string
    readonly destinationCid: string
    readonly originalDestinationCid: string
    readonly tuple: PathTuple
    readonly nowUs: Micros
  }): void
  packetSent(packet: PacketInfo, bytes: Uint8Array, payloadStart: number, payloadEnd: number, nowUs: Micros): void
  packetReceived(packet: PacketInfo, bytes: Uint8Array, payloadStart: number, payloadEnd: number, nowUs: Micros): void
  packetDropped(reason: string, length: number, nowUs: Micros): void
  packetLost(
    level: Level,
    pathId: PathId,
    packetNumber: number,
    trigger: 'reordering' | 'time' | 'pto',
    nowUs: Micros,
  ): void
  metricsUpdated(metrics: PathMetrics, nowUs: Micros): void
  /** Rare happenings: parameters_set, key_updated, connection_state, mtu_updated, path, version_information, connection_closed… */
  event(name: string, data: Readonly<Record<string, unknown>>, nowUs: Micros): void
}
