/** docs/interop-multipath.md: the table of a run and excerpts of what both sides logged. */
import { readFile } from 'node:fs/promises'
import { arch, cpus, platform, release } from 'node:os'
import { join } from 'node:path'
import { repositoryRoot } from '../peers.ts'
import type { MultipathCase } from './case.ts'
import type { QlogFrames } from './qlog-frames.ts'

export interface Outcome {
  readonly test: MultipathCase
  readonly error: string | undefined
  readonly measured: string
  readonly tookMs: number
  readonly logs: { readonly ours: QlogFrames; readonly theirs: QlogFrames } | undefined
}

/** Cases whose logs are worth a look, and in which direction. */
const SHOWN = ['two-paths', 'status', 'abandon', 'rebinding']

/** The whole page. */
export async function page(outcomes: readonly Outcome[], versions: Readonly<Record<string, string>>): Promise<string> {
  const manifest = await readFile(join(repositoryRoot, 'packages', 'net', 'package.json'), 'utf8')
  const { version } = JSON.parse(manifest) as { version: string }
  const seconds = outcomes.reduce((sum, outcome) => sum + outcome.tookMs, 0) / 1000
  const strangers = Object.entries(versions).map(([name, text]) => `${name} ${text}`)
  const lines = [
    '# Multipath interoperability',
    '',
    'Written by a run of the command below; do not edit by hand. QuicEther runs RFC 10069 with two strangers, noq (a Rust',
    'crate) and picoquic (C, out of the PyPI package aiopquic), over 127.0.0.1, 127.0.0.2, 127.0.0.3 and ::1, each in both',
    'roles. Every byte that comes back is compared. With picoquic the verdicts rest on the qlog files of both sides.',
    '',
    '- Command: `npm run test:interop -- --multipath --write` (needs Rust 1.88 and Python 3.11 or newer; the first build takes',
    '  about a minute)',
    `- Date: ${new Date().toISOString().slice(0, 10)}, ${seconds.toFixed(0)} s on ${cpus().length} cores, ${platform()} ${release()} ${arch()}`,
    `- Versions: quicether ${version}, ${strangers.join(', ')}`,
    `- Result: ${outcomes.filter((o) => o.error === undefined).length} of ${outcomes.length} passed`,
    '',
    '| case | client → server | proves | result | measured |',
    '|---|---|---|:-:|---|',
    ...outcomes.map(row),
    '',
    'noq sends on its first available path as long as that has room and does not move data off a silent path before its idle',
    'timeout; the cases that look at its sending make path 0 its backup first.',
    '',
    ...deviations,
    ...evidence(outcomes),
  ]
  return `${lines.join('\n').trimEnd()}\n`
}

const deviations: readonly string[] = [
  '## Known deviations of peers',
  '',
  '- picoquic (seen with 1.1.53.0): RETIRE_CONNECTION_ID means path 0 on whatever path it comes (RFC 10069 §3.2), but picoquic',
  '  compares its sequence number with that of the connection ID in use on the path it came on, and closes the connection when they',
  '  are equal. We retired ID 0 of path 0 in packet 8 of path 1, which itself used ID 0 of path 1:',
  '',
  '  ```',
  '      18.4 ms  sent      path 1  packet 8: retire_connection_id (sequence_number 0), stream',
  '      21.0 ms  received  path 0  packet 8: path_ack, path_ack, connection_close (PROTOCOL_VIOLATION,',
  '               "Cannot delete path through which packet arrives")',
  '  ```',
  '',
  '  With PATH_RETIRE_CONNECTION_ID for path 0 as well, which the RFC recommends and which we send now, it does not happen.',
  '- noq keeps to a silent path until its idle timeout, see above.',
  '',
]

function row({ test, error, measured }: Outcome): string {
  const result = error === undefined ? 'pass' : '**FAIL**'
  return `| \`${test.name}\` | ${test.pair} | ${test.proves} | ${result} | ${(error ?? measured).replaceAll('|', '/')} |`
}

function evidence(outcomes: readonly Outcome[]): string[] {
  const shown = outcomes.filter(({ test, logs }) => logs !== undefined && SHOWN.includes(test.name))
  if (shown.length === 0) return []
  return [
    '## What both sides logged',
    '',
    "From the qlog files of this run, ours and picoquic's: the first packet on each path, in each direction, with each of the",
    'frames of RFC 10069 or of path validation. The whole files are in `results/interop-multipath/CASE-CLIENT-to-SERVER/`.',
    '',
    ...shown.flatMap(({ test, logs }) =>
      logs === undefined
        ? []
        : [
            `### \`${test.name}\`, ${test.pair}`,
            '',
            '```',
            'quicether',
            ...logs.ours.evidence(),
            '',
            'picoquic',
            ...logs.theirs.evidence(),
            '```',
            '',
          ],
    ),
  ]
}
