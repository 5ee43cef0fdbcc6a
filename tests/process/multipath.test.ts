/** `quicether serve` and `quicether get` as processes: files over several paths, a path that dies, every bad input. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { assertExplained, CliProcess, runCli, scratchDirectory } from './cli-process.ts'

interface GetReport {
  readonly bytes: number
  readonly downloads: readonly { readonly url: string; readonly status: number | null; readonly error: string | null }[]
  readonly paths: readonly { readonly local: string; readonly state: string; readonly bytesReceived: number }[]
}

/** A server of a directory with one large and some small files. */
async function startServer(
  t: TestContext,
  directory: string,
  args: readonly string[] = ['--host', '127.0.0.1,127.0.0.2,::1'],
): Promise<{ readonly server: CliProcess; readonly port: number }> {
  const www = join(directory, 'www')
  mkdirSync(join(www, 'folder'), { recursive: true })
  writeFileSync(join(www, 'large.bin'), randomBytes(40_000_000))
  writeFileSync(join(www, 'small.txt'), 'small\n')
  writeFileSync(join(www, 'folder', 'index.html'), '<p>folder</p>')
  writeFileSync(join(directory, 'secret.txt'), 'secret\n')
  symlinkSync(join(directory, 'secret.txt'), join(www, 'link.txt'))
  const server = new CliProcess(t, directory, ['serve', '--www', 'www', '--port', '0', '--verbose', ...args])
  const port = Number((await server.output(/https:\/\/127\.0\.0\.1:(\d+)/u))[1])
  return { server, port }
}

