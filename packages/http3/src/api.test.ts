import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http3Client } from './client.ts'
import { Http3Error } from './errors.ts'
import { headerValue } from './headers.ts'
import { type Http3Handler, type ServeHttp3Options, type ServerRequest, serveHttp3 } from './server.ts'
import { createMemoryPair, type MemoryPair } from './testing/memory-connection.ts'
import type { MemoryNetworkOptions } from './testing/memory-transport.ts'

interface World extends Disposable {
  readonly pair: MemoryPair
  readonly client: Http3Client
  readonly server: ReturnType<typeof serveHttp3>
}

function world(handler: Http3Handler, network: MemoryNetworkOptions = {}, options: ServeHttp3Options = {}): World {
  const pair = createMemoryPair(network)
  const server = serveHttp3(pair.server, handler, { closeGraceMs: 50, ...options })
  const client = new Http3Client(pair.client)
  return { pair, client, server, [Symbol.dispose]: () => pair[Symbol.dispose]() }
}

const get = (path = '/') => ({ method: 'GET', authority: 'example.test', path })

/** Bytes that show a swap, a loss or a repeat anywhere. */
function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8)) & 0xff
  return bytes
}

const rejectsWith = (code: string, by?: 'local' | 'peer') => (error: unknown) => {
  assert.ok(error instanceof Http3Error, String(error))
  assert.equal(error.code, code)
  if (by !== undefined) assert.equal(error.by, by)
  return true
}

// spec: RFC 9114 §4.1#6, §4.1#8, §4.2#1
test('a request gets status, headers, body and trailers of its response', async () => {
  using w = world(async (request, response) => {
    assert.equal(request.method, 'GET')
    assert.equal(request.authority, 'example.test')
    assert.equal(request.path, '/text?x=1')
    await response.send(200, [['Content-Type', 'text/plain']], 'hello', [['x-checksum', 'abc']])
  })
  const response = await w.client.request(get('/text?x=1'))
  assert.equal(response.status, 200)
  assert.equal(headerValue(response.headers, 'content-type'), 'text/plain')
  assert.equal(headerValue(response.headers, 'content-length'), '5')
  assert.equal(await response.body.text(), 'hello')
  assert.deepEqual(await response.trailers, [['x-checksum', 'abc']])
  assert.equal(response.stats()?.bytesReceived !== 0, true)
})

for (const [target, fragmentBytes] of [
  [1, 7],
  [10, 900],
  [997, 64],
  [100_000, 900],
] as const) {
  test(`readInto fills a buffer of ${target} bytes again and again, whatever came together (fragments of ${fragmentBytes})`, async () => {
    const size = Math.min(target * 2_000, 50_000)
    using w = world((_request, response) => response.send(200, [], pattern(size), [['x-sum', '1']]), {
      windowBytes: 3_000,
      fragmentBytes,
    })
    const { body, trailers } = await w.client.request(get())
    const buffer = new Uint8Array(target)
    const got: number[] = []
    for (let read = await body.readInto(buffer); read > 0; read = await body.readInto(buffer)) {
      got.push(...buffer.subarray(0, read))
    }
    assert.deepEqual(Uint8Array.from(got), pattern(size))
    assert.equal(await body.readInto(buffer), 0)
    assert.deepEqual(await trailers, [['x-sum', '1']])
    assert.throws(() => body[Symbol.asyncIterator](), rejectsWith('ERR_HTTP3_INVALID_STATE', 'local'))
  })
}

test('readInto needs room, and fails when the peer gives up', async () => {
  using w = world(async (_request, response) => {
    response.writeHead(200)
    await response.write(pattern(100))
    response.reset()
  })
  const { body } = await w.client.request(get())
  await assert.rejects(body.readInto(new Uint8Array(0)), rejectsWith('ERR_HTTP3_INVALID_STATE', 'local'))
  await assert.rejects(
    async () => {
      const buffer = new Uint8Array(10)
      while ((await body.readInto(buffer)) > 0);
    },
    rejectsWith('ERR_HTTP3_STREAM_RESET', 'peer'),
  )
})

