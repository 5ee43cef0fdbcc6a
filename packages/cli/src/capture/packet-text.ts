/** Decoded packets as lines: one for each packet, in the words of qlog, short enough to read. */
import type { DecodedPacket } from '@quicether/net'

type Frame = Readonly<Record<string, unknown>>

const RANGES_SHOWN_MAX = 4
const DATA_SHOWN_MAX = 48

/** `+0.001234  #1 client → server  path 1  1RTT 42  1252 B  stream 0 [0, 1200)`; `startUs` is the time of the first packet. */
export function packetLine(packet: DecodedPacket, startUs: number): string {
  const { connection, sender, path, kind, packetNumber, generation, length, frames, problem } = packet
  const time = `+${((packet.timeUs - startUs) / 1e6).toFixed(6)}`
  const who =
    connection === undefined
      ? `${packet.from} → ${packet.to}`
      : `#${connection} ${sender === 'client' ? 'client → server' : 'server → client'}`
  const number = packetNumber === undefined ? '' : ` ${packetNumber}`
  const key = generation === undefined || generation === 0 ? '' : ` key ${generation}`
  const place = path === undefined ? '' : `  path ${path}`
  const shown = frames === undefined ? `(${problem ?? 'nothing inside'})` : framesText(frames)
  return `${time}  ${who}${place}  ${kind}${number}${key}  ${length} B  ${shown}`
}

/** A JSON line; the frames stand in it as they are. */
export function packetJson(packet: DecodedPacket): string {
  const { frames, ...rest } = packet
  const text = JSON.stringify({ type: 'packet', ...rest })
  return frames === undefined ? text : `${text.slice(0, -1)},"frames":${frames}}`
}

/** The frames of a JSON array in short. */
export function framesText(json: string): string {
  const frames: unknown = JSON.parse(json)
  return Array.isArray(frames) ? frames.map((frame) => frameText(frame as Frame)).join(', ') : ''
}

function frameText(frame: Frame): string {
  const type = String(frame['frame_type'])
  switch (type) {
    case 'stream':
      return `stream ${frame['stream_id']} ${span(frame)}${frame['fin'] === true ? ' fin' : ''}`
    case 'crypto':
      return `crypto ${span(frame)}`
    case 'padding':
      return `padding ${raw(frame)['payload_length']}`
    case 'ack':
      return `ack ${ranges(frame)}`
    case 'path_ack':
      return `path_ack of path ${frame['path_id']} ${ranges(frame)}`
    default:
      return [type, ...fields(frame)].join(' ')
  }
}

function span(frame: Frame): string {
  const offset = Number(frame['offset'])
  return `[${offset}, ${offset + Number(raw(frame)['length'] ?? 0)})`
}

function raw(frame: Frame): Frame {
  const value = frame['raw']
  return value !== null && typeof value === 'object' ? (value as Frame) : {}
}

function ranges(frame: Frame): string {
  const all = Array.isArray(frame['acked_ranges']) ? (frame['acked_ranges'] as readonly (readonly number[])[]) : []
  const shown = all.slice(0, RANGES_SHOWN_MAX).map(([from, to]) => (to === undefined ? `${from}` : `${from}-${to}`))
  return `${shown.join(' ')}${all.length > shown.length ? ` and ${all.length - shown.length} more` : ''}`
}

/** `path_id=1 connection_id=…`: everything that is no object. */
function fields(frame: Frame): string[] {
  return Object.entries(frame).flatMap(([name, value]) => {
    if (name === 'frame_type' || (typeof value === 'object' && !Array.isArray(value))) return []
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    return [`${name}=${text.length > DATA_SHOWN_MAX ? `${text.slice(0, DATA_SHOWN_MAX)}…` : text}`]
  })
}
