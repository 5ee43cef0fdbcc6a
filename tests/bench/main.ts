/** `npm run bench`: bulk throughput and request rate of ours, of aioquic and of raw UDP, in one interleaved run. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeCertificates, peers, repositoryRoot } from '../interop/peers.ts'
import { PeerProcess } from '../interop/peer-process.ts'
import { ALLOCATED_BYTES_PER_PACKET_MAX, type AllocationResult, measureAllocation } from './allocation.ts'
import { type Arm, arms, type Measure } from './arms.ts'
import { median, spread } from './statistics.ts'

const usage = `Usage: npm run bench -- [--repeats N] [--scale X] [--only NAME[,NAME]] [--json] [--out FILE] [--assert]

  --repeats N  rounds; every round runs every implementation once (default 5)
  --scale X    multiplies the amount of work of each measurement (default 1)
  --only NAMES of: ${arms.map((arm) => arm.name).join(', ')} (default: all)
  --json       print the result as JSON, too
  --out FILE   write the result as JSON to a file
  --assert     fail when our median bulk throughput is below 1 Gbit/s in either direction

What the engine allocates per packet is counted, too, and fails the run when it is over its budget: unlike speed, it does
not depend on the machine.`

const ALLOCATION_TRANSFER_BYTES = 32_000_000

/** Bar of --assert, bits per second. */
const BULK_BITS_PER_SECOND_MIN = 1e9
const RESULT_TIMEOUT_MS = 120_000

interface Figure {
  readonly arm: string
  readonly measure: Measure
  readonly unit: 'bit/s' | 'requests/s'
  readonly values: number[]
}

interface Running {
  readonly arm: Arm
  readonly server: PeerProcess
  readonly port: number
}

