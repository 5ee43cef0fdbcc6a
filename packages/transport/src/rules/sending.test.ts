/** What our own endpoints never put on the wire, seen by an observer of all their packets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AckView, type FrameSink, decodeFrames } from '@quicether/wire'
import type { ConnectionObserver, PacketInfo } from '../observe.ts'
import { Level } from '../ports/crypto.ts'
import { Pair, type PairOptions, transfer } from '../testing/index.ts'

interface Sent {
  readonly role: 'client' | 'server'
  readonly level: Level
  readonly packetNumber: number
  readonly length: number
  readonly frames: readonly string[]
}

/** Names frames and keeps the largest stream data and credit seen. */
class Notes implements FrameSink {
  readonly names: string[] = []
  readonly streamEnds: Map<number, number> = new Map()
  readonly finalSizes: Map<number, number> = new Map()
  maxData = 0
  readonly maxStreamData: Map<number, number> = new Map()

  onPadding(): void {}
  onPing(): void {
    this.names.push('ping')
  }
  onAck(_ack: AckView): void {
    this.names.push('ack')
  }
  onResetStream(id: number, _code: number, finalSize: number): void {
    this.names.push('reset_stream')
    assert.ok(!this.finalSizes.has(id) || this.finalSizes.get(id) === finalSize, `final size of stream ${id} changed`)
    this.finalSizes.set(id, finalSize)
  }
  onStopSending(): void {
    this.names.push('stop_sending')
  }
  onCrypto(): void {
    this.names.push('crypto')
  }
  onNewToken(start: number, end: number): void {
    this.names.push(end > start ? 'new_token' : 'empty new_token')
  }
  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void {
    this.names.push('stream')
    const streamEnd = offset + end - start
    this.streamEnds.set(id, Math.max(this.streamEnds.get(id) ?? 0, streamEnd))
    if (fin) this.finalSizes.set(id, streamEnd)
    const finalSize = this.finalSizes.get(id)
    assert.ok(finalSize === undefined || streamEnd <= finalSize, `stream ${id} goes beyond its end`)
  }
  onMaxData(limit: number): void {
    this.names.push('max_data')
    this.maxData = Math.max(this.maxData, limit)
  }
  onMaxStreamData(id: number, limit: number): void {
    this.names.push('max_stream_data')
    this.maxStreamData.set(id, Math.max(this.maxStreamData.get(id) ?? 0, limit))
  }
  onMaxStreams(): void {
    this.names.push('max_streams')
  }
  onDataBlocked(): void {
    this.names.push('data_blocked')
  }
  onStreamDataBlocked(): void {
    this.names.push('stream_data_blocked')
  }
  onStreamsBlocked(): void {
    this.names.push('streams_blocked')
  }
  onNewConnectionId(): void {
    this.names.push('new_connection_id')
  }
  onRetireConnectionId(): void {
    this.names.push('retire_connection_id')
  }
  onPathChallenge(): void {
    this.names.push('path_challenge')
  }
  onPathResponse(): void {
    this.names.push('path_response')
  }
  onConnectionClose(application: boolean): void {
    this.names.push(application ? 'application_close' : 'connection_close')
  }
  onHandshakeDone(): void {
    this.names.push('handshake_done')
  }
  onDatagram(): void {
    this.names.push('datagram')
  }
  onPathAbandon(): void {}
  onPathStatus(): void {}
  onMaxPathId(): void {}
  onPathsBlocked(): void {}
  onPathCidsBlocked(): void {}
}

/** A pair whose packets are noted as they leave; frames a level may not carry fail the test at once. */
function watched(options: PairOptions = {}): { pair: Pair; sent: Sent[]; notes: Record<'client' | 'server', Notes> } {
  const sent: Sent[] = []
  const notes = { client: new Notes(), server: new Notes() }
  const observer = (role: 'client' | 'server'): ConnectionObserver => ({
    connectionStarted() {},
    packetSent(packet: PacketInfo, bytes: Uint8Array, start: number, end: number) {
      const mine = notes[role]
      const from = mine.names.length
      decodeFrames(bytes, start, end, packet.level, false, mine)
      const { level, packetNumber, length } = packet
      sent.push({ role, level, packetNumber, length, frames: mine.names.slice(from) })
    },
    packetReceived() {},
    packetDropped() {},
    packetLost() {},
    metricsUpdated() {},
    event() {},
  })
  return { pair: new Pair({ ...options, observe: ({ role }) => observer(role) }), sent, notes }
}

// spec: RFC 9000 §12.3#1, §12.3#2, §12.4#1, §12.5, §13.2.6, §17.2.4, RFC 9001 §4.9.1#3
test('packet numbers only rise, frames go where they may, and no Initial follows the end of its keys', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const { pair, sent } = watched({ seed, tlsClient: { clientHelloBytesMin: seed % 2 === 0 ? 3_000 : 0 } })
    let count = 0
    pair.filter = () => ++count % 11 !== 0
    pair.handshake()
    const up = transfer(pair, 'client', 100_000)
    const down = transfer(pair, 'server', 100_000)
    pair.run(() => up.isDone() && down.isDone())
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

// spec: RFC 9000 §4.1#1, §19.9#1, §19.10#3, §4.5#2, §13.3#1
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
