/** The history of runs: one row per run and per type in an embedded SQLite file. */
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite'
import type { MetricsDocument, Traffic } from '../metrics/document.ts'
import { messageOf, UserError } from '../user-error.ts'

/** One run as `quicether report` shows it. Times in milliseconds, null where nothing was measured. */
export interface HistoryRun extends Omit<Traffic, 'packetsLost'> {
  readonly id: string
  readonly startedAt: string
  readonly uptimeSeconds: number
  readonly reason: string
  readonly directory: string
  readonly connections: number
  readonly streams: number
  readonly streamsFailed: number
  readonly maxConcurrentStreams: number
  readonly streamRatePerSecond: number
  readonly lossRatio: number
  readonly errors: number
  readonly establishmentMsP50: number | null
  readonly streamEstablishmentMsP50: number | null
  readonly quicLatencyMsP50: number | null
  readonly quicLatencyMsP95: number | null
  readonly httpLatencyMsP50: number | null
  readonly httpLatencyMsP95: number | null
  readonly types: readonly HistoryType[]
}

export interface HistoryType {
  readonly type: string
  readonly streams: number
  readonly failed: number
  readonly durationMsP50: number | null
  readonly throughputBytesPerSecond: number | null
  readonly jitterMs: number | null
}

const runColumns = [
  ['id', 'TEXT PRIMARY KEY'],
  ['startedAt', 'TEXT NOT NULL'],
  ['uptimeSeconds', 'REAL NOT NULL'],
  ['reason', 'TEXT NOT NULL'],
  ['directory', 'TEXT NOT NULL'],
  ['connections', 'INTEGER NOT NULL'],
  ['streams', 'INTEGER NOT NULL'],
  ['streamsFailed', 'INTEGER NOT NULL'],
  ['maxConcurrentStreams', 'INTEGER NOT NULL'],
  ['streamRatePerSecond', 'REAL NOT NULL'],
  ['bytesSent', 'INTEGER NOT NULL'],
  ['bytesReceived', 'INTEGER NOT NULL'],
  ['packetsSent', 'INTEGER NOT NULL'],
  ['packetsReceived', 'INTEGER NOT NULL'],
  ['lossRatio', 'REAL NOT NULL'],
  ['errors', 'INTEGER NOT NULL'],
  ['establishmentMsP50', 'REAL'],
  ['streamEstablishmentMsP50', 'REAL'],
  ['quicLatencyMsP50', 'REAL'],
  ['quicLatencyMsP95', 'REAL'],
  ['httpLatencyMsP50', 'REAL'],
  ['httpLatencyMsP95', 'REAL'],
] as const satisfies readonly (readonly [keyof HistoryRun, string])[]

const schemaVersion = 1

/** Opens (and creates) a history file. Several processes may use one file. `close()` when done. */
export class History {
  readonly #database: DatabaseSync

  /** Throws `UserError` (`ERR_HISTORY`) when the file cannot be used. */
  constructor(file: string, options: { readonly readOnly?: boolean } = {}) {
    try {
      this.#database = new DatabaseSync(file, { readOnly: options.readOnly ?? false, timeout: 2_000 })
      if (options.readOnly !== true) this.#migrate()
    } catch (error) {
      throw historyError(file, error)
    }
    this.#checkVersion(file)
  }

