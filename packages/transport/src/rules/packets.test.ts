/** Packets that must be ignored although they are genuine: too late, too early, or of an unknown form. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType, Version } from '@quicether/wire'
import { Level } from '../ports/crypto.ts'
import { createSeededRandom, forgedPair, frameBytes, transfer } from '../testing/index.ts'
import { watched } from '../testing/watched.ts'

const STREAM = FrameType.Stream | 0x06
const BYTE = new Uint8Array([7])
/** Ends the connection of whoever processes it, at any level. */
const VIOLATION = frameBytes(0x21, new Uint8Array(1_100))

for (const side of ['client', 'server'] as const) {
  const victim = side === 'client' ? 'server' : 'client'

  // spec: RFC 9001 §4.9.1#1, §4.9.1#2, §4.9.2
  test(`after the handshake a ${victim} has no keys for Initial and Handshake packets any more`, () => {
    for (const level of [Level.Initial, Level.Handshake]) {
      const forged = forgedPair(side)
      forged.pair.handshake()
      forged.send(level, VIOLATION)
      forged.pair.advance(100_000)
      assert.equal(forged.pair.event(victim, 'closed'), undefined)
    }
  })

  // spec: RFC 9000 §17.2#1, §17.3.1#1, RFC 9287 §3.1#5
  test(`a packet without the QUIC bit is dropped by a ${victim} that did not announce grease_quic_bit`, () => {
    for (const isQuicBitClear of [true, false]) {
      const forged = forgedPair(side, { [victim]: { isGreaseEnabled: false } })
      forged.pair.handshake()
      forged.send(Level.OneRtt, VIOLATION, { isQuicBitClear })
      forged.pair.advance(100_000)
      assert.equal(forged.pair.event(victim, 'closed') === undefined, isQuicBitClear)
    }
  })
}

// spec: RFC 9001 §5.7#1, §5.7#2
test('a server processes 1-RTT packets only once it has the whole handshake', () => {
  const forged = forgedPair('client')
  const { pair } = forged
  pair.filter = ({ from }) => from === 'server' || !pair.connection.core.hasHandshakeKeys
  pair.connect()
  pair.run(() => pair.event('client', 'connected') !== undefined)
  forged.send(Level.OneRtt, frameBytes(STREAM, 0, 0, 1, BYTE), { packetNumber: 100 })
  pair.advance(50_000)
  assert.equal(pair.event('server', 'streamOpened'), undefined)
  pair.filter = () => true
  pair.run(() => pair.event('server', 'streamOpened') !== undefined)
  assert.ok(pair.event('server', 'connected'))
})

// spec: RFC 9000 §3.2#1
test('the first packet of a stream creates all streams of its type below it', () => {
  const forged = forgedPair('client')
  forged.pair.handshake()
  forged.send(Level.OneRtt, frameBytes(STREAM, 12, 0, 1, BYTE))
  forged.pair.advance(50_000)
  const opened = forged.pair.serverEvents.flatMap((event) => (event.kind === 'streamOpened' ? [event.id] : []))
  assert.deepEqual(opened, [0, 4, 8, 12])
})

// spec: RFC 9000 §4.1#3, §4.6#4, §13.3#5, §19.11#2
test('limits that are lower than earlier ones change nothing', () => {
  const forged = forgedPair('server')
  const { pair } = forged
  pair.handshake()
  const up = transfer(pair, 'client', 400_000)
  pair.run(() => up.received() > 50_000)
  forged.send(
    Level.OneRtt,
    frameBytes(
      ...[FrameType.MaxData, 1, FrameType.MaxStreamData, 2, 1],
      ...[FrameType.MaxStreamsBidi, 0, FrameType.MaxStreamsUni, 0],
    ),
  )
  pair.advance(15_000)
  assert.notEqual(pair.connection.openStream('bidirectional'), undefined)
  const other = transfer(pair, 'client', 1_000)
  pair.run(() => other.isDone() && up.isDone())
})

// spec: RFC 9000 §10.2.3#5, §10.2.3#6
test('an application that closes during the handshake does not show its code and reason', () => {
  for (const side of ['client', 'server'] as const) {
    const { pair } = watched()
    const peer = side === 'client' ? 'server' : 'client'
    pair.connect()
    pair.run(() => pair.accepted !== undefined)
    const connection = side === 'client' ? pair.connection : pair.accepted
    connection?.close(42, 'a secret')
    pair.run(() => pair.event(peer, 'closed') !== undefined)
    const reason = pair.event(peer, 'closed')?.reason
    assert.ok(reason?.kind === 'transport', JSON.stringify(reason))
    assert.deepEqual([reason.name, reason.reason], ['APPLICATION_ERROR', ''])
  }
})

