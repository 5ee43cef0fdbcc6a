/** Raw QUIC streams and datagrams over real loopback sockets and real TLS. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import {
  connect,
  generateCertificate,
  listen,
  type Pem,
  type QuicConnection,
  type QuicStream,
  QuicStreamError,
  toDuplex,
} from '../index.ts'

const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const pem = (text: string, label: string): Pem => ({ pem: text, label })
const identities = [
  { certificate: pem(made.certificatePem, 'cert.pem'), privateKey: pem(made.privateKeyPem, 'key.pem') },
]
const ca = [pem(made.certificatePem, 'ca.pem')]
const bytes = (text: string) => new TextEncoder().encode(text)

interface World extends AsyncDisposable {
  readonly client: QuicConnection
  readonly server: QuicConnection
}

/** A client and the server's side of its connection. */
async function join(config: { maxStreamsBidi?: number } = {}): Promise<World> {
  const accepted = Promise.withResolvers<QuicConnection>()
  const listener = await listen(
    { addresses: ['127.0.0.1'], port: 0, alpn: ['raw'], identities, config },
    (connection) => accepted.resolve(connection),
  )
  const client = await connect({ host: '127.0.0.1', port: listener.port, alpn: ['raw'], ca })
  const server = await accepted.promise
  return {
    client,
    server,
    [Symbol.asyncDispose]: async () => {
      await client.close()
      await listener.close()
    },
  }
}

test('readInto takes a stream into one buffer, piece by piece, to its end', async () => {
  await using w = await join()
  const sent = new Uint8Array(1_000_003).map((_, at) => (at * 31 + (at >>> 8)) & 0xff)
  const stream = await w.client.openStream()
  void stream.write(sent).then(() => stream.end())
  const received = await firstOf(w.server.incomingStreams)
  const buffer = new Uint8Array(10_000)
  const digest = createHash('sha256')
  let bytes = 0
  for (let read = await received.readInto(buffer); read > 0; read = await received.readInto(buffer)) {
    digest.update(buffer.subarray(0, read))
    bytes += read
  }
  assert.equal(bytes, sent.length)
  assert.equal(digest.digest('hex'), createHash('sha256').update(sent).digest('hex'))
  assert.throws(() => received[Symbol.asyncIterator](), { code: 'ERR_STREAM_READER' })
  await assert.rejects(received.readInto(new Uint8Array(0)), RangeError)
})

async function firstOf<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item
  throw new Error('nothing came')
}

/** Sends every stream back. */
async function echo(server: QuicConnection): Promise<void> {
  for await (const stream of server.incomingStreams) {
    void stream.readable.pipeTo(stream.writable).catch(() => undefined)
  }
}

test('bytes go both ways on a stream, and each side ends its own', async () => {
  await using world = await join()
  void echo(world.server)
  const stream = await world.client.openStream()
  assert.equal(`${stream.kind} ${stream.initiator}`, 'bidirectional local')
  await stream.write(bytes('hello '))
  stream.end(bytes('world'))
  assert.equal(await stream.text(), 'hello world')
  await stream.closed
})

test('a web stream of ten megabytes arrives whole', async () => {
  await using world = await join()
  void echo(world.server)
  const stream = await world.client.openStream()
  const piece = new Uint8Array(65_536).map((_, n) => (n * 31) & 0xff)
  const want = createHash('sha256')
  for (let n = 0; n < 160; n++) want.update(piece)
  const source = ReadableStream.from(Array.from({ length: 160 }, () => piece))
  const sent = source.pipeTo(stream.writable)
  const got = createHash('sha256')
  for await (const part of stream.readable) got.update(part)
  await sent
  assert.equal(got.digest('hex'), want.digest('hex'))
})

test('a stream is a Node Duplex for those who want one', async () => {
  await using world = await join()
  void echo(world.server)
  const duplex = toDuplex(await world.client.openStream())
  const want = Buffer.alloc(1_000_000, 'node streams ')
  const got: Buffer[] = []
  await pipeline(Readable.from([want]), duplex, async (parts: AsyncIterable<Buffer>) => {
    for await (const part of parts) got.push(part)
  })
  assert.ok(Buffer.concat(got).equals(want))
})

test('destroying the Duplex resets the stream on the other side', async () => {
  await using world = await join()
  const duplex = toDuplex(await world.client.openStream())
  duplex.on('error', () => undefined)
  duplex.write('some')
  const theirs = await firstOf(world.server.incomingStreams)
  duplex.destroy(new Error('enough'))
  await assert.rejects(theirs.text(), { code: 'ERR_STREAM_RESET', by: 'peer', applicationCode: 0 })
})

