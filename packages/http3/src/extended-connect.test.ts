/** Extended CONNECT (RFC 9220), HTTP Datagrams and capsules (RFC 9297) through the public API and byte by byte. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CapsuleParser, encodeCapsule } from './capsules.ts'
import { Http3Client, Http3ConnectError, type Http3ClientOptions } from './client.ts'
import { Http3Error } from './errors.ts'
import type { HeaderList } from './headers.ts'
import { type Http3Handler, serveHttp3 } from './server.ts'
import { createMemoryPair, type MemoryPair } from './testing/memory-connection.ts'
import { emptySettings, frame, headersFrame, RawPeer, varint } from './testing/raw-peer.ts'
import { closesWith, CONTROL, GET, staysOpen } from './testing/session-fixtures.ts'

const all = { extendedConnect: true, datagrams: true }
const CONNECT: HeaderList = [
  [':method', 'CONNECT'],
  [':protocol', 'x-echo'],
  [':scheme', 'https'],
  [':authority', 'example.test'],
  [':path', '/chat?room=1'],
]
const target = { authority: 'example.test', path: '/chat?room=1', protocol: 'x-echo' }
const bytes = (text: string) => new TextEncoder().encode(text)
const text = (data: Uint8Array) => new TextDecoder().decode(data)

function serve(handler: Http3Handler, config = all, options: Http3ClientOptions = { config: all }) {
  const pair: MemoryPair = createMemoryPair({ seed: 3 })
  const server = serveHttp3(pair.server, handler, { config })
  const client = new Http3Client(pair.client, options)
  return { pair, server, client, [Symbol.dispose]: () => pair[Symbol.dispose]() }
}

test('extended CONNECT gives both sides a byte stream and unreliable datagrams', async () => {
  let seen: string | undefined
  using world = serve(async (request, response) => {
    seen = `${request.method} ${request.protocol} ${request.scheme} ${request.authority} ${request.path}`
    const tunnel = response.accept([['x-accepted', 'yes']])
    void (async () => {
      for await (const payload of tunnel.datagrams) tunnel.datagrams.send(bytes(text(payload).toUpperCase()))
    })()
    for await (const piece of tunnel.body) await tunnel.write(piece)
    tunnel.end()
  })
  const tunnel = await world.client.connect({ ...target, headers: [['x-mine', '1']] })
  // RFC 9220 §3, RFC 8441 §4: the pseudo-header fields of the target are there
  assert.equal(seen, 'CONNECT x-echo https example.test /chat?room=1')
  assert.deepEqual(tunnel.headers, [['x-accepted', 'yes']])
  assert.ok(tunnel.datagrams.bytesMax > 1_000)
  assert.equal(tunnel.datagrams.send(bytes('ping')), true)
  const first = await tunnel.datagrams[Symbol.asyncIterator]().next()
  assert.equal(text(first.value ?? new Uint8Array()), 'PING')
  await tunnel.write(bytes('one '))
  await tunnel.write(bytes('two'))
  tunnel.end()
  assert.equal(await tunnel.body.text(), 'one two')
  await tunnel.closed
})

test('the web streams of a tunnel carry the same bytes', async () => {
  using world = serve(async (_request, response) => {
    const tunnel = response.accept()
    await tunnel.readable.pipeTo(tunnel.writable)
  })
  const tunnel = await world.client.connect(target)
  const writer = tunnel.writable.getWriter()
  void writer.write(bytes('a'.repeat(100_000))).then(() => writer.close())
  let length = 0
  for await (const piece of tunnel.readable) length += piece.length
  assert.equal(length, 100_000)
})

test('a tunnel outlives the handler that accepted it', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  using world = serve((_request, response) => {
    const tunnel = response.accept()
    void promise.then(() => tunnel.write(bytes('later'))).then(() => tunnel.end())
  })
  const tunnel = await world.client.connect(target)
  resolve()
  assert.equal(await tunnel.body.text(), 'later')
})

test('a refusal has the status and the body of the answer', async () => {
  using world = serve((_request, response) => response.send(404, [], 'no such room'))
  const error: unknown = await world.client.connect(target).catch((reason: unknown) => reason)
  assert.ok(error instanceof Http3ConnectError)
  assert.equal(error.code, 'ERR_HTTP3_CONNECT_REFUSED')
  assert.equal(error.response.status, 404)
  assert.equal(await error.response.body.text(), 'no such room')
})

test('a server without the extension is not asked', async () => {
  using world = serve((_request, response) => response.send(200, [], ''), { extendedConnect: false, datagrams: false })
  await assert.rejects(world.client.connect(target), { code: 'ERR_HTTP3_UNSUPPORTED', by: 'local' })
})

test('a CONNECT of TCP needs no extension', async () => {
  using world = serve((request, response) => {
    const tunnel = response.accept()
    void tunnel.write(bytes(`${request.authority} ${request.protocol}`)).then(() => tunnel.end())
  })
  const tunnel = await world.client.connect({ authority: 'db.test:5432' })
  assert.equal(await tunnel.body.text(), 'db.test:5432 undefined')
  assert.equal(tunnel.datagrams.bytesMax, 0)
  assert.equal(tunnel.datagrams.send(bytes('x')), false)
})

test('an abort ends a tunnel on both sides', async () => {
  const ended = Promise.withResolvers<unknown>()
  using world = serve(async (_request, response) => {
    const tunnel = response.accept()
    try {
      for await (const piece of tunnel.body) void piece
    } catch (error) {
      ended.resolve(error)
    }
  })
  const abort = new AbortController()
  const tunnel = await world.client.connect({ ...target, signal: abort.signal })
  abort.abort()
  await assert.rejects(tunnel.body.text(), { code: 'ERR_HTTP3_ABORTED' })
  const error = await ended.promise
  assert.ok(error instanceof Http3Error && error.code === 'ERR_HTTP3_STREAM_RESET' && error.by === 'peer')
})

test('an abort ends the wait for the settings of the server, too', async () => {
  using world = serve((_request, response) => response.send(200, [], ''))
  world.pair.network.server.isConnected = false
  const abort = new AbortController()
  const tunnel = world.client.connect({ ...target, signal: abort.signal })
  abort.abort()
  await assert.rejects(tunnel, { code: 'ERR_HTTP3_ABORTED' })
})

test('a handler that only accepts CONNECT cannot accept GET', async () => {
  const failures: unknown[] = []
  const pair = createMemoryPair()
  using _ = pair
  serveHttp3(pair.server, (_request, response) => void response.accept(), { onError: (error) => failures.push(error) })
  const response = await new Http3Client(pair.client).request({ method: 'GET', authority: 'a.test' })
  assert.equal(response.status, 500)
  assert.ok(failures[0] instanceof Http3Error && failures[0].code === 'ERR_HTTP3_INVALID_ARGUMENT')
})

// ---- byte by byte

function rawServer(config: Partial<typeof all> = all) {
  const log: string[] = []
  const peer = new RawPeer('server', {
    config,
    onRequest: (exchange) => {
      log.push(`${exchange.request.method} ${exchange.request.protocol}`)
      exchange.events = {
        onDatagram: (payload) => log.push(`datagram ${payload.length}`),
        onInboundError: (error) => log.push(`error ${error.h3Name}`),
      }
      for (const payload of exchange.takeHeldDatagrams()) log.push(`held ${payload.length}`)
    },
  })
  peer.openUni(CONTROL, emptySettings)
  return { peer, log }
}

const withoutLine = (name: string): HeaderList => CONNECT.filter((line) => line[0] !== name)
for (const [what, headers] of [
  ['without :scheme', withoutLine(':scheme')],
  ['without :path', withoutLine(':path')],
  ['without :authority', withoutLine(':authority')],
  ['with an empty :protocol', [...withoutLine(':protocol'), [':protocol', '']]],
  ['with a :protocol that is no token', [...withoutLine(':protocol'), [':protocol', 'web socket']]],
  ['with :protocol twice', [...CONNECT, [':protocol', 'x-echo']]],
  ['of another method', [[':method', 'GET'], ...withoutLine(':method')]],
] as const satisfies readonly (readonly [string, HeaderList])[]) {
  test(`an extended CONNECT ${what} is malformed (RFC 8441 §4)`, () => {
    const { peer, log } = rawServer()
    const id = peer.openBidi(headersFrame(headers))
    staysOpen(peer)
    assert.equal(peer.resetCode(id), 0x10e)
    assert.deepEqual(log, [])
  })
}

test('a server that has not announced extended CONNECT takes :protocol for malformed (RFC 9220 §3)', () => {
  const { peer, log } = rawServer({})
  const id = peer.openBidi(headersFrame(CONNECT))
  assert.equal(peer.resetCode(id), 0x10e)
  assert.deepEqual(log, [])
})

test('datagrams that overtake their request are given to it (RFC 9297 §2.1)', () => {
  const { peer, log } = rawServer()
  peer.raw.sendDatagram(Uint8Array.from([...varint(0), 1, 2, 3]))
  peer.network.run()
  peer.openBidi(headersFrame(CONNECT))
  peer.raw.sendDatagram(Uint8Array.from([...varint(0), 1]))
  staysOpen(peer)
  assert.deepEqual(log, ['CONNECT x-echo', 'held 3', 'datagram 1'])
})

test('what overtakes requests that never come is bounded and forgotten', () => {
  const { peer, log } = rawServer()
  for (let i = 0; i < 5_000; i++) peer.raw.sendDatagram(Uint8Array.from([...varint(i % 50), 1, 2]))
  peer.network.run()
  peer.openBidi(headersFrame(CONNECT))
  staysOpen(peer)
  assert.ok(log.filter((line) => line.startsWith('held')).length <= 32)
})

test('a datagram for a GET ends that request with H3_DATAGRAM_ERROR (RFC 9297 §2)', () => {
  const { peer, log } = rawServer()
  const id = peer.openBidi(headersFrame(GET))
  peer.raw.sendDatagram(Uint8Array.from([0, 1]))
  staysOpen(peer)
  assert.equal(peer.resetCode(id), 0x33)
  assert.deepEqual(log, ['GET undefined', 'error H3_DATAGRAM_ERROR'])
})

test('a datagram that came before a GET ends it as well', () => {
  const { peer, log } = rawServer()
  peer.raw.sendDatagram(Uint8Array.from([0, 1]))
  peer.network.run()
  const id = peer.openBidi(headersFrame(GET))
  staysOpen(peer)
  assert.equal(peer.resetCode(id), 0x33)
  assert.deepEqual(log, [])
})

test('datagrams behind the end of the request are dropped (RFC 9297 §2.1)', () => {
  const { peer, log } = rawServer()
  const id = peer.openBidi(headersFrame(CONNECT))
  peer.raw.reset(id, 0x10c)
  peer.network.run()
  peer.raw.sendDatagram(Uint8Array.from([0, 1]))
  staysOpen(peer)
  assert.deepEqual(log, ['CONNECT x-echo', 'error H3_REQUEST_CANCELLED'])
})

for (const [what, data] of [
  ['that is empty', []],
  ['that ends inside its quarter stream ID', [0x40]],
  ['of a quarter stream ID of 2^60', [0xd0, 0, 0, 0, 0, 0, 0, 0]],
] as const) {
  test(`a datagram ${what} closes the connection with H3_DATAGRAM_ERROR (RFC 9297 §2.1)`, () => {
    const { peer } = rawServer()
    peer.raw.sendDatagram(Uint8Array.from(data))
    closesWith(peer, 'H3_DATAGRAM_ERROR')
  })
}

test('datagrams are not looked at where they were not announced', () => {
  const { peer, log } = rawServer({ extendedConnect: true })
  peer.openBidi(headersFrame(CONNECT))
  peer.raw.sendDatagram(Uint8Array.from([]))
  staysOpen(peer)
  assert.deepEqual(log, ['CONNECT x-echo'])
})

for (const setting of [0x08, 0x33]) {
  test(`setting 0x${setting.toString(16)} of 2 is H3_SETTINGS_ERROR (RFC 9297 §2.1.1, RFC 9220 §3)`, () => {
    const peer = new RawPeer('client')
    peer.openUni(CONTROL, frame(0x04, [setting, 2]))
    closesWith(peer, 'H3_SETTINGS_ERROR')
  })
}

// ---- capsules

test('capsules survive any fragmentation, unknown ones pass by (RFC 9297 §3.2)', () => {
  const stream = [
    ...encodeCapsule(0x00, bytes('first')),
    ...encodeCapsule(0x3fff, new Uint8Array(3_000)),
    ...encodeCapsule(0x2843, new Uint8Array(0)),
    ...encodeCapsule(0x00, bytes('x'.repeat(2_000))),
    ...encodeCapsule(0x00, new Uint8Array(0)),
  ]
  for (const step of [1, 2, 3, 7, 1_000, stream.length]) {
    const parser = new CapsuleParser((type) => type !== 0x3fff)
    const found: string[] = []
    for (let at = 0; at < stream.length; at += step) {
      for (const { type, value } of parser.push(Uint8Array.from(stream.slice(at, at + step)))) {
        found.push(`${type} ${value.length} ${text(value.subarray(0, 5))}`)
      }
    }
    parser.end()
    assert.deepEqual(found, ['0 5 first', `${0x2843} 0 `, '0 2000 xxxxx', '0 0 '])
  }
})

test('a capsule that is cut off is malformed (RFC 9297 §3.3)', () => {
  const whole = encodeCapsule(0, bytes('value'))
  for (let length = 1; length < whole.length; length++) {
    const parser = new CapsuleParser(() => true)
    assert.deepEqual(parser.push(whole.subarray(0, length)), [])
    assert.throws(() => parser.end(), { code: 'ERR_HTTP3_MESSAGE' })
  }
})

test('a capsule over the limit is refused before it is gathered', () => {
  const parser = new CapsuleParser(() => true, 100)
  assert.throws(() => parser.push(Uint8Array.from([0, 0x40, 101])), /longer than the 100 allowed/)
})
