/** `serve` and `get` with real network interfaces, in namespaces of their own: the fork's examples and meshes. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { GetReport } from '../../packages/cli/src/files/get-report.ts'
import { assertExplained, CliProcess, scratchDirectory } from './cli-process.ts'

/** Why this machine cannot have namespaces; undefined when it can. */
function obstacle(): string | undefined {
  try {
    execFileSync('unshare', ['--net', 'ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1'], {
      stdio: 'pipe',
    })
    return undefined
  } catch (error) {
    const detail = error instanceof Error ? error.message.split('\n')[0] : String(error)
    return `needs root, unshare, iproute2 and veth devices: ${detail}`
  }
}

const skip = obstacle()

/** A network namespace that lives as long as the test. */
class Namespace {
  readonly #holder: ChildProcess

  constructor(holder: ChildProcess) {
    this.#holder = holder
  }

  static async open(t: TestContext): Promise<Namespace> {
    const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec sleep 300'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    t.after(() => holder.kill('SIGKILL'))
    if (holder.stdout !== null) await once(holder.stdout, 'data')
    const namespace = new Namespace(holder)
    namespace.ip('link set lo up')
    return namespace
  }

  get pid(): string {
    return String(this.#holder.pid)
  }

  /** Runs `ip` with these words inside. */
  ip(words: string): string {
    return execFileSync('nsenter', ['--target', this.pid, '--net', 'ip', ...words.split(' ')], { encoding: 'utf8' })
  }

  start(t: TestContext, directory: string, line: string): CliProcess {
    return new CliProcess(t, directory, line.split(' '), {}, ['nsenter', '--target', this.pid, '--net'])
  }

  /** Joins an interface here to one of another namespace. */
  join(name: string, address: string, other: Namespace, otherName: string, otherAddress: string): void {
    this.ip(`link add ${name} type veth peer name ${otherName} netns ${other.pid}`)
    for (const [end, device, ip] of [
      [this, name, address],
      [other, otherName, otherAddress],
    ] as const) {
      if (ip !== '') end.ip(`address add ${ip}/24 dev ${device}`)
      end.ip(`link set ${device} up`)
    }
    this.#whenRunning(name)
    other.#whenRunning(otherName)
  }

  /** The kernel takes up to a second to call a new link running, and only then programs see its addresses. */
  #whenRunning(name: string): void {
    for (let attempt = 0; !this.ip(`-o link show ${name}`).includes('state UP'); attempt++) {
      assert.ok(attempt < 200, `interface ${name} does not come up: ${this.ip(`-o link show ${name}`)}`)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    }
  }
}

function directoryToServe(t: TestContext, bytes = 3_000_000): string {
  const directory = scratchDirectory(t)
  mkdirSync(join(directory, 'www'))
  writeFileSync(join(directory, 'www/index.html'), randomBytes(bytes))
  return directory
}

function assertWhole(directory: string): void {
  const [got, sent] = ['index.html', 'www/index.html'].map((name) => readFileSync(join(directory, name)))
  assert.ok(got !== undefined && sent?.equals(got), 'the bytes differ')
}

/** Which interface's address talked to which end of the server. */
function ends(report: GetReport): readonly string[] {
  return report.paths.map(({ local, remote, state }) => `${local.replace(/:\d+$/u, '')} ${remote} ${state}`)
}

// What stops these tests, if anything: printed beside each as the reason.
const options = { skip: skip ?? false }

test(
  "the fork's mesh on one machine: lo, wlan1 and ethernet1, each to the address that its manual says",
  options,
  async (t) => {
    const directory = directoryToServe(t)
    const [machine, air] = [await Namespace.open(t), await Namespace.open(t)]
    machine.join('wlan1', '192.168.7.5', air, 'peer1', '')
    machine.join('ethernet1', '192.168.0.135', air, 'peer2', '')
    const server = machine.start(t, directory, 'serve -n=lo,ethernet1 -port=6121 -www=www')
    await server.output(/listening {3}https:\/\/192\.168\.0\.135:6121/u)
    const get =
      'get -n=lo,wlan1,ethernet1 -mip=192.168.0.135:6121,192.168.0.135:6121 https://127.0.0.1:6121/index.html --json'
    const { code, stdout, stderr } = await machine.start(t, directory, get).exit()
    assert.equal(code, 0, stderr)
    assertWhole(directory)
    assert.deepEqual(ends(JSON.parse(stdout) as GetReport), [
      '127.0.0.1 127.0.0.1:6121 active',
      '192.168.7.5 192.168.0.135:6121 active',
      '192.168.0.135 192.168.0.135:6121 active',
    ])
  },
)