test('unidirectional streams go one way only, and say so', async () => {
  await using world = await join()
  const ours = await world.client.openStream({ kind: 'unidirectional' })
  ours.end(bytes('one way'))
  const theirs = await firstOf(world.server.incomingStreams)
  assert.equal(`${theirs.kind} ${theirs.initiator}`, 'unidirectional peer')
  assert.equal(await theirs.text(), 'one way')
  assert.throws(() => theirs.write(bytes('x')), { code: 'ERR_STREAM_DIRECTION' })
  assert.throws(() => ours.readable, { code: 'ERR_STREAM_DIRECTION' })
  await ours.closed
  await theirs.closed
})

test('a reset and a stop carry the code of the application, and say who did it', async () => {
  await using world = await join()
  const ours = await world.client.openStream()
  await ours.write(bytes('x'))
  const theirs = await firstOf(world.server.incomingStreams)
  ours.reset(77)
  const error: unknown = await theirs.text().catch((reason: unknown) => reason)
  assert.ok(error instanceof QuicStreamError)
  assert.deepEqual([error.code, error.by, error.applicationCode], ['ERR_STREAM_RESET', 'peer', 77])
  assert.match(error.message, /the peer reset stream \d+ with code 77/)
  await assert.rejects(ours.write(bytes('more')), { code: 'ERR_STREAM_RESET', by: 'local' })
  const next = await world.client.openStream()
  await next.write(bytes('x'))
  const third = await firstOf(world.server.incomingStreams)
  third.stop(5)
  await assert.rejects(untilRefused(next), { code: 'ERR_STREAM_RESET', by: 'peer', applicationCode: 5 })
})

async function untilRefused(stream: QuicStream): Promise<never> {
  while (true) {
    await stream.write(new Uint8Array(1_000))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('more streams than the peer allows wait for their turn, and an abort ends the wait', async () => {
  await using world = await join({ maxStreamsBidi: 2 })
  const first = await world.client.openStream()
  const second = await world.client.openStream()
  const abort = new AbortController()
  const aborted = world.client.openStream({ signal: abort.signal })
  const third = world.client.openStream()
  abort.abort(new Error('changed my mind'))
  await assert.rejects(aborted, /changed my mind/)
  void echo(world.server)
  for (const stream of [first, second]) {
    stream.end(bytes('x'))
    await stream.text()
  }
  const stream = await third
  stream.end(bytes('third'))
  assert.equal(await stream.text(), 'third')
})

test('datagrams arrive as messages, and too large ones are refused', async () => {
  await using world = await join()
  const { datagrams } = world.client
  assert.ok(datagrams.bytesMax > 1_000)
  assert.equal(datagrams.send(new Uint8Array(datagrams.bytesMax + 1)), false)
  assert.equal(datagrams.send(bytes('ping')), true)
  assert.deepEqual(await firstOf(world.server.datagrams), bytes('ping'))
  assert.equal(world.server.datagrams.send(bytes('pong')), true)
  assert.deepEqual(await firstOf(world.client.datagrams.readable), bytes('pong'))
})

test('the end of a connection ends its streams, datagrams and waits with the reason', async () => {
  await using world = await join({ maxStreamsBidi: 1 })
  const stream = await world.client.openStream()
  await stream.write(bytes('x'))
  const theirs = await firstOf(world.server.incomingStreams)
  const waiting = world.client.openStream()
  const reading = stream.text()
  const incoming = firstOf(world.client.incomingStreams)
  void world.server.close(9, 'gone fishing')
  await assert.rejects(reading, { code: 'ERR_CONNECTION_CLOSED', by: 'peer' })
  await assert.rejects(waiting, /gone fishing/)
  await assert.rejects(incoming, /nothing came/)
  await assert.rejects(world.client.openStream(), { code: 'ERR_CONNECTION_CLOSED' })
  await assert.rejects(theirs.text(), { code: 'ERR_CONNECTION_CLOSED', by: 'local' })
  await stream.closed
})

test('a connection is used raw or by HTTP/3, not both', async () => {
  await using world = await join()
  world.client.onEvent = () => undefined
  await assert.rejects(world.client.openStream(), { code: 'ERR_CONNECTION_IN_USE' })
  void world.server.incomingStreams
  assert.throws(
    () => {
      world.server.onEvent = () => undefined
    },
    { code: 'ERR_CONNECTION_IN_USE' },
  )
})

test('one stream has one reader', async () => {
  await using world = await join()
  void echo(world.server)
  const stream = await world.client.openStream()
  void stream.readable
  await assert.rejects(stream.text(), { code: 'ERR_STREAM_READER' })
})
