/** The demo's child processes: real `quicether` commands with a link for ready messages and stop. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { UserError } from '@quicether/router'
import type { ChildMessage } from './parent-link.ts'

const readyMs = 20_000
const stopMs = 8_000
const outputCharactersMax = 10_000_000

/** One `quicether` command in a process of its own. */
export class DemoChild {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #exited: Promise<number>
  #isReady = false
  #stdout = ''
  #stderr = ''

  constructor(name: string, args: readonly string[]) {
    this.#name = name
    this.#child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      if (this.#stdout.length < outputCharactersMax) this.#stdout += chunk.toString('utf8')
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      if (this.#stderr.length < outputCharactersMax) this.#stderr += chunk.toString('utf8')
    })
    this.#child.once('message', () => {
      this.#isReady = true
    })
    this.#exited = new Promise((resolve) => {
      this.#child.once('error', () => resolve(127))
      this.#child.once('close', (code) => resolve(code ?? 1))
    })
  }

  /** The first message of a kind. Throws `UserError` when the child ends or stays silent. */
  async message<K extends ChildMessage['kind']>(kind: K): Promise<Extract<ChildMessage, { kind: K }>> {
    const received = new Promise<ChildMessage>((resolve) => {
      this.#child.on('message', (message: ChildMessage) => {
        if (message.kind === kind) resolve(message)
      })
    })
    const timer = Promise.withResolvers<'timeout'>()
    const timeout = setTimeout(() => timer.resolve('timeout'), readyMs)
    const first = await Promise.race([received, this.#exited, timer.promise])
    clearTimeout(timeout)
    if (typeof first === 'object') return first as Extract<ChildMessage, { kind: K }>
    throw this.failure(first === 'timeout' ? `was not ready within ${readyMs / 1000} s` : `ended with code ${first}`)
  }

  /** Waits for the end by itself. */
  async exit(): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
    const code = await this.#exited
    return { code, stdout: this.#stdout, stderr: this.#stderr }
  }

  /** Asks the child to end, and insists when it does not. */
  async stop(): Promise<void> {
    // Only a child that has spoken listens, too.
    if (this.#isReady && this.#child.connected) this.#child.send('stop', () => {})
    else this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopMs)
    await this.#exited
    clearTimeout(timer)
  }

  failure(what: string): UserError {
    const said = this.#stderr.trim().split('\n').at(-1) ?? ''
    return new UserError('ERR_DEMO', {
      what: `the ${this.#name} ${what}${said === '' ? '' : `: ${said.replace(/^quicether: /u, '').replace(/\.$/u, '')}`}`,
      where: `quicether ${this.#name}`,
      remedy: 'Run that command by itself to see more.',
    })
  }
}

/** `port` when it is free for TCP on 127.0.0.1, else 0 = any. */
export function freeTcpPort(port: number): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(0))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)))
  })
}

/** `port` when it is free for UDP on 127.0.0.1, else 0 = any. */
export function freeUdpPort(port: number): Promise<number> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.once('error', () => {
      socket.close()
      resolve(0)
    })
    socket.bind(port, '127.0.0.1', () => socket.close(() => resolve(port)))
  })
}
