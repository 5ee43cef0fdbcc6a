/** How a router ends, and what it says before it begins: drain, second signal, check, watching its files. */
import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { assertExplained, CliProcess, runCli, scratchDirectory } from './cli-process.ts'
import { askAdmin, connectClient, eventually, startService, startStand } from './router-stand.ts'

const drainMinute = '[shutdown]\ndrain_timeout_ms = 600000\n'

function serviceToml(port: number): string {
  return `[[service]]\nname = "api"\nprefix = "/"\nurl = "http://127.0.0.1:${port}"\n`
}

test('SIGTERM lets a running answer finish, refuses what is new, and ends with a last report', async (t) => {
  const service = await startService(t, 'api')
  const stand = await startStand(t, `${drainMinute}${serviceToml(service.port)}`)
  const client = await connectClient(t, stand.port, stand.certificate.certificatePem)
  const running = await client.open('/held/drain')
  stand.router.signal('SIGTERM')
  await eventually('the router says that it drains', async () =>
    (await askAdmin(`${stand.admin}/readyz`))[0] === 503 ? true : undefined,
  )
  assert.equal((await askAdmin(`${stand.admin}/healthz`))[0], 200)
  await assert.rejects(connectClient(t, stand.port, stand.certificate.certificatePem))
  await eventually('new requests are refused on the old connection', () =>
    client.get('/new').then(
      () => undefined,
      () => true,
    ),
  )
  assert.equal(stand.router.child.exitCode, null, 'it has ended before the answer did')
  service.release('/held/drain')
  assert.equal(await running.body.text(), 'first last')
  const { code, stdout, stderr } = await stand.router.exit()
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^report +\S+quic_performance_report\.txt$/mu)
})

test('a second signal ends a drain at once, still with a report', async (t) => {
  const service = await startService(t, 'api')
  const stand = await startStand(t, `${drainMinute}${serviceToml(service.port)}`)
  const client = await connectClient(t, stand.port, stand.certificate.certificatePem)
  const running = await client.open('/held/for-ever')
  const [status] = await askAdmin(`${stand.admin}/api/drain`, { method: 'POST' })
  assert.equal(status, 202)
  await eventually('the router drains', async () =>
    (await askAdmin(`${stand.admin}/readyz`))[0] === 503 ? true : undefined,
  )
  stand.router.signal('SIGTERM')
  stand.router.signal('SIGINT')
  await assert.rejects(running.body.text())
  const { code, stdout, stderr } = await stand.router.exit()
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^report /mu)
})

test('--check reads a configuration without serving, and shows how it differs from the router that runs', async (t) => {
  const service = await startService(t, 'api')
  const stand = await startStand(t, serviceToml(service.port))
  const admin = stand.admin.replace('http://', '')
  writeFileSync(
    join(stand.directory, 'next.toml'),
    `[router]\nport = 0\ncertificate = "cert.pem"\nprivate_key = "key.pem"\n[admin]\nlisten = "${admin}"\n[access_log]\nfile = "a.log"\n${serviceToml(9)}`,
  )
  const { code, stdout } = await runCli(t, stand.directory, ['router', '--check', 'next.toml'])
  assert.equal(code, 0)
  assert.match(stdout, /^next\.toml: right, 1 service$/mu)
  assert.match(stdout, /^ {2}\+ access_log\.file = ".*a\.log"$/mu)
  assert.match(stdout, /^ {2}~ service\.api\.url: "http:\/\/127\.0\.0\.1:\d+" -> "http:\/\/127\.0\.0\.1:9"$/mu)
  assert.match(stdout, /^ {2}~ admin\.listen: .*\(needs a restart\)$/mu)
  writeFileSync(join(stand.directory, 'next.toml'), '[router]\nport = "x"\n')
  assertExplained(
    await runCli(t, stand.directory, ['router', '--check', 'next.toml']),
    1,
    /`router\.port` is "x" \(next\.toml:2\)\. Expected a port number/u,
  )
})

test('with --watch a changed file is reloaded by itself', async (t) => {
  const [one, two] = [await startService(t, 'one'), await startService(t, 'two')]
  const stand = await startStand(t, serviceToml(one.port), ['--watch'])
  const client = await connectClient(t, stand.port, stand.certificate.certificatePem)
  assert.equal((await client.get('/a'))[1], 'one /a')
  stand.configure(serviceToml(two.port))
  await stand.router.output(/reloaded \(files changed\): 1 change\n/u)
  assert.equal((await client.get('/b'))[1], 'two /b')
})

test('an admin endpoint that other machines would reach, or whose place is taken, is refused with the remedy', async (t) => {
  const directory = scratchDirectory(t)
  const open = await runCli(t, directory, ['router', '--port', '0', '--admin', '0.0.0.0:9180'])
  assertExplained(open, 2, /--admin\)\. Give e\.g\. 127\.0\.0\.1:9180/u)
  const service = await startService(t, 'api')
  const taken = await runCli(t, directory, ['router', '--port', '0', '--admin', `127.0.0.1:${service.port}`])
  assertExplained(taken, 1, /127\.0\.0\.1:\d+ is already in use \(admin\.listen\)/u)
})

test('the admin endpoint on a unix socket is its owner only, and a socket left over by a kill is replaced', async (t) => {
  const service = await startService(t, 'api')
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'router.toml'), `[router]\nport = 0\n${serviceToml(service.port)}`)
  const args = ['router', '--config', 'router.toml', '--admin', 'unix:admin.sock']
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const router = new CliProcess(t, directory, args)
    await router.output(/admin +unix:admin\.sock/u)
    const socketPath = join(directory, 'admin.sock')
    assert.equal(statSync(socketPath).mode & 0o777, 0o600)
    assert.equal((await askAdmin('http://router/healthz', { socketPath }))[0], 200)
    router.signal(signal)
    const { code, stderr } = await router.exit()
    assert.equal(code, signal === 'SIGKILL' ? -1 : 0, stderr)
  }
})
