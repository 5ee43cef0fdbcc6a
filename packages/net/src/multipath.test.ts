/** Several paths of one connection over real loopback sockets: opening, sharing, failing, closing, bad input. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { test } from 'node:test'
import type { PathChange, PathId } from '@quicether/transport'
import type { ConnectOptions } from './connect.ts'
import type { QuicConnection } from './connection.ts'
import { type ListenOptions, listen, type QuicListener } from './listen.ts'
import { alpn, ask, dial as dialWith, identity, Relay, serve as serveWith } from './testing/loopback.ts'

const config = { maxPaths: 4 }
const block = new Uint8Array(65_536).fill(0x5a)

/** Answers every stream with as many bytes as its first four bytes say. */
function source(connection: QuicConnection): void {
  const { transport } = connection
  const left = new Map<number, number>()
  const write = (id: number): void => {
    let rest = left.get(id) ?? 0
    while (rest > 0) {
      const taken = transport.write(id, block.subarray(0, Math.min(block.length, rest)))
      rest -= taken
      left.set(id, rest)
      if (taken === 0) return
    }
    transport.finish(id)
  }
  connection.onEvent = (event) => {
    if (event.kind === 'writable' && (left.get(event.id) ?? 0) > 0) write(event.id)
    if (event.kind !== 'readable' || left.has(event.id)) return
    transport.read(event.id, (chunk) => left.set(event.id, new DataView(chunk.slice().buffer).getUint32(0)))
    if (left.has(event.id)) write(event.id)
  }
}

function serve(options: Partial<ListenOptions> = {}): Promise<QuicListener> {
  return serveWith({ config, ...options }, source)
}

function dial(port: number, options: Partial<ConnectOptions> = {}): Promise<QuicConnection> {
  return dialWith(port, { config, ...options })
}

/** Asks for `size` bytes and resolves with how many came; `onBytes` sees the sum so far. */
function download(connection: QuicConnection, size: number, onBytes?: (sum: number) => void): Promise<number> {
  const request = new Uint8Array(4)
  new DataView(request.buffer).setUint32(0, size)
  return ask(connection, request, onBytes)
}

/** Downloads until each path has brought a fair amount: how soon that is depends on the machine's mood. */
async function downloadOverAll(connection: QuicConnection, size: number): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt++) {
    assert.equal(await download(connection, size), size)
    if (bytesByPath(connection).every((bytes) => bytes > 100_000)) return
  }
  assert.fail(`a path stays without data: ${bytesByPath(connection)}`)
}

function bytesByPath(connection: QuicConnection): readonly number[] {
  return connection.paths().map((path) => path.bytesReceived)
}

test('a download uses three paths between different addresses, and both ends count data on each', async () => {
  // In turn, so that each path is used however fast the others are.
  const inTurn = { maxPaths: 4, packetScheduler: 'rr' } as const
  await using server = await serve({ addresses: ['127.0.0.1', '127.0.0.2'], config: inTurn })
  await using client = await dial(server.port)
  const changes: [PathId, PathChange][] = []
  client.onPath = (id, change) => changes.push([id, change])
  assert.equal(await client.openPath({ localAddress: '127.0.0.2', remoteAddress: '127.0.0.2' }), 1)
  assert.equal(await client.openPath({ localAddress: '127.0.0.3' }), 2)
  assert.deepEqual(
    changes.filter(([, change]) => change === 'validated').map(([id]) => id),
    [1, 2],
  )
  await downloadOverAll(client, 20_000_000)
  const [first, second, third] = client.paths()
  assert.deepEqual(
    [first, second, third].map((path) => [path?.localAddress, path?.remoteAddress, path?.state]),
    [
      ['127.0.0.1', '127.0.0.1', 'active'],
      ['127.0.0.2', '127.0.0.2', 'active'],
      ['127.0.0.3', '127.0.0.1', 'active'],
    ],
  )
  const [accepted] = server.connections
  for (const path of accepted?.paths() ?? []) assert.ok(path.bytesSent > 100_000, `path ${path.id}: ${path.bytesSent}`)
})

