/** The faces that applications see, over real loopback sockets: fetch, Request and Response, Node's (req, res), limits. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { generateCertificate, listen, type Pem } from '@quicether/net'
import { Http3Agent, trailersOf } from './client-fetch.ts'
import { type Http3ServerConnection, serveHttp3 } from './server.ts'
import { fromFetch } from './server-fetch.ts'
import { type Http3Server, type Http3ServerOptions, serve } from './server-listen.ts'

const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const pem = (text: string, label: string): Pem => ({ pem: text, label })
const identities = [
  { certificate: pem(made.certificatePem, 'cert.pem'), privateKey: pem(made.privateKeyPem, 'key.pem') },
]
const ca = [pem(made.certificatePem, 'ca.pem')]

type Way = Pick<Http3ServerOptions, 'fetch' | 'node' | 'handler' | 'bodyBytesMax' | 'earlyData' | 'onError'>
const start = (way: Way, port = 0): Promise<Http3Server> =>
  serve({ addresses: ['127.0.0.1'], port, identities, http3: { webTransportSessions: 2 }, ...way })
const urlOf = (server: Http3Server, path = '/') => `https://127.0.0.1:${server.port}${path}`

let agent: Http3Agent
before(() => {
  agent = new Http3Agent({ ca, http3: { webTransportSessions: 1 } })
})
after(() => agent.close())

test('fetch gets what a (Request) => Response handler answers', async () => {
  await using server = await start({
    fetch: async (request) => {
      const body = await request.text()
      const seen = { method: request.method, url: request.url, type: request.headers.get('content-type'), body }
      return Response.json(seen, { status: 201, headers: { 'x-two': 'a', 'set-cookie': 'b=1' } })
    },
  })
  const response = await agent.fetch(urlOf(server, '/path?q=1'), { method: 'POST', body: 'some text' })
  assert.equal(response.status, 201)
  assert.equal(response.url, urlOf(server, '/path?q=1'))
  assert.equal(response.headers.get('x-two'), 'a')
  assert.deepEqual(await response.json(), {
    method: 'POST',
    url: urlOf(server, '/path?q=1'),
    type: 'text/plain;charset=UTF-8',
    body: 'some text',
  })
  assert.equal(agent.connectionCount, 1)
})

test('bodies stream both ways, with trailers and early hints', async () => {
  await using server = await start({
    fetch: async (request, context) => {
      context.sendInformational(103, { link: '</style.css>; rel=preload' })
      let length = 0
      context.setTrailers(() => ({ 'x-length': String(length) }))
      const counted = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          length += chunk.length
          controller.enqueue(chunk)
        },
      })
      void context.trailers.then((trailers) => assert.equal(trailers.get('x-mine'), 'yes'))
      return new Response(request.body?.pipeThrough(counted) ?? null)
    },
  })
  const hints: string[] = []
  const body = ReadableStream.from(Array.from({ length: 40 }, () => new Uint8Array(10_000)))
  const response = await agent.fetch(urlOf(server), {
    method: 'PUT',
    body,
    trailers: () => ({ 'x-mine': 'yes' }),
    onInformational: (status, headers) => hints.push(`${status} ${headers.get('link')}`),
  })
  let length = 0
  for await (const chunk of response.body ?? []) length += chunk.length
  assert.equal(length, 400_000)
  assert.equal((await trailersOf(response)).get('x-length'), '400000')
  assert.deepEqual(hints, ['103 </style.css>; rel=preload'])
})

test('HEAD, 204 and 304 have no body', async () => {
  await using server = await start({
    fetch: (request) => {
      const status = Number(new URL(request.url).pathname.slice(1))
      return new Response(status === 200 ? 'text' : null, { status })
    },
  })
  for (const [method, path] of [
    ['HEAD', '/200'],
    ['GET', '/204'],
    ['GET', '/304'],
  ] as const) {
    const response = await agent.fetch(urlOf(server, path), { method })
    assert.equal(response.status, Number(path.slice(1)))
    assert.equal(await response.text(), '')
  }
})

test('redirects are followed, refused or handed out, as asked', async () => {
  await using server = await start({
    fetch: async (request) => {
      const { pathname } = new URL(request.url)
      if (pathname === '/see') return new Response(null, { status: 303, headers: { location: '/end' } })
      if (pathname === '/keep') return new Response(null, { status: 307, headers: { location: '/end' } })
      if (pathname === '/loop') return new Response(null, { status: 302, headers: { location: '/loop' } })
      return new Response(`${request.method} ${await request.text()}`)
    },
  })
  const init = { method: 'POST', body: 'data' }
  assert.equal(await (await agent.fetch(urlOf(server, '/see'), init)).text(), 'GET ')
  assert.equal(await (await agent.fetch(urlOf(server, '/keep'), init)).text(), 'POST data')
  assert.equal((await agent.fetch(urlOf(server, '/see'), { ...init, redirect: 'manual' })).status, 303)
  await assert.rejects(agent.fetch(urlOf(server, '/see'), { ...init, redirect: 'error' }), /redirected to \/end/)
  await assert.rejects(agent.fetch(urlOf(server, '/loop')), /redirected to \/loop, 20 times/)
})

test('an abort ends the request on both sides, with the reason of the signal', async () => {
  const ended = Promise.withResolvers<boolean>()
  const arrived = Promise.withResolvers<void>()
  await using server = await start({
    fetch: (request) => {
      request.signal.addEventListener('abort', () => ended.resolve(true))
      arrived.resolve()
      return new Promise<Response>(() => undefined)
    },
  })
  const abort = new AbortController()
  const response = agent.fetch(urlOf(server), { signal: abort.signal })
  void arrived.promise.then(() => abort.abort(new Error('no longer needed')))
  await assert.rejects(response, /no longer needed/)
  assert.equal(await ended.promise, true)
  await assert.rejects(
    agent.fetch(urlOf(server), { signal: AbortSignal.abort(new Error('never begun')) }),
    /never begun/,
  )
})

test("a listener of Node's http serves HTTP/3", async () => {
  await using server = await start({
    node: (request, response) => {
      if (request.url === '/hints') response.writeEarlyHints({ link: '</a.css>' })
      response.setHeader('X-Method', request.method)
      response.setHeader('X-Host', request.headers['host'] as string)
      response.setHeader('Connection', 'keep-alive')
      response.setHeader('Set-Cookie', ['a=1', 'b=2'])
      response.addTrailers({ 'X-End': request.httpVersion })
      response.statusCode = 202
      request.pipe(response)
    },
  })
  const hints: number[] = []
  const response = await agent.fetch(urlOf(server, '/hints'), {
    method: 'POST',
    body: 'x'.repeat(200_000),
    onInformational: (status) => hints.push(status),
  })
  assert.equal(response.status, 202)
  assert.equal(response.headers.get('x-method'), 'POST')
  assert.equal(response.headers.get('x-host'), `127.0.0.1:${server.port}`)
  assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
  assert.equal(response.headers.get('connection'), null)
  assert.equal((await response.text()).length, 200_000)
  assert.equal((await trailersOf(response)).get('x-end'), '3.0')
  assert.deepEqual(hints, [103])
})

test('a Node listener that fails gives 500, one that destroys its response a reset', async () => {
  const errors: unknown[] = []
  await using server = await start({
    node: (request, response) => {
      if (request.url === '/throw') throw new Error('broken')
      response.write('half')
      setImmediate(() => response.destroy())
    },
    onError: (error) => errors.push(error),
  })
  assert.equal((await agent.fetch(urlOf(server, '/throw'))).status, 500)
  assert.match(String(errors[0]), /broken/)
  // Whether the headers still come through before the reset is the network's affair.
  await assert.rejects(async () => (await agent.fetch(urlOf(server, '/cut'))).text(), {
    code: 'ERR_HTTP3_STREAM_RESET',
  })
})

test('bodies over the limit are answered with 413, whether their length is known or not', async () => {
  let handled = 0
  await using server = await start({
    bodyBytesMax: 10_000,
    fetch: async (request) => {
      handled++
      return new Response(String((await request.text()).length))
    },
  })
  const fine = await agent.fetch(urlOf(server), { method: 'POST', body: 'x'.repeat(10_000) })
  assert.equal(await fine.text(), '10000')
  assert.equal((await agent.fetch(urlOf(server), { method: 'POST', body: 'x'.repeat(10_001) })).status, 413)
  assert.equal(handled, 1)
  const parts = ReadableStream.from(Array.from({ length: 20 }, () => new Uint8Array(1_000)))
  assert.equal((await agent.fetch(urlOf(server), { method: 'POST', body: parts })).status, 413)
})

test('responses over the limit of the client fail with a code', async () => {
  await using server = await start({ fetch: () => new Response('x'.repeat(50_000)) })
  const response = await agent.fetch(urlOf(server), { bodyBytesMax: 20_000 })
  await assert.rejects(response.text(), { code: 'ERR_HTTP3_BODY_TOO_LARGE', by: 'local' })
})

test('headers that the server has said not to take are not sent', async () => {
  await using server = await start({ fetch: () => new Response('fine') })
  const client = await agent.client(urlOf(server))
  await client.serverSettings
  await assert.rejects(agent.fetch(urlOf(server), { headers: { 'x-big': 'x'.repeat(70_000) } }), {
    code: 'ERR_HTTP3_HEADERS_TOO_LARGE',
  })
})

test('a connection that is shut down lets requests finish; the next ones use a new one', async () => {
  const finish = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  const served: Http3ServerConnection[] = []
  const handler = fromFetch(async (request) => {
    if (request.url.endsWith('/slow')) {
      arrived.resolve()
      await finish.promise
    }
    return new Response(`connection ${served.length}`)
  })
  const listener = await listen({ addresses: ['127.0.0.1'], port: 0, identities, alpn: ['h3'] }, (connection) => {
    served.push(serveHttp3(connection, handler))
  })
  const url = `https://127.0.0.1:${listener.port}`
  const slow = agent.fetch(`${url}/slow`)
  await arrived.promise
  const closed = served[0]?.shutdown()
  finish.resolve()
  assert.equal(await (await slow).text(), 'connection 1')
  await closed
  assert.equal(await (await agent.fetch(`${url}/next`)).text(), 'connection 2')
  await listener.close()
})

test('a server that closes lets requests finish', async () => {
  const finish = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  const server = await start({
    fetch: async () => {
      arrived.resolve()
      await finish.promise
      return new Response('finished')
    },
  })
  const slow = agent.fetch(urlOf(server))
  await arrived.promise
  const closed = server.close(60_000)
  finish.resolve()
  assert.equal(await (await slow).text(), 'finished')
  await closed
})

test('a session of WebTransport is accepted from a (Request) => Response handler', async () => {
  await using server = await start({
    fetch: (_request, context) => {
      if (context.request.protocol !== 'webtransport') return new Response('plain')
      const session = context.response.acceptWebTransport()
      void (async () => {
        for await (const stream of session.incomingBidirectionalStreams) void stream.readable.pipeTo(stream.writable)
      })()
      return undefined
    },
  })
  const client = await agent.client(urlOf(server))
  const session = await client.webTransport({ authority: `127.0.0.1:${server.port}`, path: '/wt' })
  const stream = await session.createBidirectionalStream()
  stream.end(new TextEncoder().encode('echo'))
  assert.equal(await stream.text(), 'echo')
  await session.close()
})

test('an aborted signal closes a server like its end', async () => {
  const abort = new AbortController()
  const server = await serve({
    addresses: ['127.0.0.1'],
    port: 0,
    identities,
    signal: abort.signal,
    fetch: () => new Response('still here'),
  })
  await using client = new Http3Agent({ ca })
  assert.equal(await (await client.fetch(urlOf(server))).text(), 'still here')
  abort.abort()
  await server.close()
  await assert.rejects(client.fetch(urlOf(server)), { name: 'QuicError' })
  await assert.rejects(
    serve({ port: 0, identities, signal: AbortSignal.abort(new Error('not even begun')), fetch: () => new Response() }),
    /not even begun/,
  )
})

test('handlers that know nothing of CONNECT do not accept it by accident (RFC 9220 §3)', async () => {
  for (const way of [
    { fetch: () => new Response('hello') },
    { node: (_request, response) => void response.end('hello') },
  ] as const satisfies readonly Way[]) {
    await using server = await start(way)
    const client = await agent.client(urlOf(server))
    const asked = client.connect({ authority: `127.0.0.1:${server.port}`, path: '/', protocol: 'websocket' })
    await assert.rejects(asked, /answered CONNECT with status 501/)
  }
})

test('what cannot be is said at once', async () => {
  await assert.rejects(agent.fetch('http://127.0.0.1/'), /HTTP\/3 is for https only/)
  await assert.rejects(
    serve({ port: 0, identities, fetch: () => new Response(), node: () => undefined }),
    /exactly one/,
  )
  await assert.rejects(serve({ port: 0, identities }), /exactly one/)
  const closed = new Http3Agent({ ca })
  await closed.close()
  await assert.rejects(closed.fetch('https://127.0.0.1:1/'), { code: 'ERR_AGENT_CLOSED' })
})
