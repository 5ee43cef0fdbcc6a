/** A directory of qlog files: one per connection, so many at a time, never one over another. */
import { join } from 'node:path'
import { BoundedFile } from '../capture/bounded-file.ts'
import { makeDirectory } from '../make-directory.ts'
import { QlogWriter } from './qlog-writer.ts'

export interface QlogDirectoryOptions {
  /** Made if it does not exist. */
  readonly path: string
  /** What added to a driver's `nowUs` gives microseconds since 1970. */
  readonly epochOffsetUs: number
  readonly application?: string
  /** Connections recorded at the same time; more of them are counted in `connectionsSkipped`. */
  readonly openFilesMax?: number
  /** Most memory per connection that waits for the disk. */
  readonly bufferBytesMax?: number
  /** Size at which the file of a connection ends. */
  readonly fileBytesMax?: number
  readonly onWarning?: (message: string) => void
}

export const qlogDefaults = {
  application: 'QuicEther',
  openFilesMax: 256,
  bufferBytesMax: 4 * 1024 * 1024,
  fileBytesMax: 512 * 1024 * 1024,
} as const

const CHUNK_BYTES = 16 * 1024
/** Files of the same connection ID and role; a client chooses that ID, so it may repeat. */
const SAME_NAME_MAX = 100

export class QlogDirectory {
  /** Connections that were not recorded because too many were open. */
  connectionsSkipped = 0
  readonly #options: QlogDirectoryOptions
  readonly #writers = new Set<QlogWriter>()
  #hasWarned = false
  #isClosed = false

  /** Throws when the directory cannot be made. */
  constructor(options: QlogDirectoryOptions) {
    this.#options = options
    try {
      makeDirectory(options.path)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new Error(`cannot make the qlog directory ${options.path}: ${reason}; choose a writable path`, {
        cause: error,
      })
    }
  }

  /** An observer for one new connection; undefined = this one is not recorded. */
  observe(): QlogWriter | undefined {
    const {
      epochOffsetUs,
      application = qlogDefaults.application,
      fileBytesMax = qlogDefaults.fileBytesMax,
    } = this.#options
    if (this.#isClosed) return undefined
    if (this.#writers.size >= (this.#options.openFilesMax ?? qlogDefaults.openFilesMax)) {
      this.connectionsSkipped++
      return undefined
    }
    const writer = new QlogWriter({
      open: (cid, role) => this.#open(cid, role),
      epochOffsetUs,
      application,
      fileBytesMax,
      onClosed: (closed) => this.#writers.delete(closed),
    })
    this.#writers.add(writer)
    return writer
  }

  /** Closes every file. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#writers].map((writer) => writer.close()))
  }

  #open(originalDestinationCid: string, role: 'client' | 'server'): BoundedFile | undefined {
    const cid = /^[0-9a-f]{1,40}$/i.test(originalDestinationCid) ? originalDestinationCid : 'none'
    for (let copy = 1; copy <= SAME_NAME_MAX; copy++) {
      const name = `${cid}_${role}${copy === 1 ? '' : `-${copy}`}.sqlog`
      try {
        return new BoundedFile({
          path: join(this.#options.path, name),
          what: 'qlog',
          exclusive: true,
          chunkBytes: CHUNK_BYTES,
          bufferBytesMax: this.#options.bufferBytesMax ?? qlogDefaults.bufferBytesMax,
          onWarning: (message) => this.#warn(message),
        })
      } catch (error) {
        const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined
        if (cause?.code === 'EEXIST') continue
        this.#warn(error instanceof Error ? error.message : String(error))
        return undefined
      }
    }
    return undefined
  }

  /** One warning for the directory: a full disk would otherwise speak once per connection. */
  #warn(message: string): void {
    if (this.#hasWarned) return
    this.#hasWarned = true
    const warn = this.#options.onWarning ?? ((text: string) => process.emitWarning(text))
    warn(message)
  }
}
