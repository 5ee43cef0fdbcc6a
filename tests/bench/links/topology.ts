/** Two network namespaces and the emulated links between them, as tools/topo.sh builds them; gone when the process ends. */
import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { repositoryRoot } from '../../interop/peers.ts'

/** One link; the same in both directions. */
export interface LinkSpec {
  readonly rateMbit: number
  /** One way. */
  readonly delayMs: number
  readonly lossPercent?: number
  /** The client is behind a NAT on this link. */
  readonly hasNat?: boolean
}

/** Tail-drop queue before each link, as time at its rate. */
export const QUEUE_MS = 100
const script = join(repositoryRoot, 'tools', 'topo.sh')
const runFile = promisify(execFile)
/** First real-time signal of Linux as libc counts them: the emulator's NAT forgets its ports. */
const SIGRTMIN = 34

let built = 0

/** Numbers of links begin at 1, as in topo.sh: client 10.99.I.1 on c<I>, server 10.99.I.2. */
export class Topology {
  readonly links: readonly LinkSpec[]
  readonly #prefix: string
  readonly #emulators: readonly number[]
  readonly #onExit = (): void => this.#remove()

  /** Throws with the reason when the machine does not allow it. */
  constructor(links: readonly LinkSpec[], seed: number) {
    this.links = links
    this.#prefix = `qe${process.pid}-${built++ % 10}`
    const entries = links.map(
      ({ rateMbit, delayMs, lossPercent = 0, hasNat = false }) =>
        `${rateMbit}/${delayMs}/${QUEUE_MS}ms/${lossPercent}${hasNat ? '/nat=1' : ''}`,
    )
    process.on('exit', this.#onExit)
    const environment = { ...process.env, PREFIX: this.#prefix, LINKS: entries.join(';'), SEED: String(seed) }
    const { status, stderr, error } = spawnSync(script, ['up'], { env: environment, encoding: 'utf8' })
    if (status !== 0) {
      this.down()
      throw new Error(`cannot build the links: ${error?.message ?? stderr.trim()}`)
    }
    const state = `/run/quicether-links/${this.#prefix}state`
    this.#emulators = links.map((_, index) => Number(readFileSync(join(state, `link${index + 1}.pid`), 'utf8')))
  }

  get clientSpace(): string {
    return `${this.#prefix}cl`
  }

  get serverSpace(): string {
    return `${this.#prefix}sv`
  }

  /** The line goes dead; nobody is told. */
  cut(link: number): void {
    this.#signal(link, constants.signals.SIGUSR1)
  }

  mend(link: number): void {
    this.#signal(link, constants.signals.SIGUSR2)
  }

  /** The NAT of the link forgets the ports it has given. */
  rebind(link: number): void {
    this.#signal(link, SIGRTMIN)
  }

  /** The client's interface goes down: its kernel and its programs are told. */
  async interfaceDown(link: number): Promise<void> {
    await this.#script('ifdown', link)
  }

  async interfaceUp(link: number): Promise<void> {
    await this.#script('ifup', link)
  }

  /** How long the queue towards the client is now, as time at the link's rate, in milliseconds. */
  async queueMs(link: number): Promise<number> {
    this.#signal(link, constants.signals.SIGHUP)
    await new Promise((resolve) => setTimeout(resolve, 20))
    const log = readFileSync(`/run/quicether-links/${this.#prefix}state/link${link}.log`, 'utf8')
    const found = [...log.matchAll(/es\d+->ec\d+:.*?queue now (\d+) bytes/gu)].at(-1)
    if (found === null || found === undefined) throw new Error(`the emulator of link ${link} tells nothing: ${log}`)
    return (Number(found[1]) * 8) / (this.#link(link).rateMbit * 1_000)
  }

  /** What the emulators counted, one line per direction. */
  async statistics(): Promise<string> {
    return (await runFile(script, ['status'], { env: { ...process.env, PREFIX: this.#prefix } })).stdout
  }

  down(): void {
    process.off('exit', this.#onExit)
    this.#remove()
  }

  /** What still runs in the namespaces is ended first: a namespace lives as long as its processes. */
  #remove(): void {
    for (const space of [this.clientSpace, this.serverSpace]) {
      const { stdout } = spawnSync('ip', ['netns', 'pids', space], { encoding: 'utf8' })
      for (const pid of (stdout ?? '').split('\n').map(Number)) {
        try {
          if (pid > 1) process.kill(pid, 'SIGKILL')
        } catch {
          // gone by itself
        }
      }
    }
    spawnSync(script, ['down'], { env: { ...process.env, PREFIX: this.#prefix } })
  }

  #link(link: number): LinkSpec {
    const found = this.links[link - 1]
    if (found === undefined) throw new RangeError(`there is no link ${link}; links are 1 to ${this.links.length}`)
    return found
  }

  #signal(link: number, signal: number): void {
    const pid = this.#emulators[link - 1]
    if (pid === undefined) throw new RangeError(`there is no link ${link}; links are 1 to ${this.links.length}`)
    process.kill(pid, signal)
  }

  async #script(command: string, link: number): Promise<void> {
    await runFile(script, [command, String(link)], { env: { ...process.env, PREFIX: this.#prefix } })
  }
}

/** Whether any namespace of this process is left; for tests. */
export function leftovers(): readonly string[] {
  try {
    return readdirSync('/run/netns').filter((name) => name.startsWith(`qe${process.pid}-`))
  } catch {
    return []
  }
}
