/** A file written in the background: bounded memory, no blocking of the event loop, one warning when the disk fails. */
import { close, closeSync, fstatSync, openSync, write, writeSync } from 'node:fs'

export interface BoundedFileOptions {
  readonly path: string
  /** What the file is, for messages: `capture`, `key log`, `qlog`. */
  readonly what: string
  /** Most bytes waiting for the disk; beyond it `reserve` refuses. */
  readonly bufferBytesMax?: number
  /** Permissions of a newly made file. */
  readonly mode?: number
  /** Continue an existing file instead of replacing it; several processes may then share it. */
  readonly append?: boolean
  /** Fail instead of replacing an existing file. */
  readonly exclusive?: boolean
  /** Granularity of buffering; small for many files at once. */
  readonly chunkBytes?: number
  /** Bytes may wait this long before they are handed to the disk. */
  readonly flushDelayMs?: number
  /** Told once when the file had to be given up. */
  readonly onWarning?: (message: string) => void
  /** Called before the last synchronous flush at process exit, so that an owner can hand over what it still holds. */
  readonly onExit?: () => void
}

export const boundedFileDefaults = {
  bufferBytesMax: 16 * 1024 * 1024,
  mode: 0o600,
  flushDelayMs: 50,
  chunkBytes: 64 * 1024,
} as const

const SPARE_CHUNKS_MAX = 8
const RETRY_DELAY_MS = 10

interface Chunk {
  readonly bytes: Buffer
  used: number
}

/**
 * Opens its file at once (so that a wrong path fails at the start, as an exception that names it) and writes it
 * asynchronously. Writers ask for room with `reserve` and fill `buffer` themselves.
 */
