/** The protocol of the multipath cases: each stream begins with a line; `echo` sends back what follows it. */
import type { QuicConnection } from '@quicether/net'
import type { ConnectionEvent, StreamId } from '@quicether/transport'

const CHUNK_BYTES = 65_536
const QUEUE_BYTES_MAX = 1_048_576
const LINE_BYTES_MAX = 200

/** What reads and writes one stream; called whenever there may be progress. */
interface StreamUser {
  pump(): void
  fail(error: Error): void
}

/** Byte `place` of the test body, the same in every peer: a hash of the place, so that no two blocks are alike. */
export function bodyByte(place: number): number {
  return Math.imul(place, 2_654_435_761) >>> 24
}

function bodyPart(at: number, length: number): Uint8Array {
  const part = new Uint8Array(length)
  for (let index = 0; index < length; index++) part[index] = bodyByte(at + index)
  return part
}

/** Both ends of the protocol on one connection; takes over its `onEvent`. */
export class LineStreams {
  readonly events: ConnectionEvent[] = []
  readonly #connection: QuicConnection
  readonly #users: Map<StreamId, StreamUser> = new Map()
  readonly #onCommand: (line: string) => string

  /** @param onCommand answers lines other than `echo`; throws what is wrong with them. */
  constructor(connection: QuicConnection, onCommand: (line: string) => string) {
    this.#connection = connection
    this.#onCommand = onCommand
    connection.onEvent = (event) => this.#onEvent(event)
  }

  /** Sends a line and returns the answer; rejects when it is an error. */
  async ask(line: string): Promise<string> {
    const parts: Uint8Array[] = []
    await this.#call(line, 0, (chunk) => void parts.push(chunk.slice()))
    const text = Buffer.concat(parts).toString()
    if (text.startsWith('error')) throw new Error(`${line}: the peer said ${text}`)
    return text
  }

  /** Sends so many bytes and checks that they come back. `onBytes` is told of the bytes back so far. */
  async echo(bytes: number, onBytes?: (back: number) => void): Promise<void> {
    let back = 0
    await this.#call('echo', bytes, (chunk) => {
      for (const byte of chunk) {
        if (byte !== bodyByte(back)) throw new Error(`byte ${back} of ${bytes} came back as ${byte}`)
        back++
      }
      onBytes?.(back)
    })
    if (back !== bytes) throw new Error(`${back} bytes came back, ${bytes} were sent`)
  }

  #call(line: string, bytes: number, onChunk: (chunk: Uint8Array) => void): Promise<void> {
    const { transport } = this.#connection
    const id = transport.openStream('bidirectional')
    if (id === undefined) throw new Error('no stream can be opened')
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const head = Buffer.from(`${line}\n`)
    let rest: Uint8Array = head
    let made = 0
    let isFinished = false
    const send = (): void => {
      while (!isFinished) {
        rest = rest.subarray(transport.write(id, rest))
        if (rest.length > 0) return
        if (made === bytes) {
          transport.finish(id)
          isFinished = true
        } else {
          rest = bodyPart(made, Math.min(CHUNK_BYTES, bytes - made))
          made += rest.length
        }
      }
    }
    this.#users.set(id, {
      fail: reject,
      pump: () => {
        send()
        if (transport.read(id, onChunk) === 'finished') resolve()
      },
    })
    this.#pump(id)
    return promise
  }

  #onEvent(event: ConnectionEvent): void {
    if (event.kind === 'path' || event.kind === 'closed') this.events.push(event)
    if (event.kind === 'streamOpened') this.#users.set(event.id, this.#answerer(event.id))
    if (event.kind === 'readable' || event.kind === 'writable') this.#pump(event.id)
    if (event.kind === 'streamReset') this.#users.get(event.id)?.fail(new Error(`stream ${event.id} was reset`))
    if (event.kind !== 'closed') return
    for (const user of this.#users.values()) user.fail(new Error(`closed: ${JSON.stringify(event.reason)}`))
  }

  #pump(id: StreamId): void {
    const user = this.#users.get(id)
    try {
      user?.pump()
    } catch (error) {
      user?.fail(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #answerer(id: StreamId): StreamUser {
    const { transport } = this.#connection
    const queue: Uint8Array[] = []
    let queuedBytes = 0
    let line: string | undefined
    let isRead = false
    let isFinished = false
    const take = (chunk: Uint8Array): void => {
      queue.push(chunk.slice())
      queuedBytes += chunk.length
    }
    const flush = (): void => {
      for (let chunk = queue[0]; chunk !== undefined && line !== undefined; chunk = queue[0]) {
        const taken = transport.write(id, chunk)
        queuedBytes -= taken
        if (taken < chunk.length) return void (queue[0] = chunk.subarray(taken))
        queue.shift()
      }
    }
    return {
      fail: () => undefined, // the peer's concern: it sees the stream or the connection end
      pump: () => {
        flush()
        while (!isRead && queuedBytes < QUEUE_BYTES_MAX) {
          const before = queuedBytes
          isRead = transport.read(id, take) === 'finished'
          if (line === undefined) {
            line = this.#takeLine(queue)
            queuedBytes = queue.reduce((sum, chunk) => sum + chunk.length, 0)
          }
          flush()
          if (!isRead && queuedBytes <= before) break
        }
        if (!isRead || queue.length > 0 || isFinished) return
        isFinished = true
        transport.finish(id)
      },
    }
  }

  /** The first line once it is complete; leaves in the queue what is to be sent: the body, or the answer. */
  #takeLine(queue: Uint8Array[]): string | undefined {
    const bytes = Buffer.concat(queue)
    const end = bytes.indexOf(0x0a)
    if (end < 0) {
      if (bytes.length > LINE_BYTES_MAX) throw new Error('the first line of a stream is too long')
      return undefined
    }
    const line = bytes.toString('utf8', 0, end)
    const reply = line === 'echo' ? bytes.subarray(end + 1) : Buffer.from(this.#reply(line))
    queue.splice(0, queue.length, ...(reply.length > 0 ? [reply] : []))
    return line
  }

  #reply(line: string): string {
    try {
      return this.#onCommand(line)
    } catch (error) {
      return `error: ${error instanceof Error ? error.message : String(error)}`
    }
  }
}
