/** Tests of router, services and client together: what one run leaves behind. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { runClient } from './client/run.ts'
import { parseConfig } from './config/load.ts'
import { type Router, startRouter } from './router.ts'
import { startControlService } from './services/control.ts'
import { startTextService } from './services/text.ts'
import { startVideoService } from './services/video.ts'
import { MemoryTransport } from './testing/memory-transport.ts'

interface Running {
  readonly router: Router
  readonly transport: MemoryTransport
  readonly failures: string[]
}

async function runningRouter(t: TestContext, dead: readonly string[] = []): Promise<Running> {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-router-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const services = await Promise.all([
    startVideoService({ port: 0 }),
    startTextService({ port: 0 }),
    startControlService({ port: 0 }),
  ])
  for (const service of services) {
    if (dead.includes(service.name)) await service.close()
    else t.after(() => service.close())
  }
  const tables = services.map(
    (s) =>
      `[[service]]\nname = "${s.name}"\nprefix = "/${s.name}"\nurl = "http://127.0.0.1:${s.port}"\nkind = "${s.name}"\n`,
  )
  const transport = new MemoryTransport()
  const failures: string[] = []
  const nothing = (): void => {}
  const router = await startRouter({
    config: parseConfig(`${tables.join('')}\n[results]\ndirectory = "${directory}"\n`, 'test.toml'),
    certificate: { certificatePem: '', privateKeyPem: '', certificateLabel: '', privateKeyLabel: '' },
    diagnostics: {},
    listen: transport.listen,
    log: {
      onConnection: nothing,
      onEstablished: nothing,
      onConnectionClosed: nothing,
      onTrouble: (message) => assert.fail(message),
      onFailure: (failure) => failures.push(`${failure.service} ${failure.status} ${failure.kind}`),
    },
  })
  t.after(() => router.close())
  return { router, transport, failures }
}

const options = { count: 2, sizeBytes: 100_000, framesPerSecond: 0, concurrency: 8, repeat: 2 }

test('one connection carries all tasks to all services, every answer is checked, and the report has them all', async (t) => {
  const { router, transport, failures } = await runningRouter(t)
  const connection = transport.connect()
  const report = await runClient(connection, options)
  assert.deepEqual(
    report.streams.filter((stream) => !stream.isRight),
    [],
  )
  assert.equal(report.right, 12)
  assert.ok(report.maxConcurrentStreams > 1)
  await connection.close()
  await router.close()
  assert.deepEqual(failures, [])
  const metrics = JSON.parse(readFileSync(router.paths.metrics, 'utf8'))
  assert.equal(metrics.totals.streams, 12)
  assert.equal(metrics.totals.streamsFailed, 0)
  assert.equal(metrics.run.reason, 'shutdown')
  assert.equal(metrics.connections[0].closeReason, 'application code 0x100 by peer')
  for (const stream of metrics.streams.filter((s: { path: string }) => s.path === '/video/upload')) {
    assert.equal(typeof stream.jitterMs, 'number')
  }
  assert.match(readFileSync(router.paths.report, 'utf8'), /Analysis by type/u)
})

test('with one service dead the others give right answers and the dead one is named', async (t) => {
  const { transport, failures } = await runningRouter(t, ['text'])
  const report = await runClient(transport.connect(), { ...options, repeat: 1 })
  for (const stream of report.streams) {
    assert.equal(stream.isRight, stream.service !== 'text', `${stream.service}: ${stream.note}`)
    if (stream.service === 'text') assert.match(stream.note, /status 502: service "text" at .* refuses connections/u)
  }
  assert.deepEqual(new Set(failures), new Set(['text 502 upstream-refused']))
})