export class BoundedFile {
  readonly path: string
  /** Bytes refused because the buffer was full or the file had failed. */
  bytesDropped = 0
  bytesWritten = 0
  readonly #what: string
  readonly #bufferBytesMax: number
  readonly #flushDelayMs: number
  readonly #chunkBytes: number
  readonly #onWarning: (message: string) => void
  readonly #onExit: (() => void) | undefined
  readonly #queue: Chunk[] = []
  readonly #spare: Buffer[] = []
  #fd: number
  /** -1 = the file has no positions of its own: a pipe, a device or an appended file. */
  #position: number
  #current: Chunk
  #bufferedBytes = 0
  #headWritten = 0
  #isWriting = false
  #isFailed = false
  #isClosing = false
  #timer: NodeJS.Timeout | undefined
  #closed: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  constructor(options: BoundedFileOptions) {
    this.path = options.path
    this.#what = options.what
    this.#bufferBytesMax = options.bufferBytesMax ?? boundedFileDefaults.bufferBytesMax
    this.#flushDelayMs = options.flushDelayMs ?? boundedFileDefaults.flushDelayMs
    this.#chunkBytes = options.chunkBytes ?? boundedFileDefaults.chunkBytes
    this.#current = { bytes: Buffer.allocUnsafeSlow(this.#chunkBytes), used: 0 }
    this.#onWarning = options.onWarning ?? ((message) => process.emitWarning(message))
    this.#onExit = options.onExit
    const isAppend = options.append ?? false
    const flags = isAppend ? 'a' : options.exclusive ? 'wx' : 'w'
    try {
      this.#fd = openSync(options.path, flags, options.mode ?? boundedFileDefaults.mode)
    } catch (error) {
      const reason = describeError(error)
      throw new Error(`cannot open ${this.#what} file ${this.path}: ${reason}; choose a writable path`, {
        cause: error,
      })
    }
    this.#position = !isAppend && fstatSync(this.#fd).isFile() ? 0 : -1
    register(this)
  }

  get isFailed(): boolean {
    return this.#isFailed
  }

  /** Bytes that wait for the disk. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /** Where the bytes of the last `reserve` belong. */
  get buffer(): Buffer {
    return this.#current.bytes
  }

  /** Whether `length` more bytes would be taken. */
  canTake(length: number): boolean {
    return !this.#isFailed && !this.#isClosing && this.#bufferedBytes + length <= this.#bufferBytesMax
  }

  /** Room for `length` bytes: an offset in `buffer`, to be filled before anything else is called; -1 = refused. */
  reserve(length: number): number {
    if (!this.canTake(length)) {
      this.bytesDropped += length
      return -1
    }
    if (this.#current.used + length > this.#current.bytes.length) this.#seal(length)
    const offset = this.#current.used
    this.#current.used += length
    this.#bufferedBytes += length
    // The writer may only fill the room after we return, so nothing is handed to the disk from here.
    if (this.#timer === undefined) this.#arm(this.#flushDelayMs)
    return offset
  }

  /** Copies `bytes`; false = refused. */
  append(bytes: Uint8Array): boolean {
    const offset = this.reserve(bytes.length)
    if (offset < 0) return false
    this.#current.bytes.set(bytes, offset)
    return true
  }

  /** Copies `text` as UTF-8; false = refused. */
  appendText(text: string): boolean {
    const length = Buffer.byteLength(text)
    const offset = this.reserve(length)
    if (offset < 0) return false
    this.#current.bytes.write(text, offset, length, 'utf8')
    return true
  }

  /** Hands everything buffered to the disk now, without waiting for it. */
  flush(): void {
    if (this.#current.used > 0) this.#seal(0)
    this.#pump()
  }

  /** Writes what is left and closes. Never rejects: a failure has been reported by `onWarning`. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** Blocks until everything buffered is written; for process exit only. */
  flushSync(): void {
    this.#onExit?.()
    if (this.#isFailed) return
    if (this.#current.used > 0) this.#seal(0)
    // A write may be under way in the thread pool. With positions, writing it again changes nothing; in an appended key
    // log it may repeat lines, which every reader accepts.
    try {
      for (const chunk of this.#queue) {
        for (let at = chunk === this.#queue[0] ? this.#headWritten : 0; at < chunk.used; ) {
          const position = this.#position < 0 ? null : this.#position
          const count = writeSync(this.#fd, chunk.bytes, at, chunk.used - at, position)
          at += count
          if (this.#position >= 0) this.#position += count
        }
      }
      this.#queue.length = 0
      this.#bufferedBytes = 0
    } catch (error) {
      this.#fail(error)
    }
  }

  async #close(): Promise<void> {
    this.flush()
    this.#isClosing = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#queue.length > 0 || this.#isWriting) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
        this.#pump()
      })
    }
    unregister(this)
    if (this.#fd < 0) return
    const fd = this.#fd
    this.#fd = -1
    await new Promise<void>((resolve) => close(fd, () => resolve()))
  }

  /** Moves the current chunk to the queue and starts one with room for `length`. */
  #seal(length: number): void {
    if (this.#current.used > 0) this.#queue.push(this.#current)
    const spare = length <= this.#chunkBytes ? this.#spare.pop() : undefined
    this.#current = { bytes: spare ?? Buffer.allocUnsafeSlow(Math.max(this.#chunkBytes, length)), used: 0 }
    if (this.#queue.length > 0) this.#pump()
  }

  #arm(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.flush()
    }, delayMs)
    this.#timer.unref()
  }

  /** Writes the head of the queue; each completion writes the next. */
  #pump(): void {
    const chunk = this.#queue[0]
    if (this.#isWriting || this.#isFailed || chunk === undefined) return
    this.#isWriting = true
    const position = this.#position < 0 ? null : this.#position
    const length = chunk.used - this.#headWritten
    write(this.#fd, chunk.bytes, this.#headWritten, length, position, (error, count) => this.#onWritten(error, count))
  }

  #onWritten(error: NodeJS.ErrnoException | null, count: number): void {
    this.#isWriting = false
    const chunk = this.#queue[0]
    if (error !== null && (error.code === 'EAGAIN' || error.code === 'EINTR')) {
      setTimeout(() => this.#pump(), RETRY_DELAY_MS)
      return
    }
    if (error !== null) this.#fail(error)
    else if (chunk !== undefined) this.#onProgress(chunk, count)
    if (this.#queue.length > 0) this.#pump()
    else this.#onIdle?.()
  }

  #onProgress(chunk: Chunk, count: number): void {
    this.bytesWritten += count
    this.#headWritten += count
    if (this.#position >= 0) this.#position += count
    if (this.#headWritten < chunk.used) return
    this.#headWritten = 0
    this.#queue.shift()
    this.#bufferedBytes -= chunk.used
    if (chunk.bytes.length === this.#chunkBytes && this.#spare.length < SPARE_CHUNKS_MAX) this.#spare.push(chunk.bytes)
  }

  /** Gives the file up: nothing more is buffered or written, the program goes on. */
  #fail(error: unknown): void {
    if (this.#isFailed) return
    this.#isFailed = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.bytesDropped += this.#bufferedBytes - this.#headWritten
    this.#queue.length = 0
    this.#spare.length = 0
    this.#headWritten = 0
    this.#current = { bytes: Buffer.alloc(0), used: 0 }
    this.#bufferedBytes = 0
    try {
      closeSync(this.#fd)
    } catch {
      // The descriptor is lost either way, and the warning below names the cause that matters.
    }
    this.#fd = -1
    unregister(this)
    const reason = describeError(error)
    this.#onWarning(`${this.#what} stopped: cannot write ${this.path}: ${reason}. Everything else goes on.`)
  }
}

/** An error of the file system in an operator's words. */
function describeError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC') return 'no space left on the device (ENOSPC); free some or write elsewhere'
  if (code === 'EACCES' || code === 'EPERM') return `permission denied (${code})`
  if (code === 'ENOENT') return 'its directory does not exist (ENOENT)'
  if (code === 'EISDIR') return 'it is a directory (EISDIR)'
  return message
}

const openFiles = new Set<BoundedFile>()

function register(file: BoundedFile): void {
  if (openFiles.size === 0) process.on('exit', flushAll)
  openFiles.add(file)
}

function unregister(file: BoundedFile): void {
  openFiles.delete(file)
  if (openFiles.size === 0) process.off('exit', flushAll)
}

/** A process that ends without `close`, crashes included, still leaves whole files. */
function flushAll(): void {
  for (const file of [...openFiles]) file.flushSync()
}
