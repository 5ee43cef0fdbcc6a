/** Server side of the router case: the real `quicether services` and `quicether router`, reporting like any peer. */
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ServerSpec } from './spec.ts'

const cli = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url))

type Message = Readonly<Record<string, unknown>>

/** Starts a command of the CLI and waits for the message that says that it is ready. */
async function start(args: readonly string[]): Promise<{ child: ChildProcess; ready: Message }> {
  // The child's lines are for the log, not for the runner.
  const child = fork(cli, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  child.stdout?.pipe(process.stderr)
  const ready = await new Promise<Message>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Message))
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`quicether ${args[0]} ended with ${code} before it was ready`)))
  })
  return { child, ready }
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.send('stop')
  })
}

function configuration(services: Message): string {
  const names = ['video', 'text', 'control'] as const
  return names
    .map((name) =>
      [
        '[[service]]',
        `name = "${name}"`,
        `prefix = "/${name}"`,
        `url = "http://127.0.0.1:${services[name]}"`,
        `kind = "${name}"`,
        '',
      ].join('\n'),
    )
    .join('\n')
}

async function countsOf(services: Message): Promise<Record<string, unknown>> {
  const paths = { video: '/video/stats', text: '/text/stats', control: '/control/state' }
  const counts: Record<string, unknown> = {}
  for (const [name, path] of Object.entries(paths)) {
    const response = await fetch(`http://127.0.0.1:${services[name]}${path}`)
    counts[name] = await response.json()
  }
  return counts
}

function report(event: string, facts: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

const spec = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as ServerSpec
const folder = dirname(spec.qlogDir)
await mkdir(folder, { recursive: true })
const services = await start(['services', '--video-port', '0', '--text-port', '0', '--control-port', '0'])
const configFile = join(folder, 'router.toml')
await writeFile(configFile, configuration(services.ready))
const router = await start([
  'router',
  ...['--config', configFile, '--host', spec.host, '--port', String(spec.port)],
  ...['--cert', spec.certificate, '--key', spec.privateKey, '--idle-timeout', String(spec.idleTimeoutMs)],
  ...['--results', join(folder, 'results'), '--qlog', spec.qlogDir, '--keylog', spec.keylogFile, '--no-live'],
])
process.once('SIGTERM', () => {
  void (async () => {
    report('services', { counts: await countsOf(services.ready) })
    await stop(router.child)
    await stop(services.child)
    process.exit(0)
  })()
})
report('listening', { port: router.ready.port })
