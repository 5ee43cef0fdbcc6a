/** HTTP/1.1 on a connection of its own: upgrades, which turn it into a tunnel, and requests that end with trailers. */
import { createHash, randomBytes } from 'node:crypto'
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import type { Duplex } from 'node:stream'
import { hostAndPort, toLines, type UpstreamAddress, type UpstreamRequest, type UpstreamResponse } from './client.ts'
import { toRaw } from './http1-client.ts'
import { pump } from './pump.ts'

const headerBytesMax = 65_536
/** RFC 6455 §1.3 */
const webSocketGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** The answer to a WebSocket key (RFC 6455 §4.2.2). */
export function webSocketAccept(key: string): string {
  return createHash('sha1').update(`${key}${webSocketGuid}`).digest('base64')
}

/**
 * RFC 9220 §3, RFC 8441 §5: an extended CONNECT of a client becomes an Upgrade of HTTP/1.1 here. A service that refuses gives
 * its ordinary response. `onOver` is called once when nothing is left of it.
 */
export async function openTunnel(
  address: UpstreamAddress,
  request: UpstreamRequest,
  onOver: () => void,
): Promise<UpstreamResponse> {
  const protocol = request.protocol ?? ''
  const key = randomBytes(16).toString('base64')
  const extra = ['connection', 'Upgrade', 'upgrade', protocol]
  if (protocol === 'websocket') extra.push('sec-websocket-key', key)
  let outgoing: ClientRequest
  try {
    outgoing = start(address, { ...request, method: 'GET' }, extra)
  } catch (error) {
    onOver()
    throw error
  }
  outgoing.once('close', onOver)
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamResponse>()
  outgoing.once('error', reject)
  outgoing.once('response', (response: IncomingMessage) => resolve(responseOf(response)))
  outgoing.once('upgrade', (response: IncomingMessage, socket: Duplex, head: Buffer) => {
    const accept = response.headers['sec-websocket-accept']
    const isRight = response.headers.upgrade?.toLowerCase() === protocol.toLowerCase()
    if (!isRight || (protocol === 'websocket' && accept !== webSocketAccept(key))) {
      socket.destroy()
      return reject(
        Object.assign(new Error('it switched to another protocol than it was asked for'), { code: 'EPROTO' }),
      )
    }
    resolve(tunnelOn(socket, head, response, request))
  })
  outgoing.end()
  return await promise
}

/** One request with a body and trailers. */
export async function exchangeOnSocket(address: UpstreamAddress, request: UpstreamRequest): Promise<UpstreamResponse> {
  // RFC 9112 §7.1.2: only the chunked coding has room for trailers.
  const headers = request.headers.filter(([name]) => name !== 'content-length')
  const outgoing = start(address, { ...request, headers }, ['connection', 'close', 'transfer-encoding', 'chunked'])
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamResponse>()
  outgoing.once('error', reject)
  outgoing.once('response', (response: IncomingMessage) => resolve(responseOf(response)))
  void send(outgoing, request).catch((error: unknown) => {
    reject(error)
    outgoing.destroy()
  })
  return await promise
}

function start(address: UpstreamAddress, request: UpstreamRequest, extra: readonly string[]): ClientRequest {
  const { host, port, isTls } = hostAndPort(address.origin)
  const { ca, verify, serverName } = address.tls
  const options: RequestOptions = {
    host,
    port,
    method: request.method,
    path: request.target,
    headers: [...toRaw(request), ...extra] as unknown as Record<string, string>,
    agent: false,
    maxHeaderSize: headerBytesMax,
    signal: request.signal,
    ...(isTls ? { rejectUnauthorized: verify } : {}),
    ...(isTls && ca !== undefined ? { ca } : {}),
    ...(isTls && serverName !== undefined ? { servername: serverName } : {}),
  }
  const outgoing = isTls ? httpsRequest(options) : httpRequest(options)
  outgoing.on('information', ({ statusCode, rawHeaders }) => {
    if (statusCode !== 100) request.onInformational?.(statusCode, toLines(rawHeaders))
  })
  const timer = setTimeout(() => {
    outgoing.destroy(Object.assign(new Error('no connection in time'), { code: 'UND_ERR_CONNECT_TIMEOUT' }))
  }, address.connectTimeoutMs)
  outgoing.once('socket', (socket) => {
    socket.once(isTls ? 'secureConnect' : 'connect', () => clearTimeout(timer))
  })
  outgoing.once('close', () => clearTimeout(timer))
  return outgoing
}

async function send(outgoing: ClientRequest, request: UpstreamRequest): Promise<void> {
  if (request.body !== null) await pump(request.body, outgoing)
  const trailers = request.trailers?.()
  if (trailers !== undefined && trailers.length > 0) outgoing.addTrailers(trailers as [string, string][])
  outgoing.end()
}

function responseOf(response: IncomingMessage): UpstreamResponse {
  return {
    status: response.statusCode ?? 502,
    headers: toLines(response.rawHeaders),
    body: response,
    trailers: () => toLines(response.rawTrailers),
    discard: () => response.on('error', () => {}).destroy(),
  }
}

function tunnelOn(socket: Duplex, head: Buffer, response: IncomingMessage, request: UpstreamRequest): UpstreamResponse {
  const onAbort = (): void => {
    socket.destroy(request.signal.reason instanceof Error ? request.signal.reason : undefined)
  }
  request.signal.addEventListener('abort', onAbort, { once: true })
  socket.once('close', () => request.signal.removeEventListener('abort', onAbort))
  socket.on('error', () => {})
  if (head.byteLength > 0) socket.unshift(head)
  if (request.body !== null) {
    pump(request.body, socket).then(
      () => socket.end(),
      () => socket.destroy(),
    )
  }
  const dropped = new Set(['connection', 'upgrade', 'sec-websocket-accept'])
  return {
    status: 200,
    headers: toLines(response.rawHeaders).filter(([name]) => !dropped.has(name)),
    body: socket,
    trailers: () => [],
    discard: () => socket.destroy(),
  }
}