for (let seed = 1; seed <= 20; seed++) {
  test(`many uploads and downloads at once arrive whole (network ${seed})`, async () => {
    using w = world(
      async (request, response) => {
        response.writeHead(200)
        for await (const piece of request.body) await response.write(piece)
        response.end(await request.trailers)
      },
      { seed, windowBytes: 3_000, fragmentBytes: 1 + ((seed * 97) % 900), bidirectionalMax: 3 },
    )
    const sizes = [0, 1, 100, 5_000, 40_000, 10, 70_000]
    await Promise.all(
      sizes.map(async (size, n) => {
        const sent = pattern(size)
        const response = await w.client.request({
          method: 'POST',
          authority: 'example.test',
          path: `/${n}`,
          headers: [['user-agent', 'test']],
          body: sent,
          trailers: [['x-n', String(n)]],
        })
        assert.deepEqual(await response.body.bytes(), sent)
        assert.deepEqual(await response.trailers, [['x-n', String(n)]])
      }),
    )
    assert.equal(w.client.waitingRequests, 0)
  })
}

test('a reader that does not read stops the sender: unread bytes stay within the window', async () => {
  let written = 0
  using w = world(
    async (_request, response) => {
      response.writeHead(200)
      for (let n = 0; n < 200; n++) {
        await response.write(pattern(1_000))
        written += 1_000
      }
    },
    { windowBytes: 8_000 },
  )
  const response = await w.client.request(get())
  for (let n = 0; n < 50; n++) await new Promise((resolve) => setImmediate(resolve))
  // One window in the transport, one that came with the headers, one piece waiting.
  assert.ok(written <= 20_000, `${written} bytes were taken from the handler`)
  assert.equal((await response.body.bytes()).length, 200_000)
})

test('1xx responses come before the final one', async () => {
  using w = world(async (_request, response) => {
    response.sendInformational(103, [['link', '</a.css>']])
    response.sendInformational(100)
    await response.send(204, [], null)
  })
  const seen: number[] = []
  const response = await w.client.request({ ...get(), onInformational: (head) => seen.push(head.status) })
  assert.deepEqual(seen, [103, 100])
  assert.equal(response.status, 204)
  assert.equal((await response.body.bytes()).length, 0)
})

test('HEAD has the headers of GET and no body', async () => {
  using w = world(async (_request, response) => response.send(200, [], 'twelve bytes'))
  const response = await w.client.request({ ...get(), method: 'HEAD' })
  assert.equal(headerValue(response.headers, 'content-length'), '12')
  assert.equal(await response.body.text(), '')
})

test('a handler that fails gives 500, is reported, and other requests go on', async () => {
  const errors: unknown[] = []
  using w = world(
    async (request, response) => {
      if (request.path === '/bad') throw new Error('broken')
      if (request.path === '/silent') return
      await response.send(200, [], 'fine')
    },
    {},
    { onError: (error) => errors.push(error) },
  )
  const [bad, silent, good] = await Promise.all([
    w.client.request(get('/bad')),
    w.client.request(get('/silent')),
    w.client.request(get('/good')),
  ])
  assert.deepEqual([bad.status, silent.status, good.status], [500, 500, 200])
  assert.equal(errors.length, 2)
})

test('a handler that fails in the middle of a body gives a failed body, never a short one', async () => {
  using w = world(async (_request, response) => {
    response.writeHead(200)
    await response.write(pattern(10))
    throw new Error('disk')
  })
  const response = await w.client.request(get())
  await assert.rejects(response.body.bytes(), (error) => {
    rejectsWith('ERR_HTTP3_STREAM_RESET', 'peer')(error)
    assert.equal((error as Http3Error).h3Name, 'H3_INTERNAL_ERROR')
    assert.equal((error as Http3Error).streamId, response.streamId)
    return true
  })
})

test('a body shorter than its content-length is reset, not ended', async () => {
  using w = world(async (_request, response) => {
    response.writeHead(200, [['content-length', '10']])
    await response.write(pattern(4))
    response.end()
  })
  const response = await w.client.request(get())
  await assert.rejects(response.body.bytes(), rejectsWith('ERR_HTTP3_STREAM_RESET'))
})

