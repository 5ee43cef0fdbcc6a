/** The connections that are open now: measured from their first to their last moment, listed and closed on demand. */
import type { MetricsCollector } from '../metrics/collector.ts'
import { type ConnectionMetrics, describeClose } from '../metrics/connection-metrics.ts'
import { round } from '../metrics/distribution.ts'
import type { ServerConnection } from '../ports.ts'
import { messageOf } from '../user-error.ts'
import type { OpenConnectionDocument, PathDocument } from './feed-document.ts'

/** What happens to connections, for logs. */
export interface ConnectionLog {
  onConnection(id: number, remote: string): void
  onEstablished(id: number, establishmentMs: number, handshake: '0-RTT' | '1-RTT'): void
  onConnectionClosed(id: number, reason: string, isError: boolean): void
}

interface Entry {
  readonly connection: ServerConnection
  readonly metrics: ConnectionMetrics
}

/** One per router. */
export class ConnectionBook {
  readonly #collector: MetricsCollector
  readonly #log: ConnectionLog
  readonly #nowMs: () => number
  readonly #open = new Map<number, Entry>()

  constructor(collector: MetricsCollector, log: ConnectionLog, nowMs: () => number) {
    this.#collector = collector
    this.#log = log
    this.#nowMs = nowMs
  }

  get size(): number {
    return this.#open.size
  }

  /** Follows a connection to its end. */
  add(connection: ServerConnection): ConnectionMetrics {
    const metrics = this.#collector.openConnection(connection.remote, () => connection.counters(), connection.protocol)
    const { id } = metrics.info
    this.#open.set(id, { connection, metrics })
    this.#log.onConnection(id, connection.remote)
    connection.established.then(
      (established) => {
        this.#collector.onConnected(metrics, established)
        this.#log.onEstablished(id, established.establishmentMs, established.earlyData ? '0-RTT' : '1-RTT')
      },
      () => {
        // The reason comes with `closed`.
      },
    )
    connection.closed.then(
      (reason) => {
        const { text, isError } = describeClose(reason)
        this.#onClosed(metrics, text, isError ? closeKind(reason) : undefined)
      },
      (error: unknown) => this.#onClosed(metrics, messageOf(error), 'internal'),
    )
    return metrics
  }

  /** The newest open connections, at most `max`. */
  list(max: number): OpenConnectionDocument[] {
    const nowMs = this.#nowMs()
    return [...this.#open.values()]
      .slice(-max)
      .reverse()
      .map(({ connection, metrics }) => ({ ...metrics.document(nowMs), paths: pathsOf(connection) }))
  }

  /** Closes one connection. False = there is none with this number. */
  close(id: number): boolean {
    const entry = this.#open.get(id)
    if (entry === undefined) return false
    entry.connection.close?.('closed by the operator')
    return true
  }

  #onClosed(metrics: ConnectionMetrics, text: string, errorKind: string | undefined): void {
    const { id } = metrics.info
    this.#open.delete(id)
    this.#collector.closeConnection(metrics, text, errorKind === undefined ? undefined : { kind: errorKind })
    this.#log.onConnectionClosed(id, text, errorKind !== undefined)
  }
}

function closeKind(reason: Awaited<ServerConnection['closed']>): string {
  if (reason.kind === 'transport') return reason.name.toLowerCase().replaceAll('_', '-')
  if (reason.kind === 'application') return `application-0x${reason.code.toString(16)}`
  return reason.kind
}

function pathsOf(connection: ServerConnection): PathDocument[] {
  const paths = connection.paths?.() ?? []
  return paths.map((path) => ({
    id: path.id,
    local: `${bracketed(path.localAddress)}:${path.localPort}`,
    remote: `${bracketed(path.remoteAddress)}:${path.remotePort}`,
    state: path.state,
    isBackup: path.isBackup,
    smoothedRttMs: round(path.smoothedRttUs / 1_000),
    windowBytes: path.windowBytes,
    inFlightBytes: path.inFlightBytes,
    mtuBytes: path.mtuBytes,
    bytesSent: path.bytesSent,
    bytesReceived: path.bytesReceived,
    packetsSent: path.packetsSent,
    packetsLost: path.packetsLost,
    congestion: path.congestion,
  }))
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}
