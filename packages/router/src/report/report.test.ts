/** Tests of the reports: files that are whole and valid, a history that compares, a disk that fails. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { MetricsCollector } from '../metrics/collector.ts'
import { validateJson } from '../testing/json-schema.ts'
import { compareRuns, runsReport } from './compare.ts'
import { formatBytes, formatMs, formatRate, formatTable } from './format.ts'
import { History } from './history.ts'
import { createRunId, ReportWriter } from './report-writer.ts'
import { textReport } from './text-report.ts'

const schema = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../../docs/schemas/quic-metrics.schema.json'), 'utf8'),
)

function collectorWithWork(runId = 'run-1'): MetricsCollector {
  let nowMs = 0
  const collector = new MetricsCollector({ runId, listen: '127.0.0.1:4433', streamsKept: 100, nowMs: () => nowMs })
  const connection = collector.openConnection('192.0.2.1:9', () => ({
    bytesSent: 5,
    bytesReceived: 6,
    packetsSent: 2,
    packetsReceived: 2,
    packetsLost: 0,
    smoothedRttUs: 400,
  }))
  collector.onConnected(connection, { earlyData: false, resumed: false, establishmentMs: 3.5 })
  for (const [streamId, type] of [
    [0, 'video'],
    [4, 'text'],
    [8, 'control'],
  ] as const) {
    const stream = collector.openStream(
      connection,
      { streamId, type, kind: type, method: 'POST', path: `/${type}`, openedAtMs: nowMs },
      () => undefined,
    )
    nowMs += 5
    stream.onDispatched(nowMs)
    for (let at = 0; at < 4; at++) stream.onRequestBytes(1_000, (nowMs += 7 + at))
    stream.onRequestEnded(nowMs)
    stream.onResponseHead(200, (nowMs += 3))
    stream.onHeadSent(nowMs)
    stream.onResponseEnded((nowMs += 1))
    if (streamId !== 8) collector.endStream(stream, 'completed')
  }
  collector.addError('backend', 'upstream-refused', 'service "x" refuses', connection)
  return collector
}

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-report-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function writer(directory: string, runId: string, troubles: string[] = []): ReportWriter {
  const collector = collectorWithWork(runId)
  return new ReportWriter({
    resultsDirectory: directory,
    runId,
    intervalMs: 60_000,
    snapshot: (reason) => collector.snapshot(reason),
    onTrouble: (message) => troubles.push(message),
  })
}

test('the metrics file obeys the published schema, with and without traffic', () => {
  assert.deepEqual(validateJson(collectorWithWork().snapshot('interval'), schema), [])
  const idle = new MetricsCollector({ runId: 'r', listen: 'l', streamsKept: 1, nowMs: () => 0 })
  assert.deepEqual(validateJson(idle.snapshot('crash'), schema), [])
})

test('the schema check finds what is missing, wrong or too much', () => {
  const good = collectorWithWork().snapshot('interval')
  assert.match(validateJson({ ...good, extra: 1 }, schema).join(), /has extra/u)
  assert.match(validateJson({ ...good, errors: undefined }, schema).join(), /\$\.errors/u)
  assert.match(validateJson({ ...good, totals: { ...good.totals, lossRatio: 2 } }, schema).join(), /above 1/u)
  assert.match(
    validateJson({ ...good, streams: [{ ...good.streams[0], stream: 'x' }] }, schema).join(),
    /streams\[0\]\.stream/u,
  )
})

test('the report has every section the operator looks for', () => {
  const text = textReport(collectorWithWork().snapshot('shutdown'))
  for (const part of [
    'Connection analysis',
    'Overall statistics',
    'Analysis by type',
    'Stream analysis',
    'Error summary',
    'Maximum concurrent streams 1',
    'Stream establishment rate',
    '1-RTT',
    'POST /video',
    'service "x" refuses',
    'QUIC latency',
    'HTTP latency',
  ]) {
    assert.ok(text.includes(part), `the report lacks "${part}":\n${text}`)
  }
})

test('a write leaves three whole files and no scraps', (t) => {
  const directory = scratch(t)
  const run = writer(directory, 'run-1')
  assert.equal(run.write('interval'), true)
  assert.equal(run.write('shutdown'), true)
  assert.deepEqual(readdirSync(run.paths.directory).sort(), ['quic_metrics.json', 'quic_performance_report.txt'])
  assert.deepEqual(validateJson(JSON.parse(readFileSync(run.paths.metrics, 'utf8')), schema), [])
  const history = new History(run.paths.history, { readOnly: true })
  t.after(() => history.close())
  assert.deepEqual(
    history.last(10).map((row) => [row.id, row.reason, row.types.length]),
    [['run-1', 'shutdown', 3]],
  )
})

test('the history compares the last runs, oldest first', (t) => {
  const directory = scratch(t)
  for (const id of ['run-1', 'run-2', 'run-3']) {
    writer(directory, id).write('shutdown')
  }
  const history = new History(join(directory, 'history.sqlite'))
  t.after(() => history.close())
  const runs = history.last(2)
  assert.equal(runs.length, 2)
  const text = runsReport(runs)
  assert.match(text, /against/u)
  assert.match(text, /video/u)
  const [before, after] = runs
  assert.ok(before && after)
  const changes = compareRuns({ ...before, httpLatencyMsP50: 4 }, { ...after, httpLatencyMsP50: 5 })
  assert.equal(changes.find((change) => change.figure === 'HTTP latency p50')?.ratio, 0.25)
})

test('a results directory that cannot be written warns once, and once more when it works again', (t) => {
  const directory = scratch(t)
  const blocked = join(directory, 'results')
  writeFileSync(blocked, 'a file where the directory should be')
  const troubles: string[] = []
  const run = writer(blocked, 'run-1', troubles)
  assert.equal(run.write('interval'), false)
  assert.equal(run.write('interval'), false)
  assert.equal(troubles.length, 1)
  assert.match(troubles[0] ?? '', /Serving goes on/u)
  rmSync(blocked)
  assert.equal(run.write('interval'), true)
  assert.equal(troubles.length, 2)
  assert.ok(existsSync(run.paths.report))
})

test('a history file that is no database is named with a remedy', (t) => {
  const directory = scratch(t)
  const file = join(directory, 'history.sqlite')
  mkdirSync(directory, { recursive: true })
  writeFileSync(file, 'not a database, certainly not one'.repeat(100))
  chmodSync(file, 0o644)
  assert.throws(() => new History(file), /history of runs cannot be used.*history\.sqlite/u)
})

test('run names sort by time and are file names everywhere', () => {
  assert.equal(createRunId(new Date('2026-01-02T03:04:05.678Z')), '2026-01-02T03-04-05-678')
})

test('figures read well at every size', () => {
  assert.equal(formatBytes(999), '999 B')
  assert.equal(formatBytes(1_500), '1.50 kB')
  assert.equal(formatBytes(12_345_678), '12.3 MB')
  assert.equal(formatRate(125_000), '1.0 Mbit/s')
  assert.equal(formatMs(0.1234), '0.12 ms')
  assert.equal(formatMs(1_500), '1.50 s')
  assert.equal(formatMs(null), '-')
  assert.equal(
    formatTable(
      [{ title: 'a' }, { title: 'n', align: 'right' }],
      [
        ['xx', '1'],
        ['y', '22'],
      ],
    ),
    'a    n\n──  ──\nxx   1\ny   22',
  )
})
