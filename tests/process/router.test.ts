/** Router, services and client as real processes: what happens when services, clients, disks or the router itself fail. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClientReport, MetricsDocument } from '@quicether/router'
import {
  assertExplained,
  CliProcess,
  routerToml,
  runCli,
  scratchDirectory,
  startRouterProcess,
  startServices,
} from './cli-process.ts'

interface Setup {
  readonly directory: string
  readonly router: CliProcess
  readonly port: number
  readonly results: string
}

/** Services and a router in front of them; `change` may replace the ports of services. */
async function setUp(
  t: TestContext,
  options: {
    before?: string
    extra?: string
    change?: Record<string, number>
    args?: readonly string[]
    env?: Record<string, string>
  } = {},
): Promise<Setup> {
  const directory = scratchDirectory(t)
  const services = await startServices(t, directory)
  writeFileSync(
    join(directory, 'router.toml'),
    `${options.before ?? ''}${routerToml({ ...services.ports, ...options.change }, options.extra ?? '')}`,
  )
  const {
    process: router,
    port,
    results,
  } = await startRouterProcess(t, directory, ['--config', 'router.toml', ...(options.args ?? [])], options.env)
  return { directory, router, port, results }
}

async function client(
  t: TestContext,
  setup: Setup,
  ...args: string[]
): Promise<{ code: number; report: ClientReport }> {
  const result = await runCli(t, setup.directory, [
    'client',
    '--port',
    String(setup.port),
    '--fps',
    '0',
    '--size',
    '64k',
    '--json',
    ...args,
  ])
  assert.equal(result.stderr, '')
  return { code: result.code, report: JSON.parse(result.stdout) as ClientReport }
}

async function stopRouter(setup: Setup, signal: NodeJS.Signals = 'SIGTERM'): Promise<MetricsDocument> {
  setup.router.signal(signal)
  const { code, stderr } = await setup.router.exit()
  assert.equal(code, 0, stderr)
  return readMetrics(setup)
}

function readMetrics(setup: Setup): MetricsDocument {
  return JSON.parse(readFileSync(join(setup.directory, setup.results, 'quic_metrics.json'), 'utf8')) as MetricsDocument
}

/** The first periodic report that shows what is waited for. */
async function metricsWith(setup: Setup, isThere: (metrics: MetricsDocument) => boolean): Promise<MetricsDocument> {
  for (let attempt = 0; attempt < 200; attempt++) {
    await sleep(100)
    if (!existsSync(join(setup.directory, setup.results, 'quic_metrics.json'))) continue
    const metrics = readMetrics(setup)
    if (isThere(metrics)) return metrics
  }
  return assert.fail('no report showed what was waited for')
}

/** A TCP port on which nothing listens. */
async function deadPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  server.close()
  await once(server, 'close')
  return address.port
}

/** A service that accepts connections and requests and says nothing. */
async function silentPort(t: TestContext): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

test('one connection carries parallel streams to all services, and every figure of the run is kept', async (t) => {
  const setup = await setUp(t)
  const { code, report } = await client(t, setup, '--count', '4', '--repeat', '2')
  assert.equal(code, 0, JSON.stringify(report.streams.filter((stream) => !stream.isRight)))
  assert.equal(report.right, 24)
  assert.ok(report.maxConcurrentStreams > 1)
  const metrics = await stopRouter(setup, 'SIGINT')
  assert.equal(metrics.run.reason, 'shutdown')
  assert.equal(metrics.totals.connections, 1)
  assert.equal(metrics.totals.streams, 24)
  assert.equal(metrics.totals.streamsFailed, 0)
  assert.ok(metrics.totals.maxConcurrentStreams > 1)
  assert.ok(metrics.totals.packetsSent > 24 && metrics.totals.packetsReceived > 24)
  assert.ok((metrics.connections[0]?.establishmentMs ?? 0) > 0)
  assert.equal(metrics.connections[0]?.handshake, '1-RTT')
  for (const stream of metrics.streams) {
    const name = `${stream.type} ${stream.stream}`
    assert.equal(stream.status, 200, name)
    assert.ok(stream.packetsSent > 0 && stream.packetsReceived > 0, `${name}: packets`)
    assert.ok(stream.bytesReceived >= stream.requestBytes && stream.bytesSent >= stream.responseBytes, `${name}: bytes`)
    assert.ok(stream.durationMs > 0 && stream.quicLatencyMs !== null && stream.httpLatencyMs !== null, `${name}: times`)
    assert.ok(stream.throughputSamples.length > 0, `${name}: samples`)
  }
  assert.ok(existsSync(join(setup.directory, setup.results, 'quic_performance_report.txt')))
  const history = await runCli(t, setup.directory, ['report', '--last', '5', '--json'])
  assert.equal(JSON.parse(history.stdout).runs[0].streams, 24)
})

