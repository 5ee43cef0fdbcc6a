/** Notices that files have changed and are not being written any more; links are followed, as Kubernetes swaps them. */
import { statSync } from 'node:fs'

const intervalMs = 1_000

/** `start()` looks once a second, `stop()` ends it. */
export class FileWatch {
  readonly #files: () => readonly string[]
  readonly #onChanged: () => void
  #known = ''
  /** Another state of the files, seen once: they may still be being written. */
  #candidate: string | undefined
  #timer: NodeJS.Timeout | undefined

  /** `files` is asked at every look; an empty list = nothing to look at now. */
  constructor(files: () => readonly string[], onChanged: () => void) {
    this.#files = files
    this.#onChanged = onChanged
  }

  start(): void {
    this.settle()
    this.#timer = setInterval(() => this.look(), intervalMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** The files are known as they are now. */
  settle(): void {
    this.#known = this.#state()
    this.#candidate = undefined
  }

  /** Tells of a change that two looks have seen alike; once, also when nobody can make sense of it. */
  look(): void {
    const now = this.#state()
    const isSettled = now === this.#candidate
    this.#candidate = now === this.#known ? undefined : now
    if (now === this.#known || !isSettled) return
    this.settle()
    this.#onChanged()
  }

  #state(): string {
    return this.#files().map(stateOf).join('\n')
  }
}

function stateOf(file: string): string {
  try {
    const { ino, size, mtimeMs } = statSync(file)
    return `${file} ${ino} ${size} ${mtimeMs}`
  } catch {
    return `${file} is missing`
  }
}
