/** The programs in examples/, each as a process of its own, as a reader would run them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { type TestContext, test } from 'node:test'

const directory = path.join(import.meta.dirname, '../../examples')
const PATIENCE_MS = 180_000

interface Program {
  readonly child: ChildProcess
  readonly output: () => string
}

function start(t: TestContext, name: string, args: readonly string[]): Program {
  const child = spawn(process.execPath, [path.join(directory, name), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  }
  t.after(() => child.kill('SIGKILL'))
  return { child, output: () => output }
}

/** Runs a client to its end and returns what it printed. */
async function run(t: TestContext, name: string, args: readonly string[]): Promise<string> {
  const program = start(t, name, args)
  const code = await new Promise((resolve) => program.child.once('close', resolve))
  assert.equal(code, 0, program.output())
  return program.output()
}

/** Starts a server on any free port; returns what its clients need. */
async function serve(t: TestContext, name: string): Promise<Program & { readonly args: readonly string[] }> {
  const program = start(t, name, ['0'])
  const ended = new Promise<never>((_, reject) => {
    program.child.once('close', () => reject(new Error(`${name} ended: ${program.output()}`)))
  })
  ended.catch(() => undefined)
  const ready = new Promise<readonly string[]>((resolve) => {
    program.child.stdout?.on('data', () => {
      const match = /port (\d+) pin ([0-9a-f]{64})\n/.exec(program.output())
      if (match !== null) resolve(match.slice(1))
    })
  })
  return { ...program, args: await Promise.race([ready, ended]) }
}

const options = { timeout: PATIENCE_MS }

test('a raw server answers clients on streams, with datagrams and over several paths', options, async (t) => {
  const { args } = await serve(t, 'echo-server.ts')
  assert.equal(await run(t, 'client.ts', args), 'hello over QUIC\n')
  assert.match(await run(t, 'datagrams.ts', args), /^ping, at most \d{4} bytes each\n$/)
  assert.equal(await run(t, 'multipath.ts', args), '2000000 bytes over 2 paths\n')
})

test('fetch talks to a (Request) => Response server, which ends on SIGTERM', options, async (t) => {
  const server = await serve(t, 'http3-server.ts')
  const printed = await run(t, 'http3-fetch.ts', server.args)
  assert.equal(printed, "103 </style.css>; rel=preload\n200 { path: '/early-hints', protocol: 'h3' }\nLOUDER\n")
  const closed = new Promise((resolve) => server.child.once('close', resolve))
  server.child.kill('SIGTERM')
  assert.equal(await closed, 0)
})

test('a listener of node:http is served over HTTP/3', options, async (t) => {
  const { args } = await serve(t, 'node-listener.ts')
  const { Http3Agent } = await import('@quicether/http3')
  await using agent = new Http3Agent({ pinned: [args[1] ?? ''] })
  const response = await agent.fetch(`https://127.0.0.1:${args[0]}/some/path`)
  assert.equal(await response.text(), 'GET /some/path HTTP/3.0\n')
})

test('worker threads serve HTTP/3 together, and end together on SIGTERM', options, async (t) => {
  const server = await serve(t, 'workers.ts')
  const { Http3Agent } = await import('@quicether/http3')
  await using agent = new Http3Agent({ pinned: [server.args[1] ?? ''] })
  const response = await agent.fetch(`https://127.0.0.1:${server.args[0]}/`)
  assert.equal(await response.text(), 'one of 2 workers\n')
  await agent.close()
  const closed = new Promise((resolve) => server.child.once('close', resolve))
  server.child.kill('SIGTERM')
  assert.equal(await closed, 0)
})

test('a WebTransport session goes there and back, and its end says why', options, async (t) => {
  const server = await serve(t, 'webtransport-server.ts')
  assert.equal(await run(t, 'webtransport-client.ts', server.args), 'hello over WebTransport\n')
  while (!server.output().includes('session closed')) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.match(server.output(), /session closed by peer: 1 done\n/)
})

test('every example is run by a test', () => {
  const elsewhere = ['my-scheduler.ts']
  const here = [
    ...['client.ts', 'datagrams.ts', 'echo-server.ts', 'http3-fetch.ts', 'http3-server.ts', 'multipath.ts'],
    ...['node-listener.ts', 'webtransport-client.ts', 'webtransport-server.ts', 'workers.ts'],
  ]
  const programs = readdirSync(directory).filter((name) => name.endsWith('.ts'))
  assert.deepEqual(programs.sort(), [...elsewhere, ...here].sort())
})
