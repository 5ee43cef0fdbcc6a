/** qlog files: what a connection did, readable by tools, bounded whatever a peer does. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createTuple, Level, type PacketInfo, type PathMetrics } from '@quicether/transport'
import { encodeAdditionalAddresses } from '@quicether/wire'
import fc from 'fast-check'
import { FrameJson, QlogDirectory, type QlogDirectoryOptions, type QlogWriter } from './index.ts'

const root = mkdtempSync(join(tmpdir(), 'quicether-qlog-'))
after(() => rmSync(root, { recursive: true, force: true }))

const START_US = 5_000_000
const tuple = createTuple({
  localAddress: '10.0.0.1',
  localPort: 443,
  remoteAddress: '2001:db8::2',
  remotePort: 5,
  interfaceIndex: 0,
  socket: 0,
})

interface QlogRecord {
  readonly time: number
  readonly name: string
  readonly tuple?: string
  readonly data: Record<string, unknown>
}

function start(writer: QlogWriter | undefined, originalDestinationCid = '0011223344556677'): QlogWriter {
  assert.ok(writer)
  const cids = { sourceCid: 'aa', destinationCid: 'bb', originalDestinationCid }
  writer.connectionStarted({ role: 'server', version: 1, ...cids, tuple, nowUs: START_US })
  return writer
}

function open(name: string, options: Partial<QlogDirectoryOptions> = {}): QlogDirectory {
  return new QlogDirectory({ path: join(root, name), epochOffsetUs: 1_800_000_000_000_000, ...options })
}

/** RFC 7464: record separator, JSON text, line feed. */
function read(path: string): { header: Record<string, never>; records: QlogRecord[] } {
  const texts = readFileSync(path, 'utf8').split('\u001e')
  assert.equal(texts.shift(), '')
  const [header, ...records] = texts.map((text) => {
    assert.ok(text.endsWith('\n'))
    return JSON.parse(text) as unknown
  })
  return { header: header as Record<string, never>, records: records as QlogRecord[] }
}

const packet = (fields: Partial<PacketInfo>): PacketInfo => ({
  level: Level.OneRtt,
  pathId: 0,
  packetNumber: 7,
  length: 1_200,
  version: 1,
  keyPhase: 0,
  ecn: 2,
  ...fields,
})

const frames = (hex: string, level = 3): unknown => {
  const bytes = Buffer.from(`ffff${hex}ff`, 'hex')
  return JSON.parse(new FrameJson().encode(bytes, 2, bytes.length - 1, level, 3))
}

test('a connection becomes one file named by its original connection ID and role', async () => {
  const directory = open('basic')
  const writer = start(directory.observe())
  // STREAM 4 offset 0 "hi" fin; PING
  writer.packetSent(packet({}), Buffer.from('0b0402686901', 'hex'), 0, 6, START_US + 1_500)
  writer.packetReceived(packet({ pathId: 2, packetNumber: 9, ecn: 3 }), Buffer.from('01'), 0, 0, START_US + 2_000)
  writer.packetLost(Level.OneRtt, 2, 7, 'time', START_US + 3_000)
  writer.packetDropped('authentication failed', 55, START_US + 3_500)
  writer.event('key_updated', { key_type: 'client_1rtt_secret', trigger: 'remote_update' }, START_US + 4_000)
  await directory.close()
  assert.deepEqual(readdirSync(join(root, 'basic')), ['0011223344556677_server.sqlog'])
  const { header, records } = read(join(root, 'basic', '0011223344556677_server.sqlog'))
  assert.equal(header['file_schema'], 'urn:ietf:params:qlog:file:sequential')
  assert.deepEqual(
    records.map(({ time, name, tuple }) => [time, name, tuple]),
    [
      [0, 'quic:connection_started', undefined],
      [0, 'quic:version_information', undefined],
      [1.5, 'quic:packet_sent', undefined],
      [2, 'quic:packet_received', '2'],
      [3, 'quic:packet_lost', '2'],
      [3.5, 'quic:packet_dropped', undefined],
      [4, 'quic:key_updated', undefined],
    ],
  )
  assert.deepEqual(records[0]?.data, {
    local: { ip_v4: '10.0.0.1', port_v4: 443, connection_ids: ['aa'] },
    remote: { ip_v6: '2001:db8::2', port_v6: 5, connection_ids: ['bb'] },
  })
  assert.deepEqual(records[2]?.data, {
    header: { packet_type: '1RTT', packet_number: 7, key_phase: 0 },
    raw: { length: 1_200, payload_length: 6 },
    ecn: 'ECT(0)',
    frames: [{ frame_type: 'stream', stream_id: 4, offset: 0, fin: true, raw: { length: 2 } }, { frame_type: 'ping' }],
  })
  assert.equal(records[5]?.data['trigger'], 'decryption_failure')
})

