/** Counts what a peer's own qlog files say: key updates and packets declared lost. */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface QlogFacts {
  readonly files: number
  /** Key updates of 1-RTT keys after the handshake, started by this side or the other (RFC 9001 §6). */
  keyUpdates: number
  packetsLost: number
  pathChallenges: number
}

/** Reads every qlog file of `folder`, as one JSON document or as a JSON text sequence (RFC 7464). */
export async function readQlog(folder: string): Promise<QlogFacts> {
  const names = existsSync(folder) ? (await readdir(folder)).filter((name) => /\.(s?qlog|json)$/.test(name)) : []
  const facts: QlogFacts = { files: names.length, keyUpdates: 0, packetsLost: 0, pathChallenges: 0 }
  for (const name of names) {
    const text = await readFile(join(folder, name), 'utf8')
    const updatesByKey = new Map<string, number>()
    for (const event of events(text)) count(event, facts, updatesByKey)
    // Both directions of one update are logged: the key that changed most often tells the number of updates.
    facts.keyUpdates += Math.max(0, ...updatesByKey.values())
  }
  return facts
}

function count(event: Readonly<Record<string, unknown>>, facts: QlogFacts, updatesByKey: Map<string, number>): void {
  const name = typeof event.name === 'string' ? event.name.slice(event.name.indexOf(':') + 1) : ''
  const data = isRecord(event.data) ? event.data : {}
  if (name === 'packet_lost') facts.packetsLost += 1
  if (name === 'key_updated' && typeof data.trigger === 'string' && data.trigger.endsWith('_update')) {
    const key = String(data.key_type ?? 'key')
    updatesByKey.set(key, (updatesByKey.get(key) ?? 0) + 1)
  }
  if (name === 'packet_sent' && Array.isArray(data.frames)) {
    for (const frame of data.frames) {
      if (isRecord(frame) && frame.frame_type === 'path_challenge') facts.pathChallenges += 1
    }
  }
}

function* events(text: string): Generator<Readonly<Record<string, unknown>>> {
  const whole = parse(text)
  if (isRecord(whole) && Array.isArray(whole.traces)) {
    for (const trace of whole.traces) {
      if (isRecord(trace) && Array.isArray(trace.events)) yield* trace.events.filter(isRecord)
    }
    return
  }
  for (const line of text.replaceAll('\u001e', '\n').split('\n')) {
    const record = parse(line)
    if (isRecord(record) && 'name' in record) yield record
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // a process that was stopped leaves a last line half written
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}
