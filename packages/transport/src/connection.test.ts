/** What a connection gives its user, seen from outside: two real endpoints on a virtual wire. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Version } from '@quicether/wire'
import { createTuple } from './ports/datagrams.ts'
import { Pair, clientTuple, serverTuple, transfer } from './testing/index.ts'
import { createSeededRandom } from './testing/random.ts'

function lossy(seed: number, ratio: number): (pair: Pair) => void {
  const random = createSeededRandom(seed)
  const byte = new Uint8Array(2)
  return (pair) => {
    pair.filter = (datagram) => {
      random.fill(byte)
      const value = ((byte[0] as number) << 8) | (byte[1] as number)
      if (value < ratio * 65_536) return false
      datagram.atUs += (value % 7) * 1500
      return true
    }
  }
}

// spec: RFC 9001 §4.1.2#1, §8.1#1, §8.2#1
test('a handshake completes and is confirmed on both sides', () => {
  const pair = new Pair().handshake()
  assert.equal(pair.event('client', 'connected')?.alpn, 'test')
  assert.equal(pair.event('server', 'connected')?.alpn, 'test')
})

test('data arrives whole in both directions', () => {
  const pair = new Pair().handshake()
  const up = transfer(pair, 'client', 3_000_000)
  const down = transfer(pair, 'server', 3_000_000)
  pair.run(() => up.isDone() && down.isDone())
  assert.equal(pair.connection.stats().packetsLost, 0)
})

for (const ratio of [0.01, 0.05, 0.2]) {
  // spec: RFC 9000 §2.2#1, §2.2#2, §13.2.1#2, §13.2.1#3, §13.3#7
  test(`data arrives whole with ${ratio * 100} % loss and reordering`, () => {
    for (let seed = 1; seed <= 5; seed++) {
      const pair = new Pair({ seed })
      lossy(seed, ratio)(pair)
      pair.handshake()
      const up = transfer(pair, 'client', 400_000)
      const down = transfer(pair, 'server', 400_000)
      pair.run(() => up.isDone() && down.isDone(), 300_000_000)
      assert.ok(pair.connection.stats().packetsLost > 0 || ratio < 0.05)
    }
  })
}

// spec: RFC 9000 §8.1.2, §17.2.5.1#3, §17.2.5.1#4, §17.2.5.2#1, §7.3#2
test('a network that drops exactly every third datagram does not stall a transfer for ever', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const pair = new Pair({ seed }).handshake()
    pair.advance(200_000)
    let count = 0
    pair.filter = () => ++count % 3 !== 0
    pair.connect({ earlyData: true })
    const up = transfer(pair, 'client', 30_000)
    pair.run(up.isDone, 60_000_000)
  }
})

test('a server that demands Retry gets a validated client', () => {
  const pair = new Pair({ accept: { retry: 'always' } }).handshake()
  assert.equal(pair.server.stats.retries, 1)
  const up = transfer(pair, 'client', 10_000)
  pair.run(up.isDone)
})

// spec: RFC 9368 §2.1#2, §2.1#4, RFC 9000 §17.2.1#3
test('a client that starts with a version the server does not speak falls back by Version Negotiation', () => {
  const pair = new Pair({
    client: { versions: [Version.V2, Version.V1] },
    server: { versions: [Version.V1] },
  }).handshake()
  assert.equal(pair.connection.stats().version, Version.V1)
  assert.equal(pair.server.stats.versionNegotiations, 1)
})

// spec: RFC 9000 §8.1.3, RFC 9369 §5
test('a token saves the Retry of the next connection, but only in the version it came from', () => {
  const tokens: Uint8Array[] = []
  const pair = new Pair({
    accept: { retry: 'always' },
    connect: { onNewToken: (token, version) => tokens.push(Uint8Array.of(version & 0xff, ...token)) },
  }).handshake()
  pair.run(() => tokens.length === 1)
  assert.equal(pair.server.stats.retries, 1)
  const token = (tokens[0] as Uint8Array).slice(1)
  const next = pair.connect({ token })
  pair.run(() => next.core.handshakeConfirmed)
  assert.equal(pair.server.stats.retries, 1, 'the token validated the address')
  const other = pair.connect({ token, version: Version.V2 })
  pair.run(() => other.core.handshakeConfirmed)
  assert.equal(pair.server.stats.retries, 2, 'a token of version 1 says nothing in version 2')
})

// spec: RFC 9368 §2.1#3, RFC 9000 §6.2#1
test('no common version ends the connection with the list that was offered', () => {
  const pair = new Pair({ client: { versions: [Version.V2] }, server: { versions: [Version.V1] } })
  pair.connect()
  pair.run(() => pair.event('client', 'closed') !== undefined)
  const reason = pair.event('client', 'closed')?.reason
  assert.ok(reason?.kind === 'version' && reason.offered.includes(Version.V1))
})

// spec: RFC 9368 §2.3#1
test('both sides upgrade to version 2 within the first round trip when the server prefers it', () => {
  const pair = new Pair({ server: { versions: [Version.V2, Version.V1] } }).handshake()
  assert.equal(pair.connection.stats().version, Version.V2)
  assert.equal(pair.accepted?.stats().version, Version.V2)
  assert.equal(pair.server.stats.versionNegotiations, 0)
  const up = transfer(pair, 'client', 10_000)
  pair.run(up.isDone)
})

test('a client that starts in version 2 stays there, whatever the order of the server', () => {
  for (const versions of [
    [Version.V1, Version.V2],
    [Version.V2, Version.V1],
  ]) {
    const pair = new Pair({ client: { versions: [Version.V2, Version.V1] }, server: { versions } }).handshake()
    assert.equal(pair.connection.stats().version, Version.V2)
    assert.equal(pair.accepted?.stats().version, Version.V2)
  }
})

// spec: RFC 9000 §7.5#1
test('a ClientHello of several datagrams completes the handshake', () => {
  const pair = new Pair({ tlsClient: { clientHelloBytesMin: 3000 } }).handshake()
  assert.ok(pair.accepted)
})

// spec: RFC 9000 §7.4.1#4
test('a resumed connection sends its request in the first flight', () => {
  const pair = new Pair().handshake()
  pair.advance(200_000)
  pair.clientEvents.length = 0
  const startUs = pair.nowUs
  pair.connect({ earlyData: true })
  const early = transfer(pair, 'client', 3000)
  pair.run(early.isDone)
  assert.equal(pair.nowUs - startUs, 10_000, 'the data needs one one-way delay')
  pair.run(() => pair.event('client', 'connected') !== undefined)
  assert.equal(pair.event('client', 'connected')?.earlyData, 'accepted')
})

// spec: RFC 9001 §4.6.2
test('rejected 0-RTT data is delivered once, after the handshake', () => {
  const pair = new Pair({ tlsServer: { earlyData: 'reject' } }).handshake()
  pair.advance(200_000)
  pair.clientEvents.length = 0
  pair.connect({ earlyData: true })
  const early = transfer(pair, 'client', 30_000)
  pair.run(early.isDone)
  assert.equal(pair.event('client', 'connected')?.earlyData, 'rejected')
})

// spec: RFC 9001 §6.2#1, §6.3#3
test('keys are updated on request, and both sides follow', () => {
  const pair = new Pair().handshake()
  for (let round = 1; round <= 3; round++) {
    pair.connection.updateKeys()
    const up = transfer(pair, 'client', 50_000)
    pair.run(up.isDone)
    pair.advance(2_000_000)
    assert.equal(pair.connection.stats().keyUpdates, round)
    assert.equal(pair.accepted?.stats().keyUpdates, round)
  }
})

// spec: RFC 9001 §6.6#3
test('keys are updated by themselves after so many packets', () => {
  const pair = new Pair({ client: { keyUpdatePackets: 200 } }).handshake()
  const up = transfer(pair, 'client', 2_000_000)
  pair.run(up.isDone)
  assert.ok(pair.connection.stats().keyUpdates >= 1)
})

test('an idle connection ends silently on both sides after the smaller timeout', () => {
  const pair = new Pair({ client: { idleTimeoutUs: 5_000_000 }, server: { idleTimeoutUs: 20_000_000 } }).handshake()
  pair.advance(1_000_000)
  const before = pair.sent.length
  pair.run(() => pair.event('client', 'closed') !== undefined && pair.event('server', 'closed') !== undefined)
  assert.equal(pair.sent.length, before)
  assert.equal(pair.event('client', 'closed')?.reason.kind, 'idle')
  assert.equal(pair.event('server', 'closed')?.reason.kind, 'idle')
})

test('keep-alive holds an idle connection open', () => {
  const pair = new Pair({ client: { idleTimeoutUs: 2_000_000, keepAliveUs: 1_000_000 } }).handshake()
  pair.advance(20_000_000)
  assert.equal(pair.event('client', 'closed'), undefined)
})

// spec: RFC 9000 §10.2.3#1, §11.1
test('a close tells the peer code and reason, and nothing is left behind', () => {
  const pair = new Pair().handshake()
  pair.connection.close(42, 'done here')
  pair.run(() => pair.event('server', 'closed') !== undefined)
  const reason = pair.event('server', 'closed')?.reason
  assert.deepEqual(reason, { kind: 'application', by: 'peer', code: 42, reason: 'done here' })
  pair.advance(10_000_000)
  assert.equal(pair.client.connectionCount, 0)
  assert.equal(pair.server.connectionCount, 0)
  assert.equal(pair.clientCrypto.openKeys(), 0)
  assert.equal(pair.serverCrypto.openKeys(), 0)
  assert.equal(pair.clientCrypto.openSpaces(), 0)
  assert.equal(pair.serverCrypto.openSpaces(), 0)
})

// spec: RFC 9000 §9.3#1, §9.3#2, §8.2.2#1
test('a NAT rebinding during a download does not lose a byte', () => {
  const pair = new Pair().handshake()
  const down = transfer(pair, 'server', 2_000_000)
  let port = 40_000
  pair.filter = (datagram) => {
    if (datagram.from === 'client') datagram.tuple = clientTuple(port)
    else if (datagram.tuple.remotePort !== port) return false
    else datagram.tuple = serverTuple()
    return true
  }
  pair.run(() => down.received() > 300_000)
  port = 50_001
  pair.run(down.isDone)
  assert.equal(pair.accepted?.stats().rebindings, 1)
  assert.equal(pair.accepted?.paths()[0]?.remotePort, 50_001)
})

// spec: RFC 9000 §9.5#1
test('a client migrates to another address, with another connection ID', () => {
  const pair = new Pair().handshake()
  pair.advance(100_000)
  const before = pair.connection.path.cids.active?.sequence
  assert.ok(pair.connection.migrate(clientTuple(41_000, '10.9.9.9'), pair.nowUs))
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
  const up = transfer(pair, 'client', 100_000)
  pair.run(up.isDone)
  assert.equal(pair.accepted?.paths()[0]?.remoteAddress, '10.9.9.9')
  assert.notEqual(pair.connection.path.cids.active?.sequence, before)
})

// spec: RFC 9000 §5.1.1#2, §5.1.2#6
test('a connection migrates a thousand times without running out of connection IDs', () => {
  const pair = new Pair().handshake()
  pair.advance(100_000)
  for (let i = 0; i < 1000; i++) {
    assert.ok(pair.connection.migrate(clientTuple(1024 + i, '10.9.9.9'), pair.nowUs), `migration ${i}`)
    pair.run(() => pair.connection.stats().migrations === i + 1)
    const up = transfer(pair, 'client', 100)
    pair.run(up.isDone)
    pair.advance(50_000)
  }
  assert.ok(pair.connection.core.paths.probes.length <= 8)
})

// spec: RFC 9000 §9.6.2#1, §9.6.2#2
test('a client moves to the preferred address of the server, and the download goes on there', () => {
  const pair = new Pair({
    accept: { preferredAddress: { ipv4: { address: '10.0.0.77', port: 8443 } } },
    connect: {
      tupleTo: (remoteAddress, remotePort) =>
        createTuple({
          localAddress: '10.0.0.1',
          localPort: 40_000,
          remoteAddress,
          remotePort,
          interfaceIndex: 0,
          socket: 0,
        }),
    },
  }).handshake()
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  assert.equal(pair.connection.paths()[0]?.remoteAddress, '10.0.0.77')
  assert.equal(pair.accepted?.paths()[0]?.localPort, 8443)
  assert.equal(pair.connection.stats().migrations, 1)
})

// spec: RFC 9000 §10.3#8, §10.3.1#1, §10.3.1#4
test('a server that lost its state ends the connection by stateless reset', () => {
  const pair = new Pair().handshake()
  pair.advance(100_000)
  const connection = pair.connection
  // The server forgets: its endpoint answers for CIDs it no longer knows, with the same key.
  const routes = pair.accepted
  assert.ok(routes)
  routes.path.cids.local.slice().forEach((local) => routes.path.cids.onRetired(local.sequence, -1))
  connection.updateKeys()
  pair.run(() => pair.event('client', 'closed') !== undefined)
  assert.equal(pair.event('client', 'closed')?.reason.kind, 'reset')
})

test('datagrams travel beside streams and keep their boundaries', () => {
  const pair = new Pair().handshake()
  for (let i = 0; i < 10; i++) assert.ok(pair.connection.sendDatagram(new Uint8Array(100 + i).fill(i)))
  pair.run(() => pair.serverEvents.filter((event) => event.kind === 'datagram').length === 10)
  const sizes = pair.serverEvents.flatMap((event) => (event.kind === 'datagram' ? [event.data.length] : []))
  assert.deepEqual(sizes, [100, 101, 102, 103, 104, 105, 106, 107, 108, 109])
})

// spec: RFC 9000 §4.1#1
test('a receiver that does not read stops the sender at its window', () => {
  const pair = new Pair({ server: { streamWindowBytes: 65_536, connectionWindowBytes: 100_000 } }).handshake()
  const id = pair.connection.openStream('bidirectional') as number
  let accepted = 0
  for (let i = 0; i < 10; i++) accepted += pair.connection.write(id, new Uint8Array(50_000))
  pair.advance(5_000_000)
  assert.equal(accepted, 500_000)
  assert.equal(pair.accepted?.core.streams.window.received, 65_536)
})

// spec: RFC 9000 §3.5#2
test('a reset reaches the reader with its code; a stop reaches the writer', () => {
  const pair = new Pair().handshake()
  const id = pair.connection.openStream('bidirectional') as number
  pair.connection.write(id, new Uint8Array(1000))
  pair.run(() => pair.event('server', 'streamOpened') !== undefined)
  pair.connection.reset(id, 77)
  pair.run(() => pair.event('server', 'streamReset') !== undefined)
  assert.equal(pair.event('server', 'streamReset')?.code, 77)
  const other = pair.connection.openStream('unidirectional') as number
  pair.connection.write(other, new Uint8Array(1000))
  pair.run(() => pair.serverEvents.some((event) => event.kind === 'streamOpened' && event.id === other))
  pair.accepted?.stop(other, 88)
  pair.run(() => pair.event('client', 'streamStopped') !== undefined)
  assert.equal(pair.event('client', 'streamStopped')?.code, 88)
})

// spec: RFC 9000 §2.1, §4.6#2
test('thousands of short streams are opened, answered and forgotten within the stream limit', () => {
  const pair = new Pair({ server: { maxStreamsBidi: 20 } }).handshake()
  let opened = 0
  let answered = 0
  const open = (): void => {
    while (opened < 2000) {
      const id = pair.connection.openStream('bidirectional')
      if (id === undefined) return
      opened++
      pair.connection.write(id, new Uint8Array(10))
      pair.connection.finish(id)
    }
  }
  pair.onEvent = (side, connection, event) => {
    if (side === 'server' && event.kind === 'readable') {
      if (connection.read(event.id, () => {}) !== 'finished') return
      connection.write(event.id, new Uint8Array(20))
      connection.finish(event.id)
    }
    if (side === 'client' && event.kind === 'readable' && connection.read(event.id, () => {}) === 'finished') answered++
    if (side === 'client' && event.kind === 'streamsAvailable') open()
  }
  open()
  pair.run(() => answered === 2000, 300_000_000)
  pair.advance(1_000_000)
  assert.equal(pair.connection.core.streams.count, 0)
  assert.equal(pair.accepted?.core.streams.count, 0)
})
