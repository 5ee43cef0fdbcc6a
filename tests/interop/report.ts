/** Writes the matrix of a run as docs/interop.md and prints it for people. */
import { arch, cpus, platform, release } from 'node:os'
import { http3Vectors, transportVectors } from '../process/h3spec/vectors.ts'
import type { Case } from './case.ts'
import type { Outcome } from './run-cell.ts'

export interface RunFacts {
  readonly command: string
  readonly date: string
  readonly versions: Readonly<Record<string, string>>
  readonly tookMs: number
}

const marks = { passed: 'pass', failed: '**FAIL**', fault: 'peer', unsupported: 'n/a' } as const

/** The page: one row for each case, one column for each pair, reasons below. */
export function matrixPage(outcomes: readonly Outcome[], facts: RunFacts): string {
  const pairs = [...new Set(outcomes.map(pairName))]
  const rows = [...new Set(outcomes.map((outcome) => outcome.cell.test))]
  const lines = [
    '# Interoperability',
    '',
    'Written by a run of the command below; do not edit by hand. How to read and rerun a cell: `tests/interop/README.md`.',
    'Several paths (RFC 10069) with noq and picoquic: [interop-multipath.md](interop-multipath.md).',
    '',
    `- Command: \`${facts.command}\``,
    `- Date: ${facts.date}, ${(facts.tookMs / 1000).toFixed(0)} s on ${cpus().length} cores, ${platform()} ${release()} ${arch()}`,
    `- Versions: ${Object.entries(facts.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}`,
    `- Result: ${closingLine(outcomes)}`,
    '',
    'Columns are `client → server`. Every cell runs through the UDP proxy of `tests/interop/lossy-proxy.ts`; besides what the case',
    'asks, each checks the SHA-256 of every body, Initial datagrams of 1200 bytes or more, and the three-times limit before validation.',
    '',
    `| case | ${pairs.join(' | ')} |`,
    `|---|${pairs.map(() => ':-:|').join('')}`,
  ]
  for (const row of rows) {
    const cells = pairs.map((pair) => {
      const outcome = outcomes.find((o) => o.cell.test === row && pairName(o) === pair)
      return outcome === undefined ? '' : marks[outcome.verdict]
    })
    lines.push(`| \`${row.name}\` | ${cells.join(' | ')} |`)
  }
  lines.push(...againLines(outcomes))
  lines.push('', '## What each case proves', '')
  for (const row of rows) lines.push(`- \`${row.name}\`: ${row.proves}.`)
  lines.push(
    ...failureLines(outcomes),
    ...faultLines(outcomes),
    ...unsupportedLines(outcomes, rows),
    ...deviationLines(outcomes),
    ...otherProofLines(),
  )
  return `${lines.join('\n')}\n`
}

/** What passed only when it was run again. */
function againLines(outcomes: readonly Outcome[]): string[] {
  const found = outcomes.filter((outcome) => outcome.firstReasons !== undefined)
  if (found.length === 0) return []
  const lines = found.map(
    (outcome) => `- \`${outcome.cell.test.name}\` ${pairName(outcome)}: ${outcome.firstReasons?.join('; ')}.`,
  )
  return ['', '## Passed at the second attempt', '', ...lines]
}

function failureLines(outcomes: readonly Outcome[]): string[] {
  const failed = outcomes.filter((outcome) => outcome.verdict === 'failed')
  if (failed.length === 0) return []
  const lines = ['', '## Failures', '']
  for (const outcome of failed) {
    lines.push(
      `- \`${outcome.cell.test.name}\` ${pairName(outcome)}: ${outcome.reasons.join('; ')} (logs: \`${outcome.logDir}\`)`,
    )
  }
  return lines
}

/** Cells that a stranger fails by itself: whose log shows what. */
function faultLines(outcomes: readonly Outcome[]): string[] {
  const found = outcomes.filter((outcome) => outcome.verdict === 'fault')
  if (found.length === 0) return []
  const lines = ['', '## Faults of peers', '']
  for (const outcome of found) {
    lines.push(
      `- \`${outcome.cell.test.name}\` ${pairName(outcome)}: ${outcome.reasons.join('; ')} (logs: \`${outcome.logDir}\`).`,
    )
  }
  return lines
}