// spec: RFC 9114 §4.1#12
test('an early response ends the upload without an error, and the response is whole', async () => {
  using w = world(async (_request, response) => response.send(413, [], 'too large'), { windowBytes: 2_000 })
  let pulled = 0
  async function* endless(): AsyncGenerator<Uint8Array> {
    while (true) {
      pulled++
      yield pattern(1_000)
    }
  }
  const response = await w.client.request({ ...get(), method: 'POST', body: endless() })
  assert.equal(response.status, 413)
  assert.equal(await response.body.text(), 'too large')
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve))
  const before = pulled
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(pulled, before)
  // Stopped with H3_NO_ERROR, the request frees its stream.
  assert.equal(w.client.session.activeExchanges, 0)
  assert.equal(w.server.session.activeExchanges, 0)
})

test('leaving a body before its end tells the server, which sees a cancelled request', async () => {
  const aborted = Promise.withResolvers<Http3Error>()
  using w = world(
    async (request, response) => {
      request.signal.addEventListener('abort', () => aborted.resolve(request.signal.reason as Http3Error))
      await response.send(200, [], pattern(100_000))
    },
    { windowBytes: 2_000 },
  )
  const response = await w.client.request(get())
  for await (const piece of response.body) {
    assert.ok(piece.length > 0)
    break
  }
  assert.equal((await aborted.promise).h3Name, 'H3_REQUEST_CANCELLED')
})

test('an abort rejects the request and reaches the handler as a cancelled request', async () => {
  const aborted = Promise.withResolvers<Http3Error>()
  using w = world(async (request, response) => {
    request.signal.addEventListener('abort', () => aborted.resolve(request.signal.reason as Http3Error))
    response.writeHead(200)
    await new Promise((resolve) => request.signal.addEventListener('abort', resolve))
  })
  const controller = new AbortController()
  const response = await w.client.request({ ...get(), signal: controller.signal })
  const reading = response.body.bytes()
  controller.abort()
  await assert.rejects(reading, rejectsWith('ERR_HTTP3_ABORTED', 'local'))
  const reason = await aborted.promise
  assert.equal(reason.by, 'peer')
  assert.equal(reason.h3Name, 'H3_REQUEST_CANCELLED')
})

test('an abort before a stream was free takes the request out of the queue', async () => {
  const release = Promise.withResolvers<void>()
  using w = world(
    async (_request, response) => {
      await release.promise
      await response.send(200, [], 'x')
    },
    { bidirectionalMax: 1 },
  )
  const controller = new AbortController()
  const first = w.client.request(get())
  const second = w.client.request({ ...get(), signal: controller.signal })
  assert.equal(w.client.waitingRequests, 1)
  controller.abort()
  await assert.rejects(second, rejectsWith('ERR_HTTP3_ABORTED'))
  assert.equal(w.client.waitingRequests, 0)
  release.resolve()
  assert.equal((await first).status, 200)
})

test('a request body that fails cancels the request', async () => {
  const seen = Promise.withResolvers<ServerRequest>()
  using w = world(async (request) => {
    seen.resolve(request)
    await request.body.bytes()
  })
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield pattern(100)
    throw new Error('cable')
  }
  await assert.rejects(w.client.request({ ...get(), method: 'PUT', body: broken() }), (error) => {
    rejectsWith('ERR_HTTP3_ABORTED', 'local')(error)
    assert.match((error as Error).message, /cable/)
    return true
  })
})

// spec: RFC 9114 §5.2#3
test('shutdown finishes what runs, refuses what comes later, and closes with H3_NO_ERROR', async () => {
  const release = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  using w = world(async (_request, response) => {
    started.resolve()
    await release.promise
    await response.send(200, [], 'done')
  })
  const running = w.client.request(get())
  await started.promise
  const closing = w.server.shutdown()
  while (!w.client.isClosing) await new Promise((resolve) => setImmediate(resolve))
  await assert.rejects(w.client.request(get('/late')), rejectsWith('ERR_HTTP3_GOING_AWAY'))
  release.resolve()
  assert.equal(await (await running).body.text(), 'done')
  const reason = await closing
  assert.equal(reason.kind === 'application' && reason.code, 0x100)
})

test('close of the client waits for running requests', async () => {
  using w = world(async (_request, response) => response.send(200, [], pattern(30_000)), { windowBytes: 1_000 })
  const response = await w.client.request(get())
  const closing = w.client.close()
  assert.equal((await response.body.bytes()).length, 30_000)
  assert.equal((await closing).kind, 'application')
})

