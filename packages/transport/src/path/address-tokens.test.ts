import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientTuple, Pair, transfer } from '../testing/pair.ts'
import { watched } from '../testing/watched.ts'

/** A pair whose server demands a Retry of clients without a token, the tokens its client got, and ways to move about. */
function scene() {
  const tokens: Uint8Array[] = []
  const pair = new Pair({
    accept: { retry: 'always' },
    connect: { onNewToken: (token) => void tokens.push(token) },
  }).handshake()
  pair.run(() => tokens.length === 1)
  pair.advance(200_000)
  const migrate = (address: string): void => {
    const before = pair.connection.stats().migrations
    assert.ok(pair.connection.migrate(clientTuple(40_000, address), pair.nowUs))
    pair.run(() => pair.connection.stats().migrations === before + 1)
    const up = transfer(pair, 'client', 5_000)
    pair.run(up.isDone)
    pair.advance(500_000)
  }
  return { pair, tokens, migrate }
}

// spec: RFC 9000 §9.3#4, §8.1.3
test('a client that has moved gets a token for its new address, and needs no Retry there', () => {
  const { pair, tokens, migrate } = scene()
  migrate('10.0.1.1')
  assert.equal(tokens.length, 2)
  const { retries } = pair.server.stats
  const tuple = clientTuple(41_000, '10.0.1.1')
  const next = pair.connect({ tuple, token: tokens[1] as Uint8Array })
  pair.run(() => next.core.handshakeConfirmed)
  assert.equal(pair.server.stats.retries, retries, 'the token validated the new address')
  const stale = pair.connect({ tuple: clientTuple(41_001, '10.0.1.1'), token: tokens[0] as Uint8Array })
  pair.run(() => stale.core.handshakeConfirmed)
  assert.equal(pair.server.stats.retries, retries + 1, 'that of the old address says nothing there')
})

test('a client that goes back and forth gets one token for each address', () => {
  const { tokens, migrate } = scene()
  for (let i = 0; i < 6; i++) migrate(i % 2 === 0 ? '10.0.1.1' : '10.0.1.2')
  assert.equal(tokens.length, 3)
})

test('a NAT that gives another port costs no token; one that gives another address does, once it is validated', () => {
  const { pair, tokens } = scene()
  const rebindTo = (port: number, address?: string): void => {
    pair.filter = (datagram) => {
      if (datagram.from === 'client') datagram.tuple = clientTuple(port, address)
      return true
    }
    const up = transfer(pair, 'client', 5_000)
    pair.run(up.isDone)
    pair.advance(500_000)
  }
  rebindTo(45_000)
  assert.equal(tokens.length, 1)
  rebindTo(45_000, '10.0.7.7')
  assert.equal(tokens.length, 2)
})

test('an address from which nothing answers a challenge gets no token', () => {
  const { pair, tokens } = scene()
  // An on-path attacker sends the client's datagrams from an address of its own, where nothing reaches the client.
  pair.filter = (datagram) => {
    if (datagram.from === 'client') datagram.tuple = clientTuple(40_000, '10.0.6.6')
    return datagram.from === 'client' || datagram.tuple.remoteAddress !== '10.0.6.6'
  }
  transfer(pair, 'client', 2_000)
  pair.advance(200_000)
  pair.filter = () => true
  pair.advance(5_000_000)
  assert.equal(tokens.length, 1)
})

// spec: RFC 9000 §13.3
test('a token that is lost on the way is replaced', () => {
  const tokens: Uint8Array[] = []
  const { pair, sent } = watched({ connect: { onNewToken: (token) => void tokens.push(token) } })
  const hasToken = (): boolean => sent.at(-1)?.role === 'server' && sent.at(-1)?.frames.includes('new_token') === true
  let dropped = 0
  // Trains of several datagrams are noted before any of them leaves: the newest one is the one that carries it.
  pair.filter = ({ from }) => {
    if (from !== 'server' || !hasToken() || dropped === 1) return true
    dropped++
    return false
  }
  pair.handshake()
  pair.run(() => tokens.length === 1)
  assert.equal(dropped, 1)
  assert.equal(sent.filter(({ frames }) => frames.includes('new_token')).length, 2)
})
