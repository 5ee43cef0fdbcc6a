/** Two endpoints over real loopback sockets: handshakes, transfer, failures, closing. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { CloseReason, ConnectionEvent, StreamTransport } from '@quicether/transport'
import { ClientContext } from './client-context.ts'
import { type ConnectOptions, connect } from './connect.ts'
import type { QuicConnection } from './connection.ts'
import { openDiagnostics } from './diagnostics.ts'
import { generateCertificate, type Pem } from './index.ts'
import { type ListenOptions, listen, type QuicListener } from './listen.ts'
import { UdpPort } from './udp-port.ts'

const made = generateCertificate({ names: ['localhost', '127.0.0.1', '::1'] })
const identity = { certificate: pem(made.certificatePem, 'cert.pem'), privateKey: pem(made.privateKeyPem, 'key.pem') }
const ca = [pem(made.certificatePem, 'ca.pem')]
const alpn = ['echo']

function pem(text: string, label: string): Pem {
  return { pem: text, label }
}

async function serve(
  onConnection: (connection: QuicConnection) => void = echo,
  options: Partial<ListenOptions> = {},
): Promise<QuicListener> {
  return listen({ addresses: ['127.0.0.1'], port: 0, alpn, identities: [identity], ...options }, onConnection)
}

function dial(port: number, options: Partial<ConnectOptions> = {}): Promise<QuicConnection> {
  const trust =
    options.context === undefined && options.insecure === undefined && options.pinned === undefined ? { ca } : {}
  return connect({ host: '127.0.0.1', port, alpn, handshakeTimeoutMs: 5000, ...trust, ...options })
}

/** Sends every stream's bytes back, with backpressure. */
function echo(connection: QuicConnection): void {
  const { transport } = connection
  const queues = new Map<number, { chunks: Uint8Array[]; isOver: boolean }>()
  const pump = (id: number) => {
    let queue = queues.get(id)
    if (queue === undefined) queues.set(id, (queue = { chunks: [], isOver: false }))
    for (;;) {
      for (let chunk = queue.chunks[0]; chunk !== undefined; chunk = queue.chunks[0]) {
        const taken = transport.write(id, chunk)
        if (taken < chunk.length) {
          queue.chunks[0] = chunk.subarray(taken)
          return
        }
        queue.chunks.shift()
      }
      if (queue.isOver) return
      const { chunks } = queue
      const status = transport.read(id, (chunk) => void chunks.push(chunk.slice()))
      if (status === 'finished' && chunks.length === 0) {
        queue.isOver = true
        transport.finish(id)
      }
      if (chunks.length === 0) return
    }
  }
  connection.onEvent = (event) => {
    if (event.kind === 'readable' || event.kind === 'writable') pump(event.id)
    if (event.kind === 'datagram') transport.sendDatagram(event.data.slice())
  }
}

/** Writes all, ends the stream, and returns what comes back. */
function exchange(
  connection: QuicConnection,
  data: Uint8Array,
  onBytes?: (chunk: Uint8Array) => void,
): Promise<number> {
  const { transport } = connection
  const id = transport.openStream('bidirectional')
  assert.ok(id !== undefined)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  let [sent, received] = [0, 0]
  const write = () => {
    while (sent < data.length) {
      const taken = transport.write(id, data.subarray(sent, sent + 262_144))
      if (taken === 0) return
      sent += taken
    }
    transport.finish(id)
    sent++
  }
  connection.onEvent = (event) => {
    if (event.kind === 'writable' && event.id === id && sent < data.length) write()
    if (event.kind === 'readable' && event.id === id) {
      const status = transport.read(id, (chunk) => {
        received += chunk.length
        onBytes?.(chunk)
      })
      if (status === 'finished') resolve(received)
    }
    if (event.kind === 'closed') reject(new Error(`closed: ${JSON.stringify(event.reason)}`))
  }
  write()
  return promise
}

