import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http3Client } from './client.ts'
import { Http3Error } from './errors.ts'
import { type Http3Handler, type Http3ServerConnection, serveHttp3 } from './server.ts'
import { EngineWorld, type EngineWorldOptions } from './testing/engine-connection.ts'

interface Served {
  readonly world: EngineWorld
  readonly client: Http3Client
  readonly server: () => Http3ServerConnection
}

function serve(handler: Http3Handler, options: EngineWorldOptions = {}): Served {
  let server: Http3ServerConnection | undefined
  const world = new EngineWorld(options, (connection) => {
    server = serveHttp3(connection, handler, { closeGraceMs: 0 })
  })
  const client = new Http3Client(world.client)
  return {
    world,
    client,
    server: () => {
      assert.ok(server)
      return server
    },
  }
}

function pattern(length: number, salt: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (Math.imul(i + salt, 0x9e3779b1) >>> 24) & 0xff
  return bytes
}

const get = (path = '/') => ({ method: 'GET', authority: 'server.test', path })

test('a request over the real engine gets its response, and the stream counts its packets', async () => {
  const { world, client } = serve(async (request, response) => {
    await response.send(200, [['content-type', 'text/plain']], `you asked for ${request.path}`, [['x-end', '1']])
  })
  const response = await world.settle(client.request(get('/text')))
  assert.equal(response.status, 200)
  assert.equal(await world.settle(response.body.text()), 'you asked for /text')
  assert.deepEqual(await world.settle(response.trailers), [['x-end', '1']])
  const stats = response.stats()
  assert.ok(stats !== undefined && stats.packetsReceived >= 1 && stats.bytesReceived > 20)
})

const echo: Http3Handler = async (request, response) => {
  response.writeHead(200, [['x-path', request.path ?? '']])
  for await (const piece of request.body) await response.write(piece)
  response.end(await request.trailers)
}

for (let seed = 1; seed <= 12; seed++) {
  test(`parallel uploads and downloads survive loss, delay and small windows (seed ${seed})`, async () => {
    const small = {
      streamWindowBytes: 4_096,
      streamWindowMaxBytes: 16_384,
      connectionWindowBytes: 16_384,
      connectionWindowMaxBytes: 65_536,
      sendBufferBytes: 4_096,
      maxStreamsBidi: 3,
    }
    const { world, client } = serve(echo, {
      seed,
      client: small,
      server: small,
      lossRatio: 0.05,
      lateRatio: 0.2,
    })
    const sizes = [0, 1, 1_500, 20_000, 60_000, 333, 90_000]
    const all = sizes.map(async (size, n) => {
      const sent = pattern(size, n)
      const response = await client.request({
        method: 'POST',
        authority: 'server.test',
        path: `/${n}`,
        headers: [
          ['user-agent', 'quicether-test'],
          ['x-steady', 'the same value on every request'],
        ],
        body: sent,
        trailers: [['x-n', String(n)]],
      })
      assert.equal(response.status, 200)
      assert.deepEqual(await response.body.bytes(), sent)
      assert.deepEqual(await response.trailers, [['x-n', String(n)]])
    })
    await world.settle(Promise.all(all), 300_000_000)
    // The last acknowledgment of what was uploaded may still be under way.
    world.until(() => client.session.activeExchanges === 0)
  })
}

test('a response that nobody reads stops the server at the flow-control window', async () => {
  let written = 0
  const { world, client } = serve(
    async (_request, response) => {
      response.writeHead(200)
      for (let n = 0; n < 300; n++) {
        await response.write(pattern(10_000, n))
        written += 10_000
      }
    },
    {
      client: { streamWindowBytes: 50_000, streamWindowMaxBytes: 50_000 },
      server: { sendBufferBytes: 20_000 },
    },
  )
  const response = await world.settle(client.request(get()))
  const wait = async () => {
    for (let n = 0; n < 60; n++) {
      await new Promise((resolve) => setImmediate(resolve))
      world.pair.advance(50_000)
    }
  }
  await wait()
  // The window of the client and the send buffer of the server, which grows with what a path carries.
  const stoppedAt = written
  assert.ok(stoppedAt <= 1_000_000, `${stoppedAt} bytes left the handler`)
  await wait()
  assert.equal(written, stoppedAt)
  const body = await world.settle(response.body.bytes(), 600_000_000)
  assert.equal(body.length, 3_000_000)
})

test('hundreds of cancelled and unread requests do not use up the stream limit', async () => {
  const { world, client } = serve(
    async (request, response) => {
      if (request.path === '/held') await new Promise((resolve) => request.signal.addEventListener('abort', resolve))
      else await response.send(200, [], pattern(5_000, 1))
    },
    { server: { maxStreamsBidi: 4 }, lossRatio: 0.02 },
  )
  for (let n = 0; n < 150; n++) {
    const controller = new AbortController()
    const endless = (async function* () {
      yield pattern(100, n)
      await new Promise(() => undefined)
    })()
    const body = n % 3 === 0 ? null : endless
    const held = client.request({ ...get('/held'), method: 'POST', body, signal: controller.signal })
    const served = client.request(get('/served'))
    const response = await world.settle(served, 60_000_000)
    if (n % 2 === 0) response.body.cancel()
    else assert.equal((await world.settle(response.body.bytes())).length, 5_000)
    controller.abort()
    await assert.rejects(held, { code: 'ERR_HTTP3_ABORTED' })
  }
})

test('a client that goes away fails the handler with the reason', async () => {
  const reason = Promise.withResolvers<unknown>()
  const started = Promise.withResolvers<void>()
  const { world, client } = serve(async (request) => {
    request.signal.addEventListener('abort', () => reason.resolve(request.signal.reason))
    started.resolve()
    await request.body.bytes()
  })
  const waiting = client.request({
    ...get(),
    method: 'POST',
    body: (async function* () {
      yield pattern(100, 1)
      await new Promise(() => undefined)
    })(),
  })
  await world.settle(started.promise)
  client.session.close('H3_NO_ERROR', 'bye')
  await assert.rejects(waiting, { code: 'ERR_HTTP3_CONNECTION_CLOSED', by: 'local' })
  const error = await world.settle(reason.promise)
  assert.ok(error instanceof Http3Error)
  assert.equal(error.by, 'peer')
  assert.equal(error.h3Name, 'H3_NO_ERROR')
})

test('a server that shuts down finishes running requests over the real engine, then both sides close', async () => {
  const release = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  const { world, client, server } = serve(async (_request, response) => {
    started.resolve()
    await release.promise
    await response.send(200, [], 'last words')
  })
  const request = client.request(get())
  await world.settle(started.promise)
  const closing = server().shutdown()
  world.pair.advance(100_000)
  assert.equal(client.isClosing, true)
  await assert.rejects(client.request(get()), { code: 'ERR_HTTP3_GOING_AWAY' })
  release.resolve()
  const response = await world.settle(request)
  assert.equal(await world.settle(response.body.text()), 'last words')
  const reason = await world.settle(closing)
  assert.equal(reason.kind === 'application' && reason.code, 0x100)
})

test('an idle timeout fails what runs and says how long nothing was heard', async () => {
  const { world, client } = serve(() => new Promise(() => undefined), { client: { idleTimeoutUs: 2_000_000 } })
  const request = client.request(get())
  world.pair.advance(500_000)
  world.pair.filter = () => false
  await assert.rejects(world.settle(request), (error) => {
    assert.ok(error instanceof Http3Error)
    assert.equal(error.code, 'ERR_HTTP3_CONNECTION_CLOSED')
    assert.match(error.message, /nothing was heard for \d+ ms/)
    return true
  })
})
