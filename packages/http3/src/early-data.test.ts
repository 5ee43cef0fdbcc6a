/** Requests as 0-RTT data (RFC 8470), over the real engine in virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http3Client } from './client.ts'
import { type Http3Handler, type ServeHttp3Options, serveHttp3 } from './server.ts'
import { EngineWorld } from './testing/engine-connection.ts'

interface Returning {
  readonly world: EngineWorld
  readonly client: Http3Client
}

/** A client that has been there before and may send early data. */
async function returning(handler: Http3Handler, options: ServeHttp3Options = {}): Promise<Returning> {
  const world = new EngineWorld({}, (connection) => {
    serveHttp3(connection, handler, { closeGraceMs: 0, ...options })
  })
  const first = new Http3Client(world.client)
  const response = await world.settle(first.request({ method: 'GET', authority: 'server.test', path: '/first' }))
  await world.settle(response.body.bytes())
  await world.settle(first.close())
  return { world, client: new Http3Client(world.connect({ earlyData: true })) }
}

const early: Http3Handler = (request, response) => response.send(200, [], `${request.method} ${request.isEarly}`)

test('a GET of a returning client is answered in the first round trip and marked as early', async () => {
  const { world, client } = await returning(early)
  const response = await world.settle(client.request({ method: 'GET', authority: 'server.test' }))
  assert.equal(await world.settle(response.body.text()), 'GET true')
})

test('later requests of the same connection are not early', async () => {
  const { world, client } = await returning(early)
  const first = await world.settle(client.request({ method: 'GET', authority: 'server.test' }))
  await world.settle(first.body.text())
  const second = await world.settle(client.request({ method: 'GET', authority: 'server.test' }))
  assert.equal(await world.settle(second.body.text()), 'GET false')
})

test('a POST waits for the handshake, since early data may be replayed (RFC 8470 §4, RFC 9114 §10.9)', async () => {
  const { world, client } = await returning(early, { earlyData: 'all' })
  const post = client.request({ method: 'POST', authority: 'server.test', body: 'x' })
  // A safe request behind it does not wait.
  const get = client.request({ method: 'GET', authority: 'server.test' })
  assert.equal(await world.settle((await world.settle(get)).body.text()), 'GET true')
  assert.equal(await world.settle((await world.settle(post)).body.text()), 'POST false')
})

test('425 makes the client send the request again after the handshake, once (RFC 8470 §5.2)', async () => {
  const seen: boolean[] = []
  const { world, client } = await returning((request, response) => {
    seen.push(request.isEarly)
    return request.isEarly ? response.send(425, [], 'too early') : response.send(200, [], 'fine')
  })
  seen.length = 0
  const response = await world.settle(client.request({ method: 'GET', authority: 'server.test' }))
  assert.equal(response.status, 200)
  assert.equal(await world.settle(response.body.text()), 'fine')
  assert.deepEqual(seen, [true, false])
})

test('425 without early data is an answer like any other', async () => {
  const { world, client } = await returning((_request, response) => response.send(425, [], ''))
  await world.settle(client.request({ method: 'GET', authority: 'server.test' }))
  const response = await world.settle(client.request({ method: 'GET', authority: 'server.test' }))
  assert.equal(response.status, 425)
})

test('a server refuses unsafe methods that come early with 425, unless its handler wants them', async () => {
  const served: string[] = []
  for (const policy of ['safe', 'all'] as const) {
    const handler: Http3Handler = (request, response) => {
      served.push(`${policy} ${request.method} ${request.isEarly}`)
      return response.send(200, [], '')
    }
    const { world, client } = await returning(handler, { earlyData: policy })
    // Not every client keeps the rule.
    const statuses: number[] = []
    const lines = [
      ['method', 'POST'],
      ['scheme', 'https'],
      ['authority', 'server.test'],
      ['path', '/'],
    ] as const
    client.session.request(
      lines.map(([name, value]) => [`:${name}`, value] as const),
      { endStream: true, events: { onResponse: (head) => void statuses.push(head.status) } },
    )
    world.until(() => statuses.length > 0)
    assert.deepEqual(statuses, [policy === 'safe' ? 425 : 200])
  }
  assert.deepEqual(served, ['safe GET false', 'all GET false', 'all POST true'])
})
