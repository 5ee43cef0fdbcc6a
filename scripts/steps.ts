/** The steps of `npm run check` and `npm test`: one entry per step, in the order of the summary. */
import { globSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { findChromium } from '../tests/browser/chromium.ts'
import { ensureTool, type Tool } from './tools.ts'

export const root = path.resolve(import.meta.dirname, '..')
const node = process.execPath
const reporter = path.join(root, 'scripts', 'reporter.ts')
const isCi = process.env['CI'] === 'true'

export interface Step {
  readonly name: string
  /** Arguments of the pinned Node, relative to the repository. */
  readonly args: readonly string[]
  /** Files that must exist; a step whose files are missing fails, it is never left out. */
  readonly needs: readonly string[]
  /** How many of the two cores it keeps busy. */
  readonly cores: 1 | 2
  readonly limitSeconds: number
  /** Only in `npm test`. */
  readonly isFull?: boolean
  /** Programs of the machine it needs; installed when root, else the step is skipped with the reason (in CI: fails). */
  readonly tools?: readonly Tool[]
  /** A reason not to run it now, printed and counted as one skipped. */
  readonly skip?: (argv: readonly string[]) => string | undefined
}

const tshark: Tool = {
  command: 'tshark',
  apt: ['tshark'],
  why: 'opens our captures and looks for decrypted HTTP/3 frames',
}

/** Debian's name where none of the names of other systems is there. */
const chromium: Tool = {
  command: findChromium() ?? 'chromium',
  apt: ['chromium'],
  why: 'shows the live page of the router as a browser does',
}

/** Files of the test steps, found at run time: a step that finds none fails. */
const unitTests = [
  'packages/*/src/**/*.test.ts',
  'scripts/**/*.test.ts',
  'tests/{fuzz,bench,interop,soak}/**/*.test.ts',
]
const captureTests = ['tests/process/capture*.test.ts']

export const steps: readonly Step[] = [
  tool('types', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']),
  tool('page', ['node_modules/typescript/bin/tsc', '-p', 'packages/router/src/page/browser/tsconfig.json']),
  tool('lint', ['node_modules/@biomejs/biome/bin/biome', 'ci', '--colors=off', '--max-diagnostics=50', '.']),
  tests('tidy', ['tests/tidy/*.test.ts'], { cores: 1 }),
  tool('spec', ['scripts/spec.ts', '--check']),
  { ...tool('sim', ['packages/lab/bin/sim.ts', '--seeds', '500']), limitSeconds: 300 },
  { ...tool('model', ['packages/lab/bin/sim.ts', '--model', '--seeds', '500']), limitSeconds: 300 },
  tests('unit', unitTests, { cores: 2, limitSeconds: 300 }),
  {
    ...tests('process', ['tests/process/**/*.test.ts'], { cores: 2, limitSeconds: 900, except: captureTests }),
    isFull: true,
  },
  { ...tests('capture', captureTests, { cores: 1, limitSeconds: 300 }), isFull: true, tools: [tshark] },
  {
    ...tests('browser', ['tests/browser/**/*.test.ts'], { cores: 1, limitSeconds: 300 }),
    isFull: true,
    tools: [chromium],
  },
  { ...tool('fuzz', ['tests/fuzz/main.ts', '--replay']), isFull: true, limitSeconds: 300 },
  { ...tool('docs', ['scripts/docs.ts', '--check']), isFull: true, limitSeconds: 300 },
  { ...tool('tournament', ['packages/lab/bin/tournament.ts', '--check']), isFull: true },
  {
    ...tool('interop', ['tests/interop/main.ts']),
    cores: 2,
    limitSeconds: 1_800,
    isFull: true,
    skip: (argv) =>
      isCi || argv.includes('--interop')
        ? undefined
        : 'needs foreign peers (tests/interop/README.md): runs with --interop or CI=true',
  },
  {
    ...tool('multipath', ['tests/interop/main.ts', '--multipath']),
    cores: 2,
    limitSeconds: 900,
    isFull: true,
    skip: (argv) =>
      isCi || argv.includes('--interop')
        ? undefined
        : 'needs noq (a Rust crate) and picoquic (from PyPI): runs with --interop or CI=true',
  },
]

function tool(name: string, args: readonly string[]): Step {
  return { name, args, needs: [args[0] ?? ''], cores: 1, limitSeconds: 180 }
}

interface TestsOptions {
  readonly cores: 1 | 2
  readonly limitSeconds?: number
  readonly except?: readonly string[]
}

function tests(name: string, patterns: readonly string[], options: TestsOptions): Step {
  const excluded = new Set(globSync([...(options.except ?? [])], { cwd: root }))
  const files = globSync([...patterns], { cwd: root, exclude: (entry) => entry === 'node_modules' })
    .filter((file) => !excluded.has(file))
    .sort()
  const flags = [
    '--test',
    `--test-reporter=${reporter}`,
    '--test-reporter-destination=stdout',
    `--test-concurrency=${options.cores}`,
  ]
  return {
    name,
    args: [...flags, ...files],
    needs: files.length === 0 ? patterns : [],
    cores: options.cores,
    limitSeconds: options.limitSeconds ?? 180,
  }
}

/** Why a step cannot run here, after trying to install what it needs. */
export async function obstacle(
  step: Step,
  argv: readonly string[],
): Promise<{ kind: 'skip' | 'fail'; reason: string } | undefined> {
  const missing = step.needs.filter((file) => globSync(file, { cwd: root }).length === 0)
  if (missing.length > 0) return { kind: 'fail', reason: `${missing.join(', ')} is missing from this checkout` }
  const skipped = step.skip?.(argv)
  if (skipped !== undefined) return { kind: 'skip', reason: skipped }
  for (const needed of step.tools ?? []) {
    const reason = await ensureTool(needed)
    if (reason !== undefined) return { kind: isCi ? 'fail' : 'skip', reason }
  }
  return undefined
}

export { node }
