/** `npm run test:interop -- --multipath`: RFC 10069 with a stranger, noq, over several loopback addresses, both roles. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { arch, cpus, platform, release } from 'node:os'
import { join, relative } from 'node:path'
import { generateCertificate } from '@quicether/net'
import { repositoryRoot } from '../peers.ts'
import { UsageError } from '../usage-error.ts'
import type { MultipathCase } from './case.ts'
import { clientCases } from './client-cases.ts'
import { type Certificates, installNoq } from './noq-peer.ts'
import { serverCases } from './server-cases.ts'

const cases: readonly MultipathCase[] = [...clientCases, ...serverCases]
const CASE_LIMIT_MS = 90_000
const page = join(repositoryRoot, 'docs', 'interop-multipath.md')
const logRoot = join(repositoryRoot, 'results', 'interop-multipath')

export const multipathCaseNames: readonly string[] = [...new Set(cases.map((test) => test.name))]

export interface MultipathOptions {
  /** Names separated by commas; absent = all. */
  readonly cases: string | undefined
  readonly repeat: number
  /** Write docs/interop-multipath.md. */
  readonly write: boolean
}

interface Outcome {
  readonly test: MultipathCase
  readonly error: string | undefined
  readonly measured: string
  readonly tookMs: number
}

/** One line for each case on standard output; the exit code. */
export async function runMultipath(options: MultipathOptions): Promise<number> {
  const chosen = choose(options.cases)
  const version = await installNoq()
  say(`noq ${version} is ready`)
  const files = await makeCertificates()
  const outcomes: Outcome[] = []
  for (let round = 1; round <= options.repeat; round++) {
    for (const test of chosen) outcomes.push(await runCase(test, files, round))
  }
  if (options.write) await writePage(outcomes, version)
  const failed = outcomes.filter((outcome) => outcome.error !== undefined).length
  say(`${outcomes.length - failed} passed, ${failed} failed, 0 skipped`)
  return failed > 0 ? 1 : 0
}

/** The cases and what each proves, a line each. */
export function multipathList(): string {
  return cases.map(({ name, pair, proves }) => `${name.padEnd(24)} ${pair}: ${proves}`).join('\n')
}

function choose(names: string | undefined): readonly MultipathCase[] {
  if (names === undefined) return cases
  return names.split(',').flatMap((name) => {
    const found = cases.filter((test) => test.name === name)
    if (found.length === 0)
      throw new UsageError(`--cases: there is no multipath case "${name}"; --multipath --list shows them`)
    return found
  })
}

async function makeCertificates(): Promise<Certificates> {
  await mkdir(logRoot, { recursive: true })
  const made = generateCertificate({ names: ['localhost', '127.0.0.1'], days: 30 })
  const files = { certificate: join(logRoot, 'certificate.pem'), privateKey: join(logRoot, 'key.pem') }
  await writeFile(files.certificate, made.certificatePem)
  await writeFile(files.privateKey, made.privateKeyPem, { mode: 0o600 })
  return files
}

async function runCase(test: MultipathCase, files: Certificates, round: number): Promise<Outcome> {
  const [client] = test.pair.split(' ')
  const logFile = join(logRoot, `${test.name}-${client}-client${round > 1 ? `-${round}` : ''}.log`)
  const began = performance.now()
  let error: string | undefined
  let measured = ''
  let timer: NodeJS.Timeout | undefined
  try {
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${CASE_LIMIT_MS} ms`)), CASE_LIMIT_MS)
    })
    measured = await Promise.race([test.run({ files, logFile }), limit])
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.message : String(thrown)
  } finally {
    clearTimeout(timer)
  }
  const tookMs = performance.now() - began
  const tail = error === undefined ? measured : `${error}\n       noq's log: ${relative(repositoryRoot, logFile)}`
  say(
    `${error === undefined ? 'ok  ' : 'FAIL'} ${test.name.padEnd(16)} ${test.pair}  ${(tookMs / 1000).toFixed(1)} s  ${tail}`,
  )
  return { test, error, measured, tookMs }
}

async function writePage(outcomes: readonly Outcome[], noqVersion: string): Promise<void> {
  const manifest = await readFile(join(repositoryRoot, 'packages', 'net', 'package.json'), 'utf8')
  const { version } = JSON.parse(manifest) as { version: string }
  const seconds = outcomes.reduce((sum, outcome) => sum + outcome.tookMs, 0) / 1000
  const lines = [
    '# Multipath interoperability',
    '',
    'Written by a run of the command below; do not edit by hand. QuicEther and noq (a Rust crate) run RFC 10069',
    'with each other over 127.0.0.1, 127.0.0.2, 127.0.0.3 and ::1, each in both roles. Every byte that comes back is compared.',
    '',
    '- Command: `npm run test:interop -- --multipath --write` (needs Rust 1.88 or newer; the first build takes about a minute)',
    `- Date: ${new Date().toISOString().slice(0, 10)}, ${seconds.toFixed(0)} s on ${cpus().length} cores, ${platform()} ${release()} ${arch()}`,
    `- Versions: quicether ${version}, noq ${noqVersion}`,
    `- Result: ${outcomes.filter((o) => o.error === undefined).length} of ${outcomes.length} passed`,
    '',
    '| case | client → server | proves | result | measured |',
    '|---|---|---|:-:|---|',
    ...outcomes.map(
      ({ test, error, measured }) =>
        `| \`${test.name}\` | ${test.pair} | ${test.proves} | ${error === undefined ? 'pass' : '**FAIL**'} | ${error ?? measured} |`,
    ),
    '',
    'noq sends on its first available path as long as that has room and does not move data off a silent path before its idle',
    'timeout; the cases that look at its sending make path 0 its backup first.',
    '',
  ]
  await writeFile(page, lines.join('\n'))
  say('written: docs/interop-multipath.md')
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
