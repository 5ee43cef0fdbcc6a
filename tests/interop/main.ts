/** `npm run test:interop`: runs QuicEther against other implementations and judges each cell of the matrix, or multipath. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cases } from './cases.ts'
import { multipathCaseNames, multipathList, runMultipath } from './multipath/run.ts'
import { makeCertificates, type Peer, peers, repositoryRoot } from './peers.ts'
import { closingLine, matrixPage, outcomeLine } from './report.ts'
import { type Cell, type Outcome, runCell } from './run-cell.ts'
import { UsageError } from './usage-error.ts'

const strangers = ['aioquic', 'quic-go', 'quinn', 'quiche', 'ngtcp2']
/** Strangers among themselves: each as client and as server once, so that a broken harness does not pass for us. */
const controlPairs = strangers.map((name, index) => `${name}:${strangers[(index + 1) % strangers.length]}`)
/** What control pairs are asked when nothing is named; all cases cost as much again as the rest of the run. */
const controlCases = ['transfer', 'resumption', 'handshake-loss', 'rebinding']
const ourPairs = strangers.flatMap((name) => [`quicether:${name}`, `${name}:quicether`])

const usage = `usage: npm run test:interop -- [options]
  --pairs CLIENT:SERVER[,…]   of ${Object.keys(peers).join(', ')} 
                              (default: ours with each, both roles, and ${controlPairs.join(',')} with a few cases)
  --cases NAME[,…]            of ${cases.map((c) => c.name).join(', ')}
  --jobs N                    cells at once (default 2)
  --repeat N                  run each cell so often (default 1)
  --write                     write the matrix to docs/interop.md
  --list                      print the cases and what each proves
  --multipath                 run multipath instead; --cases of ${multipathCaseNames.join(', ')},
                              --peers noq,picoquic, --repeat, --list and --write (docs/interop-multipath.md) hold,
                              the other options do not

example: npm run test:interop -- --pairs aioquic:quicether --cases retry,loss`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      pairs: { type: 'string' },
      cases: { type: 'string' },
      jobs: { type: 'string', default: '2' },
      repeat: { type: 'string', default: '1' },
      write: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      multipath: { type: 'boolean', default: false },
      peers: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return say(usage)
  if (values.multipath) {
    if (values.pairs !== undefined)
      throw new UsageError('--pairs does not go with --multipath: each case has its own pair')
    if (values.list) return say(multipathList())
    const repeat = count('--repeat', values.repeat)
    return runMultipath({ cases: values.cases, peers: values.peers, repeat, write: values.write })
  }
  if (values.peers !== undefined) throw new UsageError('--peers goes with --multipath only; here it is --pairs')
  if (values.list) return say(cases.map((c) => `${c.name.padEnd(24)} ${c.proves}`).join('\n'))
  const pairs = (values.pairs ?? ourPairs.join(',')).split(',').map(parsePair)
  const controls = values.pairs === undefined && values.cases === undefined ? controlPairs.map(parsePair) : []
  const chosen = values.cases === undefined ? cases : values.cases.split(',').map(findCase)
  const jobs = count('--jobs', values.jobs)
  const repeat = count('--repeat', values.repeat)

  const began = performance.now()
  const versions = await installAll([...pairs, ...controls].flat())
  const logRoot = join(repositoryRoot, 'results', 'interop')
  const certificates = join(logRoot, 'certificates')
  await mkdir(logRoot, { recursive: true })
  await makeCertificates(certificates)

  const cells: Cell[] = []
  for (let round = 1; round <= repeat; round += 1) {
    for (const test of chosen) {
      const asked = controlCases.includes(test.name) ? [...pairs, ...controls] : pairs
      for (const [client, server] of asked) cells.push({ test, client, server, round })
    }
  }
  const outcomes = await runAll(cells, jobs, { logRoot, certificates })
  if (values.write) {
    const page = join(repositoryRoot, 'docs', 'interop.md')
    const command = `npm run test:interop${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`
    const facts = { command, date: new Date().toISOString().slice(0, 10), versions, tookMs: performance.now() - began }
    await mkdir(join(repositoryRoot, 'docs'), { recursive: true })
    await writeFile(page, matrixPage(outcomes, facts))
    say(`written: docs/interop.md`)
  }
  say(closingLine(outcomes))
  return outcomes.some((outcome) => outcome.verdict === 'failed') ? 1 : 0
}

async function installAll(wanted: readonly Peer[]): Promise<Record<string, string>> {
  const versions: Record<string, string> = {}
  // aioquic's environment also makes the certificates of every run.
  const all = [...new Set([...wanted, peers.aioquic].filter((peer) => peer !== undefined))]
  for (const peer of all) {
    versions[peer.name] = await peer.install()
    say(`${peer.name} ${versions[peer.name]} is ready`)
  }
  return versions
}

async function runAll(
  cells: readonly Cell[],
  jobs: number,
  context: { logRoot: string; certificates: string },
): Promise<Outcome[]> {
  const outcomes: Outcome[] = new Array(cells.length)
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < cells.length) {
      const index = next
      next += 1
      const cell = cells[index]
      if (cell === undefined) return
      const outcome = await runCell(cell, context)
      outcomes[index] = outcome
      say(outcomeLine(outcome))
    }
  }
  await Promise.all(Array.from({ length: jobs }, worker))
  return outcomes
}

function parsePair(text: string): readonly [Peer, Peer] {
  const [client, server] = text.split(':').map((name) => peers[name])
  if (client === undefined || server === undefined) {
    throw new UsageError(`--pairs: "${text}" is not CLIENT:SERVER of ${Object.keys(peers).join(', ')}`)
  }
  return [client, server]
}

function findCase(name: string): (typeof cases)[number] {
  const found = cases.find((test) => test.name === name)
  if (found === undefined) throw new UsageError(`--cases: there is no case "${name}"; --list shows them`)
  return found
}

function count(option: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 100) {
    throw new UsageError(`${option}: "${text}" is not a whole number from 1 to 100`)
  }
  return value
}

function say(text: string): number {
  process.stdout.write(`${text}\n`)
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  const isUsage =
    error instanceof UsageError ||
    (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
  process.stderr.write(`interop: ${error instanceof Error ? error.message : String(error)}\n`)
  if (isUsage) process.stderr.write(`${usage}\n`)
  process.exitCode = isUsage ? 2 : 1
}
