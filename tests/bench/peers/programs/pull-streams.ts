/** Serves and drives stacks whose streams are read and written by awaiting. */
import { ECHO } from './arguments.ts'
import type { BenchStream } from './client.ts'

export interface PullStream {
  /** Settles when more may be written. */
  write(bytes: Uint8Array): Promise<void>
  finish(): Promise<void>
  /** Undefined at the end. */
  read(): Promise<Uint8Array | undefined>
}

const CHUNK = new Uint8Array(256 * 1024).fill(7)
const HEAD_BYTES = 8

/** Eight bytes say how many bytes to answer with once the request has ended; all ones ask for an echo. */
export async function answer(stream: PullStream): Promise<void> {
  let head = new Uint8Array()
  let rest: Uint8Array | undefined
  while (head.length < HEAD_BYTES) {
    const piece = await stream.read()
    if (piece === undefined) return
    const whole = Buffer.concat([head, piece])
    head = new Uint8Array(whole.subarray(0, HEAD_BYTES))
    rest = whole.subarray(HEAD_BYTES)
  }
  const count = head.reduce((value, byte) => value * 256 + byte, 0)
  if (count === ECHO) {
    for (; rest !== undefined; rest = await stream.read()) if (rest.length > 0) await stream.write(new Uint8Array(rest))
  } else {
    while (rest !== undefined) rest = await stream.read()
    for (let left = count; left > 0; left -= CHUNK.length) {
      await stream.write(left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left))
    }
  }
  await stream.finish()
}

/** What goes wrong with one stream ends the process: a benchmark that goes on would lie. */
function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

export class DrivenStream implements BenchStream {
  onData: (bytes: number) => void = () => {}
  onEnd: () => void = () => {}
  readonly #stream: PullStream
  #writes: Promise<void> = Promise.resolve()

  constructor(stream: PullStream) {
    this.#stream = stream
    this.#read().catch(fail)
  }

  write(bytes: Uint8Array): void {
    this.#writes = this.#writes.then(() => this.#stream.write(bytes))
    this.#writes.catch(fail)
  }

  finish(): void {
    this.#writes = this.#writes.then(() => this.#stream.finish())
    this.#writes.catch(fail)
  }

  pump(source: () => Uint8Array | undefined): void {
    this.#writes = this.#writes.then(async () => {
      for (let bytes = source(); bytes !== undefined; bytes = source()) await this.#stream.write(bytes)
      await this.#stream.finish()
    })
    this.#writes.catch(fail)
  }

  async #read(): Promise<void> {
    for (let bytes = await this.#stream.read(); bytes !== undefined; bytes = await this.#stream.read()) {
      this.onData(bytes.length)
    }
    this.onEnd()
  }
}
