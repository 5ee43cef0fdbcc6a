/** `quicether get` and `serve`: downloads that go on, ranges, TCP, schedulers from modules, paths that all die. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delayed } from 'node:timers/promises'
import { UdpLink } from '../../packages/cli/src/demo/udp-link.ts'
import type { GetReport } from '../../packages/cli/src/files/get-report.ts'
import { assertExplained, CliProcess, runCli, scratchDirectory } from './cli-process.ts'

const size = 4_000_000

async function startServer(
  t: TestContext,
  directory: string,
  args: readonly string[] = [],
): Promise<{ readonly server: CliProcess; readonly port: number; readonly bytes: Buffer }> {
  const bytes = randomBytes(size)
  mkdirSync(join(directory, 'www'))
  writeFileSync(join(directory, 'www/f.bin'), bytes)
  writeFileSync(join(directory, 'www/digits.txt'), '0123456789')
  const server = new CliProcess(t, directory, ['serve', '-www=www', '-port=0', '-v', ...args])
  const port = Number((await server.output(/https:\/\/127\.0\.0\.1:(\d+)/u))[1])
  return { server, port, bytes }
}

async function link(t: TestContext, port: number, megabitsPerSecond: number): Promise<UdpLink> {
  const opened = await UdpLink.open({
    address: '127.0.0.1',
    server: { address: '127.0.0.1', port },
    megabitsPerSecond,
    delayMs: 5,
  })
  t.after(() => opened.close())
  return opened
}

/** Waits until so many bytes of a download are on the disk. */
async function written(file: string, bytes: number): Promise<void> {
  for (let i = 0; i < 1_000 && (!existsSync(file) || statSync(file).size < bytes); i++) await delayed(10)
}

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  test(`a download ended by ${signal} goes on where it ended`, async (t) => {
    const directory = scratchDirectory(t)
    const { port, bytes } = await startServer(t, directory)
    const slow = await link(t, port, 16)
    const get = ['get', `https://127.0.0.1:${slow.port}/f.bin`]
    const first = new CliProcess(t, directory, get)
    await written(join(directory, 'f.bin.part'), 500_000)
    first.signal(signal)
    const { code, stderr } = await first.exit()
    assert.equal(code, signal === 'SIGKILL' ? -1 : 130)
    if (signal === 'SIGINT') assert.match(stderr, /failed: interrupted .*go on: f\.bin\.part has what came/u)
    assert.ok(!existsSync(join(directory, 'f.bin')))
    const there = statSync(join(directory, 'f.bin.part')).size
    assert.ok(there >= 500_000 && there < size, `${there} bytes were there`)
    const second = await runCli(t, directory, [...get, '--json'])
    assert.equal(second.code, 0, second.stderr)
    assert.match(second.stderr, /f\.bin goes on after \S+ \S+ of 4\.00 MB/u)
    const [result] = (JSON.parse(second.stdout) as GetReport).downloads
    assert.deepEqual([result?.status, result?.continuedAt, result?.bytes], [206, there, size - there])
    assert.ok(readFileSync(join(directory, 'f.bin')).equals(bytes), 'the bytes differ')
    assert.ok(!existsSync(join(directory, 'f.bin.part')) && !existsSync(join(directory, 'f.bin.part.json')))
  })
}

test('a file that has changed on the server since the aborted run comes from its beginning, and the user is told', async (t) => {
  const directory = scratchDirectory(t)
  const { port } = await startServer(t, directory)
  const slow = await link(t, port, 16)
  const first = new CliProcess(t, directory, ['get', `https://127.0.0.1:${slow.port}/f.bin`])
  await written(join(directory, 'f.bin.part'), 500_000)
  first.signal('SIGINT')
  await first.exit()
  appendFileSync(join(directory, 'www/f.bin'), 'more')
  const second = await runCli(t, directory, ['get', `https://127.0.0.1:${slow.port}/f.bin`])
  assert.equal(second.code, 0, second.stderr)
  assert.match(second.stderr, /f\.bin has changed on the server since the last run/u)
  const whole = readFileSync(join(directory, 'www/f.bin'))
  assert.ok(readFileSync(join(directory, 'f.bin')).equals(whole), 'the bytes differ')
})

