/** The HTTP server under each demo service: keep-alive, JSON answers, bounded bodies, a clear error for a taken port. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { codeOf, messageOf, UserError } from '../user-error.ts'

/** Answers one request; a thrown `HttpProblem` becomes its status, anything else 500. */
export type ServiceHandler = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>

/** A mistake of the caller of a service, with the status that says so. */
export class HttpProblem extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = 'HttpProblem'
    this.status = status
  }
}

export interface ServiceOptions {
  readonly name: string
  readonly host?: string
  /** 0 = any free port. */
  readonly port: number
  readonly handler: ServiceHandler
  /** Called when the service closes. */
  readonly onClose?: () => void
}

/** A service that listens. */
export interface RunningService {
  readonly name: string
  readonly host: string
  readonly port: number
  close(): Promise<void>
}

/** Throws `UserError` (`ERR_PORT_IN_USE`, `ERR_LISTEN`). */
export async function startService(options: ServiceOptions): Promise<RunningService> {
  const host = options.host ?? '127.0.0.1'
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    void answer(options, request, response)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(options, host, error)))
    server.listen(options.port, host, resolve)
  })
  return {
    name: options.name,
    host,
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        options.onClose?.()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Sends a JSON answer. */
export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.byteLength })
  response.end(body)
}

/** Settles when the response takes more, or when its client is gone. */
export function untilDrained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed || !response.writableNeedDrain) return resolve()
    const done = (): void => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

/** The whole body as text. Throws `HttpProblem` 413 beyond `bytesMax`. */
export async function readText(request: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes > bytesMax) throw new HttpProblem(413, `the body is larger than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** A whole number from the query. Throws `HttpProblem` 400 when it is not within bounds. */
export function queryNumber(url: URL, name: string, fallback: number, min: number, max: number): number {
  const text = url.searchParams.get(name)
  if (text === null) return fallback
  const value = Number(text)
  if (text.trim() !== '' && Number.isInteger(value) && value >= min && value <= max) return value
  throw new HttpProblem(400, `${name}=${text.slice(0, 40)}: expected a whole number from ${min} to ${max}`)
}

async function answer(options: ServiceOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const target = request.url ?? '/'
    if (!target.startsWith('/')) throw new HttpProblem(400, 'the request target must be a path')
    const url = new URL(`http://service${target}`)
    if (url.pathname === '/health') return sendJson(response, 200, { service: options.name, status: 'ok' })
    await options.handler(request, response, url)
  } catch (error) {
    if (response.headersSent || response.destroyed) {
      response.destroy()
      return
    }
    const status = error instanceof HttpProblem ? error.status : 500
    // What is left of the request is not read, so its connection cannot be kept.
    response.setHeader('connection', 'close')
    sendJson(response, status, { error: messageOf(error) })
  }
}

function listenError(options: ServiceOptions, host: string, error: Error): UserError {
  const where = `${host}:${options.port}`
  if (codeOf(error) === 'EADDRINUSE') {
    return new UserError('ERR_PORT_IN_USE', {
      what: `the port of the ${options.name} service is already in use`,
      where,
      remedy: `Stop what listens there, or choose another port with --${options.name}-port.`,
      cause: error,
    })
  }
  return new UserError('ERR_LISTEN', {
    what: `the ${options.name} service cannot listen: ${error.message}`,
    where,
    remedy: 'Choose another address with --host or another port.',
    cause: error,
  })
}
