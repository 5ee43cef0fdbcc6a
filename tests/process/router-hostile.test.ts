/** One router as a real process, and clients that mean no good: what they get, and that others are served meanwhile. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { h3ErrorName, Http3Client, type Http3Response } from '@quicether/http3'
import { connect, generateCertificate } from '@quicether/net'
import { assertExplained, CliProcess, runCli, scratchDirectory } from './cli-process.ts'
import { HostileClient, headersOf, type Lines, outcomeOf, type Outcome } from './hostile-client.ts'

const headerTimeoutMs = 3_000
const clientTimeoutMs = 3_000
const certificate = generateCertificate({ names: ['localhost', 'api.example', '127.0.0.1'] })
const ca = certificate.certificatePem
/** Paths that reached the service, with the end of each request. */
const seen: string[] = []
let directory = ''
let service: Server
let router: CliProcess
let port = 0

/** A service that says what it got; `/api/big` never ends by itself before 64 MB are taken. */
function serve(request: IncomingMessage, response: ServerResponse): void {
  request.on('error', () => {})
  response.on('error', () => {})
  if (request.url === '/api/big') {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    }
    response.on('drain', more)
    return more()
  }
  let length = 0
  request.on('data', (chunk: Buffer) => {
    length += chunk.byteLength
  })
  request.on('end', () => {
    seen.push(`${request.method} ${request.url} ${length}`)
    response.setHeader('x-host', request.headers.host ?? '')
    response.end(JSON.stringify({ url: request.url, headers: request.headers, length }))
  })
}

const toml = (servicePort: number): string => `
[router]
tcp = true
header_timeout_ms = ${headerTimeoutMs}
client_timeout_ms = ${clientTimeoutMs}
idle_timeout_ms = 30000
max_header_bytes = 4096
max_streams = 16
[results]
directory = "results"
[[service]]
name = "api"
prefix = "/api"
url = "http://127.0.0.1:${servicePort}"
max_body_bytes = 1000
[[service]]
name = "hosted"
prefix = "/hosted"
hosts = ["api.example"]
url = "http://127.0.0.1:${servicePort}"
[[service]]
name = "rated"
prefix = "/rated"
url = "http://127.0.0.1:${servicePort}"
[service.rate_limit]
requests_per_second = 0.01
burst = 2
[[service]]
name = "gone"
prefix = "/gone"
url = "http://127.0.0.1:9"
`

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'quicether-hostile-'))
  service = createServer(serve).listen(0, '127.0.0.1')
  await once(service, 'listening')
  writeFileSync(join(directory, 'router.toml'), toml((service.address() as AddressInfo).port))
  writeFileSync(join(directory, 'cert.pem'), ca)
  writeFileSync(join(directory, 'key.pem'), certificate.privateKeyPem, { mode: 0o600 })
  const args = ['router', '--port', '0', '--config', 'router.toml', '--cert', 'cert.pem', '--key', 'key.pem']
  router = new CliProcess(undefined, directory, [...args, '--log-level', 'warn'])
  port = Number((await router.output(/https:\/\/127\.0\.0\.1:(\d+)/u))[1])
})

after(async () => {
  router.signal('SIGTERM')
  const { code, stderr } = await router.exit()
  service.closeAllConnections()
  service.close()
  rmSync(directory, { recursive: true, force: true })
  assert.equal(code, 0, stderr)
})

async function honest(): Promise<Http3Client> {
  const trust = [{ pem: ca, label: 'test' }]
  return new Http3Client(
    await connect({
      host: '127.0.0.1',
      port,
      alpn: ['h3'],
      serverName: 'localhost',
      ca: trust,
      handshakeTimeoutMs: 60_000,
    }),
  )
}

/** One request of a client that keeps the rules. */
async function ask(
  path: string,
  options: { method?: string; authority?: string; body?: Uint8Array | AsyncIterable<Uint8Array> } = {},
): Promise<{ status: number; headers: Readonly<Record<string, string>>; text: string }> {
  const client = await honest()
  const { method = 'GET', authority = 'localhost', body } = options
  const response: Http3Response = await client.request({
    method,
    authority,
    path,
    ...(body === undefined ? {} : { body }),
  })
  const text = await response.body.text()
  await client.close()
  return { status: response.status, headers: Object.fromEntries(response.headers), text }
}

