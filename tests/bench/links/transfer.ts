/** A download by another process into a pipe: what arrived when, whether the bytes are right, what it cost. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import type { Readable } from 'node:stream'

/** Kernel clock ticks per second in /proc, the same on every Linux. */
const TICKS_PER_SECOND = 100
const SAMPLE_MS = 200
const STDERR_CHARACTERS_MAX = 100_000

/** Runs a command in a namespace whose standard output is the file; times are of `performance.now`. */
export class Transfer {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #hash = createHash('sha256')
  /** Moments of arrival, and how many bytes there were after each. */
  readonly #timesMs: number[] = []
  readonly #totals: number[] = []
  readonly #sampler: NodeJS.Timeout
  readonly #ended: Promise<number | null>
  #bytes = 0
  #stderr = ''
  #cpuSeconds = 0
  #isOver = false

  /** Without a namespace it runs in that of this process. */
  constructor(space: string | undefined, command: readonly string[], directory: string) {
    const [program = '', ...args] = space === undefined ? command : ['ip', 'netns', 'exec', space, ...command]
    this.#child = spawn(program, args, {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stdout.on('data', (piece: Buffer) => {
      this.#bytes += piece.length
      this.#timesMs.push(performance.now())
      this.#totals.push(this.#bytes)
      this.#hash.update(piece)
    })
    this.#child.stderr.on('data', (text: Buffer) => {
      if (this.#stderr.length < STDERR_CHARACTERS_MAX) this.#stderr += text.toString()
    })
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', () => resolve(null))
      this.#child.on('close', (code) => resolve(code))
    })
    void this.#ended.then(() => {
      this.#isOver = true
      clearInterval(this.#sampler)
    })
    this.#sampler = setInterval(() => {
      this.#cpuSeconds = cpuSecondsOf(this.#child.pid) ?? this.#cpuSeconds
    }, SAMPLE_MS)
  }

  get bytes(): number {
    return this.#bytes
  }

  get stderr(): string {
    return this.#stderr
  }

  /** Processor time that it used, up to the last look. */
  get cpuSeconds(): number {
    return this.#cpuSeconds
  }

  get firstByteMs(): number | undefined {
    return this.#timesMs[0]
  }

  get lastByteMs(): number | undefined {
    return this.#timesMs.at(-1)
  }

  /** Waits until bytes have come. Throws what the process said when it ends before, or takes too long. */
  async begun(withinMs: number): Promise<void> {
    const deadlineMs = performance.now() + withinMs
    while (this.#bytes === 0) {
      if (this.#isOver) throw new Error(`the download ended before it began: ${this.#stderr.trim()}`)
      if (performance.now() > deadlineMs) {
        throw new Error(`the download did not begin within ${withinMs} ms: ${this.#stderr.trim()}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  /** The exit code. Throws when it takes longer. */
  async finished(withinMs: number): Promise<number | null> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#child.kill('SIGKILL')
        reject(new Error(`the download took longer than ${withinMs} ms (${this.#bytes} bytes): ${this.#stderr.trim()}`))
      }, withinMs)
    })
    try {
      return await Promise.race([this.#ended, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Interrupts it, as a user would. */
  async stop(): Promise<void> {
    if (!this.#isOver) this.#child.kill('SIGINT')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 3_000)
    await this.#ended
    clearTimeout(timer)
  }

  /** Longest time without a new byte from one moment to another; the pieces at both ends count. */
  gapMs(fromMs: number, toMs: number): number {
    let [last, gap] = [fromMs, 0]
    for (const at of this.#timesMs) {
      if (at <= fromMs) continue
      if (at >= toMs) break
      gap = Math.max(gap, at - last)
      last = at
    }
    return Math.max(gap, toMs - last)
  }

  /** Megabits per second between two moments. */
  rateMbit(fromMs: number, toMs: number): number {
    return ((this.#bytesAt(toMs) - this.#bytesAt(fromMs)) * 8) / ((toMs - fromMs) * 1_000)
  }

  #bytesAt(atMs: number): number {
    let total = 0
    for (let i = 0; i < this.#timesMs.length && (this.#timesMs[i] as number) <= atMs; i++) total = this.#totals[i] ?? 0
    return total
  }

  /** Throws unless what came is how the file begins, byte for byte; call it when the process has ended. */
  verify(file: string): void {
    const expected = createHash('sha256')
    const handle = openSync(file, 'r')
    const piece = Buffer.alloc(1 << 20)
    for (let left = this.#bytes; left > 0; ) {
      const read = readSync(handle, piece, 0, Math.min(left, piece.length), null)
      if (read === 0) throw new Error(`${this.#bytes} bytes came, which is more than ${file} has`)
      expected.update(piece.subarray(0, read))
      left -= read
    }
    closeSync(handle)
    if (expected.digest('hex') !== this.#hash.digest('hex')) {
      throw new Error(`the ${this.#bytes} bytes that came differ from ${file}`)
    }
  }
}

/** User and system time of a process. */
function cpuSecondsOf(pid: number | undefined): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return undefined
  }
}
