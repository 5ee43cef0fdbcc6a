/** `quicether router --workers`: requests over several threads, one report, metrics of each, reload, bad options. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Http3Agent } from '@quicether/http3'
import type { MetricsDocument } from '@quicether/router'
import { assertExplained, routerToml, runCli, scratchDirectory, startRouterProcess } from './cli-process.ts'

test('several workers route requests, tell their metrics apart and write one report', async (t) => {
  const directory = scratchDirectory(t)
  // Nobody is asked there.
  const ports = { text: 9 }
  const toml = (host: string): string => `${routerToml(ports)}\n[metrics]\nlisten = "127.0.0.1:0"\n${host}`
  writeFileSync(join(directory, 'router.toml'), toml(''))
  const router = await startRouterProcess(t, directory, ['--config', 'router.toml', '--workers', '2', '--no-live'])
  const [, scrape = ''] = await router.process.output(/metrics +(http:\S+)/u)
  await router.process.output(/workers {5}2, datagrams are delivered by/u)
  const ask = async (): Promise<void> => {
    await using agent = new Http3Agent({ insecure: true })
    const response = await agent.fetch(`https://127.0.0.1:${router.port}/nowhere`)
    assert.equal(response.status, 404)
    await response.text()
  }
  // Which worker a connection gets is chance.
  let byWorker: number[] = [0, 0]
  let clients = 0
  while (clients < 60 && byWorker.includes(0)) {
    clients++
    await ask()
    const text = await (await fetch(`${scrape}/metrics`)).text()
    byWorker = [0, 1].map((worker) =>
      Number(
        new RegExp(`^quicether_quic_handshake_seconds_count\\{worker="${worker}"\\} (\\d+)$`, 'mu').exec(text)?.[1] ??
          0,
      ),
    )
  }
  assert.ok(
    byWorker.every((count) => count > 0),
    'every worker has had a connection',
  )
  assert.equal((await fetch(`${scrape}/readyz`)).status, 200)
  writeFileSync(join(directory, 'router.toml'), routerToml(ports).replace('prefix = "/text"', 'prefix = "/words"'))
  router.process.signal('SIGHUP')
  await router.process.output(/reloaded \(SIGHUP\) in 2 workers/u)
  router.process.signal('SIGTERM')
  const { code, stdout, stderr } = await router.process.exit()
  assert.equal(code, 0, stderr)
  const file = /metrics +(\S+\.json)/u.exec(stdout)?.[1] ?? assert.fail(stdout)
  const document = JSON.parse(readFileSync(join(directory, file), 'utf8')) as MetricsDocument
  assert.deepEqual([document.run.reason, document.totals.connections], ['shutdown', clients])
  assert.equal(new Set(document.connections.map(({ id }) => id)).size, clients)
  assert.equal(document.totals.establishmentMs?.count, clients)
  assert.ok(document.streams.every(({ connection }) => document.connections.some(({ id }) => id === connection)))
})

test('what several workers cannot do is refused with the way out', async (t) => {
  const directory = scratchDirectory(t)
  const run = (...args: readonly string[]) => runCli(t, directory, ['router', '--port', '0', '--workers', '2', ...args])
  assertExplained(await run('--admin', '127.0.0.1:0'), 2, /admin endpoint .*\[metrics\] listen/u)
  assertExplained(await run('--capture', 'c.pcapng'), 2, /one capture .*--workers 1/u)
  assertExplained(await run('--tcpdump', 'c.pcap'), 2, /--tcpdump and --workers/u)
})
