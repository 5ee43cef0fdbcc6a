/** Files to send: as long as asked for, every megabyte different, gone when the process ends. */
import { randomFillSync } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PIECE_BYTES = 1 << 20

export class Files implements Disposable {
  readonly directory: string
  readonly #known: Map<number, string> = new Map()
  readonly #onExit = (): void => this[Symbol.dispose]()

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'quicether-links-'))
    process.on('exit', this.#onExit)
  }

  /** A file of exactly this length. */
  fileOf(bytes: number): string {
    const known = this.#known.get(bytes)
    if (known !== undefined) return known
    const file = join(this.directory, `${bytes}.bin`)
    const piece = randomFillSync(Buffer.alloc(PIECE_BYTES))
    const handle = openSync(file, 'w')
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      piece.writeDoubleBE(at, 0)
      writeSync(handle, piece, 0, Math.min(PIECE_BYTES, bytes - at))
    }
    closeSync(handle)
    this.#known.set(bytes, file)
    return file
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#onExit)
    rmSync(this.directory, { recursive: true, force: true })
  }
}