/** Nobody else may suffer: an honest request is answered. */
async function othersAreServed(): Promise<void> {
  assert.equal((await ask('/api/fine')).status, 200)
}

for (const [what, path, status, kind] of [
  ['a path that no service takes', '/nowhere', 404, 'no-route'],
  ['a service that is not there', '/gone/x', 502, 'upstream-refused'],
  ['a ".." segment', '/api/../gone', 400, 'bad-path'],
  ['an escaped ".." segment', '/api/%2e%2e/gone', 400, 'bad-path'],
  ['a ".." behind an escaped slash', '/api/..%2fgone', 400, 'bad-path'],
  ['an escaped slash', '/api/a%2fb', 400, 'bad-path'],
  ['an escaped backslash', '/api/a%5cb', 400, 'bad-path'],
  ['a path that is not UTF-8', '/api/%ff%fe', 400, 'bad-path'],
  ['an overlong UTF-8 slash', '/api/%c0%af', 400, 'bad-path'],
  ['an escaped line end', '/api/a%0d%0ax-evil:%201', 400, 'bad-path'],
  ['an escaped NUL', '/api/a%00', 400, 'bad-path'],
  ['a broken escape', '/api/%g1', 400, 'bad-path'],
] as const) {
  test(`${what} is answered with ${status} and the reason`, async () => {
    const answer = await ask(path)
    assert.equal(answer.status, status)
    assert.equal(answer.headers['x-quicether-error'], kind)
    assert.equal(JSON.parse(answer.text).status, status)
  })
}

test('the host decides: a service for one host is not reached under another name', async () => {
  assert.equal((await ask('/hosted/x', { authority: 'api.example' })).status, 200)
  assert.equal((await ask('/hosted/x', { authority: 'api.example:4433' })).status, 200)
  assert.equal((await ask('/hosted/x', { authority: 'localhost' })).status, 404)
})

test('a body above the limit gets 413, with and without an announced length', async () => {
  async function* unannounced(): AsyncIterable<Uint8Array> {
    for (let at = 0; at < 40; at++) yield Buffer.alloc(100)
  }
  for (const body of [Buffer.alloc(1_001), unannounced()]) {
    const answer = await ask('/api/upload', { method: 'POST', body })
    assert.equal(answer.status, 413)
    assert.match(answer.text, /at most 1000 bytes/u)
  }
  assert.equal((await ask('/api/upload', { method: 'POST', body: Buffer.alloc(1_000) })).status, 200)
  assert.ok(!seen.includes('POST /api/upload 1001') && !seen.includes('POST /api/upload 4000'))
})

test('a client above its rate gets 429 and is told how long to wait', async () => {
  assert.deepEqual([(await ask('/rated/1')).status, (await ask('/rated/2')).status], [200, 200])
  const refused = await ask('/rated/3')
  assert.equal(refused.status, 429)
  assert.ok(Number(refused.headers['retry-after']) >= 1)
  await othersAreServed()
})

const get: Lines = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'localhost'],
  [':path', '/api/smuggled'],
]
const post: Lines = [[':method', 'POST'], ...get.slice(1)]
const withPath = (path: string): Lines => [...get.slice(0, 3), [':path', path]]

test('headers above the limit get 431 and nothing of them reaches a service', async () => {
  const client = await HostileClient.open(port, ca)
  assert.equal(await client.ask([...get, ['x-long', 'x'.repeat(5_000)]]), 431)
  assert.equal(await client.ask([...get, ...Array.from({ length: 120 }, () => ['a', 'b'] as const)]), 431)
  await client.close()
  await othersAreServed()
})

