/** WebTransport over HTTP/3 (draft-ietf-webtrans-http3): both sides through the public API, and byte by byte. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http3Client } from './client.ts'
import { encodeCapsule } from './capsules.ts'
import type { HeaderList } from './headers.ts'
import { type Http3Handler, serveHttp3 } from './server.ts'
import { createMemoryPair } from './testing/memory-connection.ts'
import { frame, headersFrame, varint } from './testing/raw-peer.ts'
import { CONTROL } from './testing/session-fixtures.ts'
import type { MemoryNetworkOptions, MemoryTransport } from './testing/memory-transport.ts'
import { fromHttp3Code, toHttp3Code } from './webtransport-codes.ts'
import type { WebTransportSession } from './webtransport-session.ts'

const config = { webTransportSessions: 4 }
const target = { authority: 'example.test', path: '/wt' }
const bytes = (text: string) => new TextEncoder().encode(text)
const text = (data: Uint8Array) => new TextDecoder().decode(data)

function serve(handler: Http3Handler, options: MemoryNetworkOptions = {}) {
  const pair = createMemoryPair({ seed: 5, ...options })
  const server = serveHttp3(pair.server, handler, { config })
  const client = new Http3Client(pair.client, { config })
  return { pair, server, client, [Symbol.dispose]: () => pair[Symbol.dispose]() }
}

async function firstOf<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item
  throw new Error('nothing came')
}

/** Sends back whatever comes, on streams of both kinds and as datagrams. */
const echo: Http3Handler = (_request, response) => {
  const session = response.acceptWebTransport()
  void (async () => {
    for await (const stream of session.incomingBidirectionalStreams) void stream.readable.pipeTo(stream.writable)
  })()
  void (async () => {
    for await (const stream of session.incomingUnidirectionalStreams) {
      const back = await session.createUnidirectionalStream()
      back.end(await stream.bytes())
    }
  })()
  void (async () => {
    for await (const payload of session.datagrams) session.datagrams.send(payload)
  })()
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`streams of both kinds and datagrams go through a session and back (seed ${seed})`, async () => {
    using world = serve(echo, { seed, fragmentBytes: seed % 2 === 0 ? 1 : 1_200 })
    const session = await world.client.webTransport(target)
    const both = await session.createBidirectionalStream()
    await both.write(bytes('there '))
    both.end(bytes('and back'))
    assert.equal(await both.text(), 'there and back')
    const one = await session.createUnidirectionalStream()
    one.end(bytes('one way'))
    assert.equal(await (await firstOf(session.incomingUnidirectionalStreams)).text(), 'one way')
    assert.ok(session.datagrams.bytesMax > 1_000)
    session.datagrams.send(bytes('ping'))
    assert.equal(text(await firstOf(session.datagrams)), 'ping')
    assert.deepEqual(await session.close(7, 'done'), { code: 7, reason: 'done', by: 'local', isClean: true })
  })
}

test('a server opens streams, too', async () => {
  using world = serve(async (_request, response) => {
    const session = response.acceptWebTransport()
    const stream = await session.createBidirectionalStream()
    stream.end(bytes(`hello ${await stream.text()}`))
  })
  const session = await world.client.webTransport(target)
  const stream = await firstOf(session.incomingBidirectionalStreams)
  stream.end(bytes('world'))
  assert.equal(await stream.text(), 'hello world')
})

test('an end tells code and reason, and gives up the streams of its session on both sides', async () => {
  const ended = Promise.withResolvers<unknown>()
  const theirs = Promise.withResolvers<unknown>()
  using world = serve(async (_request, response) => {
    const session = response.acceptWebTransport()
    const stream = await firstOf(session.incomingBidirectionalStreams)
    ended.resolve(await session.closed)
    theirs.resolve(await stream.text().catch((error: unknown) => error))
  })
  const session = await world.client.webTransport(target)
  const stream = await session.createBidirectionalStream()
  await stream.write(bytes('x'))
  for (let n = 0; n < 50; n++) await new Promise((resolve) => setImmediate(resolve))
  void session.close(0xffffffff, 'enough ✓')
  assert.deepEqual(await ended.promise, { code: 0xffffffff, reason: 'enough ✓', by: 'peer', isClean: true })
  const error = await theirs.promise
  assert.ok(error instanceof Error && 'code' in error)
  assert.match(String(error.code), /ERR_SESSION_CLOSED|ERR_STREAM_RESET/)
  await assert.rejects(stream.write(bytes('y')), { code: 'ERR_SESSION_CLOSED' })
  await assert.rejects(session.createBidirectionalStream(), { code: 'ERR_HTTP3_INVALID_STATE' })
  await stream.closed
})