test('a client and a server exchange 8 MB over loopback, bytes exact', async () => {
  await using server = await serve()
  await using client = await dial(server.port)
  assert.equal(client.alpn, 'echo')
  assert.equal(client.remote, `127.0.0.1:${server.port}`)
  assert.equal(client.tuple.localAddress, '127.0.0.1')
  assert.equal(client.peerCertificates.length, 1)
  const data = new Uint8Array(8_000_000).map((_, index) => (index * 31) >>> 3)
  const hash = createHash('sha256')
  assert.equal(await exchange(client, data, (chunk) => void hash.update(chunk)), data.length)
  assert.equal(hash.digest('hex'), createHash('sha256').update(data).digest('hex'))
  assert.ok(client.stats().bytesSent > data.length)
  assert.ok(server.stats().datagramsSent > server.stats().trainsSent, 'trains carry several datagrams')
})

test('IPv6 works like IPv4, and a server on all addresses answers on both', async () => {
  await using server = await serve(echo, { addresses: ['::', '0.0.0.0'] })
  assert.equal(new Set(server.addresses.map((end) => end.port)).size, 1)
  for (const host of ['::1', '127.0.0.1']) {
    await using client = await dial(server.port, { host })
    assert.equal(await exchange(client, new Uint8Array(10_000)), 10_000)
  }
})

test('a name whose first address does not answer is reached through the next one', async () => {
  await using server = await serve(echo, { addresses: ['127.0.0.1'] })
  const resolve = async () => ['127.0.0.77', '::1', '127.0.0.1']
  await using client = await dial(server.port, { host: 'localhost', resolve })
  assert.equal(client.remote, `127.0.0.1:${server.port}`)
  assert.equal(await exchange(client, new Uint8Array(100)), 100)
  const nowhere = dial(server.port, {
    host: 'localhost',
    resolve: async () => ['127.0.0.77', '127.0.0.78'],
  })
  await assert.rejects(nowhere, { code: 'ERR_NOT_LISTENING', message: /localhost .*2 addresses tried/ })
})

test('many connections at once are kept apart', async () => {
  await using server = await serve()
  const clients = await Promise.all(Array.from({ length: 20 }, () => dial(server.port)))
  const sizes = await Promise.all(clients.map((client, index) => exchange(client, new Uint8Array(10_000 + index))))
  assert.deepEqual(
    sizes,
    clients.map((_, index) => 10_000 + index),
  )
  await Promise.all(clients.map((client) => client.close(7, 'done')))
})

test('a closing code and reason reach the other side', async () => {
  const { promise, resolve } = Promise.withResolvers<CloseReason>()
  await using server = await serve((connection) => void connection.closed.then(resolve))
  const client = await dial(server.port)
  const ours = await client.close(0x1234, 'enough')
  assert.deepEqual(ours, { kind: 'application', by: 'local', code: 0x1234, reason: 'enough' })
  assert.deepEqual(await promise, { kind: 'application', by: 'peer', code: 0x1234, reason: 'enough' })
})

test('a closing server tells its clients, after the grace that it gives them', async () => {
  const server = await serve()
  const client = await dial(server.port)
  await exchange(client, new Uint8Array(10))
  client.onEvent = null
  const start = server.close({ graceMs: 50, code: 9, reason: 'maintenance' })
  assert.deepEqual(await client.closed, { kind: 'application', by: 'peer', code: 9, reason: 'maintenance' })
  await start
  assert.equal(server.stats().connections, 0)
})

test('while a server closes, new clients are refused at once and running connections go on', async () => {
  const server = await serve()
  const client = await dial(server.port)
  await exchange(client, new Uint8Array(10))
  const closing = server.close({ graceMs: 60_000 })
  await assert.rejects(dial(server.port), { code: 'ERR_CONNECTION_REFUSED' })
  assert.equal(await exchange(client, new Uint8Array(100_000)), 100_000)
  void server.close({ graceMs: 0, reason: 'hastened' })
  const reason = await client.closed
  assert.ok(reason.kind === 'application' && reason.by === 'peer')
  await closing
})

