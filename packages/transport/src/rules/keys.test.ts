/** Key updates and the limits of keys: what ends a connection, and what does not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType, TransportError } from '@quicether/wire'
import { KeyRing } from '../key-ring.ts'
import { Level } from '../ports/crypto.ts'
import { createFakeCrypto, forgedPair, frameBytes, transfer } from '../testing/index.ts'

const PING = frameBytes(FrameType.Ping, new Uint8Array(20))

for (const side of ['client', 'server'] as const) {
  // spec: RFC 9001 §6.1#2, §6.2
  test(`a ${side} that updates its keys twice in one round trip gets KEY_UPDATE_ERROR`, () => {
    const forged = forgedPair(side)
    forged.pair.handshake()
    for (const packetNumber of [500, 501]) {
      forged.forger.updateKeys()
      forged.send(Level.OneRtt, PING, { packetNumber })
    }
    assert.equal(forged.verdict().name, 'KEY_UPDATE_ERROR')
  })
}

// spec: RFC 9001 §5.5#2, §6.6#6, §6.6#7
test('more forgeries than the integrity limit close the connection with AEAD_LIMIT_REACHED, fewer do not', () => {
  const limit = 20
  const forged = forgedPair('client', {
    wrapCrypto: (side, crypto) => (side === 'server' ? createFakeCrypto(3, { integrityPackets: limit }) : crypto),
  })
  const { pair } = forged
  pair.handshake()
  pair.advance(100_000)
  let packetNumber = 900
  const forge = (): void => {
    const bytes = forged.forger.forge(Level.OneRtt, PING, { packetNumber: packetNumber++ })
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
    const tuple = pair.connection.path.tuple
    pair.inject({ from: 'client', bytes, tuple, ecn: 0, atUs: pair.nowUs + 1_000 })
  }
  for (let i = 0; i < limit; i++) forge()
  const up = transfer(pair, 'client', 1_000)
  pair.run(up.isDone)
  assert.equal(pair.event('server', 'closed'), undefined)
  forge()
  assert.equal(forged.verdict().name, 'AEAD_LIMIT_REACHED')
})

function ringWith(confidentialityPackets: number): KeyRing {
  const crypto = createFakeCrypto(1, { confidentialityPackets })
  const ring = new KeyRing(crypto, 2 ** 36)
  ring.install(Level.OneRtt, crypto.installKeys(Level.OneRtt, new Uint8Array(32), new Uint8Array(32).fill(1)))
  return ring
}

// spec: RFC 9001 §5.3#3, §6.6#1, §6.6#2, §6.6#3, §6.6#4
test('keys are updated before their confidentiality limit, and never used beyond it', () => {
  const ring = ringWith(1_000)
  ring.onSealed(899)
  assert.equal(ring.maybeUpdate(true, 100, 0), false)
  ring.onSealed(1)
  assert.equal(ring.maybeUpdate(true, 100, 0), true, 'the update comes before the limit')
  ring.onSealed(999)
  assert.equal(ring.maybeUpdate(true, 100, 0), false, 'the first update is not confirmed')
  assert.throws(
    () => ring.onSealed(1),
    (error) => error instanceof TransportError && error.codeName === 'AEAD_LIMIT_REACHED',
  )
})

// spec: RFC 9001 §6.1#1, §6.1#2
test('keys are not updated before the handshake is confirmed, nor again before the new ones are acknowledged', () => {
  const ring = ringWith(1_000)
  ring.requestUpdate()
  assert.equal(ring.maybeUpdate(false, 100, 0), false)
  assert.equal(ring.maybeUpdate(true, 100, 0), true)
  ring.requestUpdate()
  ring.onOpened(1, 100, 0)
  ring.onTimeout(1_000)
  assert.equal(ring.maybeUpdate(true, 100, 1_000), false)
  ring.onPhaseAcked()
  assert.equal(ring.maybeUpdate(true, 100, 1_000), true)
})
