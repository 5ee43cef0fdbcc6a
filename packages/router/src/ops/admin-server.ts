/** A small HTTP/1.1 server for operators, on loopback or a unix socket. */
import { chmodSync, lstatSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, isIP } from 'node:net'
import { isLoopback, type ListenPlace, parseListenPlace } from '../config/operations-schema.ts'
import { codeOf, messageOf, UserError } from '../user-error.ts'

/** Answers one request; a throw becomes 500. */
export type AdminHandler = (request: IncomingMessage, response: ServerResponse, path: string) => void | Promise<void>

const connectionsMax = 64
const requestTimeoutMs = 10_000

/** Made by `startAdminServer`. */
export class AdminServer {
  /** `http://127.0.0.1:9180` or `unix:/run/admin.sock`. */
  readonly address: string
  readonly #server: Server
  readonly #socketFile: string | undefined

  constructor(server: Server, address: string, socketFile: string | undefined) {
    this.#server = server
    this.address = address
    this.#socketFile = socketFile
  }

  /** Ends all requests, event streams included. */
  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
    if (this.#socketFile !== undefined) rmSync(this.#socketFile, { force: true })
  }
}

/**
 * Listens at a place as the configuration names it; `setting` is the setting's name for errors.
 * Throws `UserError` (`ERR_LISTEN`, `ERR_PORT_IN_USE`).
 */
export async function startAdminServer(text: string, setting: string, handler: AdminHandler): Promise<AdminServer> {
  const place = parseListenPlace(text)
  if (place === undefined) throw listenError(text, setting, new Error('it is no address with a port'))
  const server = createServer({ requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs })
  server.maxConnections = connectionsMax
  server.on('request', (request, response) => void answer(request, response, place, handler))
  server.on('clientError', (_error, socket) => socket.destroy())
  try {
    if (place.kind === 'unix') await removeStaleSocket(place.path)
    await listening(server, place)
  } catch (error) {
    throw listenError(text, setting, error)
  }
  if (place.kind === 'unix') return new AdminServer(server, text, place.path)
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : place.port
  const host = place.host.includes(':') ? `[${place.host}]` : place.host
  return new AdminServer(server, `http://${host}:${port}`, undefined)
}

/** Sends JSON with a newline, so that a terminal shows it well. */
export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  sendText(response, status, 'application/json', `${JSON.stringify(value, null, 2)}\n`)
}

/** Sends text; never cached, since it is a state. */
export function sendText(response: ServerResponse, status: number, type: string, text: string): void {
  const body = Buffer.from(text)
  response.writeHead(status, {
    'content-type': type,
    'content-length': body.byteLength,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  place: ListenPlace,
  handler: AdminHandler,
): Promise<void> {
  response.on('error', () => {})
  try {
    const refusal = refusalOf(request, place)
    if (refusal !== undefined) return sendJson(response, 403, { error: refusal })
    const target = request.url ?? '/'
    const queryAt = target.indexOf('?')
    await handler(request, response, queryAt < 0 ? target : target.slice(0, queryAt))
  } catch (error) {
    if (response.headersSent) response.destroy()
    else sendJson(response, 500, { error: messageOf(error) })
  }
}

/** A web page the operator happens to visit must not reach through the browser. */
function refusalOf(request: IncomingMessage, place: ListenPlace): string | undefined {
  const { host, origin } = request.headers
  if (place.kind === 'tcp' && isLoopback(place) && !isLiteral(host ?? ''))
    return `the host name "${(host ?? '').slice(0, 100)}" is not this machine's address: ask for 127.0.0.1 or localhost`
  if (origin !== undefined && origin !== `http://${host}`) return `pages of ${origin.slice(0, 100)} have no access`
  return undefined
}

/** An address or localhost: names can be made to point here by anybody who has a domain. */
function isLiteral(host: string): boolean {
  const name = host.replace(/:\d+$/u, '').replace(/^\[|\]$/gu, '')
  return name === 'localhost' || isIP(name) !== 0
}

function listening(server: Server, place: ListenPlace): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const onListening = (): void => {
      server.off('error', reject)
      server.on('error', () => {})
      resolve()
    }
    if (place.kind === 'tcp') {
      server.listen({ host: place.host, port: place.port }, onListening)
      return
    }
    // Created readable by its owner only: there is no moment at which others could connect.
    const mask = process.umask(0o177)
    try {
      server.listen(place.path, () => {
        chmodSync(place.path, 0o600)
        onListening()
      })
    } finally {
      process.umask(mask)
    }
  })
}

/** A socket file that nobody answers at is left over from a process that was killed. */
async function removeStaleSocket(file: string): Promise<void> {
  try {
    if (!lstatSync(file).isSocket()) throw new Error('there is a file of this name that is no socket')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw error
  }
  const isAlive = await new Promise<boolean>((resolve) => {
    const socket = connect(file, () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
  if (isAlive) throw Object.assign(new Error('another process listens there'), { code: 'EADDRINUSE' })
  rmSync(file, { force: true })
}

function listenError(text: string, setting: string, error: unknown): UserError {
  const isUsed = codeOf(error) === 'EADDRINUSE'
  return new UserError(isUsed ? 'ERR_PORT_IN_USE' : 'ERR_LISTEN', {
    what: isUsed ? `${text} is already in use` : `cannot listen at ${text}: ${messageOf(error)}`,
    where: setting,
    remedy: 'Stop what uses it, or choose another address, e.g. "127.0.0.1:9180" or "unix:/run/quicether/admin.sock".',
    cause: error,
  })
}