for (const [what, hex, want] of [
  ['padding is one entry', '000000', { frame_type: 'padding', raw: { payload_length: 3 } }],
  [
    'ACK',
    '020a08010104 02'.replace(' ', ''),
    {
      frame_type: 'ack',
      ack_delay: 0.064,
      acked_ranges: [
        [9, 10],
        [1, 3],
      ],
    },
  ],
  [
    'ACK with ECN counts',
    '030a000000010203',
    { frame_type: 'ack', ack_delay: 0, acked_ranges: [[10]], ect0: 1, ect1: 2, ce: 3 },
  ],
  ['MAX_STREAMS', '1305', { frame_type: 'max_streams', stream_type: 'unidirectional', maximum: 5 }],
  ['PATH_ABANDON', '7e750200', { frame_type: 'path_abandon', path_id: 2, error_code: 0 }],
  [
    'CONNECTION_CLOSE',
    '1c0308036f7073',
    {
      frame_type: 'connection_close',
      error_space: 'transport',
      error: 'flow_control_error',
      reason: 'ops',
      trigger_frame_type: 'stream',
    },
  ],
  [
    'application close',
    '1d4100026869',
    { frame_type: 'connection_close', error_space: 'application', error: 'unknown', error_code: 256, reason: 'hi' },
  ],
] as const)
  test(`frames read as qlog: ${what}`, () => assert.deepEqual(frames(hex), [want]))

test('announced addresses are written out', () => {
  const addresses = [
    { address: '192.0.2.7', port: 443 },
    { address: '2001:db8:0:0:0:0:0:9', port: 4433 },
  ]
  const frame = encodeAdditionalAddresses(3, addresses)
  assert.deepEqual(JSON.parse(new FrameJson().encode(frame, 0, frame.length, Level.OneRtt, 3)), [
    {
      frame_type: 'additional_addresses',
      sequence_number: 3,
      addresses: addresses.map(({ address, port }) => ({ ip: address, port })),
    },
  ])
})

test('a broken packet still shows the frames before the violation', () => {
  const [first, second] = frames('0108') as Record<string, string>[]
  assert.deepEqual(first, { frame_type: 'ping' })
  assert.equal(second?.['frame_type'], 'unknown')
  assert.match(second?.['details'] ?? '', /needs 1 bytes/)
})

test('any payload becomes valid JSON', () => {
  const encoder = new FrameJson()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 3 }), (bytes, level) => {
      assert.ok(Array.isArray(JSON.parse(encoder.encode(bytes, 0, bytes.length, level, 3))))
    }),
    { numRuns: 2_000 },
  )
})

test('only changed metrics are written, per path', async () => {
  const directory = open('metrics')
  const writer = start(directory.observe())
  const metrics: PathMetrics = {
    pathId: 1,
    smoothedRttUs: 12_500,
    rttMinUs: 10_000,
    rttLatestUs: 13_000,
    rttVarUs: 1_000,
    windowBytes: 14_720,
    inFlightBytes: 0,
    slowStartThresholdBytes: Infinity,
    ptoCount: 0,
    mtuBytes: 1_200,
    congestionState: 'slow_start',
  }
  writer.metricsUpdated(metrics, START_US)
  writer.metricsUpdated({ ...metrics }, START_US + 1)
  writer.metricsUpdated({ ...metrics, inFlightBytes: 1_200, congestionState: 'recovery' }, START_US + 2)
  const path = writer.path ?? ''
  await directory.close()
  const records = read(path).records.slice(2)
  assert.deepEqual(
    records.map((record) => [record.name, record.tuple]),
    [
      ['quic:recovery_metrics_updated', '1'],
      ['quic:congestion_state_updated', '1'],
      ['quic:recovery_metrics_updated', '1'],
      ['quic:congestion_state_updated', '1'],
    ],
  )
  assert.equal(records[0]?.data['smoothed_rtt'], 12.5)
  assert.equal('ssthresh' in (records[0]?.data ?? {}), false)
  assert.deepEqual(records[2]?.data, { bytes_in_flight: 1_200 })
  assert.deepEqual(records[3]?.data, { old: 'slow_start', new: 'recovery' })
})

test('ACK delays use the exponent that the sender of the ACK announced', async () => {
  const directory = open('exponent')
  const writer = start(directory.observe())
  writer.event('parameters_set', { owner: 'remote', ackDelayExponent: 10, maxIdleTimeoutMs: 5_000 }, START_US)
  const ack = Buffer.from('020a080000', 'hex')
  writer.packetReceived(packet({}), ack, 0, 5, START_US)
  writer.packetSent(packet({}), ack, 0, 5, START_US)
  const path = writer.path ?? ''
  await directory.close()
  assert.deepEqual(read(path).records[2]?.data, {
    initiator: 'remote',
    ack_delay_exponent: 10,
    max_idle_timeout: 5_000,
  })
  const delays = read(path)
    .records.slice(3)
    .map((record) => (record.data['frames'] as { ack_delay: number }[])[0]?.ack_delay)
  assert.deepEqual(delays, [8.192, 0.064])
})

