/** Writes what one connection does as qlog (JSON text sequence), from packets down to frames. */
import type { ConnectionObserver, Level, Micros, PacketInfo, PathMetrics, PathTuple } from '@quicether/transport'
import type { BoundedFile } from '../capture/bounded-file.ts'
import { dropTrigger, toQlogEvent } from './events.ts'
import { FrameJson } from './frame-json.ts'

/** Opens the file of a connection; undefined = this one is not recorded. */
export type QlogOpener = (originalDestinationCid: string, role: 'client' | 'server') => BoundedFile | undefined

export interface QlogWriterOptions {
  readonly open: QlogOpener
  /** What added to `nowUs` gives microseconds since 1970. */
  readonly epochOffsetUs: number
  readonly application: string
  /** A file ends here, with a record that says so. */
  readonly fileBytesMax: number
  /** Called once, when the file is no longer needed. */
  readonly onClosed?: (writer: QlogWriter) => void
}

type StartInfo = Parameters<ConnectionObserver['connectionStarted']>[0]

const packetTypes = ['initial', '0RTT', 'handshake', '1RTT'] as const
const ecnNames = ['Not-ECT', 'ECT(1)', 'ECT(0)', 'CE'] as const
const lossTriggers = { reordering: 'reordering_threshold', time: 'time_threshold', pto: 'pto_expired' } as const
const ONE_RTT = 3
const PATHS_REMEMBERED_MAX = 64
/** Packets of the closing period are still recorded; after this the file is closed. */
const LINGER_MS = 5_000
const DEFAULT_ACK_DELAY_EXPONENT = 3

/**
 * Times are relative to the start of the connection. Nothing is opened before `connectionStarted`. Records that find the
 * buffer full are left out and counted by a `quicether:records_dropped` event, so that a slow disk never slows packets.
 */
export class QlogWriter implements ConnectionObserver {
  readonly #options: QlogWriterOptions
  readonly #frames = new FrameJson()
  readonly #metrics = new Map<number, PathMetrics>()
  #file: BoundedFile | undefined
  #startUs = 0
  #lastUs = 0
  #dropped = 0
  #writtenBytes = 0
  #ackDelayExponentLocal = DEFAULT_ACK_DELAY_EXPONENT
  #ackDelayExponentRemote = DEFAULT_ACK_DELAY_EXPONENT
  #linger: NodeJS.Timeout | undefined
  #isEnded = false
  #closed: Promise<void> | undefined

  constructor(options: QlogWriterOptions) {
    this.#options = options
  }

  /** Undefined before the connection started, and when it is not recorded. */
  get path(): string | undefined {
    return this.#file?.path
  }

