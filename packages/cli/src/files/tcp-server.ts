/** The same files over HTTP/1.1 and TLS on TCP, for clients without QUIC; it tells them of HTTP/3. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import { pipeline } from 'node:stream/promises'
import { codeOf, messageOf, UserError } from '@quicether/router'
import { answerFile, openPart } from './file-answers.ts'
import type { ServedFile } from './static-files.ts'

export interface TcpOptions {
  /** Real path of the directory. */
  readonly root: string
  readonly addresses: readonly { readonly address: string; readonly port: number }[]
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly onServed: (file: ServedFile) => void
  /** Connections at once on each address; more are closed at once. 256 when absent. */
  readonly connectionsMax?: number
}

/** Servers on all addresses. */
export interface TcpServers {
  /** Lets answers under way end for so long. Never rejects. */
  close(graceMs: number): Promise<void>
}

const CONNECTIONS_MAX = 256
const HEADERS_MS = 10_000
const IDLE_MS = 60_000

/** Listens on every address. Throws `UserError` when one cannot be had; the others are closed then. */
export async function serveTcp(options: TcpOptions): Promise<TcpServers> {
  const servers: Server[] = []
  const close = async (graceMs: number): Promise<void> => {
    await Promise.all(servers.map((server) => closeServer(server, graceMs)))
  }
  try {
    for (const { address, port } of options.addresses) servers.push(await start(options, address, port))
  } catch (error) {
    await close(0)
    throw error
  }
  return { close }
}

function start(options: TcpOptions, address: string, port: number): Promise<Server> {
  const { certificatePem: cert, privateKeyPem: key } = options
  const altService = `h3=":${port}"; ma=3600`
  const server = createServer({ cert, key, ALPNProtocols: ['http/1.1'] }, (request, response) => {
    void answer(options, request, response, altService)
  })
  server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX
  server.headersTimeout = HEADERS_MS
  server.timeout = IDLE_MS
  const { promise, resolve, reject } = Promise.withResolvers<Server>()
  server.once('error', (error) => reject(listenProblem(error, address, port)))
  server.listen({ host: address, port, ipv6Only: address.includes(':') }, () => resolve(server))
  return promise
}

async function answer(
  { root, onServed }: TcpOptions,
  request: IncomingMessage,
  response: ServerResponse,
  altService: string,
): Promise<void> {
  const { method = 'GET', url: path = '/', headers } = request
  try {
    const ifRange = headers['if-range']
    const found = await answerFile(root, { method, path, range: headers.range, ifRange: ifRange?.toString() })
    const { status, bytes, body } = found
    onServed({ method, path, status, bytes })
    const all = new Map<string, string>([['content-length', String(bytes)], ['alt-svc', altService], ...found.headers])
    response.writeHead(status, Object.fromEntries(all))
    const part = typeof body === 'string' || method !== 'GET' ? undefined : openPart(body)
    if (part !== undefined) await pipeline(part, response)
    else response.end(typeof body === 'string' && method !== 'HEAD' ? body : undefined)
  } catch {
    // The file shrank or cannot be read, or the client went: the connection's end says that the answer is not whole.
    request.socket.destroy()
  }
}

async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), graceMs)
  await closed
  clearTimeout(timer)
}

function listenProblem(error: Error, address: string, port: number): UserError {
  const isTaken = codeOf(error) === 'EADDRINUSE'
  return new UserError(isTaken ? 'ERR_PORT_IN_USE' : 'ERR_LISTEN', {
    what: isTaken ? `TCP port ${port} is already in use` : messageOf(error),
    where: `${address}, --tcp`,
    remedy: 'Stop what uses it, choose another one with --port, or leave --tcp out.',
    cause: error,
  })
}
