/** Writes a body of any supported form to an exchange, at the pace the peer takes it. */
import type { Http3Error } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { HeaderList } from './headers.ts'

/** Bytes are taken for good: do not change them after handing them over. */
export type OutgoingBody = Uint8Array | string | AsyncIterable<Uint8Array> | Iterable<Uint8Array> | null | undefined

export class BodyWriter {
  readonly #exchange: Exchange
  #drain: PromiseWithResolvers<void> | undefined
  #error: Http3Error | undefined

  constructor(exchange: Exchange) {
    this.#exchange = exchange
    this.#drain = undefined
    this.#error = undefined
  }

  /** Why the peer takes no more, once it does not. */
  get error(): Http3Error | undefined {
    return this.#error
  }

  /** Resolves when the next piece is welcome. Rejects with Http3Error once the peer takes no more. */
  write(data: Uint8Array): Promise<void> {
    if (this.#error !== undefined) return handled(Promise.reject(this.#error))
    if (this.#exchange.writeBody(data)) return Promise.resolve()
    if (this.#drain === undefined) {
      this.#drain = Promise.withResolvers()
      handled(this.#drain.promise)
    }
    return this.#drain.promise
  }

  /** Writes all of `body` and the end. */
  async writeAll(body: OutgoingBody, trailers?: HeaderList | (() => HeaderList | undefined)): Promise<void> {
    if (typeof body === 'string') await this.#last(new TextEncoder().encode(body))
    else if (body instanceof Uint8Array) await this.#last(body)
    else if (body !== null && body !== undefined) for await (const piece of body) await this.write(piece)
    if (this.#error !== undefined) throw this.#error
    this.#exchange.finish(typeof trailers === 'function' ? trailers() : trailers)
  }

  onDrain(): void {
    const drain = this.#drain
    this.#drain = undefined
    drain?.resolve()
  }

  fail(error: Http3Error): void {
    if (this.#error !== undefined) return
    this.#error = error
    const drain = this.#drain
    this.#drain = undefined
    drain?.reject(error)
  }

  /** A single piece needs no waiting: what the transport does not take now is queued by reference, the end behind it. */
  async #last(data: Uint8Array): Promise<void> {
    if (this.#error !== undefined) throw this.#error
    this.#exchange.writeBody(data)
  }
}

/** A caller who does not wait for his write must not end the process: the failure shows on the next call. */
function handled(promise: Promise<void>): Promise<void> {
  promise.catch(() => undefined)
  return promise
}

/** Length of a body that is known before it is sent. */
export function knownLength(body: OutgoingBody): number | undefined {
  if (body === null || body === undefined) return 0
  if (body instanceof Uint8Array) return body.length
  return typeof body === 'string' ? new TextEncoder().encode(body).length : undefined
}
