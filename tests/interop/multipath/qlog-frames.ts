/** Frames by path and direction out of qlog files of both sides: our JSON sequences and picoquic's one document. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Frames whose first appearances are worth showing. */
const TELLING = /^(path_.*|max_path_id|paths_blocked)$/
const FRAMES_SHOWN_MAX = 5

export interface LoggedPacket {
  readonly timeMs: number
  readonly isSent: boolean
  readonly path: number
  readonly number: number
  readonly frames: readonly LoggedFrame[]
}

interface LoggedFrame {
  readonly type: string
  /** The fields in short, for reading. */
  readonly text: string
}

/** What one side logged of one connection. */
export class QlogFrames {
  readonly packets: readonly LoggedPacket[]
  readonly file: string

  constructor(file: string, packets: readonly LoggedPacket[]) {
    this.file = file
    this.packets = packets
  }

  /** How many frames of a type (`stream`, `path_ack` …) were sent or received on a path; absent path = on all. */
  count(direction: 'sent' | 'received', type: string, path?: number): number {
    let count = 0
    for (const packet of this.packets) {
      if (packet.isSent !== (direction === 'sent') || (path !== undefined && packet.path !== path)) continue
      count += packet.frames.filter((frame) => frame.type === type).length
    }
    return count
  }

  /** A line for the first packet of each path and direction that carries each of the frames of RFC 10069. */
  evidence(): string[] {
    const seen = new Set<string>()
    const lines: string[] = []
    for (const packet of this.packets) {
      const fresh = packet.frames.filter(({ type }) => {
        const key = `${packet.isSent} ${packet.path} ${type}`
        return TELLING.test(type) && !seen.has(key) && seen.add(key)
      })
      if (fresh.length > 0) lines.push(line(packet, fresh))
    }
    return lines
  }
}

function line(packet: LoggedPacket, fresh: readonly LoggedFrame[]): string {
  const direction = packet.isSent ? 'sent    ' : 'received'
  const shown = fresh.slice(0, FRAMES_SHOWN_MAX).map((frame) => frame.text)
  const more = packet.frames.length - shown.length
  const frames = [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join(', ')
  return `${packet.timeMs.toFixed(1).padStart(8)} ms  ${direction}  path ${packet.path}  packet ${packet.number}: ${frames}`
}

/** The 1-RTT packets of the only qlog file in `folder`; throws when there is not exactly one. */
export async function readFrames(folder: string): Promise<QlogFrames> {
  const names = (await readdir(folder)).filter((name) => /\.s?qlog$/.test(name))
  const [name] = names
  if (name === undefined || names.length > 1) throw new Error(`${folder} has ${names.length} qlog files instead of one`)
  const text = await readFile(join(folder, name), 'utf8')
  return new QlogFrames(join(folder, name), name.endsWith('.sqlog') ? [...ours(text)] : [...theirs(text)])
}

function* ours(text: string): Generator<LoggedPacket> {
  for (const row of text.replaceAll('\u001e', '').split('\n')) {
    const event = record(parse(row))
    const match = /^quic:packet_(sent|received)$/.exec(String(event['name']))
    const data = record(event['data'])
    const header = record(data['header'])
    if (match === null || header['packet_type'] !== '1RTT') continue
    yield packet(Number(event['time']), match[1] === 'sent', Number(header['path_id'] ?? 0), header, data)
  }
}

/** picoquic writes one document and leaves its end open when it is stopped: its events are read line group by line group. */
function* theirs(text: string): Generator<LoggedPacket> {
  const start = text.indexOf('"events": [')
  for (const part of text.slice(start).split(/\n(?=\[\d+, )/)) {
    const event = parse(part.replace(/[\s,]*$/, '').replace(/\]\s*\}\s*\]\s*\}$/, ''))
    if (!Array.isArray(event)) continue
    const [timeUs, path, , name, body] = event as readonly unknown[]
    const match = /^packet_(sent|received)$/.exec(String(name))
    const data = record(body)
    if (match === null || data['packet_type'] !== '1RTT') continue
    yield packet(Number(timeUs) / 1000, match[1] === 'sent', Number(path), record(data['header']), data)
  }
}

function packet(
  timeMs: number,
  isSent: boolean,
  path: number,
  header: Readonly<Record<string, unknown>>,
  data: Readonly<Record<string, unknown>>,
): LoggedPacket {
  const frames = (Array.isArray(data['frames']) ? data['frames'] : []).map((frame) => toFrame(record(frame)))
  return { timeMs, isSent, path, number: Number(header['packet_number']), frames }
}

function toFrame(frame: Readonly<Record<string, unknown>>): LoggedFrame {
  const type = String(frame['frame_type'])
  const fields = [
    'path_id',
    'sequence_number',
    'status_sequence_number',
    'path_status_sequence_number',
    'error_code',
    'reason',
  ]
  const shown = fields.flatMap((field) => {
    const value = frame[field]
    return typeof value === 'number' || (typeof value === 'string' && value !== '') ? [`${field} ${value}`] : []
  })
  return { type, text: shown.length > 0 ? `${type} (${shown.join(', ')})` : type }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // the last line of a process that was stopped
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {}
}
