/** RFC 9218: the field, the frame, and the order of responses over the real engine. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http3Client } from './client.ts'
import { formatPriority, parsePriority } from './priority.ts'
import { type Http3Handler, serveHttp3 } from './server.ts'
import { EngineWorld } from './testing/engine-connection.ts'
import { createMemoryPair } from './testing/memory-connection.ts'
import { frame, headersFrame, RawPeer, varint } from './testing/raw-peer.ts'
import { closesWith, CONTROL, GET, staysOpen } from './testing/session-fixtures.ts'

// RFC 9218 §4: "Unknown parameters, parameters with out-of-range values, or values of unexpected types MUST be ignored."
for (const [field, urgency, isIncremental] of [
  ['u=0', 0, undefined],
  ['u=7, i', 7, true],
  ['i=?1,u=1', 1, true],
  ['i=?0', undefined, false],
  ['u=8', undefined, undefined],
  ['u=-1', undefined, undefined],
  ['u=3.5', undefined, undefined],
  ['u="1"', undefined, undefined],
  ['u', undefined, undefined],
  ['i=1', undefined, undefined],
  ['u=1;x=2, new=?1, i;y', 1, true],
  ['u=1, u=5', 5, undefined],
  ['U=1', undefined, undefined],
  ['u=1,', undefined, undefined],
  ['', undefined, undefined],
  [`u=1, x=${'y'.repeat(2_000)}`, undefined, undefined],
] as const) {
  test(`priority ${JSON.stringify(field.slice(0, 30))} is urgency ${urgency}, incremental ${isIncremental}`, () => {
    const priority = parsePriority(field)
    assert.equal(priority.urgency, urgency)
    assert.equal(priority.isIncremental, isIncremental)
  })
}

test('a priority is written as short as it can be, and nonsense is refused', () => {
  assert.equal(formatPriority({ urgency: 1, isIncremental: true }), 'u=1, i')
  assert.equal(formatPriority({ isIncremental: true }), 'i')
  assert.equal(formatPriority({ urgency: 3 }), undefined)
  for (const urgency of [8, -1, 1.5, Number.NaN]) assert.throws(() => formatPriority({ urgency }), /urgency is/)
})

const update = (id: number, field: string, type = 0xf0700) =>
  frame(type, [...varint(id), ...[...field].map((char) => char.charCodeAt(0))])

function rawServer() {
  const peer = new RawPeer('server', { onRequest: () => undefined })
  const control = peer.openUni(CONTROL, frame(0x04))
  const sides = peer.network.server.priorities
  return { peer, control, priorityOf: (id: number) => sides.get(id) }
}

test('the Priority field of a request orders its response (RFC 9218 §5)', () => {
  const { peer, priorityOf } = rawServer()
  const plain = peer.openBidi(headersFrame(GET))
  const urgent = peer.openBidi(headersFrame([...GET, ['priority', 'u=1']]))
  const split = peer.openBidi(headersFrame([...GET, ['priority', 'u=5'], ['priority', 'i']]))
  assert.deepEqual(priorityOf(plain), { priority: 3, isIncremental: true })
  assert.deepEqual(priorityOf(urgent), { priority: 1, isIncremental: false })
  assert.deepEqual(priorityOf(split), { priority: 5, isIncremental: true })
})

test('PRIORITY_UPDATE comes before the field, also when it comes first (RFC 9218 §7)', () => {
  const { peer, control, priorityOf } = rawServer()
  peer.write(control, update(0, 'u=6'))
  peer.write(control, update(0, 'u=2, i'))
  const id = peer.openBidi(headersFrame([...GET, ['priority', 'u=1']]))
  assert.deepEqual(priorityOf(id), { priority: 2, isIncremental: true })
  peer.write(control, update(id, 'u=7'))
  assert.deepEqual(priorityOf(id), { priority: 7, isIncremental: false })
  staysOpen(peer)
})

test('updates of requests that never come take no more than their share of memory', () => {
  const { peer, control, priorityOf } = rawServer()
  for (let n = 0; n < 500; n++) peer.write(control, update(n * 4, 'u=0'))
  // The first one was pushed out by later ones.
  const id = peer.openBidi(headersFrame(GET))
  assert.deepEqual(priorityOf(id), { priority: 3, isIncremental: true })
  staysOpen(peer)
})

for (const [what, bytes, name] of [
  ['without an element', frame(0xf0700), 'H3_FRAME_ERROR'],
  ['of a stream that is no request', update(2, 'u=1'), 'H3_ID_ERROR'],
  ['of a push', update(0, 'u=1', 0xf0701), 'H3_ID_ERROR'],
] as const) {
  test(`PRIORITY_UPDATE ${what} is ${name} (RFC 9218 §7.2)`, () => {
    const { peer, control } = rawServer()
    peer.write(control, [...bytes])
    closesWith(peer, name)
  })
}

test('PRIORITY_UPDATE from a server is H3_FRAME_UNEXPECTED (RFC 9218 §7.2)', () => {
  const peer = new RawPeer('client')
  peer.openUni(CONTROL, [...frame(0x04), ...update(0, 'u=1')])
  closesWith(peer, 'H3_FRAME_UNEXPECTED')
})

test('PRIORITY_UPDATE on a request stream is H3_FRAME_UNEXPECTED (RFC 9218 §7)', () => {
  const { peer } = rawServer()
  peer.openBidi([...update(0, 'u=1'), ...headersFrame(GET)])
  closesWith(peer, 'H3_FRAME_UNEXPECTED')
})

test('a client asks with the field and changes its mind with PRIORITY_UPDATE', async () => {
  using pair = createMemoryPair()
  const done = Promise.withResolvers<void>()
  let field: string | undefined
  serveHttp3(pair.server, async (request, response) => {
    field = request.headers.find(([name]) => name === 'priority')?.[1]
    response.writeHead(200)
    await done.promise
  })
  const client = new Http3Client(pair.client)
  await client.serverSettings
  const response = await client.request({
    method: 'GET',
    authority: 'a.test',
    priority: { urgency: 6, isIncremental: true },
  })
  assert.equal(field, 'u=6, i')
  assert.deepEqual(pair.network.server.priorities.get(response.streamId), { priority: 6, isIncremental: true })
  assert.throws(() => response.setPriority({ urgency: 9 }), RangeError)
  assert.equal(response.setPriority({ urgency: 0 }), true)
  pair.network.run()
  assert.deepEqual(pair.network.server.priorities.get(response.streamId), { priority: 0, isIncremental: false })
  done.resolve()
  await response.body.bytes()
})

test('a server may say it better than the client (RFC 9218 §8)', async () => {
  using pair = createMemoryPair()
  serveHttp3(pair.server, async (_request, response) => {
    response.writeHead(200, [['Priority', 'u=1']])
    await response.write(new Uint8Array(1))
    response.setPriority({ isIncremental: true })
    assert.throws(() => response.setPriority({ urgency: 9 }), RangeError)
  })
  const client = new Http3Client(pair.client)
  const response = await client.request({ method: 'GET', authority: 'a.test', priority: { urgency: 5 } })
  await response.body.bytes()
  assert.deepEqual(pair.network.server.priorities.get(response.streamId), { priority: 1, isIncremental: true })
})

test('requests that say nothing of priority take turns: a long response does not hold up a short one', async () => {
  const world = new EngineWorld({ server: { streamScheduler: 'rfc9218' } }, (connection) => {
    const handler: Http3Handler = (request, response) =>
      response.send(200, [], new Uint8Array(request.path === '/long' ? 2_000_000 : 20_000))
    serveHttp3(connection, handler, { closeGraceMs: 0 })
  })
  const client = new Http3Client(world.client)
  const order: string[] = []
  const get = async (path: string) => {
    const response = await client.request({ method: 'GET', authority: 'a.test', path })
    await response.body.bytes()
    order.push(path)
  }
  await world.settle(Promise.all([get('/long'), get('/short')]))
  assert.deepEqual(order, ['/short', '/long'])
})

test('over the engine the urgent response overtakes those asked for before it', async () => {
  const world = new EngineWorld({ server: { streamScheduler: 'rfc9218' } }, (connection) => {
    serveHttp3(connection, (_request, response) => response.send(200, [], new Uint8Array(400_000)), { closeGraceMs: 0 })
  })
  const client = new Http3Client(world.client)
  const order: string[] = []
  const get = async (path: string, urgency: number) => {
    const response = await client.request({ method: 'GET', authority: 'a.test', path, priority: { urgency } })
    assert.equal((await response.body.bytes()).length, 400_000)
    order.push(path)
  }
  await world.settle(Promise.all([get('/late', 7), get('/plain', 3), get('/urgent', 0)]))
  assert.deepEqual(order, ['/urgent', '/plain', '/late'])
})
