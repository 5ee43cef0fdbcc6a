/** Bad input that needs no peer: each gets one line with what, where and remedy, and an exit code. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { constants } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { generateCertificate } from '@quicether/native'
import { assertExplained, CliProcess, runCli, scratchDirectory, servicesArguments } from './cli-process.ts'

test('a wrong flag is named with a suggestion', async (t) => {
  const directory = scratchDirectory(t)
  assertExplained(
    await runCli(t, directory, ['router', '--prot', '4433']),
    2,
    /unknown option '--prot' \(quicether router\)\. Did you mean --port\?/u,
  )
})

test('a wrong value of a flag is named with what was expected', async (t) => {
  const directory = scratchDirectory(t)
  assertExplained(
    await runCli(t, directory, ['client', '--port', 'https']),
    2,
    /--port.*'https'.*Expected a whole number from 0 to 65535/u,
  )
  assertExplained(
    await runCli(t, directory, ['client', '--url', 'ftp://x']),
    2,
    /"ftp:\/\/x" is not an https address \(--url\)/u,
  )
})

test('a wrong command is named with a suggestion', async (t) => {
  assertExplained(
    await runCli(t, scratchDirectory(t), ['rooter']),
    2,
    /unknown command 'rooter'.*Did you mean router\?/u,
  )
})

test('a missing certificate is named with its file', async (t) => {
  const directory = scratchDirectory(t)
  const result = await runCli(t, directory, ['router', '--cert', 'none.pem', '--key', 'none.key'])
  assertExplained(result, 1, /the certificate file does not exist \(none\.pem\)\. .*--cert/u)
})

test('a certificate without its key is refused', async (t) => {
  assertExplained(
    await runCli(t, scratchDirectory(t), ['router', '--cert', 'a.pem']),
    2,
    /--cert is given without --key/u,
  )
})

test('an expired certificate is named with the day it ended', async (t) => {
  const directory = scratchDirectory(t)
  const made = generateCertificate({ names: ['localhost'], days: 1, notBefore: new Date('2020-01-01T00:00:00Z') })
  writeFileSync(join(directory, 'cert.pem'), made.certificatePem)
  writeFileSync(join(directory, 'key.pem'), made.privateKeyPem)
  const result = await runCli(t, directory, ['router', '--cert', 'cert.pem', '--key', 'key.pem'])
  assertExplained(result, 1, /the certificate expired on 2020-01-02T\S+ \(cert\.pem\)\. Renew it/u)
})

test('a key of another certificate is refused with both files', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'cert.pem'), generateCertificate({ names: ['localhost'] }).certificatePem)
  writeFileSync(join(directory, 'key.pem'), generateCertificate({ names: ['localhost'] }).privateKeyPem)
  const result = await runCli(t, directory, ['router', '--cert', 'cert.pem', '--key', 'key.pem'])
  assertExplained(result, 1, /the private key does not belong to the certificate \(key\.pem and cert\.pem\)/u)
})

test('a file that is no certificate is refused', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'cert.pem'), 'hello')
  const result = await runCli(t, directory, ['router', '--cert', 'cert.pem', '--key', 'cert.pem'])
  assertExplained(result, 1, /no readable certificate in the file \(cert\.pem\)\. Expected PEM/u)
})

test('malformed TOML is named with file, line and what was expected', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'router.toml'), '[router]\nhost = "127.0.0.1"\nport = = 3\n')
  assertExplained(
    await runCli(t, directory, ['router', '--config', 'router.toml']),
    1,
    /not valid TOML: .* \(router\.toml:3:\d+\)\. Line 3 reads `port = = 3`; expected/u,
  )
})

test('a wrong value in the configuration is named with file, line and what was expected', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'router.toml'), '[router]\nhost = "127.0.0.1"\n\nport = "x"\n')
  assertExplained(
    await runCli(t, directory, ['router', '--config', 'router.toml']),
    1,
    /`router\.port` is "x" \(router\.toml:4\)\. Expected a port number/u,
  )
})

test('a taken UDP port is named with a remedy', async (t) => {
  const directory = scratchDirectory(t)
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  t.after(() => socket.close())
  await once(socket, 'listening')
  const result = await runCli(t, directory, ['router', '--port', String(socket.address().port)])
  assertExplained(result, 1, new RegExp(`in use.*127\\.0\\.0\\.1:${socket.address().port}.*--port`, 'u'))
})

test('a taken TCP port of a service is named with the flag that helps', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const result = await runCli(t, scratchDirectory(t), [
    'services',
    '--text-port',
    String(address.port),
    '--video-port',
    '0',
    '--control-port',
    '0',
  ])
  assertExplained(
    result,
    1,
    new RegExp(
      `port of the text service is already in use \\(127\\.0\\.0\\.1:${address.port}\\)\\. .*--text-port`,
      'u',
    ),
  )
})

test('a report without any run says how to make one', async (t) => {
  assertExplained(
    await runCli(t, scratchDirectory(t), ['report']),
    1,
    /no history of runs yet \(results\/history\.sqlite\)\. Run `quicether demo`/u,
  )
})

test('a certificate is made with a key that only its owner can read, and not made over an existing one', async (t) => {
  const directory = scratchDirectory(t)
  assert.equal((await runCli(t, directory, ['certs', '--out', 'pair', '--names', 'localhost,127.0.0.1'])).code, 0)
  assert.equal(statSync(join(directory, 'pair/key.pem')).mode & 0o777, 0o600)
  assertExplained(
    await runCli(t, directory, ['certs', '--out', 'pair']),
    1,
    /exists already \(pair\/cert\.pem\)\. .*--force/u,
  )
})

test('help has examples and ends with 0', async (t) => {
  const directory = scratchDirectory(t)
  for (const command of [[], ['router'], ['services'], ['client'], ['report'], ['demo'], ['certs']]) {
    const result = await runCli(t, directory, [...command, '--help'])
    assert.equal(result.code, 0)
    assert.match(result.stdout, /Examples:\n {2}\$ quicether/u)
    assert.equal(result.stderr, '')
  }
})

test('services end by themselves on a signal', async (t) => {
  const services = new CliProcess(t, scratchDirectory(t), servicesArguments)
  // The first line, not the last one: a signal may come at any time from then on.
  await services.output(/video +http/u)
  services.signal('SIGTERM')
  assert.equal((await services.exit()).code, 0)
})

test('a router that gets a signal with its first line of output leaves its report and ends with 0', async (t) => {
  const router = new CliProcess(t, scratchDirectory(t), ['router', '--port', '0'])
  await router.output(/listening/u)
  router.signal('SIGTERM')
  const { code, stdout } = await router.exit()
  assert.equal(code, 0)
  assert.match(stdout, /^report +results\/\S+\/quic_performance_report\.txt$/mu)
})

test('an interrupted demo takes its processes along and says so', async (t) => {
  const demo = new CliProcess(t, scratchDirectory(t), ['demo', '--count', '100'])
  await demo.output(/router +https/u)
  demo.signal('SIGTERM')
  const { code, stderr } = await demo.exit()
  assert.equal(code, 128 + constants.signals.SIGTERM)
  assert.match(
    stderr,
    /^quicether: the demo was ended before it was done \(SIGTERM\)\. Its files so far are in \S+\n$/u,
  )
})

const noProc = process.platform === 'linux' ? false : '/proc is a Linux file system'

test('a directory that cannot be made is named at once', { skip: noProc }, async (t) => {
  const directory = scratchDirectory(t)
  for (const args of [
    ['client', '--port', '9', '--qlog', '/proc/x'],
    ['router', '--port', '0', '--qlog', '/proc/x'],
    ['certs', '--out', '/proc/x'],
    ['demo', '--results', '/proc/x'],
  ]) {
    assertExplained(await runCli(t, directory, args), 1, /\/proc takes no new directories \(ENOENT\)/u)
  }
})

test('a router whose results cannot be kept says so and serves on', { skip: noProc }, async (t) => {
  const router = new CliProcess(t, scratchDirectory(t), [
    'router',
    '--port',
    '0',
    '--results',
    '/proc/x',
    '--report-interval',
    '100',
  ])
  await router.output(/results cannot be written: \/proc takes no new directories \(ENOENT\).*Serving goes on/u)
  router.signal('SIGTERM')
  const { code, stdout } = await router.exit()
  assert.equal(code, 0)
  assert.doesNotMatch(stdout, /^(report|metrics) /mu)
})