/** RFC 9114 §4.1.2, §4.2, §4.3, §10.3: what could mean two things to two servers. */
const smuggling: readonly (readonly [what: string, lines: Lines, body?: string])[] = [
  ['a body shorter than content-length', [...post, ['content-length', '5']], 'abc'],
  ['a body longer than content-length', [...post, ['content-length', '2']], 'abcGET /api/smuggled HTTP/1.1'],
  ['a content-length without a body', [...post, ['content-length', '5']]],
  ['two lengths', [...post, ['content-length', '3'], ['content-length', '4']], 'abc'],
  ['a list of lengths', [...post, ['content-length', '3, 4']], 'abc'],
  ['a length with a sign', [...post, ['content-length', '+3']], 'abc'],
  ['transfer-encoding', [...post, ['transfer-encoding', 'chunked']], '0\r\n\r\nGET /api/smuggled HTTP/1.1\r\n\r\n'],
  ['connection', [...get, ['connection', 'close']]],
  ['upgrade', [...get, ['upgrade', 'websocket']]],
  ['te other than trailers', [...get, ['te', 'gzip']]],
  ['a host that differs from :authority', [...get, ['host', 'api.example']]],
  ['two hosts', [...get, ['host', 'localhost'], ['host', 'localhost']]],
  ['two paths', [...get, [':path', '/api/smuggled']]],
  ['a pseudo-header after a field', [...get, ['a', 'b'], [':path', '/api/smuggled']]],
  ['an unknown pseudo-header', [...get, [':evil', '1']]],
  ['a response pseudo-header', [...get, [':status', '200']]],
  ['no method', get.slice(1)],
  ['no path', get.slice(0, 3)],
  ['an empty path', withPath('')],
  [
    'a method with a request inside',
    [[':method', 'GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\nGET'], ...get.slice(1)],
  ],
  ['a path with a request inside', withPath('/api HTTP/1.1\r\nhost: x\r\n\r\nGET /api/smuggled')],
  ['a path with a space', withPath('/api/smuggled HTTP/1.1')],
  ['a path with raw bytes', withPath('/api/\xff\xfe')],
  ['a scheme with a line end', [get[0] ?? ['', ''], [':scheme', 'https\r\nx: y'], ...get.slice(2)]],
  [
    'user information in :authority',
    [get[0] ?? ['', ''], [':scheme', 'https'], [':authority', 'a@localhost'], ...get.slice(3)],
  ],
  [
    'a line end in :authority',
    [get[0] ?? ['', ''], [':scheme', 'https'], [':authority', 'localhost\r\nx: y'], ...get.slice(3)],
  ],
  ['a line end in a value', [...get, ['a', 'b\r\nx-injected: 1']]],
  ['a bare line feed in a value', [...get, ['a', 'b\nx-injected: 1']]],
  ['NUL in a value', [...get, ['a', 'b\0c']]],
  ['a line end in a name', [...get, ['a\r\nx-injected', '1']]],
  ['a colon in a name', [...get, ['x-injected: 1\r\na', 'b']]],
  ['a space in a name', [...get, ['content-length ', '5']]],
  ['an upper-case name', [...get, ['Content-Length', '5']]],
  ['an empty name', [...get, ['', 'x']]],
]

test('every shape of request smuggling is refused by a reset, and none reaches a service', async () => {
  const outcomes: [string, Outcome][] = []
  const client = await HostileClient.open(port, ca)
  for (const [what, lines, body] of smuggling) {
    outcomes.push([what, await client.ask(lines, body === undefined ? undefined : Buffer.from(body))])
  }
  assert.deepEqual(
    outcomes,
    smuggling.map(([what]) => [what, 'H3_MESSAGE_ERROR']),
  )
  // The connection is as good as before.
  assert.equal(await client.ask(withPath('/api/after')), 200)
  await client.close()
  assert.deepEqual(
    seen.filter((line) => line.includes('smuggled')),
    [],
  )
})

test('frames out of order and broken QPACK end the connection with their code', async () => {
  for (const [bytes, code] of [
    [[0x00, 0x01, 0x61], 'H3_FRAME_UNEXPECTED'],
    [[0x04, 0x00], 'H3_FRAME_UNEXPECTED'],
    [[0x01, 0x03, 0x00, 0x00, 0xff], 'QPACK_DECOMPRESSION_FAILED'],
    [[0x01, 0x05, 0x00, 0x00, 0x27, 0xff, 0xff], 'QPACK_DECOMPRESSION_FAILED'],
  ] as const) {
    const client = await HostileClient.open(port, ca)
    const stream = await client.request()
    stream.end(Uint8Array.from(bytes))
    const reason = await client.connection.closed
    assert.ok(reason.kind === 'application' && reason.by === 'peer', JSON.stringify(reason))
    assert.equal(h3ErrorName(reason.code), code)
  }
  await othersAreServed()
})

