/** A server's other addresses over real loopback sockets: the preferred one is moved to, announced ones can be used. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientContext } from './client-context.ts'
import { listLocalAddresses } from './interface-watch.ts'
import { scopeOf } from './ip-address.ts'
import { certificate, dial, Relay, roundTrip, serve, until } from './testing/loopback.ts'

const several = { maxPaths: 4 }

test('a client moves to the address that the server prefers, and opens further paths there', async () => {
  await using server = await serve({ preferredAddress: { ipv4: { address: '127.0.0.2' } }, config: several })
  await using client = await dial(server.port, { config: several })
  await until(() => client.tuple.remoteAddress === '127.0.0.2')
  assert.equal(client.tuple.remotePort, server.port)
  assert.equal(await roundTrip(client, 20_000), 20_000)
  const [accepted] = server.connections
  await until(() => accepted?.tuple.localAddress === '127.0.0.2')
  const id = await client.openPath({ localAddress: '127.0.0.3' })
  assert.equal(client.paths().find((path) => path.id === id)?.remoteAddress, '127.0.0.2')
})

test('a client of a server on all addresses moves between them', async () => {
  await using server = await serve({
    addresses: ['0.0.0.0'],
    preferredAddress: { ipv4: { address: '127.0.0.2' } },
  })
  assert.equal(server.addresses.length, 1)
  await using client = await dial(server.port)
  await until(() => client.tuple.remoteAddress === '127.0.0.2')
  assert.equal(await roundTrip(client, 20_000), 20_000)
})

test('a client stays where it is when told to, or when the preferred address is of another family', async () => {
  await using server = await serve({ preferredAddress: { ipv4: { address: '127.0.0.2' } } })
  await using stubborn = await dial(server.port, { followPreferredAddress: false })
  await using other = await serve({ preferredAddress: { ipv6: { address: '::1' } } })
  await using client = await dial(other.port)
  assert.equal(await roundTrip(stubborn, 1000), 1000)
  assert.equal(await roundTrip(client, 1000), 1000)
  for (const connection of [stubborn, client]) assert.equal(connection.tuple.remoteAddress, '127.0.0.1')
})

test('a preferred address at which nobody answers leaves the connection where it works', async () => {
  // TEST-NET-1 (RFC 5737): nobody is there, so the server takes it for forwarded.
  await using server = await serve({ preferredAddress: { ipv4: { address: '192.0.2.1', port: 4433 } } })
  await using client = await dial(server.port)
  for (let n = 0; n < 5; n++) assert.equal(await roundTrip(client, 10_000), 10_000)
  assert.equal(client.tuple.remoteAddress, '127.0.0.1')
})

test('a client learns of announced addresses, uses one, and hears when it is withdrawn', async () => {
  await using server = await serve({ announce: [{ address: '127.0.0.2' }], config: several })
  await using client = await dial(server.port, { config: several })
  const news: string[] = []
  client.onAddress = (change, address, port) => news.push(`${change} ${address} ${port}`)
  await until(() => client.announcedAddresses().length === 1)
  assert.equal(server.announceAddress('::1'), true)
  assert.equal(server.announceAddress('0:0::1'), false)
  await until(() => client.announcedAddresses().length === 2)
  const expected = [
    { address: '127.0.0.2', port: server.port },
    { address: '::1', port: server.port },
  ]
  assert.deepEqual(client.announcedAddresses(), expected)
  assert.deepEqual(server.announced, expected)
  for (const { address: remoteAddress, port: remotePort } of expected) {
    await client.openPath({ localAddress: remoteAddress, remoteAddress, remotePort })
  }
  assert.equal(client.paths().filter((path) => path.isValidated).length, 3)
  assert.equal(await roundTrip(client, 100_000), 100_000)
  assert.equal(server.withdrawAddress('127.0.0.2'), true)
  assert.equal(server.withdrawAddress('127.0.0.2'), false)
  await until(() => news.includes(`withdrawn 127.0.0.2 ${server.port}`))
  assert.equal(server.announceAddress('127.0.0.2'), true)
  await until(() => client.announcedAddresses().length === 2)
})

test('clients with one path are told nothing, and later clients learn what holds then', async () => {
  await using server = await serve({ config: several })
  await using single = await dial(server.port)
  server.announceAddress('127.0.0.2')
  server.announceAddress('127.0.0.3')
  server.withdrawAddress('127.0.0.2')
  await using client = await dial(server.port, { config: several })
  await until(() => client.announcedAddresses().length > 0)
  assert.deepEqual(client.announcedAddresses(), [{ address: '127.0.0.3', port: server.port }])
  assert.equal(await roundTrip(single, 1000), 1000)
  assert.deepEqual(single.announcedAddresses(), [])
})

test('addresses that cannot be announced or preferred are named', async () => {
  for (const [options, code, message] of [
    [{ announce: [{ address: 'example.org' }] }, 'ERR_ADDRESS', /cannot announce 'example\.org'/],
    [{ announce: [{ address: 'fe80::1%lo' }] }, 'ERR_ADDRESS', /without zone/],
    [{ announce: [{ address: '0.0.0.0' }] }, 'ERR_ADDRESS', /name each of them/],
    [{ announce: [{ address: '127.0.0.2', port: 0 }] }, 'ERR_PORT', /port 0/],
    [{ preferredAddress: { ipv4: { address: '::1' } } }, 'ERR_FAMILY', /preferredAddress\.ipv4 is ::1/],
    [{ preferredAddress: { ipv6: { address: 'nonsense' } } }, 'ERR_ADDRESS', /cannot prefer 'nonsense'/],
  ] as const) {
    await assert.rejects(serve(options), { code, message })
  }
  await using server = await serve()
  for (let n = 1; n <= 16; n++) assert.equal(server.announceAddress('192.0.2.1', n), true)
  assert.throws(() => server.announceAddress('192.0.2.1', 17), { code: 'ERR_ADDRESS_LIMIT', message: /withdraw one/ })
})

test('a server on all addresses announces those of its interfaces, never its loopback', async () => {
  await using server = await serve({ addresses: ['0.0.0.0'], announce: 'interfaces' })
  const own = listLocalAddresses().filter(
    ({ address, isInternal }) => !isInternal && !address.includes(':') && scopeOf(address) === 'wide',
  )
  assert.deepEqual(
    server.announced.map(({ address }) => address),
    own.slice(0, 16).map(({ address }) => address),
  )
  await using one = await serve({ announce: 'interfaces' })
  assert.deepEqual(one.announced, [])
})

test('a client whose address has changed is given a token for the new one, which saves its next connection the Retry', async (t) => {
  await using server = await serve({ accept: { retry: 'always' } })
  const relay = new Relay(t, server.port)
  const port = await relay.start()
  const context = new ClientContext({ trust: { kind: 'ca', ca: [certificate] } })
  t.after(() => context.close())
  const options = { context, serverName: 'localhost' }
  const key = `localhost 127.0.0.1 ${port}`
  await using client = await dial(port, options)
  assert.equal(await roundTrip(client, 1000), 1000)
  await until(() => server.stats().retries === 1)
  // The one for the address of the handshake is good for that address alone.
  let token: Uint8Array | undefined
  await until(() => {
    token = context.takeToken(key)
    return token !== undefined
  })
  await relay.rebind('127.0.0.9')
  assert.equal(await roundTrip(client, 1000), 1000)
  await until(() => {
    token = context.takeToken(key)
    return token !== undefined
  })
  context.rememberToken(key, token as Uint8Array)
  await using next = await dial(port, options)
  assert.equal(await roundTrip(next, 1000), 1000)
  assert.equal(server.stats().retries, 1)
})
