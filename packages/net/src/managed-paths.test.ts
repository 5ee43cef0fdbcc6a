/** Paths that manage themselves over real loopback sockets: announced addresses, lost ones, and no path at all. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { QuicConnection } from './connection.ts'
import type { LocalAddress } from './interface-watch.ts'
import { dial, Relay, roundTrip, serve as serveEcho, until } from './testing/loopback.ts'

// A busy machine makes probe timeouts of seconds, and two of them are needed before anything is said to be wrong.
const config = { maxPaths: 4, idleTimeoutUs: 300_000_000 }
const serve: typeof serveEcho = (options) => serveEcho({ config, ...options })

const local = (address: string): LocalAddress => ({ interfaceName: `lo:${address}`, address, isInternal: true })
const openOf = (connection: QuicConnection): string[] =>
  connection
    .paths()
    .filter(({ state, isValidated }) => state === 'active' && isValidated)
    .map(({ localAddress, remoteAddress }) => `${localAddress}>${remoteAddress}`)
    .sort()

test('connect({ paths }) uses the addresses that the server announces without being asked twice', async () => {
  await using server = await serve({ announce: [{ address: '127.0.0.2' }] })
  await using client = await dial(server.port, { paths: {} })
  await until(() => openOf(client).length === 2)
  assert.deepEqual(openOf(client), ['127.0.0.1>127.0.0.1', '127.0.0.1>127.0.0.2'])
  assert.equal(await roundTrip(client, 100_000), 100_000)
  server.withdrawAddress('127.0.0.2')
  await until(() => openOf(client).length === 1)
  assert.equal(await roundTrip(client, 100_000), 100_000)
})

test('paths follow the addresses of the machine; the first one may go, and data flows on', async () => {
  await using server = await serve()
  await using client = await dial(server.port, { config, localAddress: '127.0.0.1' })
  let addresses = [local('127.0.0.1')]
  const options = { stableMs: 50, pollMs: 20, retryMs: 50 }
  const policy = client.managePaths(options, { list: () => addresses })
  assert.equal(client.managePaths(), policy)
  addresses = [local('127.0.0.1'), local('127.0.0.2'), local('127.0.0.3')]
  await until(() => openOf(client).length === 3)
  addresses = [local('127.0.0.3')]
  await until(() => openOf(client).length === 1)
  assert.deepEqual(openOf(client), ['127.0.0.3>127.0.0.1'])
  assert.equal(await roundTrip(client, 100_000), 100_000)
  addresses = [local('127.0.0.1'), local('127.0.0.3')]
  await until(() => openOf(client).length === 2)
  assert.equal(await roundTrip(client, 100_000), 100_000)
  assert.deepEqual(
    policy.plans().map(({ state, localAddress }) => [localAddress, state]),
    [
      ['127.0.0.1', 'open'],
      ['127.0.0.3', 'open'],
    ],
  )
})

test('managing paths needs a client and sensible settings', async () => {
  await using server = await serve()
  await assert.rejects(dial(server.port, { paths: { pathsMax: 99 } }), {
    code: 'ERR_CONFIG',
    message: /paths\.pathsMax is 99; allowed: 1 to 32/,
  })
  await using client = await dial(server.port)
  assert.equal(client.pathLimit, 1)
  assert.equal(client.pathPolicy, undefined)
  await until(() => [...server.connections].length > 0)
  const [accepted] = server.connections
  assert.throws(() => accepted?.managePaths(), { code: 'ERR_NOT_CLIENT' })
})

test('when no path works the connection says so, tells when it tries again, and goes on without a loss', async (t) => {
  await using server = await serve()
  const relays = [new Relay(t, server.port), new Relay(t, server.port)] as const
  await using client = await dial(await relays[0].start(), { config, serverName: 'localhost' })
  await client.openPath({ localAddress: '127.0.0.1', remotePort: await relays[1].start() })
  const states: string[] = []
  client.watchHealth(({ state }) => states.push(state))
  assert.equal(client.health.state, 'working')
  for (const relay of relays) relay.isCut = true
  const size = 200_000
  const echoed = roundTrip(client, size)
  await until(() => states.includes('degraded'))
  assert.equal(client.health.state, 'degraded')
  assert.equal(typeof client.health.nextAttemptMs, 'number')
  assert.equal(client.isClosed, false)
  relays[1].isCut = false
  assert.equal(await echoed, size)
  await until(() => states.length === 2)
  assert.deepEqual(states, ['degraded', 'working'])
})

test('a connection begins on the interfaces that are named, and says which there are when none fits', async () => {
  await using server = await serve()
  await using client = await dial(server.port, { paths: { interfaces: ['lo'] } })
  assert.equal(client.tuple.localAddress, '127.0.0.1')
  await assert.rejects(dial(server.port, { paths: { interfaces: ['nosuch'] } }), {
    code: 'ERR_INTERFACE',
    message: /over nosuch: no such interface has an address that reaches 127\.0\.0\.1; those with an address: .*lo/,
  })
})