test('a session whose stream breaks is not closed cleanly', async () => {
  const ended = Promise.withResolvers<WebTransportSession['closed']>()
  using world = serve((_request, response) => ended.resolve(response.acceptWebTransport().closed))
  const abort = new AbortController()
  await world.client.webTransport({ ...target, signal: abort.signal })
  abort.abort()
  const close = await ended.promise
  assert.equal(close.isClean, false)
  assert.equal(close.by, 'peer')
})

test('an application resets its streams with its own 32-bit codes', async () => {
  const seen = Promise.withResolvers<unknown>()
  using world = serve(async (_request, response) => {
    const stream = await firstOf(response.acceptWebTransport().incomingBidirectionalStreams)
    seen.resolve(await stream.bytes().catch((error: unknown) => error))
  })
  const session = await world.client.webTransport(target)
  const stream = await session.createBidirectionalStream()
  await stream.write(bytes('x'))
  for (let n = 0; n < 50; n++) await new Promise((resolve) => setImmediate(resolve))
  stream.reset(0xdeadbeef)
  const error = await seen.promise
  assert.ok(error instanceof Error && 'applicationCode' in error)
  assert.equal(error.applicationCode, 0xdeadbeef)
})

test('every 32-bit code survives the way through HTTP/3 codes, none becomes a reserved one (§4.4)', () => {
  for (const code of [0, 1, 29, 30, 31, 59, 60, 1_000, 0x7fffffff, 0xfffffffe, 0xffffffff]) {
    const onWire = toHttp3Code(code)
    assert.notEqual((onWire - 0x21) % 0x1f, 0)
    assert.equal(fromHttp3Code(onWire), code)
  }
  assert.equal(toHttp3Code(0), 0x52e4a40fa8db)
  assert.equal(toHttp3Code(0xffffffff), 0x52e5ac983162)
  for (const code of [0x100, 0x52e4a40fa8da, 0x52e5ac983163]) assert.equal(fromHttp3Code(code), undefined)
})

test('GOAWAY asks sessions to finish, and the server waits for them', async () => {
  const accepted = Promise.withResolvers<void>()
  using world = serve((_request, response) => {
    response.acceptWebTransport()
    accepted.resolve()
  })
  const session = await world.client.webTransport(target)
  await accepted.promise
  const gone = world.server.shutdown()
  await session.draining
  await session.close()
  assert.equal((await gone).kind, 'application')
})

test('sessions beyond the limit are answered with 429, and elsewhere WebTransport with 501', async () => {
  using world = serve(echo)
  const sessions = await Promise.all([1, 2, 3, 4].map(() => world.client.webTransport(target)))
  await assert.rejects(world.client.webTransport(target), { code: 'ERR_HTTP3_CONNECT_REFUSED' })
  await sessions[0]?.close()
  const pair = createMemoryPair()
  using _ = pair
  serveHttp3(pair.server, echo, { config: { extendedConnect: true } })
  const client = new Http3Client(pair.client)
  await assert.rejects(client.connect({ ...target, protocol: 'webtransport' }), /status 501/)
  await assert.rejects(client.webTransport(target), { code: 'ERR_HTTP3_UNSUPPORTED' })
})

// ---- byte by byte, as a server sees a client of whatever kind

const CONNECT: HeaderList = [
  [':method', 'CONNECT'],
  [':protocol', 'webtransport'],
  [':scheme', 'https'],
  [':authority', 'example.test'],
  [':path', '/wt'],
  ['sec-webtransport-http3-draft02', '1'],
]
const settle = async () => {
  for (let n = 0; n < 60; n++) await new Promise((resolve) => setImmediate(resolve))
}

function raw(handler: Http3Handler) {
  const pair = createMemoryPair({ seed: 9, unidirectionalMax: 100 })
  serveHttp3(pair.server, handler, { config })
  const peer: MemoryTransport = pair.network.client
  const codes: string[] = []
  pair.client.onEvent = (event) => {
    if (event.kind === 'streamReset' || event.kind === 'streamStopped') codes.push(`${event.kind} ${event.code}`)
    if (event.kind === 'closed' && event.reason.kind === 'application') codes.push(`closed ${event.reason.code}`)
  }
  const open = (kind: 'bidirectional' | 'unidirectional', data: readonly number[]): number => {
    const id = peer.openStream(kind) as number
    peer.write(id, Uint8Array.from(data))
    return id
  }
  open('unidirectional', [CONTROL, ...frame(0x04, [0x08, 1, 0x33, 1])])
  return { pair, peer, codes, open, [Symbol.dispose]: () => pair[Symbol.dispose]() }
}

test('streams that overtake their session are given to it (§4.6)', async () => {
  const got: string[] = []
  using world = raw(async (_request, response) => {
    const session = response.acceptWebTransport()
    for await (const stream of session.incomingUnidirectionalStreams) got.push(await stream.text())
  })
  const early = world.open('unidirectional', [...varint(0x54), ...varint(0), ...bytes('early')])
  world.peer.finish(early)
  await settle()
  world.open('bidirectional', headersFrame(CONNECT))
  await settle()
  assert.deepEqual(got, ['early'])
})