test('a dead service gives 502 with the reason while the others give right answers', async (t) => {
  const setup = await setUp(t, { change: { text: await deadPort() } })
  const { code, report } = await client(t, setup)
  assert.equal(code, 1)
  for (const stream of report.streams) {
    assert.equal(stream.isRight, stream.service !== 'text', `${stream.service}: ${stream.note}`)
    if (stream.service !== 'text') continue
    assert.equal(stream.status, 502)
    assert.match(stream.note, /service "text" at http:\/\/127\.0\.0\.1:\d+ refuses connections: is it running\?/u)
  }
  const metrics = await stopRouter(setup)
  assert.deepEqual(
    metrics.errors.map((entry) => [entry.scope, entry.kind, entry.count]),
    [['backend', 'upstream-refused', 3]],
  )
})

test('a service that never answers gives 504 while the others give right answers', async (t) => {
  const setup = await setUp(t, { change: { control: await silentPort(t) }, extra: 'response_timeout_ms = 2000' })
  const { report } = await client(t, setup)
  for (const stream of report.streams) {
    assert.equal(stream.isRight, stream.service !== 'control', `${stream.service}: ${stream.note}`)
    if (stream.service === 'control')
      assert.match(stream.note, /status 504: service "control" at .* did not answer within 2000 ms/u)
  }
})

test('a client that is killed in the middle of an upload is cleaned up and others are served', async (t) => {
  const setup = await setUp(t, { args: ['--idle-timeout', '3000', '--report-interval', '100'] })
  const victim = new CliProcess(t, setup.directory, [
    'client',
    '--port',
    String(setup.port),
    '--count',
    '1',
    '--size',
    '2M',
    '--fps',
    '10',
  ])
  await metricsWith(setup, (metrics) => metrics.streams.some((stream) => stream.requestBytes > 0))
  victim.signal('SIGKILL')
  const { report } = await client(t, setup)
  assert.equal(report.wrong, 0)
  await setup.router.output(/connection 1: closed, idle for 3000 ms/u)
  const metrics = await stopRouter(setup)
  assert.equal(metrics.totals.streamsOpen, 0)
  assert.ok(metrics.streams.some((stream) => stream.connection === 1 && stream.outcome === 'aborted'))
  assert.ok(metrics.errors.some((entry) => entry.kind === 'client-gone'))
})

test('a full disk under the results is said once and serving goes on', async (t) => {
  const directory = scratchDirectory(t)
  const { results, kind } = fullDirectory(t)
  t.diagnostic(`full disk: ${kind}`)
  const services = await startServices(t, directory)
  writeFileSync(join(directory, 'router.toml'), routerToml(services.ports))
  const { process: router, port } = await startRouterProcess(t, directory, [
    '--config',
    'router.toml',
    '--results',
    results,
    '--report-interval',
    '100',
    '--log-level',
    'silent',
  ])
  await router.output(/results cannot be written: .*Serving goes on/u)
  const setup = { directory, router, port, results }
  assert.equal((await client(t, setup)).code, 0)
  await sleep(500)
  router.signal('SIGTERM')
  const { code, stderr } = await router.exit()
  assert.equal(code, 0)
  assert.equal(stderr.match(/cannot be written/gu)?.length, 1, stderr)
})

/** A full tmpfs where we may mount one, else a path that cannot be a directory. */
function fullDirectory(t: TestContext): { readonly results: string; readonly kind: string } {
  const parent = mkdtempSync(join(tmpdir(), 'quicether-full-'))
  const results = join(parent, 'results')
  mkdirSync(results)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32k', 'tmpfs', results], { stdio: 'ignore' })
  } catch {
    rmdirSync(results)
    writeFileSync(results, '')
    t.after(() => rmSync(parent, { recursive: true, force: true }))
    return { results, kind: 'a file in place of the directory, because this user may not mount a tmpfs' }
  }
  t.after(() => {
    execFileSync('umount', ['--lazy', results])
    rmSync(parent, { recursive: true, force: true })
  })
  try {
    for (let at = 0; at < 64; at++) writeFileSync(join(results, `filler-${at}`), Buffer.alloc(4_096))
  } catch {
    // Full, as intended.
  }
  return { results, kind: 'a full tmpfs' }
}