/** Strangers that do not fit the matrix. */
function otherProofLines(): string[] {
  const list = (vectors: readonly { readonly name: string }[]): string[] => vectors.map(({ name }) => `- ${name}`)
  return [
    '',
    '## A browser',
    '',
    'Headless Chromium against `quicether router` (`tests/browser/http3.test.ts`, part of `npm test`): a page with 41 further',
    'files, all over h3; an upload of 10 MB whose SHA-256 the service confirms; a WebTransport session to',
    '`examples/webtransport-server.ts` with streams of up to 1 MB and a datagram that come back, closed with code and reason.',
    '',
    '## The checks of h3spec',
    '',
    `h3spec is a program in Haskell and comes from none of the registries; its ${transportVectors.length + http3Vectors.length} checks are vectors of our own`,
    '(`tests/process/h3spec`), sent by a client without an engine to a `quicether router` process (`npm test`). The error code',
    'must be the very one that is named; h3spec also takes general ones. Names and sections are those of h3spec.',
    '',
    'QUIC servers:',
    '',
    ...list(transportVectors),
    '',
    'HTTP/3 servers:',
    '',
    ...list(http3Vectors),
  ]
}

/** What strangers do against the RFC and the judge lets pass. */
function deviationLines(outcomes: readonly Outcome[]): string[] {
  const servers = new Set(outcomes.map((outcome) => outcome.cell.server))
  const clients = new Set(outcomes.map((outcome) => outcome.cell.client))
  const reasons = [
    ...[...servers].flatMap((server) => server.amplificationSlack?.reason ?? []),
    ...[...clients].flatMap((client) => client.reusesConnectionIds ?? []),
  ]
  return reasons.length === 0
    ? []
    : ['', '## Known deviations of peers', '', ...reasons.map((reason) => `- ${reason}.`)]
}

function unsupportedLines(outcomes: readonly Outcome[], rows: readonly Case[]): string[] {
  const lines: string[] = []
  for (const row of rows) {
    const cells = outcomes.filter((outcome) => outcome.cell.test === row && outcome.verdict === 'unsupported')
    const byReason = new Map<string, string[]>()
    for (const cell of cells) {
      const reason = cell.reasons.join('; ')
      byReason.set(reason, [...(byReason.get(reason) ?? []), pairName(cell)])
    }
    for (const [reason, pairs] of byReason) lines.push(`- \`${row.name}\` ${pairs.join(', ')}: ${reason}.`)
  }
  return lines.length === 0 ? [] : ['', '## Not asked (n/a)', '', ...lines]
}

export function pairName(outcome: Outcome): string {
  return `${outcome.cell.client.name} → ${outcome.cell.server.name}`
}

/** One line for each cell as it ends. */
export function outcomeLine(outcome: Outcome): string {
  const mark = { passed: 'ok  ', failed: 'FAIL', fault: 'peer', unsupported: 'n/a ' }[outcome.verdict]
  const took = `${(outcome.tookMs / 1000).toFixed(1)} s`
  const first =
    outcome.firstReasons === undefined ? '' : ` at the second attempt; the first: ${outcome.firstReasons.join('; ')}`
  const tail = outcome.verdict === 'passed' ? `${took}${first}` : outcome.reasons.join('; ')
  const where = outcome.verdict === 'failed' ? `\n       logs: ${outcome.logDir}` : ''
  return `${mark} ${outcome.cell.test.name.padEnd(24)} ${pairName(outcome).padEnd(24)} ${tail}${where}`
}

/** The plain closing line; pairs that cannot be asked count as skipped. */
export function closingLine(outcomes: readonly Outcome[]): string {
  const count = (verdict: Outcome['verdict']): number => outcomes.filter((o) => o.verdict === verdict).length
  return `${count('passed')} passed, ${count('failed')} failed, ${count('unsupported') + count('fault')} skipped`
}