test('streams that wait for a session are few: the others are rejected (§4.6)', async () => {
  using world = raw(() => undefined)
  for (let n = 0; n < 40; n++) world.open('unidirectional', [...varint(0x54), ...varint(0)])
  await settle()
  assert.deepEqual(new Set(world.codes), new Set([`streamStopped ${0x3994bd84}`]))
  assert.ok(world.codes.length >= 8)
})

test('streams of a session that was refused or is over are given up', async () => {
  using world = raw((_request, response) => response.send(404, [], ''))
  const id = world.open('bidirectional', headersFrame(CONNECT))
  world.peer.finish(id)
  await settle()
  world.open('unidirectional', [...varint(0x54), ...varint(id)])
  await settle()
  assert.ok(world.codes.includes(`streamStopped ${0x170d7b68}`), world.codes.join())
})

for (const [what, kind, data] of [
  ['a unidirectional stream', 'unidirectional', [...varint(0x54), 3]],
  ['a bidirectional stream', 'bidirectional', [...varint(0x41), 6]],
] as const) {
  test(`${what} that names a session that can be none closes the connection with H3_ID_ERROR (§4)`, async () => {
    using world = raw(echo)
    world.open(kind, data)
    await settle()
    assert.deepEqual(world.codes, [`closed ${0x108}`])
  })
}

test('WT_STREAM behind other frames closes the connection with H3_FRAME_ERROR (§4.2)', async () => {
  using world = raw((_request, response) => response.send(200, [], ''))
  world.open('bidirectional', [...frame(0x21), ...varint(0x41), 0])
  await settle()
  assert.deepEqual(world.codes, [`closed ${0x106}`])
})

test('without WebTransport its streams are unknown, as to any server', async () => {
  const pair = createMemoryPair()
  using _ = pair
  serveHttp3(pair.server, (_request, response) => response.send(200, [], 'fine'))
  const client = new Http3Client(pair.client)
  const id = pair.network.client.openStream('unidirectional') as number
  pair.network.client.write(id, Uint8Array.from([...varint(0x54), 0, 1, 2]))
  await settle()
  const response = await client.request({ method: 'GET', authority: 'a.test' })
  assert.equal(await response.body.text(), 'fine')
})

test('ordinary requests go on beside sessions', async () => {
  using world = serve((request, response) =>
    request.protocol === undefined ? response.send(200, [], 'plain') : echo(request, response),
  )
  const session = await world.client.webTransport(target)
  const response = await world.client.request({ method: 'GET', authority: 'a.test' })
  assert.equal(await response.body.text(), 'plain')
  await session.close()
})

test('content fields on a message that capsules follow make it malformed (RFC 9297 §3.2)', async () => {
  const errors: unknown[] = []
  const pair = createMemoryPair()
  using _ = pair
  const answer: Http3Handler = (_request, response) => void response.accept([['content-type', 'text/plain']])
  serveHttp3(pair.server, answer, { config, onError: (error) => errors.push(error) })
  const client = new Http3Client(pair.client, { config })
  await assert.rejects(client.webTransport(target), { code: 'ERR_HTTP3_MESSAGE', by: 'peer' })
  using world = raw(echo)
  world.open('bidirectional', headersFrame([...CONNECT, ['content-length', '3']]))
  await settle()
  assert.ok(world.codes.includes(`streamReset ${0x10e}`), world.codes.join())
})

test('a drain with a value is malformed (RFC 9297 §3.3)', async () => {
  const ended = Promise.withResolvers<boolean>()
  using world = raw(async (_request, response) => ended.resolve((await response.acceptWebTransport().closed).isClean))
  const id = world.open('bidirectional', headersFrame(CONNECT))
  await settle()
  const capsule = encodeCapsule(0x78ae, bytes('x'))
  world.peer.write(id, Uint8Array.from([0, capsule.length, ...capsule]))
  assert.equal(await ended.promise, false)
})

test('a close without a code, or cut off, is malformed and ends the session only', async () => {
  const closes: unknown[] = []
  using world = raw(async (_request, response) => {
    closes.push(await response.acceptWebTransport().closed)
  })
  for (const capsule of [encodeCapsule(0x2843, bytes('abc')), encodeCapsule(0x2843, bytes('abcdef')).subarray(0, 4)]) {
    const id = world.open('bidirectional', headersFrame(CONNECT))
    await settle()
    world.peer.write(id, Uint8Array.from([...varint(0), ...varint(capsule.length), ...capsule]))
    world.peer.finish(id)
    await settle()
  }
  assert.equal(closes.length, 2)
  for (const close of closes) assert.equal((close as { isClean: boolean }).isClean, false)
  assert.ok(!world.codes.some((code) => code.startsWith('closed')), world.codes.join())
})
