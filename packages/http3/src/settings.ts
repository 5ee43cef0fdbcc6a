/** HTTP/3 SETTINGS (RFC 9114 §7.2.4, RFC 9204 §5): our values, the frame, and what a peer may not send. */
import { Reader, varintLength, writeVarint } from '@quicether/wire'
import { H3ConnectionError } from './errors.ts'

const SettingId = {
  QpackMaxTableCapacity: 0x01,
  MaxFieldSectionSize: 0x06,
  QpackBlockedStreams: 0x07,
  /** RFC 9220. */
  EnableConnectProtocol: 0x08,
  /** RFC 9297. */
  H3Datagram: 0x33,
  /** WebTransport, draft 2 to 6 of draft-ietf-webtrans-http3: on or off. */
  EnableWebTransport: 0x2b603742,
  /** WebTransport, draft 7 to 12: sessions at once. */
  WebTransportMaxSessions: 0xc671706a,
} as const

export interface Http3Settings {
  readonly qpackMaxTableCapacityBytes: number
  readonly qpackBlockedStreams: number
  /** `Infinity` = no limit stated. */
  readonly maxFieldSectionBytes: number
  /** Server: takes CONNECT with `:protocol` (RFC 9220). */
  readonly allowsExtendedConnect: boolean
  /** Takes HTTP Datagrams in QUIC DATAGRAM frames (RFC 9297 §2.1.1). */
  readonly allowsDatagrams: boolean
  /** WebTransport sessions taken at once; 0 = none. */
  readonly webTransportSessions: number
}

/** What holds for a peer that has not said otherwise. */
export const unsetSettings: Http3Settings = {
  qpackMaxTableCapacityBytes: 0,
  qpackBlockedStreams: 0,
  maxFieldSectionBytes: Number.POSITIVE_INFINITY,
  allowsExtendedConnect: false,
  allowsDatagrams: false,
  webTransportSessions: 0,
}

/** RFC 9114 §7.2.4.1: identifiers of HTTP/2 settings; "their receipt MUST be treated as … H3_SETTINGS_ERROR". */
function isHttp2Setting(id: number): boolean {
  return id === 0x00 || (id >= 0x02 && id <= 0x05)
}

/**
 * Payload of our SETTINGS frame, with one reserved identifier (§7.2.4.1 wants them exercised) chosen by `grease`, any
 * non-negative integer.
 */
// RFC 9114 §7.2.4.2#12: "The server MUST include all settings that differ from their default values."
export function encodeSettings(settings: Http3Settings, grease: number): Uint8Array {
  const pairs: [number, number][] = [
    [SettingId.QpackMaxTableCapacity, settings.qpackMaxTableCapacityBytes],
    [SettingId.QpackBlockedStreams, settings.qpackBlockedStreams],
  ]
  if (Number.isFinite(settings.maxFieldSectionBytes)) {
    pairs.push([SettingId.MaxFieldSectionSize, settings.maxFieldSectionBytes])
  }
  if (settings.allowsExtendedConnect) pairs.push([SettingId.EnableConnectProtocol, 1])
  if (settings.allowsDatagrams) pairs.push([SettingId.H3Datagram, 1])
  if (settings.webTransportSessions > 0) {
    pairs.push([SettingId.EnableWebTransport, 1])
    pairs.push([SettingId.WebTransportMaxSessions, settings.webTransportSessions])
  }
  pairs.push([reservedCodepoint(grease), grease])
  let length = 0
  for (const [id, value] of pairs) length += varintLength(id) + varintLength(value)
  const payload = new Uint8Array(length)
  let at = 0
  for (const [id, value] of pairs) at = writeVarint(payload, writeVarint(payload, at, id), value)
  return payload
}

/** A codepoint of the form 0x1f * N + 0x21, reserved in every HTTP/3 registry to keep peers tolerant. */
export function reservedCodepoint(n: number): number {
  return 0x1f * n + 0x21
}

/** Parses the payload of a SETTINGS frame. Throws H3_SETTINGS_ERROR or H3_FRAME_ERROR. */
export function decodeSettings(bytes: Uint8Array, start: number, end: number): Http3Settings {
  const reader = new Reader(bytes, start, end)
  const seen = new Set<number>()
  let qpackMaxTableCapacityBytes = unsetSettings.qpackMaxTableCapacityBytes
  let qpackBlockedStreams = unsetSettings.qpackBlockedStreams
  let maxFieldSectionBytes = unsetSettings.maxFieldSectionBytes
  let allowsExtendedConnect = false
  let allowsDatagrams = false
  let webTransportSessions = 0
  while (reader.offset < end) {
    const id = integer(reader)
    const value = integer(reader)
    if (isHttp2Setting(id)) {
      throw new H3ConnectionError('H3_SETTINGS_ERROR', `setting 0x${id.toString(16)} belongs to HTTP/2`)
    }
    // RFC 9114 §7.2.4: "The same setting identifier MUST NOT occur more than once"
    if (seen.has(id)) throw new H3ConnectionError('H3_SETTINGS_ERROR', `setting 0x${id.toString(16)} occurs twice`)
    seen.add(id)
    if (id === SettingId.QpackMaxTableCapacity) qpackMaxTableCapacityBytes = value
    else if (id === SettingId.QpackBlockedStreams) qpackBlockedStreams = value
    else if (id === SettingId.MaxFieldSectionSize) maxFieldSectionBytes = value
    else if (id === SettingId.EnableConnectProtocol) allowsExtendedConnect = flag(id, value)
    else if (id === SettingId.H3Datagram) allowsDatagrams = flag(id, value)
    else if (id === SettingId.EnableWebTransport)
      webTransportSessions = Math.max(webTransportSessions, Math.min(value, 1))
    else if (id === SettingId.WebTransportMaxSessions) webTransportSessions = Math.max(webTransportSessions, value)
  }
  return {
    qpackMaxTableCapacityBytes,
    qpackBlockedStreams,
    maxFieldSectionBytes,
    allowsExtendedConnect,
    allowsDatagrams,
    webTransportSessions,
  }
}

/** RFC 9220 §3 with RFC 8441 §3, RFC 9297 §2.1.1: only 0 and 1 exist. */
function flag(id: number, value: number): boolean {
  if (value <= 1) return value === 1
  throw new H3ConnectionError('H3_SETTINGS_ERROR', `setting 0x${id.toString(16)} is ${value}, allowed are 0 and 1`)
}

function integer(reader: Reader): number {
  const first = reader.offset < reader.end ? (reader.bytes[reader.offset] as number) : -1
  if (first < 0 || 1 << (first >>> 6) > reader.remaining) {
    // RFC 9114 §7.1: a frame that ends before its fields do is H3_FRAME_ERROR
    throw new H3ConnectionError('H3_FRAME_ERROR', 'SETTINGS ends inside a setting')
  }
  return reader.varintClamped()
}