test('a client moves to another socket and address in the middle of its life, again and again', async () => {
  await using server = await serve(echo, { addresses: ['0.0.0.0'] })
  await using client = await dial(server.port)
  await exchange(client, new Uint8Array(100_000))
  for (const localAddress of ['127.0.0.2', '127.0.0.3', '127.0.0.4', undefined]) {
    const moved = Promise.withResolvers<void>()
    client.onEvent = (event) => {
      if (event.kind === 'path' && event.change === 'migrated') moved.resolve()
      if (event.kind === 'path' && event.change === 'failed') moved.reject(new Error('the new path failed'))
    }
    const before = client.tuple
    assert.equal(client.migrate(localAddress === undefined ? {} : { localAddress }), true)
    await moved.promise
    assert.equal(client.tuple.localAddress, localAddress ?? '127.0.0.1')
    assert.notEqual(client.tuple.key, before.key)
    assert.equal(await exchange(client, new Uint8Array(100_000)), 100_000)
  }
  const [shown] = server.connections
  assert.throws(() => shown?.migrate(), { code: 'ERR_NOT_CLIENT' })
})

test('datagrams go both ways', async () => {
  await using server = await serve()
  await using client = await dial(server.port)
  const { promise, resolve } = Promise.withResolvers<Uint8Array>()
  client.onEvent = (event) => event.kind === 'datagram' && resolve(event.data)
  assert.equal(client.transport.sendDatagram(Uint8Array.of(1, 2, 3)), true)
  assert.deepEqual(await promise, Uint8Array.of(1, 2, 3))
})

test('events that come before a listener is set are kept for it, in order', async () => {
  const shown = Promise.withResolvers<StreamTransport>()
  await using server = await serve((connection) => shown.resolve(connection.transport))
  await using client = await dial(server.port)
  const transport = await shown.promise
  const id = transport.openStream('unidirectional')
  assert.ok(id !== undefined)
  transport.write(id, Uint8Array.of(42))
  transport.finish(id)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const events: ConnectionEvent['kind'][] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  client.onEvent = (event) => {
    events.push(event.kind)
    if (event.kind === 'readable') resolve()
  }
  await promise
  assert.equal(events[0], 'connected')
  assert.ok(events.indexOf('streamOpened') < events.indexOf('readable'))
})

test('a second connection with the same context resumes, and sends its request as 0-RTT', async () => {
  await using server = await serve(echo, { earlyData: true })
  const context = new ClientContext({ trust: { kind: 'ca', ca } })
  const first = await dial(server.port, { context, earlyData: true })
  await exchange(first, new Uint8Array(100))
  await first.close()
  await using second = await dial(server.port, { context, earlyData: true })
  assert.equal(second.handshake, undefined, 'connect settles before the handshake is complete')
  assert.equal(await exchange(second, new Uint8Array(1000)), 1000)
  const { resumed, earlyData } = await second.connected
  assert.deepEqual({ resumed, earlyData }, { resumed: true, earlyData: 'accepted' })
  context.close()
})

test('a server that always asks for Retry is reached all the same', async () => {
  await using server = await serve(echo, { accept: { retry: 'always' } })
  await using client = await dial(server.port)
  assert.equal(await exchange(client, new Uint8Array(100)), 100)
  assert.equal(server.stats().retries, 1)
})

// spec: RFC 9114 §3.1, RFC 9001 §4.4#1
test('an untrusted server is refused with the reason and the remedy, and the server learns of it', async () => {
  const failed = Promise.withResolvers<CloseReason>()
  await using server = await serve(() => assert.fail('a failed handshake was shown'), {
    onHandshakeFailed: (_remote, reason) => failed.resolve(reason),
  })
  const stranger = generateCertificate({ names: ['other.example'] })
  const wrong = connect({ host: '127.0.0.1', port: server.port, alpn, ca: [pem(stranger.certificatePem, 'x')] })
  await assert.rejects(wrong, { code: 'ERR_TLS', message: /127\.0\.0\.1:\d+.*trust its CA/ })
  const reason = await failed.promise
  assert.ok(reason.kind === 'transport' && reason.by === 'peer')
  await using pinned = await dial(server.port, { pinned: [made.certificateSha256Hex], serverName: 'any.example' })
  assert.equal(pinned.alpn, 'echo')
})