// spec: RFC 9114 §5.4
test('the end of the connection fails every request with who and why', async () => {
  using w = world(() => new Promise(() => undefined))
  const request = w.client.request(get())
  await new Promise((resolve) => setImmediate(resolve))
  w.pair.network.server.close(0x102, 'power cut')
  await assert.rejects(request, (error) => {
    rejectsWith('ERR_HTTP3_CONNECTION_CLOSED', 'peer')(error)
    assert.match((error as Error).message, /closed by the peer with H3_INTERNAL_ERROR: power cut/)
    return true
  })
  await assert.rejects(w.client.request(get()), rejectsWith('ERR_HTTP3_CONNECTION_CLOSED'))
})

const badRequests = [
  ['a header with a line break', { headers: [['x', 'a\r\nb']] }],
  ['a pseudo-header field of its own', { headers: [[':status', '200']] }],
  ['a connection header', { headers: [['Connection', 'close']] }],
  ['an empty header name', { headers: [['', 'v']] }],
  ['text beyond latin1', { headers: [['x', '\u20ac']] }],
  ['a path without a slash', { path: 'text' }],
  ['a method that is not a token', { method: 'GE T' }],
  ['an authority with a user', { authority: 'me@example.test' }],
] as const

for (const [what, change] of badRequests) {
  // spec: RFC 9114 §4.2#3, §4.3#1
  test(`${what} is refused before anything is sent`, async () => {
    using w = world(() => assert.fail('must not arrive'))
    await assert.rejects(w.client.request({ ...get(), ...change }), rejectsWith('ERR_HTTP3_INVALID_ARGUMENT', 'local'))
  })
}

// spec: RFC 9114 §7.2.4.2#1, §7.2.4.2#9
test('headers over the limit of the server are answered with 431', async () => {
  using w = world(() => assert.fail('must not arrive'), {}, { config: { maxHeaderBytes: 1_024 } })
  // Before the server's SETTINGS have arrived the client cannot know the limit.
  const response = await w.client.request({ ...get(), headers: [['x-large', 'y'.repeat(5_000)]] })
  assert.equal(response.status, 431)
  await assert.rejects(
    w.client.request({ ...get(), headers: [['x-large', 'y'.repeat(5_000)]] }),
    rejectsWith('ERR_HTTP3_HEADERS_TOO_LARGE', 'local'),
  )
})

test('a body can be read as a web stream, once', async () => {
  using w = world(async (_request, response) => response.send(200, [], pattern(10_000)))
  const response = await w.client.request(get())
  const whole = new Uint8Array(await new Response(response.body.readable()).arrayBuffer())
  assert.deepEqual(whole, pattern(10_000))
  assert.throws(() => response.body[Symbol.asyncIterator](), rejectsWith('ERR_HTTP3_INVALID_STATE'))
})

test('CONNECT is a tunnel of bytes in both directions', async () => {
  using w = world(async (request, response) => {
    assert.equal(request.method, 'CONNECT')
    assert.equal(request.path, undefined)
    response.writeHead(200)
    for await (const piece of request.body) await response.write(piece.map((byte) => byte ^ 0xff))
  })
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1, 2)
    yield Uint8Array.of(3)
  }
  const response = await w.client.request({ method: 'CONNECT', authority: 'db.test:5432', body: bytes() })
  assert.deepEqual([...(await response.body.bytes())], [254, 253, 252])
})

test('times of a request rise from opening to delivery', async () => {
  using w = world(async (request, response) => response.send(200, [], await request.body.bytes()))
  const response = await w.client.request({ ...get(), method: 'POST', body: pattern(5_000) })
  await response.body.bytes()
  const t = response.timing
  for (const [before, after] of [
    [t.openedUs, t.headersSentUs],
    [t.headersSentUs, t.firstBodySentUs],
    [t.firstBodySentUs, t.sendFinishedUs],
    [t.sendFinishedUs, t.headersReceivedUs],
    [t.headersReceivedUs, t.firstBodyReceivedUs],
    [t.firstBodyReceivedUs, t.receiveFinishedUs],
  ] as const) {
    assert.ok(before <= after, `${before} <= ${after}`)
  }
})
