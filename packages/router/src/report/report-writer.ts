/** Writes a run's reports and history now and then; a disk that fails costs a warning, never the service. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '@quicether/net/files'
import type { MetricsDocument, ReportReason } from '../metrics/document.ts'
import { codeOf, messageOf } from '../user-error.ts'
import { History } from './history.ts'
import { textReport } from './text-report.ts'

export const metricsFileName = 'quic_metrics.json'
export const reportFileName = 'quic_performance_report.txt'
export const historyFileName = 'history.sqlite'

export interface ReportWriterOptions {
  /** Holds one directory per run and the history. */
  readonly resultsDirectory: string
  readonly runId: string
  readonly intervalMs: number
  readonly snapshot: (reason: ReportReason) => MetricsDocument
  /** Takes the documents; then nothing is written. */
  readonly onDocument?: ((document: MetricsDocument) => void) | undefined
  /** Called once per spell of failures, and once when writing works again. */
  readonly onTrouble: (message: string) => void
}

/** Paths of a run's files. */
export interface ReportPaths {
  readonly directory: string
  readonly metrics: string
  readonly report: string
  readonly history: string
}

/** Where the files of a run are. */
export function reportPaths(resultsDirectory: string, runId: string): ReportPaths {
  const directory = join(resultsDirectory, runId)
  return {
    directory,
    metrics: join(directory, metricsFileName),
    report: join(directory, reportFileName),
    history: join(resultsDirectory, historyFileName),
  }
}

/** A run's name and directory: UTC time to the millisecond, in a form that every file system takes. */
export function createRunId(now: Date): string {
  return now.toISOString().replaceAll(':', '-').replace('Z', '').replace('.', '-')
}

/** `start()` begins the periodic writes; `write('shutdown')` is the last one; `stop()` ends the timer. */
export class ReportWriter {
  readonly paths: ReportPaths
  readonly #options: ReportWriterOptions
  #timer: NodeJS.Timeout | undefined
  #isFailing = false

  constructor(options: ReportWriterOptions) {
    this.#options = options
    this.paths = reportPaths(options.resultsDirectory, options.runId)
  }

  start(): void {
    this.#timer = setInterval(() => this.write('interval'), this.#options.intervalMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Writes all three files. Synchronous, so that it also works while the process goes down. Returns false on failure. */
  write(reason: ReportReason): boolean {
    try {
      const document = this.#options.snapshot(reason)
      const { onDocument } = this.#options
      if (onDocument !== undefined) {
        onDocument(document)
        return true
      }
      makeDirectory(this.paths.directory)
      writeAtomically(this.paths.metrics, `${JSON.stringify(document, null, 2)}\n`)
      writeAtomically(this.paths.report, textReport(document))
      this.#saveHistory(document)
    } catch (error) {
      this.#onFailure(error)
      return false
    }
    if (this.#isFailing) this.#options.onTrouble(`results can be written again (${this.paths.directory})`)
    this.#isFailing = false
    return true
  }

  #saveHistory(document: MetricsDocument): void {
    const history = new History(this.paths.history)
    try {
      history.save(document, this.paths.directory)
    } finally {
      history.close()
    }
  }

  #onFailure(error: unknown): void {
    if (this.#isFailing) return
    this.#isFailing = true
    const isFull = codeOf(error) === 'ENOSPC' || /disk is full|disk I\/O/u.test(messageOf(error))
    const why = isFull ? 'the disk is full' : messageOf(error)
    this.#options.onTrouble(
      `results cannot be written: ${why} (${this.paths.directory}). Serving goes on; writing is tried again every ${this.#options.intervalMs / 1000} s.`,
    )
  }
}

/** Readers see the old file or the new one, never a part. */
function writeAtomically(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.tmp`
  try {
    writeFileSync(temporary, text)
    renameSync(temporary, file)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}
