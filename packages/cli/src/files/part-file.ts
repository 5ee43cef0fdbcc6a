/** A file on its way: its bytes in NAME.part, what they are of in NAME.part.json, so that an aborted download can go on. */
import { type FileHandle, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { codeOf, messageOf } from '@quicether/router'

/** What NAME.part.json says. */
interface Origin {
  readonly url: string
  /** Strong entity tag; without one nothing can be continued. */
  readonly etag: string
  /** Bytes of the whole file. */
  readonly size: number
  /** The process that writes; null = none any more. */
  readonly pid: number | null
}

/** A download that can go on: ask for the rest with `Range` and `If-Range`. */
export interface Continuation {
  readonly offset: number
  readonly etag: string
  readonly size: number
}

/** What a whole answer says of itself; `etag` and `size` undefined = it cannot be continued later. */
export interface Beginning {
  readonly etag: string | undefined
  readonly size: number | undefined
}

/** One download's files. Opened before the request, so that a place that cannot be written is told at once. */
export class PartFile {
  /** What is there of an earlier run; undefined = begin at the first byte. */
  readonly continuation: Continuation | undefined
  readonly #file: string
  readonly #url: string
  #handle: FileHandle | undefined
  #origin: Origin | undefined
  #bytes = 0

  constructor(file: string, url: string, continuation: Continuation | undefined) {
    this.#file = file
    this.#url = url
    this.continuation = continuation
  }

  /**
   * @param mayContinue false = begin at the first byte whatever is there.
   * @throws Error when another process writes the file, or when NAME.part is not ours.
   */
  static async at(file: string, url: string, mayContinue: boolean): Promise<PartFile> {
    const bytes = await sizeOf(`${file}.part`)
    if (bytes === undefined) return new PartFile(file, url, undefined)
    const origin = await readOrigin(file)
    if (origin === undefined) {
      throw new Error(`${file}.part is there already, and not known to be ours: remove it, or choose another --output`)
    }
    if (origin.pid !== null && origin.pid !== process.pid && isAlive(origin.pid)) {
      throw new Error(`process ${origin.pid} is downloading ${file} already: wait for it, or choose another --output`)
    }
    // The last byte is asked for again where all are there: a range must not be empty.
    const offset = Math.min(bytes, origin.size - 1)
    const canContinue = mayContinue && origin.url === url && origin.etag !== '' && offset > 0
    return new PartFile(file, url, canContinue ? { offset, etag: origin.etag, size: origin.size } : undefined)
  }

  /** The bytes that follow are the file from its first one on. */
  async begin({ etag, size }: Beginning): Promise<void> {
    await this.#open('w', { url: this.#url, etag: etag ?? '', size: size ?? 0, pid: process.pid })
  }

  /** The bytes that follow are the rest after `continuation`. */
  async continue(): Promise<void> {
    if (this.continuation === undefined) throw new Error('invariant violated: there is nothing to continue')
    const { offset, etag, size } = this.continuation
    await this.#open('r+', { url: this.#url, etag, size, pid: process.pid })
    await this.#handle?.truncate(offset)
    this.#bytes = offset
  }

  async write(piece: Uint8Array): Promise<void> {
    const handle = this.#handle
    if (handle === undefined) throw new Error('invariant violated: a part file is written before it is begun')
    for (let at = 0; at < piece.length; ) {
      const { bytesWritten } = await handle.write(piece, at, piece.length - at, this.#bytes)
      at += bytesWritten
      this.#bytes += bytesWritten
    }
  }

  /** All bytes are there: the file appears under its name. */
  async finish(): Promise<void> {
    await this.#close()
    await rename(`${this.#file}.part`, this.#file)
    await rm(`${this.#file}.part.json`, { force: true })
  }

  /** Ends without the whole file; true = what is there can be continued by another run, else it is removed. */
  async abandon(): Promise<boolean> {
    const origin = this.#origin
    if (origin === undefined) return false
    await this.#close()
    const isKept = origin.etag !== '' && this.#bytes > 0
    if (isKept) await this.#remember({ ...origin, pid: null })
    else await Promise.all(['.part', '.part.json'].map((end) => rm(`${this.#file}${end}`, { force: true })))
    return isKept
  }

  async #open(flags: 'w' | 'r+', origin: Origin): Promise<void> {
    this.#origin = origin
    try {
      // The origin first: a part file without one is nobody's.
      await this.#remember(origin)
      this.#handle = await open(`${this.#file}.part`, flags)
    } catch (error) {
      const why = codeOf(error) === 'ENOENT' ? 'its directory does not exist' : messageOf(error)
      throw new Error(`cannot write ${this.#file}.part: ${why}`, { cause: error })
    }
  }

  async #remember(origin: Origin): Promise<void> {
    await writeFile(`${this.#file}.part.json`, `${JSON.stringify(origin)}\n`)
  }

  async #close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
    throw error
  }
}

async function readOrigin(file: string): Promise<Origin | undefined> {
  try {
    const read: unknown = JSON.parse(await readFile(`${file}.part.json`, 'utf8'))
    const { url, etag, size, pid } = (read ?? {}) as Partial<Record<keyof Origin, unknown>>
    const isRight =
      typeof url === 'string' && typeof etag === 'string' && Number.isSafeInteger(size) && (size as number) >= 0
    if (!isRight) return undefined
    return { url, etag, size: size as number, pid: Number.isSafeInteger(pid) ? (pid as number) : null }
  } catch {
    // Missing or damaged: nothing is known.
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}