// spec: RFC 9000 §5.1#2, §5.1.1#1, §5.1.1#4
test('connection IDs are issued once each, numbered without gaps, and no more than the peer wants', () => {
  const { pair, notes } = watched({ client: { activeCidLimit: 4 }, server: { activeCidLimit: 3 } })
  pair.handshake()
  pair.advance(500_000)
  assert.deepEqual([...notes.client.cids.keys()], [1, 2])
  assert.deepEqual([...notes.server.cids.keys()], [1, 2, 3].slice(0, notes.server.cids.size))
  assert.ok(notes.server.cids.size <= 3)
  for (let i = 0; i < 20; i++) {
    pair.connection.rotateCid()
    pair.advance(100_000)
  }
  for (const { cids, violations } of [notes.client, notes.server]) {
    assert.deepEqual(violations, [])
    assert.equal(new Set(cids.values()).size, cids.size, 'no connection ID twice')
    assert.deepEqual(
      [...cids.keys()].sort((a, b) => a - b),
      [...cids.keys()].map((_, index) => index + 1),
    )
  }
  assert.ok(notes.server.cids.size > 10)
})

// spec: RFC 8999 §6#3, §6#4, RFC 9000 §17.2.1#4, §17.2.1#5, RFC 9368 §2.1#1, RFC 9000 §7.2#1
test('Version Negotiation swaps the connection IDs of the packet it answers and lists what the server speaks', () => {
  const { pair } = watched({ client: { versions: [Version.V2, Version.V1] }, server: { versions: [Version.V1] } })
  pair.handshake()
  const first = pair.sent[0]?.bytes as Uint8Array
  const answer = pair.sent.find(({ from }) => from === 'server')?.bytes as Uint8Array
  const cids = (bytes: Uint8Array): { dcid: Uint8Array; scid: Uint8Array; end: number } => {
    const dcidEnd = 6 + (bytes[5] as number)
    const end = dcidEnd + 1 + (bytes[dcidEnd] as number)
    return { dcid: bytes.slice(6, dcidEnd), scid: bytes.slice(dcidEnd + 1, end), end }
  }
  const asked = cids(first)
  const answered = cids(answer)
  assert.ok(asked.dcid.length >= 8)
  assert.deepEqual(answer.slice(1, 5), new Uint8Array(4))
  assert.deepEqual(answered.dcid, asked.scid)
  assert.deepEqual(answered.scid, asked.dcid)
  const view = new DataView(answer.buffer, answer.byteOffset)
  const versions: number[] = []
  for (let at = answered.end; at < answer.length; at += 4) versions.push(view.getUint32(at))
  assert.ok(versions.includes(Version.V1))
  assert.ok(!versions.includes(Version.V2))
})

// spec: RFC 9001 §5.6#4, §5.6#7, RFC 9000 §12.3#1, §17.2.3#2, §17.2.3#3
test('0-RTT packets come from clients only, end with the 1-RTT keys, and share packet numbers with 1-RTT', () => {
  for (const earlyData of ['accept', 'reject'] as const) {
    const { pair, sent } = watched({ tlsServer: { earlyData } })
    pair.handshake()
    pair.advance(200_000)
    const before = sent.length
    let count = 0
    pair.filter = () => ++count % 5 !== 0
    pair.connect({ earlyData: true })
    const early = transfer(pair, 'client', 100_000)
    pair.run(early.isDone)
    let hasOneRtt = false
    let largest = -1
    let earlyPackets = 0
    for (const { role, level, packetNumber } of sent.slice(before)) {
      if (level === Level.ZeroRtt) {
        assert.equal(role, 'client')
        assert.equal(hasOneRtt, false, 'no 0-RTT packet after one of 1-RTT')
        earlyPackets++
      }
      if (role !== 'client' || (level !== Level.ZeroRtt && level !== Level.OneRtt)) continue
      assert.ok(packetNumber > largest)
      largest = packetNumber
      if (level === Level.OneRtt) hasOneRtt = true
    }
    assert.ok(earlyPackets > 0)
  }
})

// spec: RFC 9000 §13.2.6#1, §13.2.6#2, §13.2.6#3, RFC 9001 §4#1, §4.9#1
test('each packet number space is acknowledged and repeated in packets of its own', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const { pair, sent, notes } = watched({ seed })
    pair.handshake()
    pair.advance(200_000)
    const before = sent.length
    // The next connection counts its connection IDs and streams anew.
    for (const { cids, finalSizes } of [notes.client, notes.server]) {
      cids.clear()
      finalSizes.clear()
    }
    const random = createSeededRandom(seed)
    const byte = new Uint8Array(1)
    pair.filter = () => {
      random.fill(byte)
      return (byte[0] as number) >= 50
    }
    const first = pair.accepted
    pair.connect({ earlyData: true })
    const early = transfer(pair, 'client', 20_000)
    pair.run(() => early.isDone() && pair.connection.core.handshakeConfirmed, 120_000_000)
    assert.notEqual(pair.accepted, first)
    assert.deepEqual([...notes.client.violations, ...notes.server.violations], [])
    const fresh = sent.slice(before)
    for (const level of [Level.Initial, Level.OneRtt])
      assert.ok(
        fresh.some((packet) => packet.role === 'server' && packet.level === level && packet.frames.includes('ack')),
        `no ACK of the server at level ${level}`,
      )
    assert.ok(fresh.some(({ level }) => level === Level.ZeroRtt))
    assert.equal(
      pair.event('server', 'closed'),
      undefined,
      'an ACK in a wrong space would acknowledge what was not sent',
    )
  }
})
