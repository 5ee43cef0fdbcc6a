/** An optional tcpdump beside the router, where the program is installed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { messageOf, UserError } from '@quicether/router'

/** A running tcpdump; `stop` flushes its file. */
export class Tcpdump {
  readonly #child: ChildProcess
  readonly #ended: Promise<void>

  /** Use `startTcpdump`. */
  constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()))
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGINT')
    await this.#ended
  }
}

const startupMs = 3_000

/** Captures UDP of one port into `file`. Throws `UserError` when tcpdump is missing or refuses. */
export async function startTcpdump(file: string, port: number): Promise<Tcpdump> {
  // Without immediate mode the kernel holds packets back for a second, and the last ones would be lost at the end.
  const args = ['--immediate-mode', '-i', 'any', '-U', '-n', '-w', file, 'udp', 'port', String(port)]
  const child = spawn('tcpdump', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    if (said.length < 2_000) said += chunk.toString('utf8')
  })
  const failure = await new Promise<unknown>((resolve) => {
    child.once('error', resolve)
    child.once('exit', (code) =>
      resolve(new Error(`it ended with code ${code}: ${said.trim().split('\n').at(-1) ?? ''}`)),
    )
    child.stderr.on('data', () => {
      if (said.includes('listening on')) resolve(undefined)
    })
    setTimeout(() => resolve(undefined), startupMs).unref()
  })
  if (failure === undefined) return new Tcpdump(child)
  const isMissing = messageOf(failure).includes('ENOENT')
  throw new UserError('ERR_OPTION', {
    what: isMissing ? 'tcpdump is not installed' : `tcpdump does not run: ${messageOf(failure)}`,
    where: '--tcpdump',
    remedy: 'Use --capture FILE.pcapng instead: it needs neither tcpdump nor root, and has the keys inside.',
    cause: failure,
  })
}
