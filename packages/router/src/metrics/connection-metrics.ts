/** What is measured on one QUIC connection. */
import type { CloseReason } from '@quicether/transport'
import type { HttpProtocol } from '../ports.ts'
import { printable } from '../printable.ts'
import { Distribution, round } from './distribution.ts'
import type { ConnectionDocument, Traffic } from './document.ts'

/** Counters of a connection as the transport reports them, over all its paths. */
export interface ConnectionCounters extends Traffic {
  /** Microseconds; undefined before the first sample. */
  readonly smoothedRttUs: number | undefined
}

export interface ConnectionInfo {
  readonly id: number
  /** `address:port` of the peer when it connected. */
  readonly remote: string
  readonly protocol: HttpProtocol
  readonly openedAtMs: number
}

/** Counters of a connection that is not there yet. */
export const noCounters: ConnectionCounters = {
  bytesSent: 0,
  bytesReceived: 0,
  packetsSent: 0,
  packetsReceived: 0,
  packetsLost: 0,
  smoothedRttUs: undefined,
}

/** All times are monotonic milliseconds given by the caller. */
export class ConnectionMetrics {
  readonly info: ConnectionInfo
  readonly #openedAt = new Date().toISOString()
  readonly #readCounters: () => ConnectionCounters | undefined
  readonly #streamEstablishment = new Distribution()
  #counters: ConnectionCounters = noCounters
  #state: 'handshaking' | 'open' | 'closed' = 'handshaking'
  #handshake: '0-RTT' | '1-RTT' | null = null
  #resumed = false
  #establishmentMs: number | undefined
  #closedMs = Number.NaN
  #closeReason: string | undefined
  #streams = 0
  #streamsOpen = 0
  #streamsOpenMax = 0
  #errors = 0

  constructor(info: ConnectionInfo, readCounters: () => ConnectionCounters | undefined) {
    this.info = info
    this.#readCounters = readCounters
  }

  onConnected(connected: {
    readonly earlyData: boolean
    readonly resumed: boolean
    readonly establishmentMs: number
  }): void {
    this.#state = 'open'
    this.#handshake = connected.earlyData ? '0-RTT' : '1-RTT'
    this.#resumed = connected.resumed
    this.#establishmentMs = connected.establishmentMs
  }

  onStreamOpened(): void {
    this.#streams++
    this.#streamsOpen++
    this.#streamsOpenMax = Math.max(this.#streamsOpenMax, this.#streamsOpen)
  }

  onStreamEnded(establishmentMs: number | undefined): void {
    this.#streamsOpen--
    if (establishmentMs !== undefined) this.#streamEstablishment.add(establishmentMs)
  }

  onError(): void {
    this.#errors++
  }

  onClosed(reason: string, nowMs: number): void {
    this.counters()
    this.#state = 'closed'
    this.#closeReason = reason
    this.#closedMs = nowMs
  }

  isClosed(): boolean {
    return this.#state === 'closed'
  }

  establishmentMs(): number | undefined {
    return this.#establishmentMs
  }

  counters(): ConnectionCounters {
    if (this.#state !== 'closed') this.#counters = this.#readCounters() ?? this.#counters
    return this.#counters
  }

  document(nowMs: number): ConnectionDocument {
    const counters = this.counters()
    const endMs = Number.isNaN(this.#closedMs) ? nowMs : this.#closedMs
    return {
      id: this.info.id,
      remote: this.info.remote,
      openedAt: this.#openedAt,
      durationMs: round(endMs - this.info.openedAtMs),
      state: this.#state,
      handshake: this.#handshake,
      resumed: this.#resumed,
      establishmentMs: this.#establishmentMs === undefined ? null : round(this.#establishmentMs),
      streams: this.#streams,
      maxConcurrentStreams: this.#streamsOpenMax,
      streamEstablishmentMs: this.#streamEstablishment.summary() ?? null,
      bytesSent: counters.bytesSent,
      bytesReceived: counters.bytesReceived,
      packetsSent: counters.packetsSent,
      packetsReceived: counters.packetsReceived,
      packetsLost: counters.packetsLost,
      lossRatio: counters.packetsSent === 0 ? 0 : Math.min(1, counters.packetsLost / counters.packetsSent),
      smoothedRttMs: counters.smoothedRttUs === undefined ? null : round(counters.smoothedRttUs / 1000),
      errors: this.#errors,
      closeReason: this.#closeReason ?? null,
    }
  }
}

/** The peer chooses the reason it gives. */
const textCharactersMax = 300

/** A close reason in one line, and whether it is an error or an ordinary end. */
export function describeClose(reason: CloseReason): { readonly text: string; readonly isError: boolean } {
  const { text, isError } = describe(reason)
  return { text: printable(text, textCharactersMax), isError }
}

function describe(reason: CloseReason): { readonly text: string; readonly isError: boolean } {
  switch (reason.kind) {
    case 'transport':
      return { text: `${reason.name} by ${reason.by}: ${reason.reason}`, isError: reason.code !== 0 }
    case 'application':
      // RFC 9114 §8.1: H3_NO_ERROR is 0x0100.
      return {
        text: `application code 0x${reason.code.toString(16)} by ${reason.by}${reason.reason === '' ? '' : `: ${reason.reason}`}`,
        isError: reason.code !== 0x100 && reason.code !== 0,
      }
    case 'idle':
      return { text: `idle for ${Math.round(reason.afterUs / 1000)} ms`, isError: false }
    case 'reset':
      return { text: 'stateless reset by peer', isError: true }
    case 'version':
      return {
        text: `no common version; peer offers ${reason.offered.map((v) => `0x${v.toString(16)}`).join(' ')}`,
        isError: true,
      }
  }
}
