/** Tests of the proxy against real HTTP services: what clients get when services are well, dead, silent or rude. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseConfig } from './config/load.ts'
import { MetricsCollector } from './metrics/collector.ts'
import { StreamProxy, type ProxyFailure } from './proxy.ts'
import { MemoryExchange, type MemoryExchangeOptions } from './testing/memory-exchange.ts'

interface Fixture {
  readonly collector: MetricsCollector
  readonly failures: ProxyFailure[]
  run(options: MemoryExchangeOptions): { readonly exchange: MemoryExchange; readonly done: Promise<void> }
  ask(options: MemoryExchangeOptions): Promise<MemoryExchange>
}

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function fixture(t: TestContext, services: Record<string, string>, extra = ''): Fixture {
  const toml = Object.entries(services).map(
    ([name, url]) =>
      `[[service]]\nname = "${name}"\nprefix = "/${name}"\nurl = "${url}"\nkind = "${name === 'video' ? 'video' : 'other'}"\n${extra}\n`,
  )
  const nowMs = (): number => performance.now()
  const collector = new MetricsCollector({ runId: 'test', listen: 'test', streamsKept: 10, nowMs })
  const failures: ProxyFailure[] = []
  const proxy = new StreamProxy({
    services: parseConfig(toml.join('\n'), 'test.toml').service,
    collector,
    nowMs,
    onFailure: (failure) => failures.push(failure),
  })
  t.after(() => proxy.close())
  const connection = collector.openConnection('192.0.2.7:4000', () => undefined)
  const run: Fixture['run'] = (options) => {
    const exchange = new MemoryExchange(options)
    return { exchange, done: proxy.handle(exchange.request, exchange.response, { connection, address: '192.0.2.7' }) }
  }
  const ask: Fixture['ask'] = async (options) => {
    const { exchange, done } = run(options)
    await done
    return exchange
  }
  return { collector, failures, run, ask }
}

async function* chunked(count: number, bytes: number, pauseMs = 0): AsyncIterable<Uint8Array> {
  for (let at = 0; at < count; at++) {
    if (pauseMs > 0) await sleep(pauseMs)
    yield new Uint8Array(bytes).fill(at)
  }
}

test('a request reaches its service with its fields, without the fields of one hop, and with forwarding fields', async (t) => {
  const url = await serve(t, (request, response) =>
    response.end(JSON.stringify({ url: request.url, headers: request.headers })),
  )
  const exchange = await fixture(t, { api: url }).ask({
    path: '/api/a?b=c',
    headers: [
      ['x-own', '1'],
      ['connection', 'x-drop'],
      ['x-drop', '1'],
      ['te', 'trailers'],
      ['cookie', 'a=1'],
      ['cookie', 'b=2'],
      ['x-forwarded-for', '198.51.100.1'],
    ],
  })
  assert.equal(exchange.status, 200)
  const seen = JSON.parse(exchange.text())
  assert.equal(seen.url, '/api/a?b=c')
  assert.equal(seen.headers['x-own'], '1')
  assert.equal(seen.headers['x-drop'], undefined)
  assert.equal(seen.headers['te'], undefined)
  assert.equal(seen.headers['cookie'], 'a=1; b=2')
  assert.equal(seen.headers['host'], 'router.test')
  assert.equal(seen.headers['x-forwarded-for'], '192.0.2.7')
  assert.equal(seen.headers['content-length'], undefined)
  assert.equal(exchange.header('connection'), undefined)
  assert.equal(exchange.header('keep-alive'), undefined)
})

test('a body streams through while it is being sent, and both directions are measured', async (t) => {
  const url = await serve(t, (request, response) => request.pipe(response))
  const { ask, collector } = fixture(t, { video: url })
  const exchange = await ask({ method: 'POST', path: '/video/x', body: chunked(20, 5_000, 2) })
  assert.equal(Buffer.concat(exchange.chunks).length, 100_000)
  const stream = collector.snapshot('interval').streams[0]
  assert.ok(stream)
  assert.equal(stream.outcome, 'completed')
  assert.equal(stream.requestBytes, 100_000)
  assert.equal(stream.responseBytes, 100_000)
  assert.equal(stream.retransmissions, 1)
  assert.equal(stream.lossRatio, 0.25)
  assert.notEqual(stream.jitterMs, null)
  assert.notEqual(stream.quicLatencyMs, null)
  assert.notEqual(stream.httpLatencyMs, null)
  assert.ok(stream.throughputSamples.length > 0)
})

test('trailers of the service reach the client', async (t) => {
  const url = await serve(t, (_request, response) => {
    response.writeHead(200, { trailer: 'x-digest' })
    response.write('body')
    response.addTrailers({ 'x-digest': 'abc' })
    response.end()
  })
  const exchange = await fixture(t, { api: url }).ask({ path: '/api' })
  assert.deepEqual(exchange.trailers, [['x-digest', 'abc']])
})

test('several cookies of a response stay several lines', async (t) => {
  const url = await serve(t, (_request, response) => response.writeHead(204, { 'set-cookie': ['a=1', 'b=2'] }).end())
  const exchange = await fixture(t, { api: url }).ask({ path: '/api' })
  assert.deepEqual(
    exchange.headers.filter(([name]) => name === 'set-cookie').map(([, value]) => value),
    ['a=1', 'b=2'],
  )
})

test('a dead service gives 502 with the reason and the other service keeps answering', async (t) => {
  const dead = createServer().listen(0, '127.0.0.1')
  await once(dead, 'listening')
  const port = (dead.address() as AddressInfo).port
  dead.close()
  await once(dead, 'close')
  const url = await serve(t, (_request, response) => response.end('well'))
  const { ask, collector, failures } = fixture(t, { dead: `http://127.0.0.1:${port}`, api: url })
  const exchange = await ask({ method: 'POST', path: '/dead/x', body: chunked(3, 10) })
  assert.equal(exchange.status, 502)
  assert.equal(exchange.header('x-quicether-error'), 'upstream-refused')
  assert.match(JSON.parse(exchange.text()).detail, /service "dead" at http:\/\/127\.0\.0\.1:\d+ refuses connections/u)
  assert.equal((await ask({ path: '/api' })).text(), 'well')
  assert.equal(failures.length, 1)
  assert.deepEqual(
    collector.snapshot('interval').errors.map((entry) => [entry.scope, entry.kind]),
    [['backend', 'upstream-refused']],
  )
})

test('a service that never answers gives 504 and the other requests are not held up', async (t) => {
  const silent = await serve(t, (request) => request.resume())
  const url = await serve(t, (_request, response) => response.end('well'))
  const { ask, run } = fixture(t, { silent, api: url }, 'response_timeout_ms = 100')
  const slow = run({ method: 'POST', path: '/silent', body: chunked(2, 10) })
  assert.equal((await ask({ path: '/api' })).text(), 'well')
  assert.equal(slow.exchange.status, undefined)
  await slow.done
  assert.equal(slow.exchange.status, 504)
  assert.match(slow.exchange.text(), /did not answer within 100 ms/u)
})

test('a client that sends slowly is not taken for a silent service', async (t) => {
  const url = await serve(t, (request, response) => request.on('end', () => response.end('done')).resume())
  const exchange = await fixture(t, { api: url }, 'response_timeout_ms = 60').ask({
    method: 'POST',
    path: '/api',
    body: chunked(4, 10, 100),
  })
  assert.equal(exchange.status, 200)
})

test('when the client leaves in the middle of an upload the service sees the request aborted', async (t) => {
  let aborted: (() => void) | undefined
  const seen = new Promise<void>((resolve) => {
    aborted = resolve
  })
  const url = await serve(t, (request, response) => {
    request.on('error', () => {}).resume()
    response.on('close', () => aborted?.())
  })
  const { run, collector } = fixture(t, { api: url })
  const { exchange, done } = run({ method: 'POST', path: '/api', body: chunked(1_000, 100, 5) })
  setTimeout(() => exchange.leave(), 50)
  await Promise.all([done, seen])
  assert.ok(exchange.abortReason)
  assert.equal(collector.snapshot('interval').streams[0]?.outcome, 'aborted')
})

test('when the service breaks off in its response the client sees an aborted stream, not a short body', async (t) => {
  const url = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('short')
    setTimeout(() => response.destroy(), 20)
  })
  const exchange = await fixture(t, { api: url }).ask({ path: '/api' })
  assert.equal(exchange.status, 200)
  assert.equal(exchange.isEnded, false)
  assert.match(exchange.abortReason ?? '', /service "api"/u)
})

test('a client that reads slowly holds the service back instead of filling memory', async (t) => {
  let producedBytes = 0
  const url = await serve(t, (_request, response) => {
    const more = (): void => {
      while (producedBytes < 64 * 1024 * 1024) {
        producedBytes += 65_536
        if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', more)
      }
      response.end()
    }
    more()
  })
  let release: (() => void) | undefined
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const { run } = fixture(t, { api: url })
  const { exchange, done } = run({ path: '/api', onWrite: () => gate })
  await sleep(300)
  assert.ok(
    producedBytes < 32 * 1024 * 1024,
    `the service could write ${producedBytes} bytes to a client that reads nothing`,
  )
  exchange.leave()
  release?.()
  await done
})

test('a kept connection that the service closes in the meantime costs the client nothing', async (t) => {
  let accepted = 0
  const server = createTcpServer((socket) => {
    accepted++
    let requests = 0
    socket.on('error', () => {})
    socket.on('data', () => {
      requests++
      if (requests === 1) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
      else socket.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { ask } = fixture(t, { api: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, 'connections = 1')
  assert.equal((await ask({ path: '/api' })).text(), 'ok')
  assert.equal((await ask({ path: '/api' })).text(), 'ok')
  assert.equal(accepted, 2)
})

test('many requests share few kept connections', async (t) => {
  const sockets = new Set<unknown>()
  const url = await serve(t, (request, response) => {
    sockets.add(request.socket)
    response.end('x')
  })
  const { ask } = fixture(t, { api: url }, 'connections = 4')
  await Promise.all(Array.from({ length: 60 }, () => ask({ path: '/api' })))
  assert.ok(sockets.size <= 4, `${sockets.size} connections`)
})

test('a path without a route gives 404 that lists the routes', async (t) => {
  const url = await serve(t, (_request, response) => response.end())
  const exchange = await fixture(t, { api: url }).ask({ path: '/elsewhere' })
  assert.equal(exchange.status, 404)
  assert.match(exchange.text(), /routed: \/api/u)
})

test('a service that talks nonsense gives 502', async (t) => {
  const server = createTcpServer((socket) => socket.on('error', () => {}).end('nonsense\r\n\r\n'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const exchange = await fixture(t, { api: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }).ask({
    path: '/api',
  })
  assert.equal(exchange.status, 502)
})

const isMarked = (headers: IncomingHttpHeaders): boolean => headers['early-data'] === '1'

test('a request of 0-RTT is marked, and 425 of the service is repaired when the handshake is complete', async (t) => {
  const seen: boolean[] = []
  const url = await serve(t, (request, response) => {
    seen.push(isMarked(request.headers))
    response.writeHead(isMarked(request.headers) ? 425 : 200).end('x')
  })
  const { run } = fixture(t, { api: url })
  const handshake = Promise.withResolvers<void>()
  const { exchange, done } = run({ path: '/api', confirmed: handshake.promise })
  while (seen.length === 0) await sleep(5)
  assert.equal(exchange.status, undefined)
  handshake.resolve()
  await done
  assert.equal(exchange.status, 200)
  assert.deepEqual(seen, [true, false])
})

test('425 for a request that was marked before it came here goes back to the client', async (t) => {
  let count = 0
  const url = await serve(t, (_request, response) => {
    count++
    response.writeHead(425).end()
  })
  const exchange = await fixture(t, { api: url }).ask({
    path: '/api',
    headers: [['early-data', '1']],
    confirmed: Promise.resolve(),
  })
  assert.equal(exchange.status, 425)
  assert.equal(count, 1)
})

test('a service that takes no 0-RTT gets its requests after the handshake, unmarked', async (t) => {
  const seen: boolean[] = []
  const url = await serve(t, (request, response) => {
    seen.push(isMarked(request.headers))
    response.end()
  })
  const { run } = fixture(t, { api: url }, 'early_data = false')
  const handshake = Promise.withResolvers<void>()
  const { done } = run({ path: '/api', confirmed: handshake.promise })
  await sleep(50)
  assert.deepEqual(seen, [])
  handshake.resolve()
  await done
  assert.deepEqual(seen, [false])
})

test('CONNECT without a protocol is not a way to other addresses', async (t) => {
  const url = await serve(t, (_request, response) => response.end())
  const exchange = await fixture(t, { api: url }).ask({ method: 'CONNECT', path: '/api' })
  assert.equal(exchange.status, 501)
})