// spec: RFC 9001 §8.1#5
test('no common application protocol is refused by the server, and the client says so', async () => {
  await using server = await serve()
  await assert.rejects(dial(server.port, { alpn: ['other'] }), { code: 'ERR_TLS_REFUSED', message: /CRYPTO_ERROR/ })
})

test('a server that does not answer is a timeout with a question worth asking', async () => {
  const silent = new UdpPort()
  const { port } = silent.bind({ address: '127.0.0.1', port: 0 })
  const attempt = dial(port, { handshakeTimeoutMs: 300 })
  await assert.rejects(attempt, { code: 'ERR_HANDSHAKE_TIMEOUT', message: /firewall/ })
  silent.close()
})

test('connecting can be aborted', async () => {
  const silent = new UdpPort()
  const { port } = silent.bind({ address: '127.0.0.1', port: 0 })
  const abort = new AbortController()
  const attempt = dial(port, { signal: abort.signal })
  setTimeout(() => abort.abort(new Error('changed my mind')), 20)
  await assert.rejects(attempt, { message: 'changed my mind' })
  silent.close()
})

test('mistakes of the caller are named before anything is sent', async () => {
  await assert.rejects(dial(0), { code: 'ERR_PORT' })
  await assert.rejects(dial(1, { alpn: [] }), { code: 'ERR_ALPN' })
  await assert.rejects(connect({ host: '127.0.0.1', port: 1, alpn }), { code: 'ERR_TRUST', message: /exactly one of/ })
  await assert.rejects(dial(1, { host: 'no.such.host.invalid' }), { code: 'ERR_RESOLVE' })
  await assert.rejects(serve(echo, { alpn: [] }), { code: 'ERR_ALPN' })
  await assert.rejects(serve(echo, { addresses: ['203.0.113.7'] }), { code: 'ERR_ADDRESS' })
  const stranger = generateCertificate({ names: ['x'] })
  const mismatched = [{ ...identity, privateKey: pem(stranger.privateKeyPem, 'other.pem') }]
  await assert.rejects(serve(echo, { identities: mismatched }), { code: 'ERR_KEY_MISMATCH', message: /other\.pem/ })
  await using server = await serve()
  await assert.rejects(serve(echo, { port: server.port }), { code: 'ERR_PORT_IN_USE', message: /another port/ })
})

test('an exception in onConnection closes that connection and is an uncaught exception of the application', async () => {
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const uncaught = new Promise<Error>((resolve) => process.once('uncaughtException', resolve))
  await using server = await serve(() => {
    throw new Error('application bug')
  })
  const client = await dial(server.port)
  assert.equal((await uncaught).message, 'application bug')
  for (const listener of listeners) process.on('uncaughtException', listener)
  const reason = await client.closed
  assert.ok(reason.kind === 'application' && reason.by === 'peer')
})

test('key log, qlog and capture of a connection are written and closed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quicether-net-'))
  try {
    const [keylogFile, qlogDirectory, captureFile] = ['keys.log', 'qlog', 'run.pcapng'].map((name) =>
      join(folder, name),
    )
    const diagnostics = openDiagnostics({ keylogFile, qlogDirectory, captureFile })
    const { keyLog, tap, observe } = diagnostics
    assert.ok(keyLog !== undefined && tap !== undefined && observe !== undefined)
    const server = await serve()
    const client = await dial(server.port, { keyLog, tap, observe })
    await exchange(client, new Uint8Array(1000))
    await client.close()
    await server.close()
    await diagnostics.close()
    assert.match(readFileSync(keylogFile ?? '', 'utf8'), /^CLIENT_TRAFFIC_SECRET_0 /m)
    assert.match(readFileSync(join(qlogDirectory ?? '', `${client.id}_client.sqlog`), 'utf8'), /packet_sent/)
    assert.ok(statSync(captureFile ?? '').size > 3000)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