test('clients that are slow on every kind of stream lose their streams, and others are served meanwhile', async () => {
  const slow = await HostileClient.open(port, ca)
  // Control, encoder and decoder stream, and one whose type never comes: a byte each, then nothing.
  await slow.uni(0x00, 0x04)
  await slow.uni(0x02, 0x3f)
  await slow.uni(0x03)
  await slow.uni(0x40)
  const head = headersOf(post)
  const neverHeaders = await slow.request()
  await neverHeaders.write(head.subarray(0, 5))
  const drip = await slow.request()
  let sent = 0
  const dripping = setInterval(() => {
    if (sent < head.length - 1) void drip.write(head.subarray(sent, ++sent)).catch(() => {})
  }, 200)
  const neverBody = await slow.request()
  await neverBody.write(headersOf([...post.slice(0, 3), [':path', '/api/slow']]))
  const neverEnds = await slow.request()
  await neverEnds.write(headersOf(withPath('/api/slow')))
  const neverReads = await slow.request()
  neverReads.end(headersOf(withPath('/api/big')))
  await othersAreServed()
  assert.equal(await outcomeOf(neverHeaders), 'H3_REQUEST_INCOMPLETE')
  assert.equal(await outcomeOf(drip), 'H3_REQUEST_INCOMPLETE')
  clearInterval(dripping)
  assert.equal(await outcomeOf(neverBody), 408)
  assert.equal(await outcomeOf(neverEnds), 408)
  // Reading begins when the router has given the response up: what came is not the whole, and does not look so.
  await router.output(/"path":"\/api\/big","service":"api","kind":"client-timeout"/u)
  assert.equal(await outcomeOf(neverReads), 'H3_INTERNAL_ERROR')
  assert.equal(await slow.ask(withPath('/api/after')), 200)
  await slow.close()
  await othersAreServed()
})

test('a client opens no more unidirectional streams than it may', async () => {
  const client = await HostileClient.open(port, ca)
  const given = new AbortController()
  let opened = 0
  const opening = (async () => {
    while (!given.signal.aborted) {
      const stream = await client.connection.openStream({ kind: 'unidirectional', signal: given.signal })
      await stream.write(Uint8Array.of(0x40))
      opened++
    }
  })().catch(() => {})
  await othersAreServed()
  await othersAreServed()
  given.abort()
  await opening
  assert.ok(opened > 0 && opened < 1_000, `${opened} streams`)
  await client.close()
})

test('over TCP, too, slow headers and silent connections are given up', async () => {
  const options = { host: '127.0.0.1', port, ca, servername: 'localhost' }
  const http1 = connectTls({ ...options, ALPNProtocols: ['http/1.1'] })
  await once(http1, 'secureConnect')
  http1.write('GET /api/x HTTP/1.1\r\nhost: localhost\r\nx-slow: ')
  const http2 = connectTls({ ...options, ALPNProtocols: ['h2'] })
  await once(http2, 'secureConnect')
  http2.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  http1.on('error', () => {}).resume()
  http2.on('error', () => {}).resume()
  await othersAreServed()
  await Promise.all([once(http1, 'close'), once(http2, 'close')])
  const session = connectHttp2(`https://localhost:${port}`, {
    ca,
    lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  })
  const [headers] = await once(session.request({ ':path': '/api/x' }).resume(), 'response')
  assert.equal(headers[':status'], 200)
  assert.equal(headers['alt-svc'], `h3=":${port}"; ma=86400`)
  session.close()
})

test('a certificate without the host name is refused by the router that is to serve it, and by clients', async (t) => {
  const scratch = scratchDirectory(t)
  writeFileSync(join(scratch, 'c.pem'), ca)
  writeFileSync(join(scratch, 'k.pem'), certificate.privateKeyPem, { mode: 0o600 })
  const config = '[[service]]\nname = "web"\nprefix = "/"\nhosts = ["www.example"]\nurl = "http://127.0.0.1:9"\n'
  writeFileSync(join(scratch, 'router.toml'), config)
  const refused = await runCli(t, scratch, [
    'router',
    '--port',
    '0',
    '--config',
    'router.toml',
    '--cert',
    'c.pem',
    '--key',
    'k.pem',
  ])
  assertExplained(
    refused,
    1,
    /names localhost, api\.example, 127\.0\.0\.1, but service "web" is for www\.example \(c\.pem\)/u,
  )
  const client = ['client', '--port', String(port), '--ca', 'c.pem', '--server-name', 'other.example']
  assertExplained(await runCli(t, scratch, client), 1, /certificate/u)
})