  /** Adds the run or replaces what an earlier write of the same run said. */
  save(document: MetricsDocument, directory: string): void {
    const { run, totals } = document
    const values: Record<string, string | number | null> = {
      id: run.id,
      startedAt: run.startedAt,
      uptimeSeconds: run.uptimeSeconds,
      reason: run.reason,
      directory,
      connections: totals.connections,
      streams: totals.streams,
      streamsFailed: totals.streamsFailed,
      maxConcurrentStreams: totals.maxConcurrentStreams,
      streamRatePerSecond: totals.streamRatePerSecond,
      bytesSent: totals.bytesSent,
      bytesReceived: totals.bytesReceived,
      packetsSent: totals.packetsSent,
      packetsReceived: totals.packetsReceived,
      lossRatio: totals.lossRatio,
      errors: totals.errors,
      establishmentMsP50: totals.establishmentMs?.p50 ?? null,
      streamEstablishmentMsP50: totals.streamEstablishmentMs?.p50 ?? null,
      quicLatencyMsP50: totals.quicLatencyMs?.p50 ?? null,
      quicLatencyMsP95: totals.quicLatencyMs?.p95 ?? null,
      httpLatencyMsP50: totals.httpLatencyMs?.p50 ?? null,
      httpLatencyMsP95: totals.httpLatencyMs?.p95 ?? null,
    }
    const names = runColumns.map(([name]) => name)
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      this.#database
        .prepare(`INSERT OR REPLACE INTO runs (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`)
        .run(...names.map((name) => values[name] ?? null))
      this.#saveTypes(document)
      this.#database.exec('COMMIT')
    } catch (error) {
      this.#rollback()
      throw error
    }
  }

  /** The latest runs, oldest first. */
  last(count: number): HistoryRun[] {
    const rows = this.#database.prepare('SELECT * FROM runs ORDER BY startedAt DESC, id DESC LIMIT ?').all(count)
    const types = this.#database.prepare('SELECT * FROM types WHERE run = ? ORDER BY type')
    return rows.reverse().map((row) => toRun(row, types.all(row['id'] ?? '')))
  }

  close(): void {
    this.#database.close()
  }

  #saveTypes(document: MetricsDocument): void {
    this.#database.prepare('DELETE FROM types WHERE run = ?').run(document.run.id)
    const insert = this.#database.prepare('INSERT INTO types VALUES (?, ?, ?, ?, ?, ?, ?)')
    for (const type of document.types) {
      const { p50 } = type.durationMs ?? { p50: null }
      insert.run(
        document.run.id,
        type.type,
        type.streams,
        type.failed,
        p50,
        type.throughputBytesPerSecond?.mean ?? null,
        type.jitterMs?.mean ?? null,
      )
    }
  }

  #migrate(): void {
    this.#database.exec('PRAGMA journal_mode = WAL')
    const version = this.#version()
    if (version !== 0) return
    const columns = runColumns.map(([name, type]) => `${name} ${type}`).join(', ')
    this.#database.exec(
      `BEGIN IMMEDIATE;
       CREATE TABLE IF NOT EXISTS runs (${columns});
       CREATE TABLE IF NOT EXISTS types (run TEXT NOT NULL, type TEXT NOT NULL, streams INTEGER NOT NULL, failed INTEGER NOT NULL,
         durationMsP50 REAL, throughputBytesPerSecond REAL, jitterMs REAL, PRIMARY KEY (run, type));
       PRAGMA user_version = ${schemaVersion};
       COMMIT`,
    )
  }

  #checkVersion(file: string): void {
    const version = this.#version()
    if (version === schemaVersion) return
    this.close()
    throw historyError(file, new Error(`it has version ${version}, this program knows version ${schemaVersion}`))
  }

  #version(): number {
    return Number(this.#database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0)
  }

  #rollback(): void {
    try {
      this.#database.exec('ROLLBACK')
    } catch {
      // The database has already rolled back, e.g. on a full disk.
    }
  }
}

function toRun(row: Record<string, SQLOutputValue>, types: Record<string, SQLOutputValue>[]): HistoryRun {
  const run: Record<string, unknown> = {}
  for (const [name] of runColumns) run[name] = row[name] ?? null
  run['types'] = types.map((type) => ({
    type: type['type'],
    streams: type['streams'],
    failed: type['failed'],
    durationMsP50: type['durationMsP50'] ?? null,
    throughputBytesPerSecond: type['throughputBytesPerSecond'] ?? null,
    jitterMs: type['jitterMs'] ?? null,
  }))
  return run as unknown as HistoryRun
}

function historyError(file: string, error: unknown): UserError {
  return new UserError('ERR_HISTORY', {
    what: `the history of runs cannot be used: ${messageOf(error)}`,
    where: file,
    remedy: 'Check that the directory exists and is writable; a damaged file may be moved away, a new one is made.',
    cause: error,
  })
}