test('a router that crashes leaves its report behind', async (t) => {
  const crash = 'data:text/javascript,process.on("SIGUSR2", () => { throw new Error("out of luck") })'
  const setup = await setUp(t, { env: { NODE_OPTIONS: `--import=${encodeURI(crash)}` } })
  await client(t, setup, '--count', '1')
  setup.router.signal('SIGUSR2')
  const { code, stderr } = await setup.router.exit()
  assert.notEqual(code, 0)
  assert.match(stderr, /quicether: internal error: out of luck \(router\)\. The last report is /u)
  assert.equal(readMetrics(setup).run.reason, 'crash')
  assert.equal(readMetrics(setup).totals.streams, 3)
})

test('reports are written while the router runs', async (t) => {
  const setup = await setUp(t, { args: ['--report-interval', '100'] })
  await client(t, setup, '--count', '1')
  const metrics = await metricsWith(setup, (found) => found.totals.streams === 3)
  assert.equal(metrics.run.reason, 'interval')
})

test('key logs are in NSS form on both sides, share their secrets, and only their owner reads them', async (t) => {
  const setup = await setUp(t, { args: ['--keylog', 'router-keys.log'] })
  const result = await runCli(
    t,
    setup.directory,
    ['client', '--port', String(setup.port), '--count', '1', '--fps', '0'],
    { SSLKEYLOGFILE: 'client-keys.log' },
  )
  assert.equal(result.code, 0, result.stderr)
  await stopRouter(setup)
  const lines = (name: string): string[] => readFileSync(join(setup.directory, name), 'utf8').trim().split('\n')
  for (const name of ['router-keys.log', 'client-keys.log']) {
    for (const line of lines(name)) assert.match(line, /^[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]{64,96}$/u)
    assert.equal(statSync(join(setup.directory, name)).mode & 0o777, 0o600)
  }
  const traffic = lines('client-keys.log').filter((line) => line.includes('TRAFFIC_SECRET_0'))
  assert.equal(traffic.length, 2)
  for (const line of traffic) assert.ok(lines('router-keys.log').includes(line))
})

test('a client that finds nobody says so and ends', async (t) => {
  const directory = scratchDirectory(t)
  const result = await runCli(t, directory, ['client', '--port', '9', '--timeout', '500'])
  assertExplained(result, 1, /127\.0\.0\.1:9/u)
})

test('a client that does not trust the certificate says which flag helps', async (t) => {
  const setup = await setUp(t)
  const result = await runCli(t, setup.directory, ['client', '--port', String(setup.port)], {
    XDG_CACHE_HOME: join(setup.directory, 'elsewhere'),
  })
  assertExplained(result, 1, /certificate.*--ca.*--insecure/u)
  const insecure = await runCli(
    t,
    setup.directory,
    ['client', '--port', String(setup.port), '--insecure', '--count', '1', '--fps', '0'],
    { XDG_CACHE_HOME: join(setup.directory, 'elsewhere') },
  )
  assert.equal(insecure.code, 0, insecure.stderr)
})

test('with early data allowed a second connection is established with 0-RTT and every answer is right', async (t) => {
  const setup = await setUp(t, { before: '[router]\nearly_data = true\n' })
  const { code, report } = await client(t, setup, '--early-data')
  assert.equal(code, 0, JSON.stringify(report.streams.filter((stream) => !stream.isRight)))
  assert.equal(report.connection.handshake, '0-RTT')
  assert.equal(report.connection.resumed, true)
  const metrics = await stopRouter(setup)
  assert.deepEqual(
    metrics.connections.map((connection) => [connection.handshake, connection.resumed, connection.streams]),
    [
      ['1-RTT', false, 0],
      ['0-RTT', true, 9],
    ],
  )
})

test('without it the client falls back to 1-RTT and every answer is right', async (t) => {
  const setup = await setUp(t)
  const { code, report } = await client(t, setup, '--early-data')
  assert.equal(code, 0)
  assert.equal(report.connection.handshake, '1-RTT')
})

test('where tcpdump is missing the router says so and names what to use instead', async (t) => {
  const directory = scratchDirectory(t)
  const result = await runCli(t, directory, ['router', '--port', '0', '--tcpdump', 'x.pcap'], { PATH: '' })
  assertExplained(result, 2, /tcpdump is not installed \(--tcpdump\)\. Use --capture/u)
})
