/** What our own endpoints never put on the wire, seen by an observer of all their packets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Level } from '../ports/crypto.ts'
import { transfer } from '../testing/index.ts'
import { type Sent, watched } from '../testing/watched.ts'

// spec: RFC 9000 §12.3#1, §12.3#2, §12.4#1, §12.5, §17.2.4, RFC 9001 §4.9.1#3
test('packet numbers only rise, frames go where they may, and no Initial follows the end of its keys', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const { pair, sent, notes } = watched({ seed, tlsClient: { clientHelloBytesMin: seed % 2 === 0 ? 3_000 : 0 } })
    let count = 0
    pair.filter = () => ++count % 11 !== 0
    pair.handshake()
    const up = transfer(pair, 'client', 100_000)
    const down = transfer(pair, 'server', 100_000)
    pair.run(() => up.isDone() && down.isDone())
    assert.deepEqual([...notes.client.violations, ...notes.server.violations], [])
    for (const role of ['client', 'server'] as const) {
      const largest: number[] = [-1, -1, -1, -1]
      let isBeyondInitial = false
      for (const packet of sent) {
        if (packet.role !== role) continue
        const space = packet.level === Level.ZeroRtt ? Level.OneRtt : packet.level
        assert.ok(packet.packetNumber > (largest[space] as number), `${role} reuses ${packet.packetNumber}`)
        largest[space] = packet.packetNumber
        assert.ok(packet.frames.length > 0, 'a packet of padding alone acknowledges nothing and says nothing')
        if (role === 'client' && packet.level === Level.Handshake) isBeyondInitial = true
        if (role === 'client' && packet.level === Level.Initial) assert.equal(isBeyondInitial, false)
      }
    }
  }
})

// spec: RFC 9000 §2.2#3, §3.3#2, §4.1#1, §4.5#2, §13.3#1, §19.9#1, §19.10#3
test('a sender keeps to stream and connection credit at every moment, and to the end it announced', () => {
  const streamWindowBytes = 20_000
  const connectionWindowBytes = 30_000
  const { pair, notes } = watched({ server: { streamWindowBytes, connectionWindowBytes } })
  let count = 0
  pair.filter = () => ++count % 13 !== 0
  pair.handshake()
  const transfers = [1, 2, 3].map(() => transfer(pair, 'client', 300_000))
  const reset = pair.connection.openStream('bidirectional') as number
  pair.connection.write(reset, new Uint8Array(5_000))
  let steps = 0
  pair.run(() => {
    if (++steps === 40) pair.connection.reset(reset, 1)
    let total = 0
    for (const [id, end] of notes.client.streamEnds) {
      const limit = Math.max(streamWindowBytes, notes.server.maxStreamData.get(id) ?? 0)
      assert.ok(end <= limit, `stream ${id}: ${end} bytes sent, credit ${limit}`)
      total += Math.max(end, notes.client.finalSizes.get(id) ?? 0)
    }
    assert.ok(total <= Math.max(connectionWindowBytes, notes.server.maxData), `${total} bytes sent`)
    return transfers.every(({ isDone }) => isDone())
  }, 300_000_000)
  assert.ok(notes.client.names.includes('reset_stream'))
  assert.deepEqual(notes.client.violations, [])
})

// spec: RFC 9000 §4.6#2, §19.11#3
test('streams beyond the limit are not opened until there is room', () => {
  const { pair } = watched({ server: { maxStreamsBidi: 2 } })
  pair.handshake()
  const ids = [1, 2, 3].map(() => pair.connection.openStream('bidirectional'))
  assert.deepEqual(ids, [0, 4, undefined])
})

// spec: RFC 9000 §8.1#3, §14.1#1, §14.1#2, RFC 9001 §9.3
test('every datagram with an Initial packet that elicits an answer has at least 1200 bytes', () => {
  const { pair } = watched({ tlsClient: { clientHelloBytesMin: 3_000 } })
  let count = 0
  pair.filter = () => ++count % 4 !== 0
  pair.handshake()
  const initials = pair.sent.filter(({ bytes }) => ((bytes[0] as number) & 0xb0) === 0x80)
  assert.ok(initials.length >= 4)
  for (const { from, bytes } of initials) if (from === 'client') assert.ok(bytes.length >= 1_200, `${bytes.length}`)
  assert.ok(initials.some(({ from, bytes }) => from === 'server' && bytes.length >= 1_200))
})

// spec: RFC 9001 §4.1.2#1, RFC 9000 §13.3#3, §19.20#1
test('HANDSHAKE_DONE comes from the server once the handshake is over, and again until it is acknowledged', () => {
  const { pair, sent } = watched()
  const isDone = (packet: Sent): boolean => packet.frames.includes('handshake_done')
  let lost = 0
  pair.filter = ({ from, bytes }) => {
    if (from !== 'server' || ((bytes[0] as number) & 0x80) !== 0 || lost >= 2 || !sent.some(isDone)) return true
    lost++
    return false
  }
  pair.handshake()
  const done = sent.filter(isDone)
  assert.ok(done.length >= 2, `${done.length} times`)
  assert.ok(done.every(({ role, level }) => role === 'server' && level === Level.OneRtt))
})

// spec: RFC 9221 §3#1, §3#2
test('no DATAGRAM is sent to a peer that takes none, and none larger than it takes', () => {
  const none = watched({ server: { datagramFrameBytesMax: 0 } })
  none.pair.handshake()
  assert.equal(none.pair.connection.sendDatagram(new Uint8Array(0)), false)
  assert.equal(none.pair.connection.sendDatagram(new Uint8Array(1)), false)
  const some = watched({ server: { datagramFrameBytesMax: 100 } })
  some.pair.handshake()
  assert.equal(some.pair.connection.sendDatagram(new Uint8Array(99)), false)
  assert.equal(some.pair.connection.sendDatagram(new Uint8Array(97)), true)
  some.pair.run(() => some.pair.event('server', 'datagram') !== undefined)
  assert.equal(some.pair.event('server', 'datagram')?.data.length, 97)
})

// spec: RFC 9000 §10.2.1#3, §10.2.2
test('a connection that hears CONNECTION_CLOSE sends no more, and one that closes answers seldom', () => {
  const { pair } = watched()
  pair.handshake()
  const down = transfer(pair, 'server', 2_000_000)
  pair.run(() => down.received() > 100_000)
  pair.connection.close(0, '')
  pair.run(() => pair.event('server', 'closed') !== undefined)
  const before = pair.sent.filter(({ from }) => from === 'server').length
  const closes = pair.sent.filter(({ from }) => from === 'client').length
  pair.advance(20_000_000)
  assert.equal(pair.sent.filter(({ from }) => from === 'server').length, before)
  assert.ok(pair.sent.filter(({ from }) => from === 'client').length - closes <= 10)
})

// spec: RFC 9221 §5.4#1
test('datagrams wait for the congestion window as everything else does', () => {
  const { pair, sent } = watched()
  pair.handshake()
  pair.advance(500_000)
  pair.filter = () => false
  const { recovery } = pair.connection.path
  for (let i = 0; i < 100; i++) pair.connection.sendDatagram(new Uint8Array(1_000))
  const before = sent.length
  pair.advance(20_000)
  assert.ok(sent.length - before > 3)
  assert.ok(recovery.inFlightBytes <= recovery.congestion.windowBytes)
  pair.filter = () => true
  pair.run(() => pair.serverEvents.filter(({ kind }) => kind === 'datagram').length > 80)
})

// spec: RFC 9000 §10.1
test('an idle timeout shorter than three probe timeouts leaves time for them all the same', () => {
  const { pair } = watched({ client: { idleTimeoutUs: 1_000 } })
  pair.handshake()
  const ptoUs = pair.connection.path.ptoUs(25_000)
  pair.advance(3 * ptoUs - 40_000)
  assert.equal(pair.event('client', 'closed'), undefined)
  pair.advance(5_000_000)
  assert.equal(pair.event('client', 'closed')?.reason.kind, 'idle')
})