test('a stream and datagrams bound to a path go over that path', async () => {
  const listening = { addresses: ['127.0.0.1'], port: 0, alpn, identities: [identity], config }
  await using server = await listen(listening, (connection) => {
    connection.onEvent = (event) => {
      if (event.kind === 'readable') connection.transport.read(event.id, () => {})
    }
  })
  await using client = await dial(server.port)
  const id = await client.openPath({ localAddress: '127.0.0.2' })
  const { transport } = client
  const stream = transport.openStream('unidirectional') ?? -1
  assert.equal(client.setStreamPath(stream, id), true)
  assert.equal(client.setStreamPriority(stream, { priority: 1 }), true)
  assert.throws(() => client.setStreamPath(stream, 9), /there is no open path 9; open ones: 0, 1/)
  const before = client.paths().map((path) => path.bytesSent)
  const delivered = new Promise<void>((resolve) => {
    client.onEvent = (event) => {
      if (event.kind === 'streamDelivered' && event.id === stream) resolve()
    }
  })
  assert.equal(transport.write(stream, new Uint8Array(500_000)), 500_000)
  transport.finish(stream)
  for (let i = 0; i < 10; i++) assert.equal(transport.sendDatagram(new Uint8Array(1_000), { path: id }), true)
  await delivered
  const sent = client.paths().map((path, i) => path.bytesSent - (before[i] ?? 0))
  assert.ok((sent[1] ?? 0) > 510_000 && (sent[0] ?? 0) < 100_000, `${sent}`)
})

test('one connection spans IPv4 and IPv6', async () => {
  await using server = await serve({ addresses: ['127.0.0.1', '::1'] })
  await using client = await dial(server.port)
  await client.openPath({ localAddress: '::1', remoteAddress: '::1' })
  await downloadOverAll(client, 10_000_000)
})

test('a download survives that the link of its first path dies in the middle', async (t) => {
  await using server = await serve()
  const relay = new Relay(t, server.port)
  const host = '127.0.0.4'
  await using client = await dial(await relay.start(host), { host, serverName: 'localhost' })
  await client.openPath({ localAddress: '127.0.0.2', remoteAddress: '127.0.0.1', remotePort: server.port })
  const got = await download(client, 30_000_000, (sum) => {
    if (sum > 5_000_000) relay.isCut = true
  })
  assert.equal(got, 30_000_000)
  assert.ok(relay.isCut)
})

test('a download survives that one of its paths is closed in the middle, the first one included', async () => {
  await using server = await serve()
  await using client = await dial(server.port)
  const second = await client.openPath({ localAddress: '127.0.0.2' })
  const abandoned: PathId[] = []
  client.onPath = (id, change) => change === 'abandoned' && abandoned.push(id)
  const got = await download(client, 30_000_000, (sum) => {
    if (sum > 5_000_000 && abandoned.length === 0) client.closePath(0)
  })
  assert.equal(got, 30_000_000)
  assert.deepEqual(abandoned, [0])
  assert.throws(() => client.closePath(second), { code: 'ERR_PATH', message: /only open one/ })
  const third = await client.openPath({ localAddress: '127.0.0.3' })
  client.closePath(second)
  assert.equal(await download(client, 1_000_000), 1_000_000)
  assert.throws(() => client.closePath(second), { code: 'ERR_PATH', message: new RegExp(`open ones: ${third}`) })
})

test('a backup path carries data only when no available one is left', async () => {
  await using server = await serve()
  await using client = await dial(server.port)
  const backup = await client.openPath({ localAddress: '127.0.0.2', status: 'backup' })
  assert.equal(client.paths()[1]?.isBackup, true)
  await download(client, 5_000_000)
  assert.ok((bytesByPath(client)[1] ?? 0) < 500_000, String(bytesByPath(client)))
  client.closePath(0)
  assert.equal(await download(client, 5_000_000), 5_000_000)
  client.setPathStatus(backup, 'available')
  assert.throws(() => client.setPathStatus(9, 'backup'), { code: 'ERR_PATH', message: /no open path 9/ })
})

