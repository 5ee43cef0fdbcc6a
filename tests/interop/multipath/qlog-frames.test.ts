/** Both dialects of qlog are read alike: frames by direction and path, and the lines shown as evidence. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readFrames } from './qlog-frames.ts'

const directory = mkdtempSync(join(tmpdir(), 'quicether-qlog-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const ours = `\u001e{"file_schema":"x","trace":{}}
\u001e{"time":1.5,"name":"quic:packet_sent","data":{"header":{"packet_type":"handshake","packet_number":9},"frames":[]}}
\u001e{"time":2,"name":"quic:packet_sent","tuple":"1","data":{"header":{"packet_type":"1RTT","packet_number":4,"path_id":1},"frames":[{"frame_type":"path_ack","path_id":1,"acked_ranges":[[1]]},{"frame_type":"stream","stream_id":0}]}}
\u001e{"time":3,"name":"quic:packet_received","data":{"header":{"packet_type":"1RTT","packet_number":5},"frames":[{"frame_type":"path_abandon","path_id":1,"error_code":62}]}}
\u001e{"time":4,"name":"quic:packet_rec`

const theirs = `{ "qlog_version": "draft-00", "title": "picoquic", "traces": [
{ "vantage_point": { "name": "backend-67", "type": "server" },
"events": [
[100, 0, "transport", "parameters_set", {
    "owner": "local"}],
[1500, 0, "transport", "packet_sent", { "packet_type": "initial", "header": { "packet_number": 1 }, "frames": [] }],
[2000, 1, "transport", "packet_sent", { "packet_type": "1RTT", "header": { "packet_size": 9, "packet_number": 4, "dcid": "aa" }, "frames": [{ 
    "frame_type": "path_ack", "path_id": 1}, { 
    "frame_type": "stream", "id": 0}]}],
[3000, 0, "transport", "packet_received", { "packet_type": "1RTT", "header": { "packet_number": 5 }, "frames": [{ 
    "frame_type": "path_abandon", "path_id": 1, "error_code": 62}]}]]}]}
`

const dialects = [
  ['ours', 'c_client.sqlog', ours],
  ['picoquic', 'c.server.qlog', theirs],
] as const

for (const [name, file, text] of dialects) {
  test(`1-RTT packets and frames of ${name} are counted by direction and path`, async () => {
    const folder = join(directory, name)
    mkdirSync(folder)
    await assert.rejects(readFrames(folder), /has 0 qlog files instead of one/)
    writeFileSync(join(folder, file), text)
    const log = await readFrames(folder)
    assert.equal(log.packets.length, 2)
    assert.equal(log.count('sent', 'stream', 1), 1)
    assert.equal(log.count('sent', 'stream', 0), 0)
    assert.equal(log.count('received', 'path_abandon'), 1)
    assert.deepEqual(
      log.evidence().map((line) => line.trim()),
      [
        '2.0 ms  sent      path 1  packet 4: path_ack (path_id 1), and 1 more',
        '3.0 ms  received  path 0  packet 5: path_abandon (path_id 1, error_code 62)',
      ],
    )
  })
}
