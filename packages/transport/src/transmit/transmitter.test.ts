/** What the transmitter puts into datagrams when there is little room. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Level } from '../ports/crypto.ts'
import { clientTuple, serverTuple, transfer } from '../testing/index.ts'
import { watched } from '../testing/watched.ts'

// spec: RFC 9000 §14.1
test('a server short of credit sends no ack-eliciting Initial in a datagram below 1200 bytes, and does not spin', () => {
  for (let certificateBytes = 200; certificateBytes <= 4_000; certificateBytes += 200) {
    const patient = { handshakeTimeoutUs: 60_000_000 }
    const { pair, sent } = watched({ client: patient, server: patient, tlsServer: { certificateBytes } })
    let seen = 0
    let isSilent = true
    let fromClient = 0
    pair.filter = ({ from, bytes }) => {
      const packets = sent.slice(seen)
      seen = sent.length
      if (from === 'client') return ++fromClient === 1 || !isSilent
      const elicits = packets.some(
        ({ role, level, frames }) =>
          role === 'server' && level === Level.Initial && frames.some((name) => name === 'crypto' || name === 'ping'),
      )
      if (elicits) assert.ok(bytes.length >= 1_200, `an Initial in ${bytes.length} bytes`)
      return !isSilent
    }
    pair.connect()
    const endUs = pair.nowUs + 5_000_000
    for (let steps = 0; pair.nowUs < endUs; steps++) {
      assert.ok(steps < 200, 'timers go off without end')
      pair.step()
    }
    isSilent = false
    pair.run(() => pair.connection.core.handshakeConfirmed, 30_000_000)
  }
})

// spec: RFC 9000 §10.2.3
test('a close with a long reason still reaches a peer that reads Handshake packets only', () => {
  const { pair, sent } = watched()
  pair.connect()
  pair.run(() => sent.some(({ role, level }) => role === 'server' && level === Level.Handshake))
  const before = sent.length
  pair.accepted?.failWith('INTERNAL_ERROR', 'x'.repeat(5_000), pair.nowUs)
  pair.flush()
  const closes = sent.slice(before).filter(({ role, frames }) => role === 'server' && frames[0] === 'connection_close')
  assert.deepEqual(
    closes.map(({ level }) => level),
    [Level.Initial, Level.Handshake, Level.OneRtt],
  )
})

function challengeData(seed: number): Uint8Array {
  return new Uint8Array(8).fill(seed)
}

// spec: RFC 9000 §8.2.2
test('every challenge gets its response even where the amplification limit leaves room for three at a time', () => {
  const { pair, sent } = watched()
  pair.handshake()
  pair.advance(200_000)
  const { paths } = pair.accepted?.core ?? assert.fail('no server side')
  const path = paths.primary
  const elsewhere = serverTuple(50_000)
  assert.ok(paths.admit(path, elsewhere, 20))
  for (let seed = 1; seed <= 4; seed++) paths.onChallenge(path, elsewhere, challengeData(seed))
  const responses = (): string[] =>
    sent.flatMap(({ frames, pathData }) => (frames[0] === 'path_response' ? pathData : []))
  pair.accepted?.rotateCid()
  pair.flush()
  assert.equal(responses().length, 3)
  paths.admit(path, elsewhere, 20)
  pair.accepted?.rotateCid()
  pair.flush()
  assert.equal(new Set(responses()).size, 4)
})

// spec: RFC 9000 §8.1, §9.3.1
test('challenges from an address not yet validated do not give it a second allowance', () => {
  const { pair } = watched()
  pair.handshake()
  pair.advance(200_000)
  const down = transfer(pair, 'server', 2_000_000)
  pair.run(() => down.received() > 100_000)
  const server = pair.accepted ?? assert.fail('no server side')
  let received = 0
  let sentThere = 0
  let passed = 0
  pair.filter = (datagram) => {
    if (datagram.from === 'server') {
      if (datagram.tuple.remotePort === 50_000) sentThere += datagram.bytes.length
      assert.ok(sentThere <= 3 * received, `${sentThere} bytes sent for ${received}`)
      return true
    }
    if (++passed > 3) return false
    datagram.tuple = clientTuple(50_000)
    received += datagram.bytes.length
    return true
  }
  pair.connection.updateKeys()
  pair.run(() => server.paths()[0]?.remotePort === 50_000)
  for (let seed = 1; seed <= 40; seed++) {
    server.core.paths.onChallenge(server.path, serverTuple(50_000), challengeData(seed))
    pair.advance(10_000)
  }
  assert.ok(sentThere > received, `${sentThere} bytes sent for ${received}`)
})
