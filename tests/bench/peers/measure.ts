/** Runs one case of one contender as two processes and takes its figures. */
import { join } from 'node:path'
import { PeerProcess, type Report } from '../../interop/peer-process.ts'
import type { Case } from './cases.ts'
import type { Contender } from './contenders.ts'
import { cpuSeconds, privateBytes } from './process-figures.ts'

export interface RunOptions {
  /** Folder with `plain.pem`, `plain.key` and `root.pem`, where logs go, too. */
  readonly folder: string
  /** Measured time of a case, after the warm-up. */
  readonly seconds: number
  readonly warmupSeconds: number
  /** Divides the larger counts of connections and streams; 1 = as documented. */
  readonly shrink: number
}

/** Figures of one run, in the order of the case's metrics. */
export type Figures = readonly number[]

const STARTUP_MS = 60_000
/** On top of the measured time; machines may be busy. */
const RESULT_MS = 60_000
const STOP_GRACE_MS = 2_000
const SETTLE_MS = 700
/** Handshakes that must have been resumed, or their early data accepted; tickets that serve once may run out at times. */
const MODE_SHARE_MIN = 0.5

interface Pair {
  readonly server: PeerProcess
  readonly client: PeerProcess
  readonly serverPid: number
  readonly clientPid: number
}

let runs = 0

/** @throws Error naming the process that failed and its log. */
export async function measure(contender: Contender, subject: Case, options: RunOptions): Promise<Figures> {
  switch (subject.kind) {
    case 'bulk':
      return await withPair(contender, subject, options, {}, (pair) => bulk(pair, subject))
    case 'count':
      return await withPair(contender, subject, options, {}, (pair) => count(pair, subject))
    case 'latency':
      return await withPair(contender, subject, options, {}, latency)
    case 'setup':
      return await withPair(contender, subject, options, {}, (pair) =>
        micros(pair, ['connectedP50Us', 'answeredP50Us']),
      )
    case 'memory':
      return await memory(contender, subject, options)
    case 'scale':
      return await scale(contender, subject, options)
  }
}

async function withPair<T>(
  contender: Contender,
  subject: Case,
  options: RunOptions,
  words: Readonly<Record<string, string | number>>,
  take: (pair: Pair) => Promise<T>,
): Promise<T> {
  const { folder, seconds, warmupSeconds } = options
  const log = (role: string) =>
    join(folder, `${contender.name.replace(':', '-')}-${subject.name}-${++runs}-${role}.log`)
  const start = (role: 'server' | 'client', given: Readonly<Record<string, string | number>>) => {
    const program = role === 'client' ? (contender.client ?? contender.command) : contender.command
    const command = [...program, role, ...Object.entries(given).map(([name, value]) => `${name}=${value}`)]
    return new PeerProcess(`${contender.name} ${role}`, command, {}, log(role))
  }
  const mode = subject.words['mode'] === undefined ? {} : { mode: subject.words['mode'] }
  const server = start('server', { certificate: join(folder, 'plain.pem'), key: join(folder, 'plain.key'), ...mode })
  try {
    const listening = await server.report('listening', STARTUP_MS)
    const given = {
      port: Number(listening['port']),
      ca: join(folder, 'root.pem'),
      ...(listening['peer'] === undefined ? {} : { peer: String(listening['peer']) }),
      seconds,
      warmup: warmupSeconds,
      ...subject.words,
      ...words,
    }
    const client = start('client', given)
    try {
      return await take({
        server,
        client,
        serverPid: Number(listening['pid'] ?? pidOf(server)),
        clientPid: pidOf(client),
      })
    } finally {
      await client.stop(STOP_GRACE_MS)
    }
  } finally {
    await server.stop(STOP_GRACE_MS)
  }
}

function pidOf(process: PeerProcess): number {
  if (process.pid === undefined) throw new Error('a process has no number: it did not start')
  return process.pid
}

