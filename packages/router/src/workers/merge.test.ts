/** Metrics of several workers as one document and one text. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MetricsCollector } from '../metrics/collector.ts'
import { Distribution, mergeSummaries } from '../metrics/distribution.ts'
import { mergeExpositions } from './merge-exposition.ts'
import { mergeMetrics, withSamples } from './merge-metrics.ts'

function sampled(values: readonly number[]) {
  const distribution = new Distribution()
  for (const value of values) distribution.add(value)
  const summary = distribution.summary() ?? assert.fail('it has values')
  return { summary, sample: Distribution.sampleOf(summary) ?? assert.fail('it was made here') }
}

test('the summary of two series is that of all their values', () => {
  const odd: number[] = []
  const even: number[] = []
  const all: number[] = []
  for (let value = 1; value <= 1000; value++) {
    all.push(value)
    if (value % 2 === 1) odd.push(value)
    else even.push(value)
  }
  assert.deepEqual(mergeSummaries([sampled(odd), sampled(even)]), sampled(all).summary)
  assert.deepEqual(mergeSummaries([sampled(all.slice(0, 3)), sampled(all.slice(3))]), sampled(all).summary)
  assert.equal(mergeSummaries([]), undefined)
})

test('a series that was sampled counts by its length, not by its sample', () => {
  const long = sampled(new Array<number>(100_000).fill(1))
  const short = sampled(new Array<number>(100).fill(9))
  const merged = mergeSummaries([short, long])
  assert.deepEqual([merged?.count, merged?.p50, merged?.p99, merged?.max], [100_100, 1, 1, 9])
})

/** A worker's metrics: `connections` connections, one of them with a stream. */
function worker(connections: number, failed: boolean) {
  let nowMs = 0
  const collector = new MetricsCollector({ runId: 'x', listen: 'x', streamsKept: 10, nowMs: () => nowMs })
  const counters = {
    bytesSent: 10,
    bytesReceived: 20,
    packetsSent: 4,
    packetsReceived: 5,
    packetsLost: 1,
    smoothedRttUs: 1,
  }
  const made = Array.from({ length: connections }, (_, index) =>
    collector.openConnection(`127.0.0.1:${index + 1}`, () => counters),
  )
  for (const connection of made)
    collector.onConnected(connection, { establishmentMs: 3, earlyData: false, resumed: false })
  nowMs = 50
  if (failed) collector.addError('backend', 'upstream-refused', 'refused', made[0])
  return withSamples(collector.snapshot('interval'))
}

test('a run of several workers has one document: sums, all connections under numbers of their own, errors by kind', () => {
  const parts = [worker(2, true), structuredClone(worker(3, true)), worker(1, false)]
  const run = { ...(parts[0]?.document.run ?? assert.fail()), id: 'merged' }
  const merged = mergeMetrics(parts, run, 100)
  assert.equal(merged.run.id, 'merged')
  assert.deepEqual([merged.totals.connections, merged.totals.bytesSent, merged.totals.lossRatio], [6, 60, 0.25])
  assert.equal(merged.totals.establishmentMs?.count, 6)
  assert.deepEqual(
    merged.connections.map(({ id }) => id).sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6],
  )
  assert.deepEqual(
    merged.errors.map(({ kind, count }) => [kind, count]),
    [['upstream-refused', 2]],
  )
  const bounded = mergeMetrics(parts, run, 4)
  assert.deepEqual([bounded.connections.length, bounded.connectionsOmitted], [4, 2])
})

test('samples of all workers stand together under one head, each with its worker', () => {
  const text = (value: number): string =>
    `# HELP a A.\n# TYPE a counter\na{kind="x y"} ${value}\n# HELP b B.\n# TYPE b gauge\nb ${value}\n`
  assert.equal(
    mergeExpositions([
      { worker: 0, text: text(1) },
      { worker: 1, text: text(2) },
    ]),
    [
      '# HELP a A.',
      '# TYPE a counter',
      'a{worker="0",kind="x y"} 1',
      'a{worker="1",kind="x y"} 2',
      '# HELP b B.',
      '# TYPE b gauge',
      'b{worker="0"} 1',
      'b{worker="1"} 2\n',
    ].join('\n'),
  )
})
