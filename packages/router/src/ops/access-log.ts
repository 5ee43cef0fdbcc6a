/** One JSON object per finished exchange, appended to a file that may be rotated under it. */
import { closeSync, fstatSync, openSync, write, writeSync } from 'node:fs'
import type { EndedStream } from '../metrics/collector.ts'
import { codeOf, messageOf, UserError } from '../user-error.ts'
import { BoundedQueue } from './bounded-queue.ts'

export interface AccessLogOptions {
  /** `-` = standard output. */
  readonly file: string
  readonly queueLines: number
  readonly withQuery: boolean
  /** Called once per spell of failures, and once when writing works again. */
  readonly onTrouble: (message: string) => void
}

const linesPerWrite = 512
const retryMs = 1_000
const busyRetryMs = 10

/** `close()` writes what waits; `reopen()` after the file was moved away. */
export class AccessLog {
  readonly #options: AccessLogOptions
  readonly #queue: BoundedQueue<string>
  #descriptor: number
  #pending: Buffer | undefined
  #pendingLines = 0
  #isWriting = false
  #isFailing = false
  #isClosed = false
  #mustReopen = false
  #timer: NodeJS.Timeout | undefined
  #lines = 0
  #onIdle: (() => void) | undefined

  /** Throws `UserError` (`ERR_CONFIG_VALUE`) when the file cannot be opened. */
  constructor(options: AccessLogOptions) {
    this.#options = options
    this.#queue = new BoundedQueue(options.queueLines)
    this.#descriptor = openLog(options.file)
  }

  get file(): string {
    return this.#options.file
  }

  stats(): { readonly lines: number; readonly dropped: number; readonly waiting: number } {
    return { lines: this.#lines, dropped: this.#queue.dropped, waiting: this.#queue.length + this.#pendingLines }
  }

  add(ended: EndedStream): void {
    if (this.#isClosed || !this.#queue.push(accessLine(ended, this.#options.withQuery))) return
    this.#schedule(0)
  }

  /** Opens the file by its name again; lines that wait go to the new one. */
  reopen(): void {
    if (this.#options.file === '-') return
    this.#mustReopen = true
    this.#schedule(0)
  }

  /** Writes what waits, for at most `graceMs`, then closes the file. */
  async close(graceMs = 2_000): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#isWriting || this.#queue.length > 0 || this.#pending !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#onIdle = resolve
      const timer = setTimeout(resolve, graceMs)
      this.#schedule(0)
      await promise
      clearTimeout(timer)
    }
    clearTimeout(this.#timer)
    if (!this.#isWriting && this.#options.file !== '-') closeSync(this.#descriptor)
  }

  /** For a process that goes down at once: writes what waits, synchronously, and swallows errors. */
  flushSync(): void {
    try {
      if (this.#pending !== undefined) writeSync(this.#descriptor, this.#pending)
      this.#pending = undefined
      const lines = this.#queue.take(Number.MAX_SAFE_INTEGER)
      if (lines.length > 0) writeSync(this.#descriptor, lines.join(''))
    } catch {
      // Nobody is left to tell.
    }
  }

  #schedule(delayMs: number): void {
    if (this.#isWriting || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#writeNext()
    }, delayMs)
    // Lines of a last moment are written by `close`.
    this.#timer.unref()
  }

  #writeNext(): void {
    if (this.#mustReopen && !this.#tryReopen()) return this.#schedule(retryMs)
    if (this.#pending === undefined) {
      const lines = this.#queue.take(linesPerWrite)
      if (lines.length === 0) {
        this.#onIdle?.()
        return
      }
      this.#pending = Buffer.from(lines.join(''))
      this.#pendingLines = lines.length
    }
    this.#isWriting = true
    write(this.#descriptor, this.#pending, (error, written) => this.#onWritten(error, written))
  }

  #onWritten(error: Error | null, written: number): void {
    this.#isWriting = false
    const pending = this.#pending
    if (error !== null) {
      // A pipe that is full, not a fault.
      if (codeOf(error) === 'EAGAIN') return this.#schedule(busyRetryMs)
      this.#onFailure(error)
      return this.#schedule(retryMs)
    }
    if (pending !== undefined && written < pending.byteLength) {
      this.#pending = pending.subarray(written)
      return this.#schedule(0)
    }
    this.#lines += this.#pendingLines
    this.#pending = undefined
    this.#pendingLines = 0
    if (this.#isFailing) this.#options.onTrouble(`the access log can be written again (${this.#options.file})`)
    this.#isFailing = false
    this.#schedule(0)
  }

  #tryReopen(): boolean {
    try {
      const fresh = openLog(this.#options.file)
      closeSync(this.#descriptor)
      this.#descriptor = fresh
      this.#mustReopen = false
      return true
    } catch (error) {
      this.#onFailure(error)
      return false
    }
  }

  #onFailure(error: unknown): void {
    if (this.#isFailing) return
    this.#isFailing = true
    this.#options.onTrouble(
      `the access log cannot be written: ${messageOf(error)} (${this.#options.file}). Serving goes on; writing is tried again every ${retryMs / 1000} s and ${this.#options.queueLines} lines wait at most.`,
    )
  }
}

/** The line of one exchange, with its newline. Times in milliseconds; what is not known is left out. */
export function accessLine(ended: EndedStream, withQuery: boolean): string {
  const { document, connection, facts } = ended
  const target = facts?.target ?? document.path
  const queryAt = target.indexOf('?')
  const line = {
    time: new Date().toISOString(),
    connection: document.connection,
    stream: document.stream,
    client: facts?.client ?? connection.info.remote,
    protocol: connection.info.protocol,
    method: document.method,
    host: facts?.host,
    path: withQuery || queryAt < 0 ? target : target.slice(0, queryAt),
    status: document.status ?? undefined,
    service: document.type,
    outcome: document.outcome,
    request_bytes: document.requestBytes,
    response_bytes: document.responseBytes,
    duration_ms: document.durationMs,
    upstream_ms: document.httpLatencyMs ?? undefined,
    error: document.error ?? undefined,
    early_data: facts?.isEarly === true ? true : undefined,
    user_agent: facts?.userAgent,
    referer: facts?.referer,
    trace_id: facts?.trace?.traceId,
  }
  return `${JSON.stringify(line)}\n`
}

function openLog(file: string): number {
  if (file === '-') return 1
  try {
    const descriptor = openSync(file, 'a', 0o640)
    if (!fstatSync(descriptor).isDirectory()) return descriptor
    closeSync(descriptor)
    throw new Error('it is a directory')
  } catch (error) {
    throw new UserError('ERR_CONFIG_VALUE', {
      what: `the access log cannot be opened: ${messageOf(error)}`,
      where: `access_log.file ${file}`,
      remedy: 'Name a file in a directory that exists and is writable, or "-" for standard output.',
      cause: error,
    })
  }
}