function hash(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

test('a file comes over two local addresses at once, bytes exact, with a report per path', async (t) => {
  const directory = scratchDirectory(t)
  const { port, server } = await startServer(t, directory)
  const url = `https://127.0.0.1:${port}/large.bin`
  const flags = [
    '--local-addresses',
    '127.0.0.1,127.0.0.3',
    '-mip',
    `127.0.0.2:${port}`,
    '--output',
    'got.bin',
    '--json',
  ]
  // Which path carries how much is the scheduler's affair and depends on the machine: some download must use both.
  let received: readonly number[] = []
  for (
    let attempt = 1;
    attempt <= 5 && !(received.length === 2 && received.every((bytes) => bytes > 10_000));
    attempt++
  ) {
    const result = await runCli(t, directory, ['get', url, ...flags])
    assert.equal(result.code, 0, result.stderr)
    assert.equal(hash(join(directory, 'got.bin')), hash(join(directory, 'www/large.bin')))
    const report = JSON.parse(result.stdout) as GetReport
    assert.equal(report.bytes, 40_000_000)
    assert.deepEqual(
      report.paths.map(({ local, state }) => [local.replace(/:\d+$/u, ''), state]),
      [
        ['127.0.0.1', 'active'],
        ['127.0.0.3', 'active'],
      ],
    )
    received = report.paths.map((path) => path.bytesReceived)
  }
  assert.ok(
    received.every((bytes) => bytes > 10_000),
    `both paths carry data: ${received.join(', ')} bytes`,
  )
  await server.output(/path 1 validated: 127\.0\.0\.3:\d+ to 127\.0\.0\.2/u)
})

test('a download goes on when the link of its first path dies in the middle', async (t) => {
  const directory = scratchDirectory(t)
  const { port, server } = await startServer(t, directory)
  const [front, back] = [createSocket('udp4'), createSocket('udp4')]
  let [passed, isCut, client] = [0, false, { port: 0, address: '' }]
  // The link dies at the moment at which the second path stands: the download has hardly begun.
  const cut = server.output(/path 1 validated/u).then(() => {
    isCut = true
  })
  front.on('message', (datagram, from) => {
    client = from
    if (!isCut) back.send(datagram, port, '127.0.0.1')
  })
  back.on('message', (datagram) => {
    passed += datagram.length
    if (!isCut) front.send(datagram, client.port, client.address)
  })
  front.bind(0, '127.0.0.4')
  back.bind(0, '127.0.0.1')
  await Promise.all([once(front, 'listening'), once(back, 'listening')])
  const url = `https://127.0.0.4:${front.address().port}/large.bin`
  const flags = ['--paths', '2', '-mip', `127.0.0.1:${port}`, '--server-name', 'localhost', '--json']
  const result = await runCli(t, directory, ['get', url, ...flags])
  front.close()
  back.close()
  assert.equal(result.code, 0, result.stderr)
  await cut
  const [first, second] = (JSON.parse(result.stdout) as GetReport).paths
  assert.ok(passed > 0 && second !== undefined && second.bytesReceived > 1_000_000, result.stdout)
  assert.ok(first !== undefined && first.bytesReceived < 35_000_000, `the link died, yet it carried ${passed} bytes`)
  assert.equal(hash(join(directory, 'large.bin')), hash(join(directory, 'www/large.bin')))
})

test('several files share one connection; those that do not exist fail alone and leave nothing behind', async (t) => {
  const directory = scratchDirectory(t)
  const { port, server } = await startServer(t, directory)
  const base = `https://127.0.0.1:${port}`
  const urls = ['/small.txt', '/folder/', '/none.txt', '/link.txt', '/%2e%2e/secret.txt'].map(
    (path) => `${base}${path}`,
  )
  mkdirSync(join(directory, 'out'))
  const result = await runCli(t, directory, ['get', ...urls.slice(0, 4), '--output', 'out', '--json'])
  assert.equal(result.code, 1)
  const report = JSON.parse(result.stdout) as GetReport
  assert.deepEqual(
    report.downloads.map(({ status }) => status),
    [200, 200, 404, 404],
  )
  assert.equal(readFileSync(join(directory, 'out/small.txt'), 'utf8'), 'small\n')
  assert.equal(readFileSync(join(directory, 'out/index.html'), 'utf8'), '<p>folder</p>')
  for (const name of ['none.txt', 'none.txt.part', 'link.txt']) assert.ok(!existsSync(join(directory, 'out', name)))
  assert.match(result.stderr, /the server answers 404 \(https:\S+none\.txt\)/u)
  server.signal('SIGTERM')
  const { code, stdout } = await server.exit()
  assert.equal(code, 0)
  assert.equal(stdout.match(/^connection 127\.0\.0\.1:\d+$/gmu)?.length, 1)
})

test('a file to standard output is the file and nothing else; the table goes beside it', async (t) => {
  const directory = scratchDirectory(t)
  const { port } = await startServer(t, directory)
  const result = await runCli(t, directory, ['get', `https://localhost:${port}/small.txt`, '-o', '-', '--insecure'])
  assert.equal(result.stdout, 'small\n')
  assert.match(result.stderr, /certificate is not verified/u)
  assert.match(result.stderr, /path +local +remote/u)
})

test('a server with one path only is told of, and the file comes all the same', async (t) => {
  const directory = scratchDirectory(t)
  const { port } = await startServer(t, directory, ['--host', '127.0.0.1', '--paths', '1'])
  const result = await runCli(t, directory, ['get', `https://127.0.0.1:${port}/large.bin`, '--paths', '2'])
  assert.equal(result.code, 0, result.stderr)
  assert.match(result.stderr, /127\.0\.0\.1:\d+ does not offer multipath.*without that path/u)
  const auto = await runCli(t, directory, ['get', `https://127.0.0.1:${port}/small.txt`, '--paths', 'auto'])
  assert.equal(auto.code, 0, auto.stderr)
  assert.doesNotMatch(auto.stderr, /tried again/u)
  assert.equal(hash(join(directory, 'large.bin')), hash(join(directory, 'www/large.bin')))
})

const wrong: readonly (readonly [string, readonly string[], number, RegExp])[] = [
  [
    'an interface that does not exist',
    ['--interfaces', 'nosuch'],
    2,
    /no network interface begins with "nosuch" \(.*lo/u,
  ],
  [
    'a list of further addresses that is too long',
    ['-n', 'lo', '-mip=127.0.0.2'],
    2,
    /1 local ends and 1 further.*\(--mip\)/u,
  ],
  ['a further address that is none', ['--mip', 'example:1'], 2, /"example:1" is not an address of a server \(--mip\)/u],
  ['IPv6 here and IPv4 there', ['--local-addresses', '::1'], 2, /::1 and 127\.0\.0\.1 have no IP version in common/u],
  [
    'fewer paths than ends',
    ['--local-addresses', '127.0.0.1,127.0.0.2', '--paths', '1'],
    2,
    /1 paths cannot use 2 ends/u,
  ],
  [
    'a local address of another machine',
    ['--local-addresses', '192.0.2.99'],
    1,
    /\(127\.0\.0\.1:9\)\. Give addresses of this/u,
  ],
  ['an authority that is no file', ['--ca', 'none.pem'], 1, /the certificate file does not exist \(none\.pem\)/u],
]
for (const [what, flags, code, pattern] of wrong) {
  test(`get names ${what}`, async (t) => {
    const result = await runCli(t, scratchDirectory(t), ['get', 'https://127.0.0.1:9/x', ...flags])
    assertExplained(result, code, pattern)
  })
}

test('get names URLs that it cannot fetch', async (t) => {
  const directory = scratchDirectory(t)
  assertExplained(await runCli(t, directory, ['get', 'http://x/']), 2, /"http:\/\/x\/" is not an https address/u)
  const two = await runCli(t, directory, ['get', 'https://a/x', 'https://b/y'])
  assertExplained(two, 2, /b is another server than a .*once for each/u)
  assertExplained(await runCli(t, directory, ['get', 'https://127.0.0.1:9/x']), 1, /127\.0\.0\.1:9.*Start the server/u)
})

test('serve names a directory, an address and flags that cannot be', async (t) => {
  const directory = scratchDirectory(t)
  const serve = (...args: readonly string[]) => runCli(t, directory, ['serve', ...args])
  assertExplained(await serve('-www', 'none'), 2, /no such directory \(--www none\)/u)
  assertExplained(await serve('-www=.', '--host', 'x'), 2, /"x" is not an IP address \(--host\)/u)
  assertExplained(await serve('-www', '.', '--host', '192.0.2.99'), 1, /192\.0\.2\.99.*Choose addresses/u)
  assertExplained(await serve('-www', '.', '-n', 'nosuch'), 2, /no network interface begins with "nosuch"/u)
  assertExplained(await serve('-www', '.', '--cert', 'a.pem'), 2, /--cert is given without --key/u)
  assertExplained(await serve('-www', '.', '-certpath', 'none'), 1, /does not exist \(none\/fullchain\.pem\)/u)
})