test(
  'a server finds its interfaces by the beginnings of their names, as in the first example of the fork',
  options,
  async (t) => {
    const directory = directoryToServe(t)
    const [machine, air] = [await Namespace.open(t), await Namespace.open(t)]
    machine.join('enxa0cec818056b', '10.1.0.2', air, 'peer1', '')
    machine.join('wlp2s0', '10.2.0.2', air, 'peer2', '')
    const server = machine.start(t, directory, 'serve -n=enxa0cec818056b,wlp -www=www')
    await server.output(/https:\/\/10\.1\.0\.2:4433 [\s\S]*https:\/\/10\.2\.0\.2:4433 /u)
    air.ip('link add bare0 type veth peer name bare1')
    const bare = await air.start(t, directory, 'get -n=bare0 https://10.1.0.2:4433/index.html').exit()
    assertExplained(bare, 2, /network interface bare0 has no usable address \(--interfaces bare0\)\. Give it one/u)
  },
)

test('a mesh of two interfaces here and two there: every pair has its path', options, async (t) => {
  const directory = directoryToServe(t)
  const [client, server] = [await Namespace.open(t), await Namespace.open(t)]
  client.join('c1', '10.1.0.1', server, 's1', '10.1.0.2')
  client.join('c2', '10.2.0.1', server, 's2', '10.2.0.2')
  for (const [own, other] of [
    [1, 2],
    [2, 1],
  ] as const) {
    // What is sent from an address leaves over its interface, also to the server's other address.
    client.ip(`rule add from 10.${own}.0.1 table ${own}`)
    client.ip(`route add default via 10.${own}.0.2 dev c${own} table ${own}`)
    server.ip(`rule add from 10.${own}.0.2 to 10.${other}.0.1 table ${own}`)
    server.ip(`route add default via 10.${other}.0.1 dev s${other} table ${own}`)
  }
  const serve = server.start(t, directory, 'serve -n=s1,s2 -port=6121 -www=www')
  await serve.output(/https:\/\/10\.2\.0\.2:6121 /u)
  const get = 'get -n=c1,c2,c1,c2 -mip=10.1.0.2,10.2.0.2,10.2.0.2 https://10.1.0.2:6121/index.html --insecure --json'
  const { code, stdout, stderr } = await client.start(t, directory, get).exit()
  assert.equal(code, 0, stderr)
  assertWhole(directory)
  assert.deepEqual(ends(JSON.parse(stdout) as GetReport), [
    '10.1.0.1 10.1.0.2:6121 active',
    '10.2.0.1 10.1.0.2:6121 active',
    '10.1.0.1 10.2.0.2:6121 active',
    '10.2.0.1 10.2.0.2:6121 active',
  ])
})

test('an interface that goes down during a download: the other one brings the rest', options, async (t) => {
  const directory = directoryToServe(t, 60_000_000)
  const [client, server] = [await Namespace.open(t), await Namespace.open(t)]
  client.join('c1', '10.1.0.1', server, 's1', '10.1.0.2')
  client.join('c2', '10.2.0.1', server, 's2', '10.2.0.2')
  const serve = server.start(t, directory, 'serve -n=s1,s2 -port=6121 -www=www')
  await serve.output(/https:\/\/10\.2\.0\.2:6121 /u)
  const get = client.start(
    t,
    directory,
    'get -n=c1,c2 -mip=10.2.0.2 https://10.1.0.2:6121/index.html --insecure --json --verbose',
  )
  await get.output(/path 1 validated/u)
  client.ip('link set c1 down')
  const { code, stdout, stderr } = await get.exit()
  assert.equal(code, 0, stderr)
  assertWhole(directory)
  const { paths } = JSON.parse(stdout) as GetReport
  const second = paths.find(({ local }) => local.startsWith('10.2.0.1:'))
  assert.ok((second?.bytesReceived ?? 0) > 1_000_000, stdout)
})
