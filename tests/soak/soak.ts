/** Runs router, services and clients as processes, kills clients and services at random, and collects what happens. */
import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateCertificate } from '@quicether/net'
import type { Failure, RoundMessage } from './client.ts'
import type { MemoryMessage } from './memory-probe.ts'
import { randomFrom } from './random.ts'

export interface SoakOptions {
  readonly seconds: number
  readonly clients: number
  readonly seed: number
  readonly pauseMs: number
  /** For certificates, configuration and the router's results. */
  readonly directory: string
  readonly say: (line: string) => void
}

export interface MemorySample {
  readonly atMinutes: number
  readonly heapBytes: number
  readonly externalBytes: number
  readonly residentBytes: number
}

export interface SoakResult {
  seconds: number
  readonly seed: number
  requests: number
  rounds: number
  bytes: number
  resumed: number
  earlyData: number
  migrated: number
  clientKills: number
  serviceKills: number
  /** Failures of requests to a service that was being killed. */
  explained: number
  /** Requests that ran into a time limit: what a machine without a processor for them does to programs. */
  timedOut: number
  readonly unexplained: string[]
  readonly wrong: string[]
  readonly samples: MemorySample[]
  /** How the router ended although nobody told it to; null = it did not. */
  routerEnd: string | null
}

interface Service {
  readonly name: string
  readonly port: number
  child: ChildProcess
  /** Times during which requests may fail. */
  readonly gaps: { fromMs: number; toMs: number }[]
}

const here = import.meta.dirname
const cli = join(here, '../../packages/cli/src/main.ts')
const READY_MS = 60_000
/** Also what clients wait; see `client.ts`. */
const PATIENCE_MS = 120_000
/** Sentences kept of each kind; the counts go on. */
const SENTENCES_MAX = 50
const GAPS_KEPT = 16
/** How router and client say that somebody was silent for too long. */
const TIME_LIMIT = /no handshake within|nothing was heard|no packet came for|status 504/
/** After a service is back, the router may need a moment to believe it. */
const RECOVERY_MS = 5_000
const SAMPLE_EVERY_RATIO = 1 / 120
const SAMPLE_EVERY_MIN_MS = 2_000
const PROGRESS_EVERY_MS = 60_000

export class Soak {
  readonly #options: SoakOptions
  readonly #random: () => number
  readonly #result: SoakResult
  readonly #services: Service[]
  readonly #router: ChildProcess
  readonly #port: number
  readonly #clients: Map<number, ChildProcess> = new Map()
  #clientsStarted = 0
  #isStopped = false
  #isEnding = false
  #onMemory: ((sample: MemoryMessage) => void) | undefined

  /** Use `start`, which waits until everything listens. */
  constructor(options: SoakOptions, services: Service[], router: ChildProcess, port: number) {
    this.#options = options
    this.#random = randomFrom(options.seed)
    this.#services = services
    this.#router = router
    this.#port = port
    this.#result = {
      ...{ seconds: options.seconds, seed: options.seed, requests: 0, rounds: 0, bytes: 0 },
      ...{ resumed: 0, earlyData: 0, migrated: 0, clientKills: 0, serviceKills: 0, explained: 0, timedOut: 0 },
      ...{ unexplained: [], wrong: [], samples: [], routerEnd: null },
    }
    router.on('message', (message: MemoryMessage) => {
      if (message.kind === 'memory') this.#onMemory?.(message)
    })
    router.once('exit', (code, signal) => {
      if (this.#isEnding) return
      this.#result.routerEnd = signal ?? `exit code ${code}`
      this.#isStopped = true
    })
  }

  /** @throws Error when a process does not come up. */
  static async start(options: SoakOptions): Promise<Soak> {
    const { directory } = options
    mkdirSync(directory, { recursive: true })
    const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
    writeFileSync(join(directory, 'cert.pem'), made.certificatePem)
    writeFileSync(join(directory, 'key.pem'), made.privateKeyPem)
    const services: Service[] = []
    for (const name of ['one', 'two']) {
      const { child, port } = await startService(0)
      services.push({ name, port, child, gaps: [] })
    }
    writeFileSync(join(directory, 'router.toml'), configuration(services))
    const router = fork(
      cli,
      [
        ...['router', '--config', join(directory, 'router.toml'), '--host', '127.0.0.1', '--port', '0'],
        ...['--cert', join(directory, 'cert.pem'), '--key', join(directory, 'key.pem')],
        ...['--results', join(directory, 'results'), '--no-live', '--log-level', 'error'],
      ],
      {
        execArgv: ['--expose-gc', '--import', join(here, 'memory-probe.ts')],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        cwd: directory,
      },
    )
    const { port } = await ready(router, 'router', 'router')
    return new Soak(options, services, router, Number(port))
  }