test('a part of a file by --range; one that the file does not have is named', async (t) => {
  const directory = scratchDirectory(t)
  const { port } = await startServer(t, directory)
  const get = (range: string, ...more: readonly string[]) =>
    runCli(t, directory, ['get', `https://127.0.0.1:${port}/digits.txt`, '--range', range, ...more])
  assert.equal((await get('2-4')).code, 0)
  assert.equal(readFileSync(join(directory, 'digits.txt'), 'utf8'), '234')
  assert.equal((await get('-3', '-o', '-')).stdout, '789')
  assertTable(await get('10-'), /the server answers 416: the file has no bytes 10- .*Check --range/u)
  assertExplained(await get('4-2'), 2, /--range.*'4-2'.*Expected bytes such as 0-99/u)
})

/** A failure after the report of the paths. */
function assertTable(result: { readonly code: number; readonly stderr: string }, pattern: RegExp): void {
  assert.match(result.stderr, pattern)
  assert.equal(result.code, 1)
}

test('with -d the second URL is asked for later; with -fmp one interface has two paths; -c is taken', async (t) => {
  const directory = scratchDirectory(t)
  const { port } = await startServer(t, directory, ['-c', '32'])
  const base = `https://127.0.0.1:${port}`
  const urls = [`${base}/digits.txt`, `${base}/f.bin`]
  const result = await runCli(t, directory, ['get', ...urls, '-d=700', '-fmp', '-n', 'lo', '-c=20', '--json'])
  assert.equal(result.code, 0, result.stderr)
  const report = JSON.parse(result.stdout) as GetReport
  assert.equal(report.paths.length, 2)
  assert.ok(report.durationMs >= 700, `it took ${report.durationMs} ms`)
  const both = ['127.0.0.1', '127.0.0.1']
  assert.deepEqual(
    report.paths.map(({ local }) => local.replace(/:\d+$/u, '')),
    both,
  )
  const wrong = await runCli(t, directory, ['get', base, '-c', '1'])
  assertExplained(wrong, 2, /--initial-window.*'1'.*from 2 to 1000/u)
})

test('with -tcp the same files come over HTTP/1.1 and TLS, with ranges, and HTTP/3 is made known', async (t) => {
  const directory = scratchDirectory(t)
  const { server, port, bytes } = await startServer(t, directory, ['-tcp'])
  const get = (path: string, headers = {}, method = 'GET') =>
    new Promise<{ status: number | undefined; headers: Record<string, unknown>; body: Buffer }>((resolve, reject) => {
      const sent = request(
        { port, host: '127.0.0.1', path, method, headers, rejectUnauthorized: false },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('end', () =>
            resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }),
          )
        },
      )
      sent.on('error', reject).end()
    })
  const whole = await get('/f.bin')
  assert.ok(whole.status === 200 && whole.body.equals(bytes))
  assert.equal(whole.headers['alt-svc'], `h3=":${port}"; ma=3600`)
  const part = await get('/digits.txt', { range: 'bytes=2-4' })
  assert.deepEqual([part.status, part.body.toString()], [206, '234'])
  const head = await get('/digits.txt', {}, 'HEAD')
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, '10', 0])
  assert.equal((await get('/../secret')).status, 404)
  assert.equal((await get('/digits.txt', {}, 'POST')).status, 405)
  await server.output(/request {4}GET "\/f\.bin" 200, \d+ bytes/u)
  server.signal('SIGTERM')
  assert.equal((await server.exit()).code, 0)
})

