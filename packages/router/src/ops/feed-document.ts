/** The documents of the admin endpoint: plain data, shared with the live page. */
import type { ConnectionDocument, StreamDocument } from '../metrics/document.ts'
import type { LatencyWindow } from './recent-latency.ts'

export interface CertificateFacts {
  readonly subject: string
  readonly names: readonly string[]
  readonly issuer: string
  readonly validFrom: string
  readonly validTo: string
  /** SHA-256 over the certificate, hex with colons. */
  readonly fingerprint: string
}

export interface ReloadStats {
  readonly succeeded: number
  readonly failed: number
  /** Epoch milliseconds; the start counts. */
  readonly lastSucceededAtMs: number
  /** Null after a reload that succeeded. */
  readonly lastError: string | null
}

export interface StatusDocument {
  readonly state: 'serving' | 'draining'
  /** `host:port`, UDP. */
  readonly listen: string
  readonly startedAt: string
  readonly uptimeSeconds: number
  readonly node: string
  readonly pid: number
  readonly configFile: string | null
  readonly results: string
  readonly certificate: CertificateFacts | null
  readonly reloads: ReloadStats
  readonly retiredConfigurations: number
  readonly connectionsOpen: number
  readonly connections: number
  readonly streamsOpen: number
  readonly streams: number
  readonly failed: number
  readonly accessLog: { readonly lines: number; readonly dropped: number; readonly waiting: number } | null
  readonly traces: { readonly sent: number; readonly dropped: number; readonly waiting: number } | null
}

/** One path of an open connection. */
export interface PathDocument {
  readonly id: number
  readonly local: string
  readonly remote: string
  readonly state: string
  readonly isBackup: boolean
  readonly smoothedRttMs: number
  readonly windowBytes: number
  readonly inFlightBytes: number
  readonly mtuBytes: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsSent: number
  readonly packetsLost: number
  readonly congestion: string
}

/** An open connection with its paths. */
export interface OpenConnectionDocument extends ConnectionDocument {
  readonly paths: readonly PathDocument[]
}

/** The service behind a name. */
export interface UpstreamDocument {
  readonly name: string
  readonly connected: number
  readonly running: number
  readonly queued: number
  /** Its addresses. */
  readonly targets?: readonly { readonly url: string; readonly isHealthy: boolean; readonly isEjected: boolean }[]
}

/** One service in the live view. */
export interface ServiceDocument {
  readonly name: string
  readonly open: number
  readonly streams: number
  readonly bytes: number
  /** Of the last 10 s; null when nothing ended in them. */
  readonly latency: LatencyWindow | null
  /** Null for requests without a route. */
  readonly upstream: UpstreamDocument | null
}

/** What the live page is told once a second. */
export interface FeedDocument {
  /** Epoch milliseconds. */
  readonly at: number
  readonly status: StatusDocument
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsSent: number
  readonly packetsLost: number
  readonly services: readonly ServiceDocument[]
  readonly connections: readonly OpenConnectionDocument[]
  readonly streams: readonly StreamDocument[]
}
