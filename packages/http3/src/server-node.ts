/** Handlers shaped `(req, res)`, as those of Node's `http`, for `serveHttp3`. */
import { Readable, Writable } from 'node:stream'
import { decodeFieldText, type HeaderLine } from './headers.ts'
import type { Http3Handler, ServerRequest, ServerResponse } from './server.ts'

/** What a listener of `http.createServer` may do here; frameworks that need sockets beneath need another adapter. */
export type NodeListener = (request: NodeRequest, response: NodeResponse) => void | Promise<void>

type HeaderValue = string | number | readonly string[]

/** Makes a handler of `serveHttp3` from a listener of Node's `http`. The response ends when the listener ends it. */
export function fromNode(listener: NodeListener): Http3Handler {
  return async (request, response) => {
    // RFC 9220 §3: tunnels are for `handler` and `fetch`.
    if (request.method === 'CONNECT') return response.send(501, [], null)
    const req = new NodeRequest(request)
    const res = new NodeResponse(response, request.method)
    request.signal.addEventListener('abort', () => {
      if (!res.writableFinished) res.destroy()
    })
    const done = new Promise<void>((resolve, reject) => {
      res.once('close', resolve)
      res.once('error', reject)
    })
    await listener(req, res)
    await done
  }
}

/** The request, like Node's `IncomingMessage`. */
export class NodeRequest extends Readable {
  readonly httpVersion = '3.0'
  readonly httpVersionMajor = 3
  readonly httpVersionMinor = 0
  readonly method: string
  readonly url: string
  readonly headers: Record<string, string | string[] | undefined>
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[]
  /** Filled when the body has been read to its end. */
  readonly trailers: Record<string, string> = {}
  /** `encrypted` is what frameworks ask for. */
  readonly socket = { encrypted: true } as const
  /** The request as `serveHttp3` has it: protocol, priority, early data, timing. */
  readonly http3: ServerRequest
  #iterator: AsyncIterator<Uint8Array> | undefined

  constructor(request: ServerRequest) {
    super()
    this.http3 = request
    this.method = request.method
    this.url = request.path ?? request.authority ?? ''
    this.headers = nodeHeaders(request)
    this.rawHeaders = request.headers.flat()
    this.#iterator = undefined
  }

  override _read(): void {
    void this.#next()
  }

  async #next(): Promise<void> {
    try {
      this.#iterator ??= this.http3.body[Symbol.asyncIterator]()
      const { done, value } = await this.#iterator.next()
      if (done !== true) {
        this.push(value)
        return
      }
      for (const [name, text] of await this.http3.trailers) this.trailers[name] = text
      this.push(null)
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  }
}

/** The response, like Node's `ServerResponse`. */
export class NodeResponse extends Writable {
  statusCode = 200
  /** HTTP/3 has none; kept for frameworks that set it. */
  statusMessage = ''
  /** The response as `serveHttp3` has it. */
  readonly http3: ServerResponse
  readonly #method: string
  readonly #headers: Map<string, HeaderValue>
  #trailers: HeaderLine[] | undefined

  constructor(response: ServerResponse, method: string) {
    super()
    this.http3 = response
    this.#method = method
    this.#headers = new Map()
    this.#trailers = undefined
  }

  get headersSent(): boolean {
    return this.http3.headersSent
  }

  setHeader(name: string, value: HeaderValue): this {
    this.#headers.set(name.toLowerCase(), value)
    return this
  }

  appendHeader(name: string, value: string | readonly string[]): this {
    const before = this.#headers.get(name.toLowerCase())
    const all = [...(before === undefined ? [] : [before].flat().map(String)), ...[value].flat()]
    return this.setHeader(name, all)
  }

  getHeader(name: string): HeaderValue | undefined {
    return this.#headers.get(name.toLowerCase())
  }

  getHeaders(): Record<string, HeaderValue> {
    return Object.fromEntries(this.#headers)
  }

  getHeaderNames(): string[] {
    return [...this.#headers.keys()]
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name.toLowerCase())
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase())
  }

  /** The reason phrase is ignored. Throws Http3Error for what HTTP/3 cannot carry. */
  writeHead(
    status: number,
    reason?: string | Record<string, HeaderValue>,
    headers?: Record<string, HeaderValue>,
  ): this {
    this.statusCode = status
    const all = typeof reason === 'object' ? reason : headers
    for (const [name, value] of Object.entries(all ?? {})) this.setHeader(name, value)
    this.flushHeaders()
    return this
  }

  flushHeaders(): void {
    if (!this.headersSent) this.http3.writeHead(this.statusCode, this.#lines())
  }

  writeContinue(): void {
    this.http3.sendInformational(100)
  }

  /** 103 Early Hints. */
  writeEarlyHints(hints: Record<string, string | readonly string[]>): void {
    const lines = Object.entries(hints).flatMap(([name, value]) => [value].flat().map((one): HeaderLine => [name, one]))
    this.http3.sendInformational(103, lines)
  }

  addTrailers(trailers: Record<string, string>): void {
    this.#trailers = Object.entries(trailers).map(([name, value]): HeaderLine => [name.toLowerCase(), value])
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.flushHeaders()
    if (this.#method === 'HEAD') return done()
    // The engine keeps what it is given, Node may use its buffers again.
    this.http3.write(new Uint8Array(chunk)).then(() => done(), done)
  }

  override _final(done: (error?: Error) => void): void {
    try {
      this.flushHeaders()
      this.http3.end(this.#trailers)
      done()
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)))
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.writableFinished) this.http3.reset('H3_INTERNAL_ERROR')
    done(error)
  }

  #lines(): HeaderLine[] {
    const lines: HeaderLine[] = []
    for (const [name, value] of this.#headers) {
      // Nothing of HTTP/1.1's connections exists here (RFC 9114 §4.2).
      if (name === 'connection' || name === 'keep-alive' || name === 'transfer-encoding') continue
      for (const one of [value].flat()) lines.push([name, String(one)])
    }
    return lines
  }
}

/** As Node joins them: `set-cookie` is a list, `cookie` is joined by "; ", the rest by ", ". */
function nodeHeaders(request: ServerRequest): Record<string, string | string[] | undefined> {
  const headers: Record<string, string | string[] | undefined> = {}
  if (request.authority !== undefined) headers['host'] = request.authority
  for (const [name, raw] of request.headers) {
    if (name === 'host') continue
    const value = /[\x80-\xff]/.test(raw) ? decodeFieldText(raw) : raw
    const before = headers[name]
    if (name === 'set-cookie') headers[name] = [...(before === undefined ? [] : [before].flat()), value]
    else headers[name] = before === undefined ? value : `${String(before)}${name === 'cookie' ? '; ' : ', '}${value}`
  }
  return headers
}
