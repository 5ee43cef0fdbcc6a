/** The real command line in a process of its own, for tests. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

const main = join(import.meta.dirname, '../../packages/cli/src/main.ts')
const waitMs = 60_000

export interface CliResult {
  /** -1 when a signal ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const running = new WeakMap<TestContext, CliProcess[]>()

/** A directory that goes away with the test, after the commands that ran in it have ended. */
export function scratchDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-process-'))
  running.set(t, [])
  t.after(async () => {
    for (const command of running.get(t) ?? []) {
      command.signal('SIGKILL')
      await command.exit()
    }
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** One running command in a scratch directory; the test's end kills it. */
export class CliProcess {
  readonly child: ChildProcess
  readonly #exited: Promise<CliResult>
  #stdout = ''
  #stderr = ''
  #onOutput: (() => void) | undefined

  /**
   * @param t undefined = the caller ends it, e.g. where tests share one process.
   * @param wrapper a command that runs ours, e.g. in another network namespace.
   */
  constructor(
    t: TestContext | undefined,
    directory: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    wrapper: readonly string[] = [],
  ) {
    const [program = process.execPath, ...before] = [...wrapper, process.execPath]
    this.child = spawn(program, [...before, main, ...args], {
      cwd: directory,
      env: { ...process.env, XDG_CACHE_HOME: join(directory, 'cache'), SSLKEYLOGFILE: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout?.on('data', (chunk: Buffer) => this.#collect('out', chunk))
    this.child.stderr?.on('data', (chunk: Buffer) => this.#collect('err', chunk))
    this.#exited = new Promise((resolve) => {
      this.child.once('close', (code) => {
        resolve({ code: code ?? -1, stdout: this.#stdout, stderr: this.#stderr })
        this.#onOutput?.()
      })
    })
    if (t !== undefined) running.get(t)?.push(this)
  }

  /** The first match in what it has printed so far or prints next, on either stream. */
  async output(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = performance.now() + waitMs
    while (true) {
      const match = pattern.exec(`${this.#stdout}\n${this.#stderr}`)
      if (match !== null) return match
      const isOver = this.child.exitCode !== null || this.child.signalCode !== null || performance.now() > deadline
      if (isOver) assert.fail(`no output like ${pattern}; printed:\n${this.#stdout}\n${this.#stderr}`)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#onOutput = resolve
      const timer = setTimeout(resolve, 1_000)
      await promise
      clearTimeout(timer)
    }
  }

  exit(): Promise<CliResult> {
    return this.#exited
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }

  #collect(stream: 'out' | 'err', chunk: Buffer): void {
    if (stream === 'out') this.#stdout += chunk.toString('utf8')
    else this.#stderr += chunk.toString('utf8')
    this.#onOutput?.()
  }
}

/** Runs a command to its end. */
export function runCli(
  t: TestContext,
  directory: string,
  args: readonly string[],
  env?: Readonly<Record<string, string>>,
): Promise<CliResult> {
  return new CliProcess(t, directory, args, env).exit()
}

/** Exactly one line on standard error, in our form, without a stack, and the exit code. */
export function assertExplained(result: CliResult, code: number, pattern: RegExp): void {
  const lines = result.stderr.trim().split('\n')
  assert.equal(lines.length, 1, `expected one line:\n${result.stderr}`)
  assert.match(lines[0] ?? '', /^quicether: .+ \(.+\)\. .+/u)
  assert.match(lines[0] ?? '', pattern)
  assert.equal(result.code, code)
}

/** The services, each on a free port. */
export const servicesArguments: readonly string[] = [
  'services',
  ...['--video-port', '0', '--text-port', '0', '--control-port', '0'],
]

/** Services on free ports, and their ports. */
export async function startServices(
  t: TestContext,
  directory: string,
): Promise<{ readonly process: CliProcess; readonly ports: Readonly<Record<'video' | 'text' | 'control', number>> }> {
  const services = new CliProcess(t, directory, servicesArguments)
  const port = async (name: string): Promise<number> =>
    Number((await services.output(new RegExp(`${name} +http://127\\.0\\.0\\.1:(\\d+)/`, 'u')))[1])
  return {
    process: services,
    ports: { video: await port('video'), text: await port('text'), control: await port('control') },
  }
}

/** A configuration with the given services. */
export function routerToml(ports: Readonly<Record<string, number>>, extra = ''): string {
  const tables = Object.entries(ports).map(
    ([name, port]) =>
      `[[service]]\nname = "${name}"\nkind = "${['video', 'text', 'control'].includes(name) ? name : 'other'}"\nprefix = "/${name}"\nurl = "http://127.0.0.1:${port}"\n${extra}\n`,
  )
  return tables.join('\n')
}

/** A router on a free port, ready to serve. */
export async function startRouterProcess(
  t: TestContext,
  directory: string,
  args: readonly string[],
  env?: Readonly<Record<string, string>>,
): Promise<{ readonly process: CliProcess; readonly port: number; readonly results: string }> {
  const router = new CliProcess(t, directory, ['router', '--port', '0', ...args], env)
  const port = Number((await router.output(/https:\/\/127\.0\.0\.1:(\d+)/u))[1])
  const results = (await router.output(/results +(\S+)/u))[1] ?? ''
  return { process: router, port, results }
}