test('a TCP port that is taken is named, also where the UDP port of that number is free', async (t) => {
  const directory = scratchDirectory(t)
  mkdirSync(join(directory, 'www'))
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.after(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const result = await runCli(t, directory, ['serve', '-www=www', `-port=${port}`, '-tcp'])
  assertExplained(result, 1, /TCP port \d+ is already in use \(127\.0\.0\.1, --tcp\)\. .*leave --tcp out/u)
})

const twoPaths = ['--local-addresses', '127.0.0.1,127.0.0.2']

test("a scheduler module is used at both ends; a server's that fails ends its connection and no other", async (t) => {
  const directory = scratchDirectory(t)
  // The first connection's scheduler throws, the second one picks nonsense, the others do as they should.
  writeFileSync(
    join(directory, 'mine.ts'),
    `let made = -1 // one is made to see whether it can be
     export function scheduler() {
       const id = made++
       return {
         name: 'mine',
         pick({ lanes }: { lanes: { budgetBytes: number }[] }) {
           if (id === 0) throw new Error('boom')
           if (id === 1) return 99
           return lanes.findIndex((lane) => lane.budgetBytes > 0)
         },
       }
     }`,
  )
  const { server, port, bytes } = await startServer(t, directory, ['-sc', './mine.ts'])
  const get = [`https://127.0.0.1:${port}/f.bin`, ...twoPaths]
  // The scheduler is asked once both paths stand: a small file may be through before.
  const url = `https://127.0.0.1:${(await link(t, port, 16)).port}/f.bin`
  const failing = ['get', url, '--paths', '2']
  assertTable(
    await runCli(t, directory, failing),
    /failed: .*INTERNAL_ERROR.*packet scheduler mine \(\.\/mine\.ts\) failed: boom/u,
  )
  assertTable(await runCli(t, directory, failing), /packet scheduler mine \(\.\/mine\.ts\) picked lane 99/u)
  await server.output(/quicether: the connection of 127\.0\.0\.1:\d+ failed: packet scheduler mine/u)
  writeFileSync(
    join(directory, 'last.mjs'),
    `export const scheduler = () => ({ name: 'last', pick: ({ lanes }) => lanes.findLastIndex((lane) => lane.budgetBytes > 0) })`,
  )
  const good = await runCli(t, directory, [
    'get',
    ...get,
    '--scheduler',
    './last.mjs',
    '--ack-path',
    'any',
    '-o',
    'g.bin',
  ])
  assert.equal(good.code, 0, good.stderr)
  assert.ok(readFileSync(join(directory, 'g.bin')).equals(bytes), 'the bytes differ')
})

test('a scheduler, weights and congestion control that cannot be are named before anything is asked of the server', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'empty.ts'), 'export {}')
  const get = (...args: readonly string[]) => runCli(t, directory, ['get', 'https://127.0.0.1:9/x', ...args])
  assertExplained(await get('-sc=fast'), 2, /--scheduler.*'fast'.*Expected one of .*minrtt.*\.\/mine\.ts/u)
  assertExplained(await get('-sc', './none.ts'), 2, /no such scheduler module \(--scheduler \.\/none\.ts\)/u)
  assertExplained(await get('-sc', './empty.ts'), 2, /exports no "scheduler" \(--scheduler \.\/empty\.ts\)/u)
  assertExplained(await get('--weights', '3,x'), 2, /--weights.*Expected numbers from 0\.001 to 1000/u)
  assertExplained(
    await get('--weights', '3,1', '-sc=rr'),
    2,
    /weights are given, but the scheduler is rr \(--weights\)/u,
  )
  assertExplained(await get('--congestion', 'x'), 2, /--congestion.*'x'.*cubic/u)
  assertExplained(await get('--ack-path', 'x'), 2, /--ack-path.*'x'.*same, fastest, any/u)
})