test('a server without multipath is named, and so is our own setting', async () => {
  await using single = await serve({ config: {} })
  await using client = await dial(single.port)
  await assert.rejects(client.openPath(), { code: 'ERR_NO_MULTIPATH', message: /127\.0\.0\.1:\d+ does not offer/ })
  assert.equal(await download(client, 1000), 1000)
  await using server = await serve()
  await using plain = await dial(server.port, { config: {} })
  await assert.rejects(plain.openPath(), { code: 'ERR_NO_MULTIPATH', message: /config\.maxPaths/ })
  const [accepted] = server.connections
  await assert.rejects(async () => accepted?.openPath(), { code: 'ERR_NOT_CLIENT' })
})

test('a server that forbids migration allows further paths to its other addresses only', async () => {
  const options = { config: { maxPaths: 4, isActiveMigrationDisabled: true }, addresses: ['127.0.0.1', '127.0.0.2'] }
  await using server = await serve(options)
  await using client = await dial(server.port)
  await assert.rejects(client.openPath({ localAddress: '127.0.0.3' }), {
    code: 'ERR_PATH_FORBIDDEN',
    message: /to 127\.0\.0\.1:\d+: the server forbids it/,
  })
  assert.equal(await client.openPath({ remoteAddress: '127.0.0.2' }), 1)
  assert.equal(await download(client, 100_000), 100_000)
})

test('the limit of paths is named with whose it is', async () => {
  await using server = await serve({ config: { maxPaths: 2 } })
  await using client = await dial(server.port)
  const second = await client.openPath({ localAddress: '127.0.0.2' })
  await assert.rejects(client.openPath({ localAddress: '127.0.0.3' }), {
    code: 'ERR_PATH_LIMIT',
    message: /2 are open and 2 allowed \(the server's limit\)/,
  })
  client.closePath(second)
  // The ID of the closed one comes back after three probe timeouts, which a busy machine makes long.
  assert.equal(await client.openPath({ localAddress: '127.0.0.3', timeoutMs: 15_000 }), 2)
})

test('ends that do not exist or cannot meet are named before anything is sent', async () => {
  await using server = await serve()
  await using client = await dial(server.port)
  await assert.rejects(client.openPath({ localAddress: '::1' }), {
    code: 'ERR_FAMILY',
    message: /::1 to 127\.0\.0\.1: one is IPv4 and the other IPv6/,
  })
  await assert.rejects(client.openPath({ interfaceName: 'nosuch0' }), { code: 'ERR_INTERFACE', message: /nosuch0/ })
  await assert.rejects(client.openPath({ localAddress: '203.0.113.7' }), { code: 'ERR_ADDRESS' })
  await assert.rejects(client.openPath({ localAddress: 'localhost' }), { code: 'ERR_ADDRESS', message: /'localhost'/ })
  await assert.rejects(client.openPath({ remotePort: 70_000 }), { code: 'ERR_PORT', message: /70000/ })
  assert.equal(client.paths().length, 1)
  assert.equal(await client.openPath({ interfaceName: 'lo' }), 1)
})

test('a path that nobody answers on is given up, named, and leaves the connection as it was', async () => {
  const silent = createSocket('udp4')
  silent.bind(0, '127.0.0.5')
  await once(silent, 'listening')
  await using server = await serve()
  await using client = await dial(server.port)
  const attempt = client.openPath({
    remoteAddress: '127.0.0.5',
    remotePort: silent.address().port,
    timeoutMs: 200,
  })
  await assert.rejects(attempt, { code: 'ERR_PATH_UNREACHABLE', message: /to 127\.0\.0\.5:\d+: no answer/ })
  assert.equal(await download(client, 1_000_000), 1_000_000)
  silent.close()
})

test('opening a path on a connection that ends is refused', async () => {
  await using server = await serve()
  const client = await dial(server.port)
  await client.close()
  await assert.rejects(client.openPath(), { code: 'ERR_CONNECTION_CLOSED' })
})
