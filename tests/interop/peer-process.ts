/** Runs one peer as a child process: its JSON lines become reports, everything it says is kept in a log. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { createInterface } from 'node:readline'

export interface Report {
  readonly event: string
  readonly [fact: string]: unknown
}

export class PeerProcess {
  readonly reports: Report[] = []
  readonly #child: ChildProcess
  readonly #log: WriteStream
  readonly #name: string
  readonly #logFile: string
  readonly #exited: Promise<void>
  #waiters: (() => void)[] = []
  #isGone = false
  #isStopped = false
  #exit = ''

  constructor(
    name: string,
    command: readonly string[],
    environment: Readonly<Record<string, string>>,
    logFile: string,
  ) {
    this.#name = name
    this.#logFile = logFile
    this.#log = createWriteStream(logFile)
    this.#log.write(`$ ${command.map((word) => (/[ {"]/.test(word) ? `'${word}'` : word)).join(' ')}\n`)
    this.#child = spawn(command[0] ?? '', command.slice(1), {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stderr?.on('data', (text: Buffer) => this.#log.write(text))
    const stdout = this.#child.stdout
    if (stdout !== null) createInterface({ input: stdout }).on('line', (line) => this.#onLine(line))
    this.#exited = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        this.#exit = error.message
        this.#gone(resolve)
      })
      // `close` and not `exit`: the last lines have been read then.
      this.#child.on('close', (code, signal) => {
        this.#exit = signal ?? `exit code ${code}`
        this.#gone(resolve)
      })
    })
  }

  /** Undefined when the program could not be started. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  /** The first report of this event; rejects when the process ends or `withinMs` pass without one. */
  async report(event: string, withinMs: number): Promise<Report> {
    const deadlineMs = performance.now() + withinMs
    for (;;) {
      const found = this.reports.find((report) => report.event === event)
      if (found !== undefined) return found
      if (this.#isGone) throw new Error(`${this.#name} ended (${this.#exit}) before "${event}"; see ${this.#logFile}`)
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0) throw new Error(`${this.#name} gave no "${event}" within ${withinMs} ms; see ${this.#logFile}`)
      await this.#change(leftMs)
    }
  }

  /** Asks the process to end, and makes it end when it does not listen. */
  async stop(graceMs: number): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    if (!this.#isGone) {
      this.#child.kill('SIGTERM')
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs)
      await this.#exited
      clearTimeout(timer)
    }
    this.#log.end(`[${this.#exit}]\n`)
  }

  #change(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs)
      this.#waiters.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #onLine(line: string): void {
    this.#log.write(`${line}\n`)
    if (!line.startsWith('{')) return
    try {
      this.reports.push(JSON.parse(line) as Report)
    } catch {
      this.#log.write('[the line above is no JSON]\n')
    }
    this.#wake()
  }

  #gone(resolve: () => void): void {
    this.#isGone = true
    this.#wake()
    resolve()
  }

  #wake(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const wake of waiters) wake()
  }
}