  /** Ends the run early; `run` then resolves with what there is. */
  stop(): void {
    this.#isStopped = true
  }

  /** Runs to the end, or until the first wrong byte. */
  async run(): Promise<SoakResult> {
    const beganMs = Date.now()
    const { seconds, clients, say } = this.#options
    const endMs = beganMs + seconds * 1_000
    for (let index = 0; index < clients; index += 1) this.#startClient()
    const sampleEveryMs = Math.max(SAMPLE_EVERY_MIN_MS, seconds * 1_000 * SAMPLE_EVERY_RATIO)
    let [sampleAtMs, progressAtMs, killAtMs] = [beganMs, beganMs + PROGRESS_EVERY_MS, this.#nextKillMs(beganMs)]
    while (!this.#isStopped && !this.#isOver(endMs)) {
      const nowMs = Date.now()
      if (nowMs >= sampleAtMs) {
        sampleAtMs += sampleEveryMs
        await this.#sample(beganMs)
      }
      if (nowMs >= killAtMs) {
        await this.#killSomebody()
        killAtMs = this.#nextKillMs(Date.now())
      }
      if (nowMs >= progressAtMs) {
        progressAtMs += PROGRESS_EVERY_MS
        say(this.#progress(beganMs))
      }
      await sleep(50)
    }
    this.#result.seconds = (Date.now() - beganMs) / 1_000
    await this.#end()
    return this.#result
  }

  /** Short runs go on until both kinds of kill have happened and requests have succeeded, so that they show something. */
  #isOver(endMs: number): boolean {
    const { wrong, requests, clientKills, serviceKills } = this.#result
    if (wrong.length > 0) return true
    const hasShown = requests > 0 && clientKills > 0 && serviceKills > 0
    return Date.now() >= endMs && hasShown
  }

  /** Half a second to a twentieth of the run, at most 20 seconds. */
  #nextKillMs(nowMs: number): number {
    const longestMs = Math.min(20_000, (this.#options.seconds * 1_000) / 20 + 500)
    return nowMs + 500 + this.#random() * longestMs
  }

  async #killSomebody(): Promise<void> {
    const ids = [...this.#clients.keys()]
    const id = ids[Math.floor(this.#random() * ids.length)]
    if (this.#random() < 0.7 && id !== undefined && this.#result.clientKills < 1 + 3 * this.#result.serviceKills) {
      this.#result.clientKills += 1
      this.#clients.get(id)?.kill('SIGKILL')
      return
    }
    const service = this.#services[Math.floor(this.#random() * this.#services.length)]
    if (service === undefined) return
    this.#result.serviceKills += 1
    const gap = { fromMs: Date.now(), toMs: Infinity }
    service.gaps.push(gap)
    if (service.gaps.length > GAPS_KEPT) service.gaps.shift()
    const gone = new Promise((resolve) => service.child.once('exit', resolve))
    service.child.kill('SIGKILL')
    await gone
    await sleep(this.#random() * 300)
    service.child = (await startService(service.port)).child
    gap.toMs = Date.now() + RECOVERY_MS
  }

  #startClient(): void {
    const id = this.#clientsStarted
    this.#clientsStarted += 1
    const { directory, seed, pauseMs } = this.#options
    const args = [String(this.#port), join(directory, 'cert.pem'), String(seed * 1_000 + id), String(pauseMs)]
    const child = fork(join(here, 'client.ts'), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.#clients.set(id, child)
    child.on('message', (message: RoundMessage) => this.#onRound(message))
    child.once('exit', (code, signal) => {
      this.#clients.delete(id)
      if (this.#isEnding) return
      if (signal !== 'SIGKILL') this.#unexplained(`a client ended by itself: ${signal ?? `exit code ${code}`}`)
      this.#startClient()
    })
  }

  #onRound(round: RoundMessage): void {
    const result = this.#result
    result.rounds += 1
    result.requests += Math.max(0, round.requests - round.failures.length)
    result.bytes += round.bytes
    if (round.resumed) result.resumed += 1
    if (round.earlyData) result.earlyData += 1
    if (round.migrated) result.migrated += 1
    for (const failure of round.failures) this.#onFailure(failure)
  }

  #onFailure(failure: Failure): void {
    if (failure.isWrong) {
      if (this.#result.wrong.length < SENTENCES_MAX) this.#result.wrong.push(`${failure.where}: ${failure.what}`)
      return
    }
    const service = this.#services.find(({ name }) => name === failure.where)
    const overlaps = service?.gaps.some((gap) => failure.fromMs <= gap.toMs && failure.toMs >= gap.fromMs) ?? false
    if (overlaps) this.#result.explained += 1
    else if (TIME_LIMIT.test(failure.what)) this.#result.timedOut += 1
    else this.#unexplained(`${failure.where}: ${failure.what}`)
  }

  #unexplained(sentence: string): void {
    if (this.#isEnding || this.#result.unexplained.length >= SENTENCES_MAX) return
    this.#result.unexplained.push(sentence)
    this.#options.say(`unexplained: ${sentence}`)
  }

  async #sample(beganMs: number): Promise<void> {
    const answer = await new Promise<MemoryMessage | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), READY_MS)
      this.#onMemory = (message) => {
        clearTimeout(timer)
        resolve(message)
      }
      if (this.#router.connected) this.#router.send('memory')
    })
    this.#onMemory = undefined
    if (answer === undefined) return
    const { heapBytes, externalBytes, residentBytes } = answer
    this.#result.samples.push({ atMinutes: (Date.now() - beganMs) / 60_000, heapBytes, externalBytes, residentBytes })
  }

  #progress(beganMs: number): string {
    const { requests, rounds, clientKills, serviceKills, explained, samples } = this.#result
    const memory = samples.at(-1)
    const megabytes = (bytes = 0): string => (bytes / 1e6).toFixed(1)
    const minutes = ((Date.now() - beganMs) / 60_000).toFixed(0).padStart(3)
    return `${minutes} min  ${requests} requests, ${rounds} connections, kills ${clientKills}+${serviceKills} (${explained} requests failed of them), heap ${megabytes(memory?.heapBytes)} MB, resident ${megabytes(memory?.residentBytes)} MB`
  }

  async #end(): Promise<void> {
    this.#isEnding = true
    for (const client of this.#clients.values()) client.kill('SIGKILL')
    if (this.#router.exitCode === null && this.#router.connected) {
      const gone = new Promise((resolve) => this.#router.once('exit', resolve))
      const timer = setTimeout(() => this.#router.kill('SIGKILL'), READY_MS)
      this.#router.send('stop')
      await gone
      clearTimeout(timer)
    }
    for (const { child } of this.#services) child.kill('SIGKILL')
  }
}

/** Time limits that a machine with much else to do does not run into: silence is not what a soak looks for. */
function configuration(services: readonly Service[]): string {
  const tables = services.map(({ name, port }) =>
    [
      '[[service]]',
      `name = "${name}"`,
      `prefix = "/${name}"`,
      `url = "http://127.0.0.1:${port}"`,
      ...['connect', 'response', 'body'].map((what) => `${what}_timeout_ms = ${PATIENCE_MS}`),
      '',
    ].join('\n'),
  )
  const limits = ['idle', 'header', 'client'].map((what) => `${what}_timeout_ms = ${PATIENCE_MS}`)
  return `[router]\nearly_data = true\n${limits.join('\n')}\n\n${tables.join('\n')}`
}

async function startService(port: number): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(join(here, 'service.ts'), [String(port)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const message = await ready(child, 'service', 'listening')
  return { child, port: Number(message.port) }
}

/** The first message of this kind. */
function ready(child: ChildProcess, name: string, kind: string): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name} was not ready within ${READY_MS} ms`)), READY_MS)
    const onMessage = (message: Readonly<Record<string, unknown>>): void => {
      if (message.kind !== kind) return
      clearTimeout(timer)
      child.off('message', onMessage)
      resolve(message)
    }
    child.on('message', onMessage)
    child.once('error', reject)
    child.once('exit', (code, signal) => reject(new Error(`${name} ended with ${signal ?? code} before it was ready`)))
  })
}
