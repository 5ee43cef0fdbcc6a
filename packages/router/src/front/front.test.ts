/** Tests of what passes through: clients of HTTP/1.1, 2 and 3 in front of services of HTTP/1.1, 2 and 3. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { Http3Client, Http3ConnectError } from '@quicether/http3'
import { connect, generateCertificate, QuicStreamError } from '@quicether/net'
import { parseConfig } from '../config/load.ts'
import type { HeaderList } from '../exchange.ts'
import { MetricsCollector } from '../metrics/collector.ts'
import type { ServerListener } from '../ports.ts'
import { StreamProxy } from '../proxy.ts'
import { type EchoService, startHttp1Echo, startHttp2Echo, startHttp3Echo } from '../testing/echo-services.ts'
import { listenHttp3 } from '../transport-server.ts'

const certificate = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const ca = certificate.certificatePem
const services: EchoService[] = []
const failures: string[] = []
let directory = ''
let listener: ServerListener
let proxy: StreamProxy

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'quicether-front-'))
  writeFileSync(join(directory, 'ca.pem'), ca)
  services.push(await startHttp1Echo(), await startHttp2Echo(), await startHttp3Echo(certificate))
  const tables = services.map(
    ({ url }, at) =>
      `[[service]]\nname = "h${at + 1}"\nprefix = "/h${at + 1}"\nstrip_prefix = true\nurl = "${url}"\nprotocol = "http${at + 1}"\nca = "${join(directory, 'ca.pem')}"\nconnect_timeout_ms = 60000\nresponse_timeout_ms = 60000\n`,
  )
  const nowMs = (): number => performance.now()
  const collector = new MetricsCollector({ runId: 'test', listen: 'test', streamsKept: 10, nowMs })
  proxy = new StreamProxy({
    services: parseConfig(tables.join(''), 'test.toml').service,
    collector,
    nowMs,
    onFailure: ({ message }) => failures.push(message),
  })
  listener = await listenHttp3(
    {
      host: '127.0.0.1',
      port: 0,
      certificatePem: ca,
      privateKeyPem: certificate.privateKeyPem,
      certificateLabel: 'test',
      privateKeyLabel: 'test',
      idleTimeoutMs: 60_000,
      maxStreams: 100,
      earlyData: false,
      tcp: true,
      onTrouble: (message) => assert.fail(message),
    },
    ({ remote, remoteAddress }) => {
      const connection = collector.openConnection(remote, () => undefined)
      return (request, response) => proxy.handle(request, response, { connection, address: remoteAddress })
    },
  )
})

after(async () => {
  await listener.close(0)
  await proxy.close()
  for (const service of services) await service.close()
  rmSync(directory, { recursive: true, force: true })
})

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly trailers: Readonly<Record<string, string>>
  readonly hints: readonly string[]
}

type Ask = (path: string, body: Buffer, trailers?: HeaderList) => Promise<Answer>

const askHttp1: Ask = async (path, body, trailers) => {
  const hints: string[] = []
  const request = httpsRequest({
    host: '127.0.0.1',
    port: listener.port,
    path,
    method: 'POST',
    ca,
    agent: false,
    headers: trailers === undefined ? {} : { trailer: 'x-sum' },
  })
  request.on('information', ({ headers }) => hints.push(String(headers['link'])))
  for (let at = 0; at < body.byteLength; at += 10_000) request.write(body.subarray(at, at + 10_000))
  if (trailers !== undefined) request.addTrailers(trailers as [string, string][])
  request.end()
  const [response] = await once(request, 'response')
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return {
    status: response.statusCode,
    headers: response.headers,
    body: Buffer.concat(chunks),
    trailers: response.trailers,
    hints,
  }
}

let session: ClientHttp2Session | undefined

const askHttp2: Ask = async (path, body, trailers) => {
  session ??= connectHttp2(`https://127.0.0.1:${listener.port}`, { ca })
  const hints: string[] = []
  const stream = session.request({ ':method': 'POST', ':path': path, trailer: 'x-sum' }, { waitForTrailers: true })
  stream.on('headers', (headers) => hints.push(String(headers['link'])))
  stream.on('wantTrailers', () => stream.sendTrailers(Object.fromEntries(trailers ?? [])))
  let got: Record<string, string> = {}
  stream.on('trailers', (fields) => {
    got = fields as Record<string, string>
  })
  const answered = once(stream, 'response')
  stream.end(body)
  const [headers] = await answered
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return { status: headers[':status'], headers, body: Buffer.concat(chunks), trailers: got, hints }
}

const askHttp3: Ask = async (path, body, trailers) => {
  const connection = await connect({
    host: '127.0.0.1',
    port: listener.port,
    alpn: ['h3'],
    ca: [{ pem: ca, label: 'test' }],
    handshakeTimeoutMs: 60_000,
  })
  const client = new Http3Client(connection)
  const hints: string[] = []
  const response = await client.request({
    method: 'POST',
    authority: `127.0.0.1:${listener.port}`,
    path,
    body,
    headers: trailers === undefined ? [] : [['trailer', 'x-sum']],
    ...(trailers === undefined ? {} : { trailers }),
    onInformational: (head) => hints.push(Object.fromEntries(head.headers)['link'] ?? ''),
  })
  const bytes = await response.body.bytes()
  const answer = {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: Buffer.from(bytes),
    trailers: Object.fromEntries(await response.trailers),
    hints,
  }
  await client.close()
  return answer
}

const clients = { 'HTTP/1.1': askHttp1, 'HTTP/2': askHttp2, 'HTTP/3': askHttp3 } as const
const via = { 'HTTP/1.1': '1.1', 'HTTP/2': '2', 'HTTP/3': '3' } as const

for (const [name, ask] of Object.entries(clients)) {
  for (const [prefix, version] of [
    ['h1', '1.1'],
    ['h2', '2'],
    ['h3', '3'],
  ] as const) {
    test(`from ${name} to HTTP/${version} bodies, trailers and early hints pass in both directions`, async () => {
      const body = Buffer.alloc(150_000, name)
      const answer = await ask(`/${prefix}/x?y`, body, [['x-sum', 'abc']])
      assert.equal(answer.status, 200, answer.body.toString('utf8', 0, 300))
      assert.ok(answer.body.equals(body), `${answer.body.byteLength} bytes came back`)
      assert.deepEqual(answer.hints, ['</a.css>; rel=preload'])
      assert.equal(JSON.parse(answer.trailers['x-got'] ?? '{}')['x-sum'], 'abc')
      const fields = JSON.parse(answer.headers['x-fields'] ?? '{}')
      assert.equal(fields['x-forwarded-for'], '127.0.0.1')
      assert.equal(fields['via'], `${via[name as keyof typeof via]} quicether`)
      assert.equal(answer.headers['via'], `${version} quicether`)
      const isTcp = name !== 'HTTP/3'
      assert.equal(answer.headers['alt-svc'], isTcp ? `h3=":${listener.port}"; ma=86400` : undefined)
    })
  }
}

test('without TLS-ALPN a client of HTTP/1.1 on TCP is served, and gets problem documents like others', async () => {
  const answer = await askHttp1('/nowhere', Buffer.alloc(0))
  assert.equal(answer.status, 404)
  assert.equal(answer.headers['x-quicether-error'], 'no-route')
})

for (const [prefix, isDatagram] of [
  ['h1', false],
  ['h2', false],
  ['h3', true],
] as const) {
  test(`a WebSocket from HTTP/3 reaches a service of ${prefix} and its bytes come back`, async () => {
    const connection = await connect({
      host: '127.0.0.1',
      port: listener.port,
      alpn: ['h3'],
      ca: [{ pem: ca, label: 'test' }],
      handshakeTimeoutMs: 60_000,
    })
    const client = new Http3Client(connection, { config: { datagrams: true } })
    const tunnel = await client.connect({
      authority: `127.0.0.1:${listener.port}`,
      path: `/${prefix}/chat`,
      protocol: 'websocket',
      headers: [
        ['sec-websocket-version', '13'],
        ['sec-websocket-protocol', 'chat'],
      ],
    })
    const reader = tunnel.readable.getReader()
    for (const text of ['one', 'two', 'three']) {
      await tunnel.write(Buffer.from(text))
      let got = ''
      while (got.length < text.length) got += Buffer.from((await reader.read()).value ?? []).toString()
      assert.equal(got, text)
    }
    if (prefix === 'h1') assert.equal(Object.fromEntries(tunnel.headers)['sec-websocket-protocol'], 'chat')
    if (isDatagram) {
      const received = tunnel.datagrams[Symbol.asyncIterator]()
      const answer = received.next()
      // Datagrams may be lost: one in so many comes back.
      const repeat = setInterval(() => tunnel.datagrams.send(Buffer.from('ping')), 20)
      assert.equal(Buffer.from((await answer).value ?? []).toString(), 'ping')
      clearInterval(repeat)
    }
    tunnel.end()
    assert.equal((await reader.read()).done, true)
    await client.close()
  })
}

test('a WebSocket that the service refuses gets its answer', async () => {
  const connection = await connect({
    host: '127.0.0.1',
    port: listener.port,
    alpn: ['h3'],
    ca: [{ pem: ca, label: 'test' }],
    handshakeTimeoutMs: 60_000,
  })
  const client = new Http3Client(connection)
  const refusal = await client
    .connect({ authority: 'localhost', path: '/h1/refuse', protocol: 'websocket' })
    .then(() => assert.fail('accepted'))
    .catch((error: unknown) => error)
  assert.ok(refusal instanceof Http3ConnectError, String(refusal))
  assert.equal(refusal.response.status, 403)
  assert.equal(await refusal.response.body.text(), 'no')
  await client.close()
})

test('a WebTransport session reaches a service of HTTP/3: streams of all kinds, datagrams, codes and the end', async () => {
  const connection = await connect({
    host: '127.0.0.1',
    port: listener.port,
    alpn: ['h3'],
    ca: [{ pem: ca, label: 'test' }],
    handshakeTimeoutMs: 60_000,
  })
  const client = new Http3Client(connection, { config: { datagrams: true, webTransportSessions: 4 } })
  const authority = `127.0.0.1:${listener.port}`
  const session = await client.webTransport({ authority, path: '/h3/wt' })
  const big = Buffer.alloc(300_000, 'x')
  const both = await session.createBidirectionalStream()
  void both.write(big).then(() => both.end())
  assert.ok(big.equals(await both.bytes()))
  const oneWay = await session.createUnidirectionalStream()
  await oneWay.write(Buffer.from('one way'))
  oneWay.end()
  const { value: back } = await session.incomingUnidirectionalStreams.next()
  assert.equal(await back?.text(), 'one way')
  const received = session.datagrams[Symbol.asyncIterator]()
  const answer = received.next()
  // Datagrams may be lost: one in so many comes back.
  const repeat = setInterval(() => session.datagrams.send(Buffer.from('ping')), 20)
  assert.equal(Buffer.from((await answer).value ?? []).toString(), 'ping')
  clearInterval(repeat)
  const failing = await session.createBidirectionalStream()
  await failing.write(Buffer.from('half'))
  const echoed = failing[Symbol.asyncIterator]()
  assert.equal(Buffer.from((await echoed.next()).value ?? []).toString(), 'half')
  failing.reset(77)
  await assert.rejects(
    echoed.next(),
    (error) => error instanceof QuicStreamError && error.applicationCode === 77 && error.by === 'peer',
  )
  const last = await session.createBidirectionalStream()
  await last.write(Buffer.from('bye'))
  const { code, reason, isClean } = await session.closed
  assert.deepEqual({ code, reason, isClean }, { code: 42, reason: 'as you wish', isClean: true })
  await client.close()
})

test('a WebTransport session for a service without HTTP/3 is refused with the reason', async () => {
  const connection = await connect({
    host: '127.0.0.1',
    port: listener.port,
    alpn: ['h3'],
    ca: [{ pem: ca, label: 'test' }],
    handshakeTimeoutMs: 60_000,
  })
  const client = new Http3Client(connection, { config: { datagrams: true, webTransportSessions: 4 } })
  const refusal = await client
    .webTransport({ authority: 'localhost', path: '/h1/wt' })
    .then(() => assert.fail('accepted'))
    .catch((error: unknown) => error)
  assert.ok(refusal instanceof Http3ConnectError, String(refusal))
  assert.equal(refusal.response.status, 501)
  assert.match(await refusal.response.body.text(), /needs HTTP\/3 on both sides/u)
  await client.close()
})

test('a WebSocket of HTTP/1.1 reaches services of each version', async () => {
  for (const prefix of ['h1', 'h2', 'h3']) {
    const request = httpsRequest({
      host: '127.0.0.1',
      port: listener.port,
      path: `/${prefix}/chat`,
      ca,
      agent: false,
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      },
    })
    request.end()
    const [response, socket] = await once(request, 'upgrade')
    assert.equal(response.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
    socket.write('hello')
    const [echoed] = await once(socket, 'data')
    assert.equal(String(echoed), 'hello')
    socket.destroy()
  }
})

test('a request that HTTP/1.1 cannot tell the length of is refused, and nothing of it reaches a service', async () => {
  const socket = connectTls({ host: '127.0.0.1', port: listener.port, ca, ALPNProtocols: ['http/1.1'] })
  await once(socket, 'secureConnect')
  socket.write(
    'POST /h1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /h1/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n',
  )
  let got = ''
  for await (const chunk of socket) got += String(chunk)
  assert.match(got, /^HTTP\/1\.1 400 /u)
  assert.doesNotMatch(got, /smuggled/u)
})

test('nothing but what was provoked has failed', () => {
  assert.deepEqual(
    failures.filter((message) => !/no service is routed at|the client|needs HTTP/u.test(message)),
    [],
  )
  session?.close()
})
