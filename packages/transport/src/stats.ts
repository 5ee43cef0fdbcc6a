/** Snapshots of a connection and its paths for applications; never live internals. */
import type { ConnectionCore } from './core.ts'
import type { PathId } from './events.ts'
import type { Path } from './path/path.ts'
import type { Micros } from './ports/datagrams.ts'

export interface ConnectionStats {
  readonly version: number
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsLost: number
  readonly bytesLost: number
  readonly packetsDropped: number
  readonly duplicates: number
  readonly keyUpdates: number
  readonly migrations: number
  readonly rebindings: number
  readonly openStreams: number
  readonly datagramsSent: number
  readonly datagramsReceived: number
  readonly datagramsDropped: number
}

/** `silent` = nothing came back for a probe timeout: other paths go first. `abandoned` = over, soon forgotten. */
export type PathState = 'validating' | 'active' | 'silent' | 'abandoned'

export interface PathView {
  readonly id: PathId
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly isValidated: boolean
  readonly smoothedRttUs: Micros
  readonly rttMinUs: Micros
  readonly rttLatestUs: Micros
  readonly rttVarUs: Micros
  readonly windowBytes: number
  readonly inFlightBytes: number
  readonly ptoCount: number
  readonly mtuBytes: number
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly bytesSent: number
  readonly bytesReceived: number
  /** Packets of ours that were declared lost. */
  readonly packetsLost: number
  /**
   * Packets of the peer's that have not come: gaps in its packet numbers. An estimate: what comes late counts no more, and
   * the few numbers that a peer leaves out on purpose look like losses.
   */
  readonly packetsMissing: number
  readonly state: PathState
  /** Ours or the peer's wish to keep it in reserve (RFC 10069 §3.3). */
  readonly isBackup: boolean
  readonly ecn: string
  readonly congestion: string
}

/** A copy of all counters of a connection, summed over its paths where they are kept per path. */
export function connectionStats(core: ConnectionCore): ConnectionStats {
  let packetsLost = 0
  let bytesLost = 0
  for (const path of core.paths.paths) {
    packetsLost += path.recovery.packetsLost
    bytesLost += path.recovery.bytesLost
  }
  return {
    version: core.version,
    ...core.counters,
    packetsLost,
    bytesLost,
    migrations: core.paths.migrations,
    rebindings: core.paths.rebindings,
    openStreams: core.streams.count,
    datagramsSent: core.datagrams.sent,
    datagramsReceived: core.datagrams.received,
    datagramsDropped: core.datagrams.dropped,
  }
}

/** A copy of what applications and schedulers may know of a path. */
export function pathView(path: Path): PathView {
  const { rtt, recovery, tuple } = path
  return {
    id: path.id,
    localAddress: tuple.localAddress,
    localPort: tuple.localPort,
    remoteAddress: tuple.remoteAddress,
    remotePort: tuple.remotePort,
    isValidated: path.isValidated,
    smoothedRttUs: rtt.smoothedUs,
    rttMinUs: rtt.minUs,
    rttLatestUs: rtt.latestUs,
    rttVarUs: rtt.varUs,
    windowBytes: recovery.congestion.windowBytes,
    inFlightBytes: recovery.inFlightBytes,
    ptoCount: recovery.ptoCount,
    mtuBytes: path.mtu.mtuBytes,
    packetsSent: path.packetsSent,
    packetsReceived: path.packetsReceived,
    bytesSent: path.bytesSent,
    bytesReceived: path.bytesReceived,
    packetsLost: recovery.packetsLost,
    packetsMissing: path.space.ack.packetsMissing,
    state: stateOf(path),
    isBackup: path.status === 'backup' || path.peerStatus === 'backup',
    ecn: path.ecn.state,
    congestion: recovery.congestion.name,
  }
}

function stateOf(path: Path): PathState {
  if (path.isAbandoned) return 'abandoned'
  if (!path.isValidated) return 'validating'
  return path.isSuspect() ? 'silent' : 'active'
}
