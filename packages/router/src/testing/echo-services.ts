/** Services in each version of HTTP that say what they got, for tests of what passes through the router. */
import { once } from 'node:events'
import { createServer as createHttp1, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { type Http3Handler, serveHttp3, type WebTransportSession } from '@quicether/http3'
import { type generateCertificate, listen, type QuicStream, QuicStreamError } from '@quicether/net'
import { webSocketAccept } from '../upstream/http1-socket.ts'

/** The body comes back, after 103, with the request's fields as JSON in `x-fields` and its trailers, prefixed, as trailers. */
export interface EchoService {
  readonly url: string
  close(): Promise<void>
}

/** HTTP/1.1; upgrades to WebSocket echo the bytes. */
export async function startHttp1Echo(): Promise<EchoService> {
  const server = createHttp1((request, response) => void echoHttp1(request, response))
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => {})
    if (request.url === '/refuse') {
      return socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno')
    }
    const accept = webSocketAccept(request.headers['sec-websocket-key'] ?? '')
    const protocol = request.headers['sec-websocket-protocol']
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}\r\n${protocol === undefined ? '' : `sec-websocket-protocol: ${protocol}\r\n`}\r\n`,
    )
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

async function echoHttp1(request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.on('error', () => {})
  response.on('error', () => {})
  response.writeEarlyHints({ link: '</a.css>; rel=preload' })
  response.writeHead(200, { 'x-fields': JSON.stringify(request.headers), trailer: 'x-got' })
  for await (const chunk of request) response.write(chunk)
  response.addTrailers({ 'x-got': JSON.stringify(request.trailers) })
  response.end()
}

/** HTTP/2 with prior knowledge; extended CONNECT echoes the bytes. */
export async function startHttp2Echo(): Promise<EchoService> {
  const server = createHttp2({ settings: { enableConnectProtocol: true } })
  const streams = new Set<ServerHttp2Stream>()
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    streams.add(stream)
    stream.once('close', () => streams.delete(stream))
    stream.on('error', () => {})
    let trailers: object = {}
    stream.on('trailers', (fields) => {
      trailers = fields
    })
    if (headers[':method'] === 'CONNECT') {
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
      return
    }
    stream.additionalHeaders({ ':status': 103, link: '</a.css>; rel=preload' })
    stream.respond({ ':status': 200, 'x-fields': JSON.stringify(headers) }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-got': JSON.stringify(trailers) }))
    stream.pipe(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      for (const stream of streams) stream.destroy()
      server.close()
    },
  }
}

/** HTTP/3; extended CONNECT echoes the bytes and the datagrams. */
export async function startHttp3Echo(certificate: ReturnType<typeof generateCertificate>): Promise<EchoService> {
  const listener = await listen(
    {
      addresses: ['127.0.0.1'],
      port: 0,
      alpn: ['h3'],
      identities: [
        {
          certificate: { pem: certificate.certificatePem, label: 'test' },
          privateKey: { pem: certificate.privateKeyPem, label: 'test' },
        },
      ],
    },
    (connection) => {
      serveHttp3(connection, echoHttp3, {
        config: { extendedConnect: true, datagrams: true, webTransportSessions: 16 },
      })
    },
  )
  return {
    url: `https://127.0.0.1:${listener.port}`,
    close: () => listener.close({ graceMs: 0, code: 0x100, reason: '' }),
  }
}

const echoHttp3: Http3Handler = async (request, response) => {
  if (request.protocol === 'webtransport') return echoSession(response.acceptWebTransport())
  if (request.protocol !== undefined) {
    const tunnel = response.accept()
    void (async () => {
      for await (const payload of tunnel.datagrams) tunnel.datagrams.send(payload)
    })()
    for await (const chunk of tunnel.body) await tunnel.write(chunk)
    tunnel.end()
    return
  }
  response.sendInformational(103, [['link', '</a.css>; rel=preload']])
  response.writeHead(200, [['x-fields', JSON.stringify(Object.fromEntries(request.headers))]])
  for await (const chunk of request.body) await response.write(chunk)
  response.end([['x-got', JSON.stringify(Object.fromEntries(await request.trailers))]])
}

/** Bidirectional streams and datagrams come back; a unidirectional one comes back on another; "bye" closes the session. */
function echoSession(session: WebTransportSession): void {
  const run = async (): Promise<void> => {
    for await (const payload of session.datagrams) session.datagrams.send(payload)
  }
  const streams = async (): Promise<void> => {
    for await (const stream of session.incomingBidirectionalStreams) void echoStream(session, stream)
  }
  const oneWay = async (): Promise<void> => {
    for await (const stream of session.incomingUnidirectionalStreams) {
      const back = await session.createUnidirectionalStream()
      await back.write(await stream.bytes())
      back.end()
    }
  }
  // The end of the session ends them all.
  for (const each of [run, streams, oneWay]) each().catch(() => {})
}

async function echoStream(session: WebTransportSession, stream: QuicStream): Promise<void> {
  try {
    for await (const chunk of stream) {
      if (Buffer.from(chunk).toString() === 'bye') return void session.close(42, 'as you wish')
      await stream.write(chunk)
    }
    stream.end()
  } catch (error) {
    stream.abort(error instanceof QuicStreamError ? (error.applicationCode ?? 0) : 0)
  }
}