for (const [what, reason, want] of [
  ['idle', { kind: 'idle', afterUs: 5 }, { trigger: 'idle_timeout', reason: 'nothing was heard from the peer' }],
  [
    'a violation',
    { kind: 'transport', by: 'local', code: 3, name: 'FLOW_CONTROL_ERROR', reason: 'too much' },
    { initiator: 'local', connection_error: 'flow_control_error', reason: 'too much', trigger: 'error' },
  ],
  [
    'a TLS alert',
    { kind: 'transport', by: 'peer', code: 0x12a, name: 'CRYPTO_ERROR(42)', reason: '' },
    { initiator: 'remote', connection_error: 'crypto_error_0x12a', reason: '', trigger: 'error' },
  ],
  [
    'the application',
    { kind: 'application', by: 'peer', code: 256, reason: 'done' },
    { initiator: 'remote', application_error: 'unknown', error_code: 256, reason: 'done', trigger: 'application' },
  ],
] as const)
  test(`a connection closed by ${what} says so in qlog's words`, async () => {
    const directory = open(`closed-${what}`)
    const writer = start(directory.observe())
    writer.event('connection_closed', reason, START_US)
    const path = writer.path ?? ''
    await directory.close()
    const last = read(path).records.at(-1)
    assert.deepEqual([last?.name, last?.data], ['quic:connection_closed', want])
  })

test('a client that reuses a connection ID cannot overwrite an earlier log', async () => {
  const directory = open('names')
  for (let count = 0; count < 3; count++) await start(directory.observe(), 'abcd').close()
  await start(directory.observe(), '../../etc/passwd').close()
  await directory.close()
  assert.deepEqual(readdirSync(join(root, 'names')).sort(), [
    'abcd_server-2.sqlog',
    'abcd_server-3.sqlog',
    'abcd_server.sqlog',
    'none_server.sqlog',
  ])
})

test('only so many connections are recorded at a time, the rest is counted', async () => {
  const directory = open('many', { openFilesMax: 3 })
  const writers = Array.from({ length: 5 }, (_, index) => directory.observe() && index)
  assert.equal(writers.filter((writer) => writer !== undefined).length, 3)
  assert.equal(directory.connectionsSkipped, 2)
  await directory.close()
  assert.deepEqual(readdirSync(join(root, 'many')), [])
})

test('a connection that ends makes room for the next one', async () => {
  const directory = open('ends', { openFilesMax: 1 })
  const writer = start(directory.observe())
  assert.equal(directory.observe(), undefined)
  writer.event('connection_state_updated', { new: 'closed' }, START_US)
  await writer.close()
  assert.ok(directory.observe())
  await directory.close()
})

test('records beyond the buffer are counted in the log, which stays readable', async () => {
  const directory = open('drops', { bufferBytesMax: 64 * 1024 })
  const writer = start(directory.observe())
  const path = writer.path ?? ''
  // One turn of the loop: the disk cannot keep up.
  for (let at = 0; at < 2_000; at++)
    writer.packetSent(packet({ packetNumber: at }), Buffer.from([1]), 0, 1, START_US + at)
  await new Promise((resolve) => setTimeout(resolve, 200))
  writer.packetSent(packet({ packetNumber: 5_000 }), Buffer.from([1]), 0, 1, START_US + 5_000)
  await directory.close()
  const { records } = read(path)
  const sent = records.filter((record) => record.name === 'quic:packet_sent').length
  const dropped = records.filter((record) => record.name === 'quicether:records_dropped')
  const missing = dropped.reduce((sum, record) => sum + Number(record.data['count']), 0)
  assert.equal(sent + missing, 2_001)
  assert.ok(missing > 0)
})

test('a file ends at its size limit and says so', async () => {
  const directory = open('limit', { fileBytesMax: 20_000 })
  const writer = start(directory.observe())
  const path = writer.path ?? ''
  for (let at = 0; at < 1_000; at++)
    writer.packetSent(packet({ packetNumber: at }), Buffer.from([1]), 0, 1, START_US + at)
  await directory.close()
  assert.ok(statSync(path).size < 20_200)
  assert.equal(read(path).records.at(-1)?.name, 'quicether:log_truncated')
})

test('a qlog path that is a file is refused with its name and the remedy', () => {
  writeFileSync(join(root, 'occupied'), '')
  assert.throws(() => open('occupied'), /cannot make the qlog directory .*occupied.*choose a writable path/)
})