  connectionStarted(info: StartInfo): void {
    if (this.#file !== undefined || this.#isEnded) return
    this.#file = this.#options.open(info.originalDestinationCid, info.role)
    if (this.#file === undefined) return
    this.#startUs = info.nowUs
    this.#lastUs = info.nowUs
    this.#writeText(`\u001e${JSON.stringify(this.#header(info))}\n`)
    const { tuple } = info
    const local = endpointInfo(tuple.localAddress, tuple.localPort, info.sourceCid)
    const remote = endpointInfo(tuple.remoteAddress, tuple.remotePort, info.destinationCid)
    this.#record('quic:connection_started', JSON.stringify({ local, remote }), info.nowUs)
    this.#record('quic:version_information', `{"chosen_version":"${hexVersion(info.version)}"}`, info.nowUs)
  }

  packetSent(packet: PacketInfo, bytes: Uint8Array, payloadStart: number, payloadEnd: number, nowUs: Micros): void {
    if (this.#file === undefined) return
    this.#packet('quic:packet_sent', packet, bytes, payloadStart, payloadEnd, this.#ackDelayExponentLocal, nowUs)
  }

  packetReceived(packet: PacketInfo, bytes: Uint8Array, payloadStart: number, payloadEnd: number, nowUs: Micros): void {
    if (this.#file === undefined) return
    this.#packet('quic:packet_received', packet, bytes, payloadStart, payloadEnd, this.#ackDelayExponentRemote, nowUs)
  }

  packetDropped(reason: string, length: number, nowUs: Micros): void {
    if (this.#file === undefined) return
    const data = `{"raw":{"length":${length}},"trigger":"${dropTrigger(reason)}","details":{"reason":${JSON.stringify(reason)}}}`
    this.#record('quic:packet_dropped', data, nowUs)
  }

  packetLost(
    level: Level,
    pathId: number,
    packetNumber: number,
    trigger: 'reordering' | 'time' | 'pto',
    nowUs: Micros,
  ): void {
    if (this.#file === undefined) return
    const header = `{"packet_type":"${packetTypes[level]}","packet_number":${packetNumber}${pathField(pathId)}}`
    this.#record('quic:packet_lost', `{"header":${header},"trigger":"${lossTriggers[trigger]}"}`, nowUs, pathId)
  }

  metricsUpdated(metrics: PathMetrics, nowUs: Micros): void {
    if (this.#file === undefined) return
    const before = this.#metrics.get(metrics.pathId)
    const changes = changedMetrics(before, metrics)
    if (before === undefined && this.#metrics.size >= PATHS_REMEMBERED_MAX) this.#metrics.clear()
    this.#metrics.set(metrics.pathId, { ...metrics })
    if (Object.keys(changes).length > 0) {
      this.#record('quic:recovery_metrics_updated', JSON.stringify(changes), nowUs, metrics.pathId)
    }
    if (before?.congestionState === metrics.congestionState) return
    const state = { ...(before === undefined ? {} : { old: before.congestionState }), new: metrics.congestionState }
    this.#record('quic:congestion_state_updated', JSON.stringify(state), nowUs, metrics.pathId)
  }

  event(name: string, data: Readonly<Record<string, unknown>>, nowUs: Micros): void {
    if (this.#file === undefined) return
    const event = toQlogEvent(name, data)
    if (name === 'parameters_set') this.#onParameters(event.data)
    const pathId = typeof data['path_id'] === 'number' ? data['path_id'] : 0
    this.#record(event.name, JSON.stringify(event.data, plain), nowUs, pathId)
    if (name === 'connection_closed') this.#armLinger()
    if (name === 'drained' || (name === 'connection_state_updated' && data['new'] === 'closed')) void this.close()
  }

  /** Writes out what is buffered and closes the file. Never rejects. */
  close(): Promise<void> {
    this.#closed ??= this.#finish()
    return this.#closed
  }

  async #finish(): Promise<void> {
    clearTimeout(this.#linger)
    const file = this.#file
    this.#isEnded = true
    if (file !== undefined) this.#reportDropped(file)
    this.#file = undefined
    await file?.close()
    this.#options.onClosed?.(this)
  }

  #armLinger(): void {
    this.#linger ??= setTimeout(() => void this.close(), LINGER_MS)
    this.#linger.unref()
  }

  #header(info: StartInfo): Record<string, unknown> {
    const { application, epochOffsetUs } = this.#options
    const startedAt = new Date(Math.max(0, (info.nowUs + epochOffsetUs) / 1000)).toISOString()
    return {
      file_schema: 'urn:ietf:params:qlog:file:sequential',
      serialization_format: 'application/qlog+json-seq',
      title: `${application} ${info.role} ${info.originalDestinationCid}`,
      trace: {
        vantage_point: { name: application, type: info.role },
        common_fields: {
          group_id: info.originalDestinationCid,
          time_format: 'relative_to_epoch',
          reference_time: { clock_type: 'monotonic', epoch: 'unknown', wall_clock_time: startedAt },
        },
        event_schemas: ['urn:ietf:params:qlog:events:quic-12'],
      },
    }
  }

  #packet(
    name: string,
    packet: PacketInfo,
    bytes: Uint8Array,
    start: number,
    end: number,
    ackDelayExponent: number,
    nowUs: Micros,
  ): void {
    const { level, pathId } = packet
    const detail =
      level === ONE_RTT
        ? `,"key_phase":${packet.keyPhase}${pathField(pathId)}`
        : `,"version":"${hexVersion(packet.version)}"`
    const header = `{"packet_type":"${packetTypes[level]}","packet_number":${packet.packetNumber}${detail}}`
    const frames = this.#frames.encode(bytes, start, end, level, ackDelayExponent)
    const raw = `{"length":${packet.length},"payload_length":${end - start}}`
    const ecn = ecnNames[packet.ecn & 3]
    this.#record(name, `{"header":${header},"raw":${raw},"ecn":"${ecn}","frames":${frames}}`, nowUs, pathId)
  }

  #onParameters(data: Readonly<Record<string, unknown>>): void {
    const exponent = data['ack_delay_exponent']
    if (typeof exponent !== 'number') return
    if (data['initiator'] === 'local') this.#ackDelayExponentLocal = exponent
    else this.#ackDelayExponentRemote = exponent
  }

  #record(name: string, dataJson: string, nowUs: Micros, pathId = 0): void {
    const file = this.#file
    if (file === undefined) return
    this.#lastUs = nowUs
    if (this.#dropped > 0 && file.canTake(16 * 1024)) this.#reportDropped(file)
    const text = this.#line(name, dataJson, pathId)
    if (this.#writtenBytes + text.length > this.#options.fileBytesMax) {
      this.#writeText(this.#line('quicether:log_truncated', `{"limit_bytes":${this.#options.fileBytesMax}}`, 0))
      void this.close()
      return
    }
    if (!this.#writeText(text)) this.#dropped++
  }

  #reportDropped(file: BoundedFile): void {
    if (this.#dropped === 0) return
    if (file.appendText(this.#line('quicether:records_dropped', `{"count":${this.#dropped}}`, 0))) this.#dropped = 0
  }

  /** RFC 7464: each JSON text stands between a record separator and a line feed. */
  #line(name: string, dataJson: string, pathId: number): string {
    const timeMs = (this.#lastUs - this.#startUs) / 1000
    const tuple = pathId === 0 ? '' : `,"tuple":"${pathId}"`
    return `\u001e{"time":${timeMs.toFixed(3)},"name":"${name}"${tuple},"data":${dataJson}}\n`
  }

  #writeText(text: string): boolean {
    const isTaken = this.#file?.appendText(text) ?? false
    if (isTaken) this.#writtenBytes += text.length
    return isTaken
  }
}

/** Only what differs from before: qlog asks for updates, not for repetitions. */
function changedMetrics(before: PathMetrics | undefined, now: PathMetrics): Record<string, number> {
  const changes: Record<string, number> = {}
  const add = (key: string, value: number, old: number | undefined) => {
    if (value !== old && Number.isFinite(value)) changes[key] = value
  }
  add('smoothed_rtt', now.smoothedRttUs / 1000, before && before.smoothedRttUs / 1000)
  add('min_rtt', now.rttMinUs / 1000, before && before.rttMinUs / 1000)
  add('latest_rtt', now.rttLatestUs / 1000, before && before.rttLatestUs / 1000)
  add('rtt_variance', now.rttVarUs / 1000, before && before.rttVarUs / 1000)
  add('pto_count', now.ptoCount, before?.ptoCount)
  add('congestion_window', now.windowBytes, before?.windowBytes)
  add('bytes_in_flight', now.inFlightBytes, before?.inFlightBytes)
  add('ssthresh', now.slowStartThresholdBytes, before?.slowStartThresholdBytes)
  add('mtu', now.mtuBytes, before?.mtuBytes)
  return changes
}

function endpointInfo(address: PathTuple['localAddress'], port: number, cid: string): Record<string, unknown> {
  const family = address.includes(':') ? 'v6' : 'v4'
  return { [`ip_${family}`]: address, [`port_${family}`]: port, ...(cid === '' ? {} : { connection_ids: [cid] }) }
}

function pathField(pathId: number): string {
  return pathId === 0 ? '' : `,"path_id":${pathId}`
}

function hexVersion(version: number): string {
  return (version >>> 0).toString(16).padStart(8, '0')
}

/** Bytes as hexadecimal, big integers as text, functions and the like left out. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  return value
}
