/** Tests of the measures: jitter, throughput, distributions, errors and the collector's totals. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MetricsCollector } from './collector.ts'
import { describeClose } from './connection-metrics.ts'
import { Distribution } from './distribution.ts'
import { ErrorLog } from './error-log.ts'
import { JitterEstimator } from './jitter.ts'
import { ThroughputSampler } from './throughput.ts'

test('chunks that arrive evenly have no jitter', () => {
  const jitter = new JitterEstimator()
  for (let at = 0; at < 50; at++) jitter.onArrival(at * 20)
  assert.equal(jitter.jitterMs(), 0)
  assert.equal(jitter.maxGapMs(), 20)
})

test('two chunks are too few for a jitter without send times and enough with them', () => {
  const plain = new JitterEstimator()
  plain.onArrival(0)
  plain.onArrival(20)
  assert.equal(plain.jitterMs(), undefined)
  const stamped = new JitterEstimator()
  stamped.onArrival(100, 0)
  stamped.onArrival(136, 20)
  assert.equal(stamped.jitterMs(), 1)
})

test('jitter of alternating transit times approaches their difference as RFC 3550 has it', () => {
  const jitter = new JitterEstimator()
  for (let at = 0; at < 400; at++) jitter.onArrival(at * 20 + (at % 2) * 8, at * 20)
  assert.ok(Math.abs((jitter.jitterMs() ?? 0) - 8) < 0.01)
})

test('throughput samples account for every byte and stay bounded, however long the stream', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(100_000), fc.nat(5_000)), { minLength: 1, maxLength: 200 }), (steps) => {
      const sampler = new ThroughputSampler(1_000)
      let nowMs = 1_000
      let total = 0
      for (const [bytes, pauseMs] of steps) {
        nowMs += pauseMs
        total += bytes
        sampler.onBytes(bytes, nowMs)
      }
      const samples = sampler.samples()
      assert.ok(samples.length <= 64)
      const interval = samples.length > 1 ? (samples[1]?.atMs ?? 0) : 0
      const lastMs = Math.max(1, nowMs - 1_000 - (samples.at(-1)?.atMs ?? 0))
      const sum = samples.reduce(
        (bytes, sample, at) => bytes + (sample.bytesPerSecond * (at === samples.length - 1 ? lastMs : interval)) / 1000,
        0,
      )
      assert.ok(Math.abs(sum - total) <= (samples.length * (interval + lastMs)) / 1000 + 1, `${sum} of ${total}`)
    }),
  )
})

test('a distribution gives nearest-rank quantiles and exact extremes', () => {
  const distribution = new Distribution()
  assert.equal(distribution.summary(), undefined)
  for (let value = 100; value >= 1; value--) distribution.add(value)
  assert.deepEqual(distribution.summary(), { count: 100, min: 1, mean: 50.5, p50: 50, p95: 95, p99: 99, max: 100 })
})

test('a distribution of a million values keeps exact extremes and near quantiles', () => {
  const distribution = new Distribution()
  for (let value = 0; value < 1_000_000; value++) distribution.add(value)
  const summary = distribution.summary()
  assert.ok(summary)
  assert.equal(summary.max, 999_999)
  assert.ok(Math.abs(summary.p50 - 500_000) < 100_000, String(summary.p50))
})

test('errors are counted by kind and their kinds are bounded', () => {
  const errors = new ErrorLog()
  for (let at = 0; at < 1_000; at++) errors.add('stream', `kind-${at}`, 'x'.repeat(1_000))
  errors.add('stream', 'kind-3', 'latest')
  assert.equal(errors.count(), 1_001)
  const entries = errors.entries()
  assert.ok(entries.length <= 201)
  assert.equal(entries[0]?.kind, 'other')
  assert.equal(entries.find((entry) => entry.kind === 'kind-3')?.lastMessage, 'latest')
  assert.ok(entries.every((entry) => entry.lastMessage.length <= 300))
})

test('totals keep counting when streams and connections leave the lists', () => {
  let nowMs = 0
  const collector = new MetricsCollector({
    runId: 'r',
    listen: 'l',
    streamsKept: 5,
    connectionsKept: 2,
    nowMs: () => nowMs,
  })
  const counters = {
    bytesSent: 10,
    bytesReceived: 20,
    packetsSent: 4,
    packetsReceived: 3,
    packetsLost: 1,
    smoothedRttUs: 1_500,
  }
  for (let c = 0; c < 4; c++) {
    const connection = collector.openConnection(`192.0.2.1:${c}`, () => counters)
    collector.onConnected(connection, { earlyData: c === 1, resumed: c === 1, establishmentMs: 2 + c })
    const open = [0, 4, 8].map((streamId) =>
      collector.openStream(
        connection,
        { streamId, type: 'video', kind: 'video', method: 'GET', path: '/video', openedAtMs: nowMs },
        () => undefined,
      ),
    )
    nowMs += 10
    for (const stream of open) {
      stream.onDispatched(nowMs)
      collector.endStream(stream, stream.info.streamId === 8 ? 'failed' : 'completed')
      collector.endStream(stream, 'failed')
    }
    collector.closeConnection(connection, 'done', c === 3 ? { kind: 'reset' } : undefined)
    collector.closeConnection(connection, 'twice')
  }
  const document = collector.snapshot('shutdown')
  assert.equal(document.totals.connections, 4)
  assert.equal(document.totals.streams, 12)
  assert.equal(document.totals.streamsFailed, 4)
  assert.equal(document.totals.maxConcurrentStreams, 3)
  assert.equal(document.totals.packetsSent, 16)
  assert.equal(document.totals.lossRatio, 0.25)
  assert.equal(document.totals.establishmentMs?.count, 4)
  assert.equal(document.totals.streamRatePerSecond, 366.667)
  assert.equal(document.streams.length, 5)
  assert.equal(document.streamsOmitted, 7)
  assert.equal(document.connections.length, 2)
  assert.equal(document.connectionsOmitted, 2)
  assert.equal(document.types[0]?.streams, 12)
  assert.equal(document.types[0]?.failed, 4)
  assert.deepEqual(
    document.errors.map((entry) => [entry.scope, entry.kind]),
    [['connection', 'reset']],
  )
  assert.equal(document.connections[0]?.smoothedRttMs, 1.5)
})

test('latencies separate the share of the service from the share of protocol and router', () => {
  let nowMs = 100
  const collector = new MetricsCollector({ runId: 'r', listen: 'l', streamsKept: 5, nowMs: () => nowMs })
  const connection = collector.openConnection('192.0.2.1:1', () => undefined)
  const stream = collector.openStream(
    connection,
    { streamId: 0, type: 'text', kind: 'text', method: 'POST', path: '/text', openedAtMs: 98 },
    () => undefined,
  )
  stream.onDispatched(101)
  stream.onRequestBytes(1_000, 105)
  stream.onRequestEnded(110)
  stream.onResponseHead(200, 150)
  stream.onHeadSent(151)
  stream.onResponseEnded(160)
  nowMs = 164
  collector.endStream(stream, 'completed')
  const document = stream.document(999)
  assert.equal(document.establishmentMs, 3)
  assert.equal(document.httpLatencyMs, 40)
  assert.equal(document.quicLatencyMs, 3 + 1 + 4)
  assert.equal(document.durationMs, 66)
  assert.equal(document.throughputBytesPerSecond, 15_152)
  assert.equal(document.jitterMs, null)
})

test('what a peer says cannot steer a terminal or fill the memory', () => {
  const reason = `\u001b[2J\n\u202e${'x'.repeat(5_000)}`
  const { text } = describeClose({ kind: 'application', by: 'peer', code: 1, reason })
  assert.match(text, /: \?\[2J\?\?x+…$/u)
  assert.equal(text.length, 300)
})

test('an ordinary end of a connection is not an error and a refused one is', () => {
  assert.deepEqual(describeClose({ kind: 'idle', afterUs: 5_000_000 }), { text: 'idle for 5000 ms', isError: false })
  assert.equal(describeClose({ kind: 'application', by: 'peer', code: 0x100, reason: '' }).isError, false)
  assert.equal(describeClose({ kind: 'application', by: 'peer', code: 0x10e, reason: '' }).isError, true)
  assert.equal(
    describeClose({ kind: 'transport', by: 'peer', code: 10, name: 'PROTOCOL_VIOLATION', reason: 'x' }).isError,
    true,
  )
})
