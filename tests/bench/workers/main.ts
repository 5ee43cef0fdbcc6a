/** `npm run bench:workers`: what a second worker thread brings, with the cost of the load generator taken out. */
import { type ChildProcess, fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delayed } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { generateCertificate, serveWorkers, type WorkerGroup } from '@quicether/net'
import { median, spread } from '../statistics.ts'
import type { AnswerData } from './answer-worker.ts'
import { derive, type Figures, type Sample } from './figures.ts'
import type { LoadOrder, LoadPlan, LoadReport, LoadResult } from './load.ts'

const usage = `Usage: npm run bench:workers -- [--workers N] [--repeats N] [--seconds S] [--loads N] [--case NAME] [--out FILE]

  --workers N  compared with one (default 2)
  --repeats N  rounds; every round measures one worker and N workers (default 5)
  --seconds S  of each measurement (default 3)
  --loads N    processes that ask (default 2)
  --case NAME  requests (answers of 1 kB) or bulk (answers of 1 MB); default both
  --out FILE   write the figures as JSON to a file

rate      answers per second as they came, load generator and workers sharing the machine
capacity  answers per second of the workers if nobody else used the processors: processors they can fill, divided by the
          processor time of one answer, times how evenly the work was spread (mean of the workers over the busiest one)`

interface Case {
  readonly name: string
  readonly answerBytes: number
  readonly connections: number
  readonly inFlight: number
}

const cases: readonly Case[] = [
  { name: 'requests', answerBytes: 1_000, connections: 128, inFlight: 4 },
  { name: 'bulk', answerBytes: 1_000_000, connections: 64, inFlight: 1 },
]

const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const identity = {
  certificate: { pem: made.certificatePem, label: 'cert.pem' },
  privateKey: { pem: made.privateKeyPem, label: 'key.pem' },
}

/** A load generator, connected. */
class Load {
  readonly #child: ChildProcess
  #onReport: ((report: LoadReport) => void) | undefined

  constructor() {
    this.#child = fork(join(import.meta.dirname, 'load.ts'))
    this.#child.on('message', (report: LoadReport) => this.#onReport?.(report))
  }

  async connect(plan: LoadPlan): Promise<void> {
    const report = this.#report()
    this.#send({ kind: 'plan', plan })
    await report
  }

  start(): void {
    this.#send({ kind: 'start' })
  }

  async stop(): Promise<LoadResult> {
    const report = this.#report()
    this.#send({ kind: 'stop' })
    const result = await report
    if (result.kind !== 'result') throw new Error('the load generator has no result')
    return result
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #send(order: LoadOrder): void {
    this.#child.send(order)
  }

  #report(): Promise<LoadReport> {
    return new Promise((resolve, reject) => {
      this.#onReport = resolve
      this.#child.once('exit', (code) => reject(new Error(`a load generator ended with code ${code}`)))
    })
  }
}

async function cpuOf(group: WorkerGroup): Promise<number[]> {
  const { workers } = await group.stats()
  return workers.map((stats, index) => {
    if (stats === undefined) throw new Error(`worker ${index} does not answer`)
    return stats.cpuMs
  })
}

async function measure(what: Case, workers: number, loadCount: number, seconds: number): Promise<Sample> {
  const data: AnswerData = { identity, answerBytes: what.answerBytes }
  const module = new URL('./answer-worker.ts', import.meta.url)
  const loads: Load[] = []
  const group = await serveWorkers({ module, workers, addresses: ['127.0.0.1'], port: 0, data })
  try {
    for (let i = 0; i < loadCount; i++) loads.push(new Load())
    const connections = Math.ceil(what.connections / loadCount)
    const plan = { port: group.port, ca: made.certificatePem, connections, inFlight: what.inFlight }
    await Promise.all(loads.map((load) => load.connect(plan)))
    for (const load of loads) load.start()
    // Code is compiled and windows grow in the first moments.
    await delayed(1_000)
    const [before, startedMs, warmUp] = [await cpuOf(group), performance.now(), 1_000]
    await delayed(seconds * 1_000)
    const after = await cpuOf(group)
    const elapsedMs = performance.now() - startedMs
    const results = await Promise.all(loads.map((load) => load.stop()))
    // The loads have counted the warm-up, too.
    const share = elapsedMs / (elapsedMs + warmUp)
    const requests = results.reduce((sum, result) => sum + result.requests, 0) * share
    const clientCpuMs = results.reduce((sum, result) => sum + result.cpuMs, 0) * share
    return { elapsedMs, requests, clientCpuMs, workerCpuMs: after.map((cpuMs, index) => cpuMs - (before[index] ?? 0)) }
  } finally {
    for (const load of loads) load.kill()
    await group.close()
  }
}

function show(name: string, values: readonly number[], digits: number): string {
  const around = spread(values)
  return `${name} ${(median(values) ?? 0).toFixed(digits)}${around === undefined ? '' : ` ±${(around * 100).toFixed(0)} %`}`
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      workers: { type: 'string', default: '2' },
      repeats: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      loads: { type: 'string', default: '2' },
      case: { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(usage)
  const [workers, repeats, seconds, loads] = [values.workers, values.repeats, values.seconds, values.loads].map(Number)
  const chosen = cases.filter(({ name }) => values.case === undefined || values.case === name)
  const numbers = [workers, repeats, seconds, loads]
  if (chosen.length === 0 || numbers.some((number) => number === undefined || !(number > 0))) {
    console.error(usage)
    process.exitCode = 2
    return
  }
  const results: Record<string, { readonly one: Figures[]; readonly many: Figures[] }> = {}
  for (const what of chosen) results[what.name] = { one: [], many: [] }
  for (let round = 0; round < (repeats ?? 0); round++) {
    for (const what of chosen) {
      for (const [key, count] of [
        ['one', 1],
        ['many', workers ?? 2],
      ] as const) {
        const figures = derive(await measure(what, count, loads ?? 2, seconds ?? 3))
        results[what.name]?.[key].push(figures)
        const { rate, capacity, cpuUs, evenness } = figures
        console.log(
          `round ${round + 1} ${what.name}, ${count} worker${count === 1 ? '' : 's'}: ${rate.toFixed(0)}/s, ${cpuUs.toFixed(1)} µs of worker each, evenness ${evenness.toFixed(2)}, capacity ${capacity.toFixed(0)}/s`,
        )
      }
    }
  }
  for (const [name, { one, many }] of Object.entries(results)) {
    const ratio = (key: keyof Figures): number[] =>
      many.map((figures, i) => figures[key] / (one[i]?.[key] ?? Number.NaN))
    console.log(`\n${name}: ${workers} workers against one`)
    console.log(`  ${show('rate', ratio('rate'), 2)}x, ${show('capacity', ratio('capacity'), 2)}x`)
    console.log(`  ${show('processor time of an answer', ratio('cpuUs'), 2)}x`)
  }
  const machine = { processors: availableParallelism(), model: cpus()[0]?.model, node: process.version }
  if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify({ machine, workers, results }, null, 2)}\n`)
}

await main()
