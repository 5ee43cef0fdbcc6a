/** Who is measured: our own commands, and Linux MPTCP, each as processes in the two namespaces. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { repositoryRoot } from '../../interop/peers.ts'
import { versionOf } from './result.ts'
import type { Topology } from './topology.ts'
import { Transfer } from './transfer.ts'

/** Of every server. */
export const PORT = 4433
const READY_MS = 15_000
const QUICETHER = join(repositoryRoot, 'packages', 'cli', 'src', 'main.ts')
const TCP_PEER = fileURLToPath(new URL('tcp-peer.ts', import.meta.url))

/** Something that listens in the server's namespace. */
export interface Serving extends AsyncDisposable {
  /** Starts a client for the file over all links; its standard output is the file. */
  download(options?: DownloadOptions): Transfer
}

export interface DownloadOptions {
  /** The client follows its interfaces as they come and go, where it can. */
  readonly followsInterfaces?: boolean
}

export interface Contender {
  readonly name: string
  readonly about: string
  /** Failures of a link that are measured with it. */
  readonly outages: readonly ('silent' | 'told')[]
  version(): string
  serve(topology: Topology, file: string): Promise<Serving>
  /** Goodput in Mbit/s of one download over all links, measured by a tool of its own; else `serve` is used. */
  readonly measureMbit?: (topology: Topology, seconds: number) => Promise<number>
}

/** A process in a namespace, ready once it has said so. */
export class Server implements AsyncDisposable {
  readonly #child: ChildProcess
  #said = ''
  #isGone = false

