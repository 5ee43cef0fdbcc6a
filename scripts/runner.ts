/** Runs the steps of check and test on the cores of the machine and adds up their results. */
import { spawn } from 'node:child_process'
import process from 'node:process'
import { node, obstacle, root, type Step } from './steps.ts'

interface Result {
  readonly step: Step
  readonly seconds: number
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly output: string
  readonly reason: string
}

/**
 * Runs the steps, prints one line per step and the output of the failed ones, then `N passed, N failed`.
 * A tool such as the type checker counts as one test. Returns the exit code.
 */
export async function runSteps(steps: readonly Step[], argv: readonly string[]): Promise<number> {
  // Steps run in process groups of their own: an interrupted run must take them along.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))
  const isVerbose = argv.includes('--verbose')
  const only = argv.filter((argument) => !argument.startsWith('-'))
  const unknown = only.filter((name) => !steps.some((step) => step.name === name))
  if (unknown.length > 0) {
    process.stderr.write(
      `no step named ${unknown.join(', ')}; there are: ${steps.map((step) => step.name).join(', ')}\n`,
    )
    return 2
  }
  const chosen = only.length === 0 ? steps : steps.filter((step) => only.includes(step.name))
  const results = await schedule(chosen, argv, isVerbose)
  return summarize(results)
}

/** Two cores: a step of one core shares the machine with another one, a step of two runs alone. */
async function schedule(steps: readonly Step[], argv: readonly string[], isVerbose: boolean): Promise<Result[]> {
  const results: Result[] = []
  const running = new Set<Promise<void>>()
  let coresBusy = 0
  for (const step of steps) {
    while (coresBusy + step.cores > 2) await Promise.race(running)
    coresBusy += step.cores
    const job: Promise<void> = run(step, argv).then((result) => {
      running.delete(job)
      coresBusy -= step.cores
      results.push(result)
      print(result, isVerbose)
    })
    running.add(job)
  }
  await Promise.all(running)
  return results
}

async function run(step: Step, argv: readonly string[]): Promise<Result> {
  const base = { step, seconds: 0, passed: 0, failed: 0, skipped: 0, output: '' }
  const hindrance = await obstacle(step, argv)
  if (hindrance?.kind === 'skip') return { ...base, skipped: 1, reason: `skipped: ${hindrance.reason}` }
  if (hindrance?.kind === 'fail') return { ...base, failed: 1, reason: hindrance.reason }
  const startedMs = performance.now()
  const { code, output, isTimedOut } = await spawnStep(step)
  const seconds = (performance.now() - startedMs) / 1000
  const counts = countsOf(output, code)
  const reason = isTimedOut ? `stopped after ${step.limitSeconds} s` : code === 0 ? '' : `exit code ${code}`
  return { step, seconds, output, reason, ...counts }
}

function spawnStep(step: Step): Promise<{ code: number; output: string; isTimedOut: boolean }> {
  return new Promise((resolve) => {
    const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' }
    const child = spawn(node, ['--disable-warning=ExperimentalWarning', ...step.args], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let output = ''
    let isTimedOut = false
    const keep = (chunk: string) => {
      output = (output + chunk).slice(-400_000)
    }
    child.stdout.setEncoding('utf8').on('data', keep)
    child.stderr.setEncoding('utf8').on('data', keep)
    const timer = setTimeout(() => {
      isTimedOut = true
      killGroup(child.pid)
    }, step.limitSeconds * 1000)
    const onExit = () => killGroup(child.pid)
    process.once('exit', onExit)
    child.on('close', (code) => {
      clearTimeout(timer)
      process.off('exit', onExit)
      resolve({ code: code ?? 1, output, isTimedOut })
    })
  })
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // The group is gone already.
  }
}

/** The step's own closing line if it has one, else one test that passed or failed by its exit code. */
export function countsOf(output: string, code: number): { passed: number; failed: number; skipped: number } {
  const matches = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$/gm)]
  const last = matches.at(-1)
  if (last === undefined) return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 }
  const failed = Number(last[2])
  // A step that ended badly has failed even if its tests did not say so.
  return { passed: Number(last[1]), failed: failed === 0 && code !== 0 ? 1 : failed, skipped: Number(last[3] ?? 0) }
}

function print(result: Result, isVerbose: boolean): void {
  const { step, seconds, passed, failed, skipped, output, reason } = result
  if (failed > 0 || isVerbose) process.stdout.write(`\n--- ${step.name}\n${output.trimEnd()}\n---\n`)
  else for (const line of output.matchAll(/^skipped: .*$/gm)) process.stdout.write(`     ${line[0]}\n`)
  const state = failed > 0 ? 'FAIL' : passed === 0 ? 'skip' : 'ok  '
  const counts = [
    `${passed} passed`,
    failed > 0 ? `${failed} failed` : '',
    skipped > 0 ? `${skipped} skipped` : '',
    reason,
  ]
  process.stdout.write(
    `${state} ${step.name.padEnd(9)} ${seconds.toFixed(1).padStart(6)} s  ${counts.filter(Boolean).join(', ')}\n`,
  )
}

function summarize(results: readonly Result[]): number {
  let passed = 0
  let failed = 0
  let skipped = 0
  for (const result of results) {
    passed += result.passed
    failed += result.failed
    skipped += result.skipped
  }
  process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`)
  return failed > 0 || passed === 0 ? 1 : 0
}
