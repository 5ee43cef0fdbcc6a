/** The demo as a newcomer runs it: it ends by itself, and everything it points to is there and valid. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type { MetricsDocument } from '@quicether/router'
import type { MultipathReport } from '../../packages/cli/src/demo/multipath.ts'
import { validateJson } from '../../packages/router/src/testing/json-schema.ts'
import { runCli, scratchDirectory } from './cli-process.ts'

test('the demo ends with 0 and leaves a valid report, key logs and captures', async (t) => {
  const directory = scratchDirectory(t)
  const result = await runCli(t, directory, ['demo'])
  assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`)
  assert.equal(result.stderr, '')
  const path = (name: string): string =>
    new RegExp(`^${name} +(\\S+)$`, 'mu').exec(result.stdout)?.[1] ?? assert.fail(`the demo names no ${name}`)
  const metrics = JSON.parse(readFileSync(path('metrics'), 'utf8')) as MetricsDocument
  const schema = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../docs/schemas/quic-metrics.schema.json'), 'utf8'),
  )
  assert.deepEqual(validateJson(metrics, schema), [])
  assert.equal(metrics.totals.connections, 1)
  assert.ok(metrics.totals.streams >= 9)
  assert.equal(metrics.totals.streamsFailed, 0)
  assert.deepEqual(metrics.types.map((type) => type.type).sort(), ['control', 'text', 'video'])
  assert.match(readFileSync(path('report'), 'utf8'), /Stream analysis/u)
  for (const stream of metrics.streams) {
    assert.match(
      result.stdout,
      new RegExp(`^ +${stream.stream} +${stream.type} .*✔`, 'mu'),
      `stream ${stream.stream} is not in the table`,
    )
  }
  const multipath = JSON.parse(readFileSync(path('two paths').replace(/txt$/u, 'json'), 'utf8')) as MultipathReport
  assert.match(readFileSync(path('two paths'), 'utf8'), /longest gap/u)
  assert.match(result.stdout, /^path 0 .*cut after/mu)
  const [cut, survivor] = multipath.download.paths
  assert.ok(cut !== undefined && survivor !== undefined && multipath.isWhole && multipath.longestGapMs > 0)
  assert.ok(cut.bytesReceived < 0.8 * multipath.sizeBytes && survivor.bytesReceived > 0.2 * multipath.sizeBytes)
  assert.equal(survivor.state, 'active')
  const run = join(path('captures'), '..')
  for (const name of ['client-keys.log', 'router-keys.log']) {
    assert.match(readFileSync(join(run, name), 'utf8'), /^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]+$/mu)
  }
  for (const name of ['client.pcapng', 'router.pcapng']) {
    const capture = readFileSync(join(run, name))
    assert.equal(capture.readUInt32LE(0), 0x0a0d0d0a, `${name} is no pcapng file`)
    assert.ok(capture.includes('CLIENT_TRAFFIC_SECRET_0'), `${name} has no secrets inside`)
  }
  assert.ok(readdirSync(join(run, 'qlog')).some((name) => name.endsWith('.sqlog')))
  assert.ok(existsSync(join(directory, 'results/history.sqlite')))
})

test('the demo finds other ports when its own are taken', async (t) => {
  const server = createServer()
  const isOurs = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(5001, '127.0.0.1', () => resolve(true))
  })
  // When somebody else has the port, it is taken all the same.
  if (isOurs) t.after(() => server.close())
  const directory = scratchDirectory(t)
  const result = await runCli(t, directory, ['demo', '--count', '1'])
  assert.equal(result.code, 0, result.stderr)
  assert.doesNotMatch(result.stdout, /video 5001,/u)
})
