/** Handshakes that lose packets or time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { transportErrorCodes } from '@quicether/wire'
import { Pair } from './testing/index.ts'
import { watched } from './testing/watched.ts'

// spec: RFC 9002 §6.2.3
test('a server whose answer was lost answers a client that repeats itself, before its own probe timeout', () => {
  const pair = new Pair()
  const startUs = pair.nowUs
  let fromClient = 0
  let lostAtUs = -1
  pair.filter = (datagram) => {
    if (datagram.from === 'client') {
      // The first ClientHello is lost; the second copy of the repetition is a little late.
      if (++fromClient === 3) datagram.atUs += 5_000
      return fromClient !== 1
    }
    if (lostAtUs < 0) lostAtUs = datagram.atUs
    return datagram.atUs !== lostAtUs
  }
  pair.connect()
  pair.run(() => pair.connection.core.handshakeConfirmed)
  assert.ok(pair.nowUs - startUs < 1_200_000, `confirmed after ${pair.nowUs - startUs} us`)
})

test('a peer that repeats its CRYPTO data again and again draws a few early answers, not one for each', () => {
  const { pair, sent } = watched({ accept: { retry: 'always' }, tlsServer: { certificateBytes: 100 } })
  let stopped = false
  pair.filter = ({ from }) => from === 'client' || !stopped
  pair.connect()
  pair.run(() => pair.accepted !== undefined)
  stopped = true
  const { handshake } = pair.accepted?.core ?? assert.fail('no server side')
  const hello = new Uint8Array(100)
  pair.flush()
  const before = sent.length
  for (let i = 0; i < 50; i++) {
    handshake.onCrypto(0, 0, hello, 0, hello.length)
    pair.flush()
    pair.accepted?.updateKeys()
    pair.flush()
  }
  const repeats = sent.slice(before).filter(({ role, frames }) => role === 'server' && frames.includes('crypto'))
  assert.ok(repeats.length >= 1 && repeats.length <= 8, `${repeats.length} packets`)
})

// spec: RFC 9000 §10.2
test('a handshake that takes too long is given up, and the peer is told', () => {
  const pair = new Pair({ server: { handshakeTimeoutUs: 2_000_000 }, accept: { retry: 'always' } })
  let isCut = false
  pair.filter = ({ from }) => from === 'server' || !isCut
  pair.connect()
  pair.run(() => pair.accepted !== undefined)
  isCut = true
  pair.run(() => pair.event('client', 'closed') !== undefined)
  const mine = pair.event('server', 'closed')?.reason
  assert.deepEqual(mine, { kind: 'idle', afterUs: 2_000_000 })
  const theirs = pair.event('client', 'closed')?.reason
  assert.ok(theirs?.kind === 'transport' && theirs.by === 'peer')
  assert.equal(theirs.code, transportErrorCodes.CONNECTION_REFUSED)
  assert.match(theirs.reason, /no handshake within 2 s/)
})

test('a client that gives up tells its server, which forgets the handshake', () => {
  const pair = new Pair({ client: { handshakeTimeoutUs: 2_000_000 } })
  pair.filter = ({ from }) => from === 'client'
  pair.connect()
  pair.run(() => pair.event('client', 'closed') !== undefined)
  pair.run(() => pair.event('server', 'closed') !== undefined, 1_000_000)
  const reason = pair.event('server', 'closed')?.reason
  assert.ok(reason?.kind === 'transport' && reason.by === 'peer' && reason.code === transportErrorCodes.NO_ERROR)
})