test('a server that allows fewer paths than planned: told with the limit, and the file comes', async (t) => {
  const directory = scratchDirectory(t)
  const { port, bytes } = await startServer(t, directory, ['--paths', '2'])
  const slow = await link(t, port, 16)
  const result = await runCli(t, directory, ['get', `https://127.0.0.1:${slow.port}/f.bin`, '--paths', '3'])
  assert.equal(result.code, 0, result.stderr)
  assert.match(result.stderr, /cannot open a path: 2 are open and 2 allowed \(the server's limit\).*it is tried again/u)
  assert.ok(readFileSync(join(directory, 'f.bin')).equals(bytes), 'the bytes differ')
})

test('a server tells of its other addresses, and --paths auto uses them', async (t) => {
  const directory = scratchDirectory(t)
  const { server, port, bytes } = await startServer(t, directory, [
    '--host',
    '127.0.0.1,127.0.0.2',
    '--announce',
    '::1',
  ])
  await server.output(
    new RegExp(`announced {3}\\[::1\\]:${port}, 127\\.0\\.0\\.1:${port}, 127\\.0\\.0\\.2:${port}\n`, 'u'),
  )
  const slow = await link(t, port, 16)
  const result = await runCli(t, directory, [
    ...['get', `https://127.0.0.1:${slow.port}/f.bin`, '--paths', 'auto', '--json'],
  ])
  assert.equal(result.code, 0, result.stderr)
  const report = JSON.parse(result.stdout) as GetReport
  assert.deepEqual(
    report.paths.map(({ remote, state }) => `${remote} ${state}`).sort(),
    [
      `127.0.0.1:${slow.port} active`,
      `127.0.0.1:${port} active`,
      `127.0.0.2:${port} active`,
      `[::1]:${port} active`,
    ].sort(),
  )
  assert.ok(readFileSync(join(directory, 'f.bin')).equals(bytes), 'the bytes differ')
  assertExplained(await runCli(t, directory, ['get', 'https://a/', '--paths', 'all']), 2, /--paths.*'all'.*or auto/u)
  assertExplained(
    await runCli(t, directory, ['serve', '-www=.', '--announce', 'x']),
    2,
    /--announce.*"x" is no address/u,
  )
})

test('a path that cannot be opened is told of once, and tried again until it can', async (t) => {
  const directory = scratchDirectory(t)
  const { port, bytes } = await startServer(t, directory)
  const [slow, late] = [await link(t, port, 3), await link(t, port, 3)]
  late.cut()
  const url = `https://127.0.0.1:${slow.port}/f.bin`
  const get = new CliProcess(t, directory, [
    ...['get', url, '-mip', `127.0.0.1:${late.port}`, '--timeout', '400', '--verbose', '--json'],
  ])
  await get.output(/no answer comes over it.*The download goes on; it is tried again/u)
  late.mend()
  await get.output(/path [1-9]\d* validated/u)
  const { code, stdout, stderr } = await get.exit()
  assert.equal(code, 0, stderr)
  assert.equal(stderr.match(/it is tried again/gu)?.length, 1)
  const { paths } = JSON.parse(stdout) as GetReport
  assert.ok((paths.at(-1)?.bytesReceived ?? 0) > 10_000, stdout)
  assert.ok(readFileSync(join(directory, 'f.bin')).equals(bytes), 'the bytes differ')
})

test('when all paths are dead the download waits, says so, and goes on when one returns, nothing lost', async (t) => {
  const directory = scratchDirectory(t)
  const { port, bytes } = await startServer(t, directory)
  const links = [await link(t, port, 16), await link(t, port, 16)] as const
  const urls = [`https://127.0.0.1:${links[0].port}/f.bin`, '-mip', `127.0.0.1:${links[1].port}`]
  const get = new CliProcess(t, directory, ['get', ...urls, '--json', '--verbose'])
  await get.output(/path 1 validated/u)
  await written(join(directory, 'f.bin.part'), 1_000_000)
  for (const each of links) each.cut()
  await get.output(/no path works; trying again in \d.*The download goes on when one does/u)
  await delayed(1_000)
  links[1].mend()
  await get.output(/a path works again after \d/u)
  const { code, stdout, stderr } = await get.exit()
  assert.equal(code, 0, stderr)
  assert.ok(readFileSync(join(directory, 'f.bin')).equals(bytes), 'the bytes differ')
  const report = JSON.parse(stdout) as GetReport
  assert.ok(report.outages.length === 1 && report.degradedMs >= 1_000, JSON.stringify(report.outages))
  assert.ok(report.longestGapMs >= 1_000 && report.gaps.length >= 1, JSON.stringify(report.gaps))
  assert.deepEqual(new Set(report.pathEvents.map(({ change }) => change)).has('silent'), true)
})

test('when no path works for the idle timeout, the download ends with the reason and can go on later', async (t) => {
  const directory = scratchDirectory(t)
  const { port, bytes } = await startServer(t, directory)
  const slow = await link(t, port, 16)
  const get = ['get', `https://127.0.0.1:${slow.port}/f.bin`, '--idle-timeout', '2']
  const first = new CliProcess(t, directory, get)
  await written(join(directory, 'f.bin.part'), 500_000)
  slow.cut()
  const { code, stderr } = await first.exit()
  assert.equal(code, 1)
  assert.match(stderr, /the download failed: .*nothing was heard for 2000 ms.*Run the command again to go on/u)
  slow.mend()
  assert.equal((await runCli(t, directory, get)).code, 0)
  assert.ok(readFileSync(join(directory, 'f.bin')).equals(bytes), 'the bytes differ')
})
