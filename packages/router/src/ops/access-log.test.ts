/** Tests of the access log: what a line says, and what happens when the disk is slow, full or rotated. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { EndedStream } from '../metrics/collector.ts'
import { ConnectionMetrics } from '../metrics/connection-metrics.ts'
import { StreamMetrics } from '../metrics/stream-metrics.ts'
import { UserError } from '../user-error.ts'
import { AccessLog, accessLine } from './access-log.ts'

function ended(path: string): EndedStream {
  const info = {
    connectionId: 7,
    streamId: 4,
    type: 'api',
    kind: 'other' as const,
    method: 'GET',
    path,
    openedAtMs: 10,
  }
  const stream = new StreamMetrics(info, () => undefined)
  stream.onDispatched(11)
  stream.onRequestEnded(12)
  stream.onResponseHead(200, 15)
  stream.onResponseBytes(42, 16)
  stream.onEnded('completed', 20)
  return {
    stream,
    document: stream.document(20),
    connection: new ConnectionMetrics({ id: 7, remote: '192.0.2.1:5', protocol: 'h3', openedAtMs: 0 }, () => undefined),
    facts: {
      client: '192.0.2.1',
      host: 'example.test',
      target: path,
      userAgent: 'a\r\n"b"',
      referer: undefined,
      isEarly: true,
      trace: undefined,
    },
  }
}

function logIn(t: TestContext, queueLines = 100): { log: AccessLog; file: string; troubles: string[] } {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-log-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'access.log')
  const troubles: string[] = []
  const log = new AccessLog({ file, queueLines, withQuery: true, onTrouble: (message) => troubles.push(message) })
  t.after(() => log.close())
  return { log, file, troubles }
}

const linesOf = (file: string): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1)

test('a line is one JSON object without line breaks of the client, and without the query where that is asked', () => {
  const line = accessLine(ended('/a?secret=1'), false)
  assert.equal(line.indexOf('\n'), line.length - 1)
  const { time, ...rest } = JSON.parse(line) as Record<string, unknown>
  assert.ok(!Number.isNaN(Date.parse(String(time))))
  assert.deepEqual(rest, {
    connection: 7,
    stream: 4,
    client: '192.0.2.1',
    protocol: 'h3',
    method: 'GET',
    host: 'example.test',
    path: '/a',
    status: 200,
    service: 'api',
    outcome: 'completed',
    request_bytes: 0,
    response_bytes: 42,
    duration_ms: 10,
    upstream_ms: 3,
    early_data: true,
    user_agent: 'a\r\n"b"',
  })
  assert.equal((JSON.parse(accessLine(ended('/a?b=1'), true)) as { path: string }).path, '/a?b=1')
})

test('closing writes every line that waits, in order', async (t) => {
  const { log, file } = logIn(t, 2_000)
  for (let at = 0; at < 1_500; at++) log.add(ended(`/${at}`))
  await log.close()
  const paths = linesOf(file).map((line) => (JSON.parse(line) as { path: string }).path)
  assert.deepEqual(
    paths,
    Array.from({ length: 1_500 }, (_, at) => `/${at}`),
  )
  assert.deepEqual(log.stats(), { lines: 1_500, dropped: 0, waiting: 0 })
})

test('lines beyond the bound are dropped and counted, never kept', async (t) => {
  const { log, file } = logIn(t, 10)
  for (let at = 0; at < 25; at++) log.add(ended(`/${at}`))
  assert.deepEqual(log.stats(), { lines: 0, dropped: 15, waiting: 10 })
  await log.close()
  assert.equal(linesOf(file).length, 10)
})

test('after a rotation lines go to a new file of the old name', async (t) => {
  const { log, file } = logIn(t)
  log.add(ended('/before'))
  await log.close()
  const again = new AccessLog({ file, queueLines: 10, withQuery: true, onTrouble: assert.fail })
  renameSync(file, `${file}.1`)
  again.reopen()
  again.add(ended('/after'))
  await again.close()
  assert.match(linesOf(`${file}.1`).join(), /before/u)
  assert.match(linesOf(file).join(), /after/u)
})

test('a full disk is told once, and lines wait within the bound', async (t) => {
  if (!existsSync('/dev/full')) return t.skip('this system has no /dev/full')
  const troubles: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const onTrouble = (message: string): void => {
    troubles.push(message)
    resolve()
  }
  const log = new AccessLog({ file: '/dev/full', queueLines: 5, withQuery: true, onTrouble })
  for (let at = 0; at < 9; at++) log.add(ended('/x'))
  await promise
  await log.close(10)
  assert.equal(troubles.length, 1)
  assert.match(troubles[0] ?? '', /cannot be written: .*ENOSPC.*Serving goes on/u)
  assert.equal(log.stats().dropped, 4)
  assert.equal(log.stats().lines, 0)
})

test('a file that cannot be opened is named with the remedy', () => {
  const make = (): AccessLog =>
    new AccessLog({ file: '/nonexistent/a.log', queueLines: 1, withQuery: true, onTrouble: assert.fail })
  assert.throws(make, (error: unknown) => error instanceof UserError && /access_log\.file/u.test(error.where))
})
