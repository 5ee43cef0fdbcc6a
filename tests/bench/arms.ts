/** The implementations that are measured side by side, and how each is started. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { peers, repositoryRoot } from '../interop/peers.ts'
import type { ClientSpec, ServerSpec, Work } from './peers/protocol.ts'

const benchRoot = fileURLToPath(new URL('.', import.meta.url))

export type Measure = 'download' | 'upload' | 'requests' | 'raw'

export interface Arm {
  readonly name: string
  readonly about: string
  readonly measures: readonly Measure[]
  /** Report that carries the result, and who sends it. */
  readonly result: { readonly event: string; readonly from: 'client' | 'server' }
  /** Makes the peer ready; returns its version. Throws what is missing and how to get it. */
  install(): Promise<string>
  command(spec: ServerSpec | ClientSpec): readonly string[]
  /** Work of a size that takes this implementation some seconds at `scale` 1. */
  work(measure: Measure, scale: number): Work
}

const MB = 1_000_000
const REQUESTS_CONCURRENCY = 32
const fromClient = { event: 'result', from: 'client' } as const

function http3Work(bulkMegabytes: number): Arm['work'] {
  return (measure, scale) => {
    if (measure === 'requests') return { kind: 'requests', concurrency: REQUESTS_CONCURRENCY, seconds: 2 * scale }
    return { kind: measure === 'upload' ? 'upload' : 'download', bytes: Math.ceil(bulkMegabytes * scale) * MB }
  }
}

const quicether: Arm = {
  name: 'quicether',
  about: 'this engine, HTTP/3 over @quicether/net',
  measures: ['download', 'upload', 'requests'],
  result: fromClient,
  install: () => install('quicether'),
  command: (spec) => [process.execPath, join(benchRoot, 'peers', 'quicether.ts'), JSON.stringify(spec)],
  work: http3Work(500),
}

const aioquic: Arm = {
  name: 'aioquic',
  about: 'Python, HTTP/3',
  measures: ['download', 'upload', 'requests'],
  result: fromClient,
  install: () => install('aioquic'),
  command: (spec) => {
    const python = join(repositoryRoot, '.cache', 'peers', 'aioquic', 'bin', 'python')
    return [python, join(benchRoot, 'peers', 'aioquic_bench.py'), JSON.stringify(spec)]
  },
  work: http3Work(20),
}

const rawUdp: Arm = {
  name: 'raw-udp',
  about: 'our native UDP sockets with offload: no crypto, no protocol, losses not repaired',
  measures: ['raw'],
  result: { event: 'received', from: 'server' },
  install: async () => process.version,
  command: (spec) => [process.execPath, join(benchRoot, 'peers', 'raw-udp.ts'), JSON.stringify(spec)],
  work: (_measure, scale) => ({ kind: 'raw', seconds: 1.5 * scale }),
}

/** In the order in which each round runs them. */
export const arms: readonly Arm[] = [quicether, aioquic, rawUdp]

async function install(name: string): Promise<string> {
  const peer = peers[name]
  if (peer === undefined) throw new Error(`there is no peer "${name}" in tests/interop/peers.ts`)
  return await peer.install()
}