class UsageError extends Error {}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      repeats: { type: 'string', default: '5' },
      scale: { type: 'string', default: '1' },
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
      out: { type: 'string' },
      assert: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const chosen = choose(values.only)
  const repeats = positive('--repeats', values.repeats)
  const scale = positive('--scale', values.scale)
  const folder = mkdtempSync(join(tmpdir(), 'quicether-bench-'))
  try {
    const versions = await installAll(chosen)
    await makeCertificates(folder)
    const figures = await measureAll(chosen, Math.ceil(repeats), scale, folder)
    const allocation = measureAllocation(ALLOCATION_TRANSFER_BYTES)
    const result = {
      ...machine(),
      allocation,
      repeats: Math.ceil(repeats),
      scale,
      versions,
      figures: figures.map(summarize),
      ratios: ratios(figures),
    }
    print(result)
    if (values.json) console.log(JSON.stringify(result))
    if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`)
    return judge(figures, allocation, values.assert)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** aioquic is always installed: its library makes the certificates. */
async function installAll(chosen: readonly Arm[]): Promise<Record<string, string>> {
  await peers['aioquic']?.install()
  const versions: Record<string, string> = {}
  for (const arm of chosen) versions[arm.name] = await arm.install()
  return versions
}

/** Round by round, so that a machine that slows down slows all of them. */
async function measureAll(chosen: readonly Arm[], repeats: number, scale: number, folder: string): Promise<Figure[]> {
  const figures: Figure[] = chosen.flatMap((arm) =>
    arm.measures.map(
      (measure) =>
        ({ arm: arm.name, measure, unit: measure === 'requests' ? 'requests/s' : 'bit/s', values: [] }) as const,
    ),
  )
  for (let round = 1; round <= repeats; round++) {
    for (const arm of chosen) {
      const running = await start(arm, folder, round)
      try {
        for (const measure of arm.measures) {
          const value = await measureOnce(running, measure, scale, folder, round)
          figures.find((figure) => figure.arm === arm.name && figure.measure === measure)?.values.push(value)
          process.stderr.write(`round ${round}/${repeats}  ${arm.name} ${measure}: ${format(value, measure)}\n`)
        }
      } finally {
        await running.server.stop(2_000)
      }
    }
  }
  return figures
}

async function start(arm: Arm, folder: string, round: number): Promise<Running> {
  const certificate = join(folder, 'plain.pem')
  const command = arm.command({ role: 'server', certificate, privateKey: join(folder, 'plain.key') })
  const server = new PeerProcess(`${arm.name} server`, command, {}, join(folder, `${arm.name}-${round}-server.log`))
  try {
    const { port } = await server.report('listening', 30_000)
    return { arm, server, port: Number(port) }
  } catch (error) {
    await server.stop(2_000)
    throw error
  }
}

/** Units per second; bits for bulk. */
async function measureOnce(
  running: Running,
  measure: Measure,
  scale: number,
  folder: string,
  round: number,
): Promise<number> {
  const { arm, server, port } = running
  const work = arm.work(measure, scale)
  const command = arm.command({ role: 'client', port, ca: join(folder, 'root.pem'), work })
  const client = new PeerProcess(`${arm.name} client`, command, {}, join(folder, `${arm.name}-${round}-${measure}.log`))
  try {
    const from = arm.result.from === 'client' ? client : server
    const { units, seconds } = await from.report(arm.result.event, RESULT_TIMEOUT_MS)
    const rate = Number(units) / Number(seconds)
    if (!(rate > 0)) throw new Error(`${arm.name} ${measure}: result of ${String(units)} units in ${String(seconds)} s`)
    if ('bytes' in work && units !== work.bytes) {
      throw new Error(`${arm.name} ${measure}: ${String(units)} of ${work.bytes} bytes arrived`)
    }
    return measure === 'requests' ? rate : rate * 8
  } finally {
    await client.stop(2_000)
  }
}

function summarize(figure: Figure): Record<string, unknown> {
  return { ...figure, median: median(figure.values), spread: spread(figure.values) }
}

/** Ours against the others, by medians of the same run. */
function ratios(figures: readonly Figure[]): Record<string, number> {
  const of = (arm: string, measure: Measure) =>
    median(figures.find((f) => f.arm === arm && f.measure === measure)?.values ?? [])
  const result: Record<string, number> = {}
  for (const measure of ['download', 'upload', 'requests'] as const) {
    const ours = of('quicether', measure)
    const theirs = of('aioquic', measure)
    const limit = of('raw-udp', 'raw')
    if (ours !== undefined && theirs !== undefined) result[`${measure}: quicether / aioquic`] = ours / theirs
    if (ours !== undefined && limit !== undefined && measure !== 'requests')
      result[`${measure}: quicether / raw-udp`] = ours / limit
  }
  return result
}

interface Result {
  readonly cpu: string
  readonly node: string
  readonly commit: string
  readonly versions: Record<string, string>
  readonly allocation: AllocationResult
  readonly figures: readonly Record<string, unknown>[]
  readonly ratios: Record<string, number>
}

function print(result: Result): void {
  console.log(`\n${result.cpu}, Node ${result.node}, commit ${result.commit}, loopback, two processes, medians`)
  console.log(`${'implementation'.padEnd(16)}${'measure'.padEnd(12)}${'median'.padStart(18)}${'spread'.padStart(9)}`)
  for (const figure of result.figures) {
    const {
      arm,
      measure,
      median: middle,
      spread: width,
    } = figure as { arm: string; measure: Measure; median: number; spread?: number }
    const percent = width === undefined ? '' : `±${(100 * width).toFixed(1)} %`
    console.log(`${arm.padEnd(16)}${measure.padEnd(12)}${format(middle, measure).padStart(18)}${percent.padStart(9)}`)
  }
  for (const [name, ratio] of Object.entries(result.ratios)) console.log(`${name} = ${ratio.toPrecision(3)}`)
  const perPacket = Math.round(result.allocation.bytesAllocatedPerPacket)
  console.log(`allocated per packet: ${perPacket} bytes of at most ${ALLOCATED_BYTES_PER_PACKET_MAX}`)
}

function judge(figures: readonly Figure[], allocation: AllocationResult, isSpeedAsserted: boolean): number {
  let failures = 0
  if (!(allocation.bytesAllocatedPerPacket <= ALLOCATED_BYTES_PER_PACKET_MAX)) {
    failures++
    console.error(
      `bench: ${allocation.bytesAllocatedPerPacket} bytes allocated per packet; the budget is ${ALLOCATED_BYTES_PER_PACKET_MAX}`,
    )
  }
  if (!isSpeedAsserted) return failures
  for (const measure of ['download', 'upload'] as const) {
    const value = median(
      figures.find((figure) => figure.arm === 'quicether' && figure.measure === measure)?.values ?? [],
    )
    if (value !== undefined && value >= BULK_BITS_PER_SECOND_MIN) continue
    failures++
    console.error(
      `bench: ${measure} is ${value === undefined ? 'not measured' : format(value, measure)}; the bar is 1 Gbit/s`,
    )
  }
  return failures === 0 ? 0 : 1
}

function format(value: number, measure: Measure): string {
  return measure === 'requests' ? `${Math.round(value)} requests/s` : `${(value / 1e9).toFixed(3)} Gbit/s`
}

function machine(): { cpu: string; node: string; commit: string } {
  const model = cpus()[0]?.model.trim() ?? 'unknown CPU'
  let commit = 'unknown'
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repositoryRoot, encoding: 'utf8' }).trim()
  } catch {
    // A checkout without git still benches.
  }
  return { cpu: `${cpus().length} x ${model}`, node: process.version, commit }
}

function choose(only: string | undefined): readonly Arm[] {
  if (only === undefined) return arms
  return only.split(',').map((name) => {
    const arm = arms.find((candidate) => candidate.name === name)
    if (arm === undefined)
      throw new UsageError(`--only: there is no "${name}"; known: ${arms.map((known) => known.name).join(', ')}`)
    return arm
  })
}

function positive(flag: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new UsageError(`${flag} "${text}" is not a positive number`)
  return value
}

try {
  process.exitCode = await main()
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  if (!(error instanceof UsageError) && code?.startsWith('ERR_PARSE_ARGS') !== true) throw error
  console.error(`bench: ${message}\n\n${usage}`)
  process.exitCode = 2
}
