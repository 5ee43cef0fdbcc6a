/** An address that speaks HTTP/2, over TLS or with prior knowledge: few connections with many streams each. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { HeaderList } from '../exchange.ts'
import type { UpstreamAddress, UpstreamClient, UpstreamRequest, UpstreamResponse, UpstreamStats } from './client.ts'
import { pump } from './pump.ts'

/** RFC 9113 §7: the service did not process the request. */
const refusedStream = constants.NGHTTP2_REFUSED_STREAM
/** Used until the service's SETTINGS have come. */
const streamsAtFirst = 100
const idleMs = 30_000

interface Session {
  readonly session: ClientHttp2Session
  readonly ready: Promise<void>
  running: number
  isLeaving: boolean
}

export class Http2Client implements UpstreamClient {
  readonly #address: UpstreamAddress
  readonly #sessions = new Set<Session>()
  #queued = 0
  #isClosed = false

  constructor(address: UpstreamAddress) {
    this.#address = address
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamResponse> {
    const session = this.#pick()
    session.running++
    let isStarted = false
    try {
      this.#queued++
      await session.ready.finally(() => this.#queued--)
      request.signal.throwIfAborted()
      if (request.protocol !== undefined && session.session.remoteSettings.enableConnectProtocol !== true) {
        throw Object.assign(new Error('it takes no extended CONNECT'), { code: 'EPROTO' })
      }
      const stream = session.session.request(toOutgoing(request, this.#address), {
        endStream: request.body === null,
        waitForTrailers: request.body !== null && request.trailers !== undefined,
        signal: request.signal,
      })
      isStarted = true
      stream.once('close', () => this.#onStreamOver(session))
      return await exchangeOn(stream, request)
    } catch (error) {
      if (!isStarted) this.#onStreamOver(session)
      throw error
    }
  }

  stats(): UpstreamStats {
    let running = 0
    for (const session of this.#sessions) running += session.running
    return { connected: this.#sessions.size, running, queued: this.#queued }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const { session } of this.#sessions) session.destroy()
    this.#sessions.clear()
  }

  /** The connection with most streams that has room, so that idle ones can close; a new one while there may be more. */
  #pick(): Session {
    if (this.#isClosed) throw Object.assign(new Error('the pool is closed'), { code: 'ECONNRESET' })
    let best: Session | undefined
    let least: Session | undefined
    for (const entry of this.#sessions) {
      if (entry.isLeaving) continue
      const streamsMax = entry.session.remoteSettings?.maxConcurrentStreams ?? streamsAtFirst
      if (entry.running < streamsMax && (best === undefined || entry.running > best.running)) best = entry
      if (least === undefined || entry.running < least.running) least = entry
    }
    if (best !== undefined) return best
    // All are full: Node queues what goes beyond the service's limit of streams.
    if (least !== undefined && this.#sessions.size >= this.#address.connections) return least
    return this.#open()
  }

  #open(): Session {
    const { origin, connectTimeoutMs, tls } = this.#address
    const session = connect(origin, {
      rejectUnauthorized: tls.verify,
      ALPNProtocols: ['h2'],
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    })
    const ready = Promise.withResolvers<void>()
    const entry: Session = { session, ready: ready.promise, running: 0, isLeaving: false }
    ready.promise.catch(() => {})
    this.#sessions.add(entry)
    const timer = setTimeout(() => {
      session.destroy(Object.assign(new Error('no connection in time'), { code: 'UND_ERR_CONNECT_TIMEOUT' }))
    }, connectTimeoutMs)
    // Extended CONNECT must be known of before it is used: wait for the service's SETTINGS.
    session.once('remoteSettings', () => {
      clearTimeout(timer)
      ready.resolve()
    })
    session.on('error', (error) => {
      entry.isLeaving = true
      ready.reject(error)
    })
    session.once('goaway', () => this.#leave(entry))
    session.once('close', () => {
      clearTimeout(timer)
      entry.isLeaving = true
      this.#sessions.delete(entry)
      ready.reject(Object.assign(new Error('the connection closed'), { code: 'ECONNRESET' }))
    })
    session.setTimeout(idleMs, () => {
      if (entry.running === 0) this.#leave(entry)
    })
    session.unref()
    return entry
  }

  #leave(entry: Session): void {
    entry.isLeaving = true
    if (!entry.session.destroyed) entry.session.close()
  }

  #onStreamOver(entry: Session): void {
    entry.running--
  }
}

async function exchangeOn(stream: ClientHttp2Stream, request: UpstreamRequest): Promise<UpstreamResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamResponse>()
  let trailers: HeaderList = []
  stream.on('error', (error) => reject(stream.rstCode === refusedStream ? refused(error) : error))
  stream.once('close', () => reject(closedEarly(stream)))
  stream.on('headers', (headers, _flags, raw?: readonly string[]) => {
    const status = headers[':status'] ?? 100
    if (status !== 100) request.onInformational?.(status, linesOf(headers, raw))
  })
  stream.once('trailers', (headers, _flags, raw?: readonly string[]) => {
    trailers = linesOf(headers, raw)
  })
  stream.once('response', (headers, _flags, raw?: readonly string[]) => {
    resolve({
      status: headers[':status'] ?? 502,
      headers: linesOf(headers, raw),
      body: bodyOf(stream),
      trailers: () => trailers,
      discard: () => stream.close(constants.NGHTTP2_CANCEL),
    })
  })
  if (request.body !== null) {
    stream.once('wantTrailers', () => sendTrailers(stream, request))
    pump(request.body, stream).then(
      () => stream.end(),
      () => stream.close(constants.NGHTTP2_CANCEL),
    )
  }
  return await promise
}

function sendTrailers(stream: ClientHttp2Stream, request: UpstreamRequest): void {
  const trailers = request.trailers?.() ?? []
  stream.sendTrailers(group(trailers))
}

async function* bodyOf(stream: ClientHttp2Stream): AsyncIterable<Uint8Array> {
  yield* stream as AsyncIterable<Uint8Array>
  // RFC 9113 §8.1: only END_STREAM makes a message complete.
  if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) throw closedEarly(stream)
}

function closedEarly(stream: ClientHttp2Stream): Error {
  const error = new Error(`it reset the stream with code ${stream.rstCode ?? 0}`)
  return Object.assign(error, { code: stream.rstCode === refusedStream ? 'REFUSED_STREAM' : 'ECONNRESET' })
}

function refused(error: Error): Error {
  return Object.assign(new Error('it refused the stream', { cause: error }), { code: 'REFUSED_STREAM' })
}

function toOutgoing(request: UpstreamRequest, address: UpstreamAddress): OutgoingHttpHeaders {
  const { protocol } = request
  return {
    ...group(request.headers.filter(([name]) => name !== 'trailer' || request.body !== null)),
    ':method': protocol === undefined ? request.method : 'CONNECT',
    ':scheme': address.origin.startsWith('https:') ? 'https' : 'http',
    ':authority': request.authority,
    ':path': request.target,
    ...(protocol === undefined ? {} : { ':protocol': protocol }),
  }
}

function group(lines: HeaderList): OutgoingHttpHeaders {
  const headers: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of lines) {
    const before = headers[name]
    if (before === undefined) headers[name] = value
    else if (Array.isArray(before)) before.push(value)
    else headers[name] = [before, value]
  }
  return headers
}

/** Node gives the lines as they came beside the object. */
function linesOf(headers: IncomingHttpHeaders, raw: readonly string[] | undefined): HeaderList {
  if (raw !== undefined) {
    const lines: [string, string][] = []
    for (let at = 0; at + 1 < raw.length; at += 2) {
      const name = raw[at] ?? ''
      if (!name.startsWith(':')) lines.push([name, raw[at + 1] ?? ''])
    }
    return lines
  }
  return Object.entries(headers).flatMap(([name, value]): [string, string][] => {
    if (value === undefined || name.startsWith(':')) return []
    return (Array.isArray(value) ? value : [String(value)]).map((single): [string, string] => [name, single])
  })
}
