/** `npm run test:interop -- --multipath`: RFC 10069 with strangers, noq and picoquic, over loopback addresses, both roles. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { generateCertificate } from '@quicether/net'
import { repositoryRoot } from '../peers.ts'
import { UsageError } from '../usage-error.ts'
import type { MultipathCase } from './case.ts'
import { clientCases } from './client-cases.ts'
import { type Certificates, installNoq } from './noq-peer.ts'
import { type Outcome, page } from './page.ts'
import { picoquicClientCases } from './picoquic-client-cases.ts'
import { installPicoquic } from './picoquic-peer.ts'
import { picoquicServerCases } from './picoquic-server-cases.ts'
import { serverCases } from './server-cases.ts'

const cases: readonly MultipathCase[] = [...clientCases, ...serverCases, ...picoquicClientCases, ...picoquicServerCases]
/** How each stranger is made ready; gives its version. */
const installs: Readonly<Record<string, () => Promise<string>>> = { noq: installNoq, picoquic: installPicoquic }
const CASE_LIMIT_MS = 90_000
const pageFile = join(repositoryRoot, 'docs', 'interop-multipath.md')
const logRoot = join(repositoryRoot, 'results', 'interop-multipath')

export const multipathCaseNames: readonly string[] = [...new Set(cases.map((test) => test.name))]

export interface MultipathOptions {
  /** Names separated by commas; absent = all. */
  readonly cases: string | undefined
  /** `noq`, `picoquic` or both, separated by commas; absent = all. */
  readonly peers: string | undefined
  readonly repeat: number
  /** Write docs/interop-multipath.md. */
  readonly write: boolean
}

/** One line for each case on standard output; the exit code. */
export async function runMultipath(options: MultipathOptions): Promise<number> {
  const strangers = choosePeers(options.peers)
  const chosen = choose(options.cases).filter(({ pair }) => strangers.some((name) => pair.includes(name)))
  const versions: Record<string, string> = {}
  for (const name of strangers) {
    versions[name] = (await installs[name]?.()) ?? ''
    say(`${name} ${versions[name]} is ready`)
  }
  const files = await makeCertificates()
  const outcomes: Outcome[] = []
  for (let round = 1; round <= options.repeat; round++) {
    for (const test of chosen) outcomes.push(await runCase(test, files, round))
  }
  if (options.write) {
    await writeFile(pageFile, await page(outcomes, versions))
    say('written: docs/interop-multipath.md')
  }
  const failed = outcomes.filter((outcome) => outcome.error !== undefined).length
  say(`${outcomes.length - failed} passed, ${failed} failed, 0 skipped`)
  return failed > 0 ? 1 : 0
}

function choosePeers(names: string | undefined): readonly string[] {
  if (names === undefined) return Object.keys(installs)
  const chosen = names.split(',')
  const unknown = chosen.find((name) => installs[name] === undefined)
  if (unknown === undefined) return chosen
  throw new UsageError(`--peers: "${unknown}" is not one of ${Object.keys(installs).join(', ')}`)
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
  const name = `${test.name}-${test.pair.replace(' → ', '-to-')}${round > 1 ? `-${round}` : ''}`
  const logFile = join(logRoot, `${name}.log`)
  const qlogs = { ours: join(logRoot, name, 'quicether'), theirs: join(logRoot, name, 'peer') }
  await rm(join(logRoot, name), { recursive: true, force: true })
  for (const folder of Object.values(qlogs)) await mkdir(folder, { recursive: true })
  const began = performance.now()
  let logs: Outcome['logs']
  let error: string | undefined
  let measured = ''
  let timer: NodeJS.Timeout | undefined
  try {
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${CASE_LIMIT_MS} ms`)), CASE_LIMIT_MS)
    })
    const onLogs = (both: Outcome['logs']): void => void (logs = both)
    measured = await Promise.race([test.run({ files, logFile, qlogs, onLogs }), limit])
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.message : String(thrown)
  } finally {
    clearTimeout(timer)
  }
  const tookMs = performance.now() - began
  const where = `${relative(repositoryRoot, logFile)}, qlogs beside it`
  const tail = error === undefined ? measured : `${error}\n       the peer's log: ${where}`
  say(
    `${error === undefined ? 'ok  ' : 'FAIL'} ${test.name.padEnd(16)} ${test.pair}  ${(tookMs / 1000).toFixed(1)} s  ${tail}`,
  )
  return { test, error, measured, tookMs, logs }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
