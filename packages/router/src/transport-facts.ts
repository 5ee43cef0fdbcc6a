/** What the router's metrics need to know of a QUIC connection. */
import type { Handshake, QuicConnection } from '@quicether/net'
import type { ConnectionCounters } from './metrics/connection-metrics.ts'
import type { Established } from './ports.ts'

/** Times in milliseconds. */
export function establishedOf(handshake: Handshake): Established {
  return {
    earlyData: handshake.earlyData === 'accepted',
    resumed: handshake.resumed,
    establishmentMs: handshake.establishmentUs / 1000,
  }
}

/** Counters over all paths; the round-trip time is that of the first path which has measured one. */
export function countersOf(connection: QuicConnection): ConnectionCounters {
  const { bytesSent, bytesReceived, packetsSent, packetsReceived, packetsLost } = connection.stats()
  const measured = connection.paths().find((path) => path.rttLatestUs > 0)
  return { bytesSent, bytesReceived, packetsSent, packetsReceived, packetsLost, smoothedRttUs: measured?.smoothedRttUs }
}
