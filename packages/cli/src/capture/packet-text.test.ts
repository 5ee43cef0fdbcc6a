/** Lines of decoded packets stay short, whatever the frames hold, and JSON lines stay whole. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DecodedPacket } from '@quicether/net'
import { CaptureSummary } from './capture-summary.ts'
import { framesText, packetJson, packetLine } from './packet-text.ts'

const packet: DecodedPacket = {
  frame: 1,
  timeUs: 1_000_500,
  from: '192.0.2.1:1',
  to: '192.0.2.2:2',
  connection: 3,
  sender: 'server',
  kind: '1RTT',
  version: undefined,
  path: 2,
  packetNumber: 7,
  generation: 1,
  length: 40,
  frames: '[{"frame_type":"ping"}]',
  problem: undefined,
}
const totals = { captured: 1, otherProtocols: 0, connections: 1, packets: 1, decrypted: 0, secrets: 0 }

test('a line names time, connection, direction, path, number, key update, size and frames', () => {
  assert.equal(packetLine(packet, 1_000_000), '+0.000500  #3 server → client  path 2  1RTT 7 key 1  40 B  ping')
  const stranger = { ...packet, connection: undefined, path: undefined, frames: undefined, packetNumber: undefined }
  assert.equal(
    packetLine({ ...stranger, kind: 'unknown', generation: undefined, problem: 'unknown connection ID' }, 0),
    '+1.000500  192.0.2.1:1 → 192.0.2.2:2  unknown  40 B  (unknown connection ID)',
  )
})

test('long lists and long values are cut, with a word on what was left out', () => {
  const many = { frame_type: 'path_ack', path_id: 1, acked_ranges: Array.from({ length: 9 }, (_, at) => [at, at]) }
  const long = { frame_type: 'new_token', token: 'a'.repeat(500) }
  const text = framesText(JSON.stringify([many, long]))
  assert.match(text, /^path_ack of path 1 0-0 1-1 2-2 3-3 and 5 more, new_token token=a{48}…$/u)
})

test('a JSON line holds the frames as they are', () => {
  const parsed: unknown = JSON.parse(packetJson(packet))
  assert.deepEqual(parsed, { ...JSON.parse(JSON.stringify(packet)), type: 'packet', frames: [{ frame_type: 'ping' }] })
})

test('a summary tells new addresses of a path once, and what to do about packets without keys', () => {
  const summary = new CaptureSummary()
  assert.equal(summary.add(packet), '#3 path 2 is 192.0.2.2:2 → 192.0.2.1:1')
  assert.equal(summary.add(packet), undefined)
  assert.equal(summary.add({ ...packet, to: '192.0.2.9:2' }), '#3 path 2 is now 192.0.2.9:2 → 192.0.2.1:1')
  summary.add({ ...packet, frames: undefined, problem: 'no keys' })
  assert.match(summary.text(totals), /1 not read: no keys; the file has no secrets: give a key log with --keys/u)
  assert.match(summary.text({ ...totals, secrets: 4 }), /no secrets for these connections/u)
})