  constructor(space: string, command: readonly string[]) {
    this.#child = spawn('ip', ['netns', 'exec', space, ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (text: Buffer) => {
        if (this.#said.length < 20_000) this.#said += text.toString()
      })
    }
    this.#child.on('close', () => {
      this.#isGone = true
    })
    this.#child.on('error', (error) => {
      this.#said += error.message
      this.#isGone = true
    })
  }

  async ready(pattern: RegExp): Promise<void> {
    const deadlineMs = performance.now() + READY_MS
    while (!pattern.test(this.#said)) {
      if (this.#isGone || performance.now() > deadlineMs) throw new Error(`the server is not ready: ${this.#said}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isGone) return
    const gone = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 1_000)
    await gone
    clearTimeout(timer)
  }
}

function addresses(topology: Topology, host: 1 | 2): string[] {
  return topology.links.map((_, index) => `10.99.${index + 1}.${host}`)
}

/** Our commands with their defaults, and what `flags` adds on both sides. */
export function quicether(name: string, flags: readonly string[]): Contender {
  return {
    name,
    about: `quicether serve and get${flags.length === 0 ? ', default settings' : ` ${flags.join(' ')}`}`,
    outages: ['silent', 'told'],
    version: () => versionOf('git', '-C', repositoryRoot, 'describe', '--always', '--dirty'),
    async serve(topology, file) {
      const node = [process.execPath, QUICETHER]
      const [first = '', ...others] = addresses(topology, 2)
      const hosts = [first, ...others].join(',')
      const www = dirname(file)
      const server = new Server(topology.serverSpace, [
        ...[...node, 'serve', '--www', www, '--host', hosts, '--port', String(PORT)],
        ...flags,
      ])
      await server.ready(/certificate /u)
      const interfaces = topology.links.map((_, index) => `c${index + 1}`).join(',')
      const mip = others.map((address) => `${address}:${PORT}`).join(',')
      const url = `https://${first}:${PORT}/${basename(file)}`
      const get = [...node, 'get', url, '--insecure', '--json', '-o', '-', '--interfaces', interfaces]
      const further = mip === '' ? [] : ['--mip', mip]
      return {
        download: ({ followsInterfaces = false } = {}) => {
          const paths = followsInterfaces ? ['--paths', 'auto'] : further
          return new Transfer(topology.clientSpace, [...get, ...paths, ...flags], www)
        },
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      }
    },
  }
}

/**
 * Endpoints for two subflows, one per link, and buffers that do not limit them. Servers must listen on every address: a
 * subflow to an announced one needs a listener there.
 */
function configureMptcp(topology: Topology, congestion: string): void {
  const settings = [
    'net.ipv4.tcp_rmem=4096 131072 16777216',
    'net.ipv4.tcp_wmem=4096 131072 16777216',
    'net.ipv4.tcp_no_metrics_save=1',
    // An announcement lost at the beginning is repeated after this long, in seconds; by default after 120.
    'net.mptcp.add_addr_timeout=1',
  ]
  for (const space of [topology.clientSpace, topology.serverSpace]) {
    execFileSync('ip', ['netns', 'exec', space, 'sysctl', '-qw', ...settings])
    execFileSync('ip', ['-n', space, 'mptcp', 'limits', 'set', 'subflows', '4', 'add_addr_accepted', '4'])
  }
  // The sysctl of the congestion control is closed to namespaces; a route may choose it.
  for (let i = 1; i <= topology.links.length; i++) {
    const route = [`10.99.${i}.0/24`, 'dev', `s${i}`, 'src', `10.99.${i}.2`, 'table', String(100 + i)]
    execFileSync('ip', ['-n', topology.serverSpace, 'route', 'replace', ...route, 'congctl', congestion])
  }
  for (let i = 2; i <= topology.links.length; i++) {
    const endpoint = ['mptcp', 'endpoint', 'add', `10.99.${i}.2`, 'dev', `s${i}`, 'signal']
    execFileSync('ip', ['-n', topology.serverSpace, ...endpoint])
  }
}

interface IperfReport {
  readonly end?: { readonly sum_received?: { readonly bits_per_second: number } }
  readonly error?: string
}

async function iperf(topology: Topology, congestion: string, seconds: number): Promise<number> {
  const [address = ''] = addresses(topology, 2)
  const iperf3 = ['mptcpize', 'run', 'iperf3']
  await using server = new Server(topology.serverSpace, [...iperf3, '-s', '-1', '--forceflush'])
  await server.ready(/listening/u)
  const client = [
    'netns',
    'exec',
    topology.clientSpace,
    ...iperf3,
    '-c',
    address,
    '-R',
    '-t',
    String(seconds),
    '-C',
    congestion,
    '-J',
  ]
  const child = spawn('ip', client, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (text: Buffer) => {
    output += text.toString()
  })
  await new Promise((resolve) => child.on('close', resolve))
  const report = JSON.parse(output) as IperfReport
  const bits = report.end?.sum_received?.bits_per_second
  if (bits === undefined || bits === 0)
    throw new Error(`iperf3 gives no result: ${report.error ?? output.slice(0, 200)}`)
  return bits / 1e6
}

/** Linux MPTCP; goodput by iperf3, outages by a file over one connection. */
export function mptcp(congestion: 'cubic' | 'bbr'): Contender {
  return {
    name: `mptcp-${congestion}`,
    about: `Linux MPTCP, ${congestion}, default scheduler, two subflows; iperf3 and node:net under mptcpize`,
    // What a dead link costs does not depend on it: once is enough.
    outages: congestion === 'cubic' ? ['silent', 'told'] : [],
    version: () => versionOf('uname', '-r'),
    async measureMbit(topology, seconds) {
      configureMptcp(topology, congestion)
      return await iperf(topology, congestion, seconds)
    },
    async serve(topology, file) {
      configureMptcp(topology, congestion)
      const [address = ''] = addresses(topology, 2)
      const peer = ['mptcpize', 'run', process.execPath, TCP_PEER]
      const server = new Server(topology.serverSpace, [...peer, 'serve', file, String(PORT)])
      await server.ready(/listening/u)
      return {
        download: () => new Transfer(topology.clientSpace, [...peer, 'get', address, String(PORT)], dirname(file)),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      }
    },
  }
}
