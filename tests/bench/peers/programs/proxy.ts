/** Starts a reverse proxy and a service behind it: `proxy.ts quicether|caddy QUICGO server certificate=… key=…`. */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Arguments, report } from './arguments.ts'

const cli = fileURLToPath(new URL('../../../../packages/cli/src/main.ts', import.meta.url))
const [kind = '', quicgo = '', ...words] = process.argv.slice(2)
const given = new Arguments(words)
const folder = mkdtempSync(join(tmpdir(), 'quicether-bench-proxy-'))
const children: ChildProcess[] = []

process.on('SIGTERM', () => end(0))

function end(code: number): never {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
  process.exit(code)
}

/** A child that ends by itself ends the measurement. */
function keep(child: ChildProcess, name: string): ChildProcess {
  children.push(child)
  child.on('exit', (code, signal) => {
    console.error(`${name} ended: ${signal ?? code}`)
    end(1)
  })
  return child
}

async function startOrigin(): Promise<number> {
  const child = keep(spawn(quicgo, ['origin'], { stdio: ['ignore', 'pipe', 'inherit'] }), 'the service')
  const lines = createInterface({ input: child.stdout as NonNullable<typeof child.stdout> })
  for await (const line of lines) {
    const { event, port } = JSON.parse(line) as { event: string; port: number }
    if (event === 'listening') return port
  }
  throw new Error('the service did not say its port')
}

async function startRouter(origin: number): Promise<{ port: number; pid: number }> {
  const config = join(folder, 'router.toml')
  writeFileSync(config, `[[service]]\nname = "origin"\nprefix = "/"\nurl = "http://127.0.0.1:${origin}"\n`)
  const args = ['router', '--config', config, '--host', '127.0.0.1', '--port', '0', '--no-live']
  const files = ['--cert', given.text('certificate'), '--key', given.text('key'), '--results', join(folder, 'results')]
  const child = keep(fork(cli, [...args, ...files], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }), 'the router')
  const ready = await new Promise<{ port: number }>((resolve) => {
    child.once('message', (message) => resolve(message as { port: number }))
  })
  return { port: ready.port, pid: child.pid as number }
}

async function startCaddy(origin: number): Promise<{ port: number; pid: number }> {
  const port = await freePort()
  const file = join(folder, 'Caddyfile')
  writeFileSync(
    file,
    `{
  admin off
  auto_https off
  default_bind 127.0.0.1
  servers {
    protocols h1 h2 h3
  }
}
https://localhost:${port} {
  tls ${given.text('certificate')} ${given.text('key')}
  reverse_proxy 127.0.0.1:${origin}
}
`,
  )
  const environment = { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const args = ['run', '--config', file, '--adapter', 'caddyfile']
  const child = keep(spawn('caddy', args, { env: environment, stdio: ['ignore', 'inherit', 'pipe'] }), 'caddy')
  const lines = createInterface({ input: child.stderr as NonNullable<typeof child.stderr> })
  await new Promise<void>((resolve) => {
    lines.on('line', (line) => {
      console.error(line)
      if (line.includes('serving initial configuration')) resolve()
    })
  })
  return { port, pid: child.pid as number }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.bind(0, '127.0.0.1', () => {
      const { port } = socket.address()
      socket.close(() => resolve(port))
    })
  })
}

const origin = await startOrigin()
report('listening', { ...(kind === 'caddy' ? await startCaddy(origin) : await startRouter(origin)) })
