/** `quicether serve --workers`: real processes and files, clients that move and have several paths, replaced workers. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delayed } from 'node:timers/promises'
import { UdpLink } from '../../packages/cli/src/demo/udp-link.ts'
import type { GetReport } from '../../packages/cli/src/files/get-report.ts'
import { assertExplained, CliProcess, runCli, scratchDirectory } from './cli-process.ts'

const size = 3_000_000

async function startServer(t: TestContext, args: readonly string[]) {
  const directory = scratchDirectory(t)
  const bytes = randomBytes(size)
  mkdirSync(join(directory, 'www'))
  writeFileSync(join(directory, 'www/f.bin'), bytes)
  const server = new CliProcess(t, directory, ['serve', '--www', 'www', '--port', '0', '--workers', '2', ...args])
  const port = Number((await server.output(/https:\/\/127\.0\.0\.1:(\d+)/u))[1])
  return { directory, server, port, bytes }
}

test('downloads over several paths and several workers have every byte; a second server cannot join the port', async (t) => {
  const { directory, server, port, bytes } = await startServer(t, ['--host', '127.0.0.1,127.0.0.2'])
  await server.output(/workers {5}2, datagrams are delivered by (connection ID|address)/u)
  const results = await Promise.all(
    ['a', 'b', 'c', 'd'].map((name) =>
      runCli(t, directory, ['get', `https://127.0.0.1:${port}/f.bin`, '-o', name, '--paths', 'auto', '--json']),
    ),
  )
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    assert.equal(code, 0, stderr)
    assert.equal((JSON.parse(stdout) as GetReport).paths.length, 2)
    assert.ok(readFileSync(join(directory, 'abcd'[index] ?? '')).equals(bytes), 'the bytes differ')
  }
  const second = ['serve', '--www', 'www', '--port', String(port), '--workers', '2']
  assertExplained(await runCli(t, directory, second), 1, /UDP port \d+ is already in use/u)
  assertExplained(await runCli(t, directory, [...second, '--capture', 'x']), 2, /one capture .*--workers 1/u)
  assertExplained(await runCli(t, directory, ['serve', '--www=www', '--workers', '0']), 2, /--workers.*from 1 to 64/u)
  server.signal('SIGTERM')
  assert.equal((await server.exit()).code, 0)
})

test('all workers are replaced on SIGUSR2 while a download goes on', async (t) => {
  const { directory, server, port, bytes } = await startServer(t, [])
  const link = await UdpLink.open({
    address: '127.0.0.1',
    server: { address: '127.0.0.1', port },
    megabitsPerSecond: 8,
    delayMs: 5,
  })
  t.after(() => link.close())
  const download = new CliProcess(t, directory, ['get', `https://127.0.0.1:${link.port}/f.bin`, '-o', 'slow'])
  while (!existsSync(join(directory, 'slow.part'))) await delayed(20)
  server.signal('SIGUSR2')
  await server.output(/workers {5}all have been replaced/u)
  assert.equal((await runCli(t, directory, ['get', `https://127.0.0.1:${port}/f.bin`, '-o', 'fast'])).code, 0)
  const { code, stderr } = await download.exit()
  assert.equal(code, 0, stderr)
  for (const name of ['slow', 'fast']) assert.ok(readFileSync(join(directory, name)).equals(bytes), 'the bytes differ')
})