/** The result, and what both sides computed for it. */
async function measured(pair: Pair): Promise<{ result: Report; cpu: number; serverCpu: number }> {
  await pair.client.report('ready', STARTUP_MS + RESULT_MS)
  const server = cpuSeconds(pair.serverPid)
  const client = cpuSeconds(pair.clientPid)
  const result = await pair.client.report('result', RESULT_MS)
  const serverCpu = cpuSeconds(pair.serverPid) - server
  return { result, serverCpu, cpu: serverCpu + cpuSeconds(pair.clientPid) - client }
}

async function bulk(pair: Pair, subject: Case): Promise<Figures> {
  const { result, cpu } = await measured(pair)
  const bitsPerSecond = (8 * fact(result, 'bytes')) / fact(result, 'seconds')
  const figures = [bitsPerSecond, (cpu * 1e9) / (8 * fact(result, 'totalBytes'))]
  return figures.slice(0, subject.metrics.length)
}

async function count(pair: Pair, { words }: Case): Promise<Figures> {
  const { result, cpu } = await measured(pair)
  const done = fact(result, 'count')
  // Those that can tell must have done what the case is about.
  for (const name of ['resumed', 'early']) {
    const wanted = words['mode'] === 'early' || words['mode'] === name
    const share = Number(result[name] ?? done) / done
    if (wanted && result[name] !== undefined && share < MODE_SHARE_MIN) {
      throw new Error(`only ${String(result[name])} of ${done} handshakes were ${name}`)
    }
  }
  const total = Number(result['totalCount'] ?? done)
  return [done / fact(result, 'seconds'), (cpu * 1e6) / total]
}

async function latency(pair: Pair): Promise<Figures> {
  const { result, cpu } = await measured(pair)
  return [fact(result, 'p50Us'), fact(result, 'p99Us'), (cpu * 1e6) / fact(result, 'count')]
}

async function micros(pair: Pair, names: readonly string[]): Promise<Figures> {
  const { result } = await measured(pair)
  return names.map((name) => fact(result, name))
}

function fact(result: Report, name: string): number {
  const value = result[name]
  if (typeof value === 'number' && value > 0) return value
  throw new Error(`the result's ${name} is ${JSON.stringify(value)}, not a positive number`)
}

/** Memory of the server at two counts, after it has collected its garbage; the slope between them. */
async function memory(contender: Contender, subject: Case, options: RunOptions): Promise<Figures> {
  const steps = String(subject.words['steps'])
    .split(',')
    .map((step) => Math.max(2, Math.round(Number(step) / options.shrink)))
  const words = { steps: steps.join(',') }
  return await withPair(contender, subject, options, words, async ({ server, client, serverPid, clientPid }) => {
    const seen: number[] = []
    for (const step of steps) {
      // The client waits for our signal before its next step, so that no growth of that one counts.
      await client.report(`step${step}`, STARTUP_MS + RESULT_MS)
      await collect(server, serverPid)
      seen.push(privateBytes(serverPid))
      process.kill(clientPid, 'SIGUSR2')
    }
    const [from, to] = [steps[0] as number, steps.at(-1) as number]
    return [((seen.at(-1) as number) - (seen[0] as number)) / (to - from)]
  })
}

/** Programs with a garbage collector answer the signal; the others just settle. */
async function collect(server: PeerProcess, pid: number): Promise<void> {
  const before = server.reports.filter(({ event }) => event === 'collected').length
  process.kill(pid, 'SIGUSR2')
  const until = performance.now() + 10 * SETTLE_MS
  while (performance.now() < until) {
    if (server.reports.filter(({ event }) => event === 'collected').length > before) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}

/** Processor time of the server per request over many connections, against few. */
async function scale(contender: Contender, subject: Case, options: RunOptions): Promise<Figures> {
  const [few, many] = String(subject.words['connections']).split(',').map(Number) as [number, number]
  const costs: number[] = []
  for (const connections of [few, Math.max(few, Math.round(many / options.shrink))]) {
    costs.push(
      await withPair(contender, subject, options, { connections }, async (pair) => {
        const { result, serverCpu } = await measured(pair)
        return serverCpu / fact(result, 'count')
      }),
    )
  }
  return [(costs[1] as number) / (costs[0] as number)]
}
