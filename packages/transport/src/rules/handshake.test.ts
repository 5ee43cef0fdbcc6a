/** What a peer may not do before the handshake is over: wrong protocols, parameters, versions, tokens, frames and bits. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType, Version } from '@quicether/wire'
import { Level } from '../ports/crypto.ts'
import { type ForgedPair, type Pair, type PairOptions, forgedPair, frameBytes } from '../testing/index.ts'
import { withParameter } from '../testing/parameters-of.ts'

const STREAM = FrameType.Stream | 0x02
const BYTE = new Uint8Array([7])
const PADDING = new Uint8Array(1_100)

// spec: RFC 9001 §4.8, §8.1#2, §8.1#3, §8.1#5, RFC 9000 §7#2
test('no common application protocol ends the handshake with no_application_protocol (0x178) on both sides', () => {
  const forged = forgedPair('client', { tlsServer: { alpn: ['other'] } })
  forged.pair.connect()
  assert.equal(forged.verdict().code, 0x178)
})

for (const side of ['client', 'server'] as const) {
  // spec: RFC 9001 §8.2#2
  test(`a ${side} without transport parameters is refused with missing_extension (0x16d)`, () => {
    const forged = forgedPair(side, {
      parametersOf: (from, bytes) => (from === side ? new Uint8Array(0) : bytes),
    })
    forged.pair.connect()
    assert.equal(forged.verdict().code, 0x16d)
  })
}

// spec: RFC 9000 §8.1.3#10
test('a Retry token that this server did not make is INVALID_TOKEN', () => {
  const forged = forgedPair('client')
  forged.pair.connect({ token: new Uint8Array(60).fill(1) })
  assert.equal(forged.verdict().name, 'INVALID_TOKEN')
})

/** A client's connection in the middle of its handshake, the server having its Initial. */
function halfWay(options: PairOptions = {}): ForgedPair {
  const forged = forgedPair('client', options)
  forged.pair.connect()
  forged.pair.run(() => forged.pair.accepted !== undefined)
  return forged
}

/** As `halfWay`, the client having Handshake keys and the server nothing of it yet. */
function halfWayInHandshake(): ForgedPair {
  const forged = forgedPair('client')
  const { pair } = forged
  pair.filter = ({ from }) => from === 'server' || !pair.connection.core.hasHandshakeKeys
  pair.connect()
  pair.run(() => pair.connection.core.hasHandshakeKeys)
  return forged
}

const oneRttFrames: readonly (readonly [string, Uint8Array])[] = [
  ['STREAM', frameBytes(STREAM, 0, 1, BYTE)],
  ['MAX_DATA', frameBytes(FrameType.MaxData, 9)],
  ['NEW_CONNECTION_ID', frameBytes(FrameType.NewConnectionId, 1, 0, Uint8Array.of(4, 1, 2, 3, 4), new Uint8Array(16))],
  ['RETIRE_CONNECTION_ID', frameBytes(FrameType.RetireConnectionId, 0)],
  ['PATH_CHALLENGE', frameBytes(FrameType.PathChallenge, new Uint8Array(8))],
  ['HANDSHAKE_DONE', frameBytes(FrameType.HandshakeDone)],
  ['NEW_TOKEN', frameBytes(FrameType.NewToken, 1, BYTE)],
  ['DATAGRAM', frameBytes(FrameType.DatagramLength, 1, BYTE)],
  ['CONNECTION_CLOSE of an application', frameBytes(FrameType.ApplicationClose, 0, 0)],
]

for (const [name, frame] of oneRttFrames) {
  // spec: RFC 9000 §12.4#3, §12.5
  test(`${name} in an Initial packet is PROTOCOL_VIOLATION`, () => {
    const forged = halfWay()
    forged.send(Level.Initial, frameBytes(frame, PADDING))
    const verdict = forged.verdict()
    assert.equal(verdict.name, 'PROTOCOL_VIOLATION')
    assert.match(verdict.reason, /not allowed in this packet type/)
  })

  // spec: RFC 9000 §12.4#3, §12.5, §17.2.4
  test(`${name} in a Handshake packet is PROTOCOL_VIOLATION`, () => {
    const forged = halfWayInHandshake()
    forged.send(Level.Handshake, frameBytes(frame, new Uint8Array(8)))
    const verdict = forged.verdict()
    assert.equal(verdict.name, 'PROTOCOL_VIOLATION')
    assert.match(verdict.reason, /not allowed in this packet type/)
  })
}

// spec: RFC 9000 §12.4#3, §12.5
test('ACK and CRYPTO in a 0-RTT packet are PROTOCOL_VIOLATION', () => {
  for (const frame of [frameBytes(FrameType.Ack, 0, 0, 0, 0), frameBytes(FrameType.Crypto, 0, 1, BYTE)]) {
    const forged = forgedPair('client')
    const { pair } = forged
    pair.handshake()
    pair.advance(200_000)
    const first = pair.accepted
    pair.connect({ earlyData: true })
    pair.run(() => pair.accepted !== first)
    forged.send(Level.ZeroRtt, frame)
    const verdict = forged.verdict()
    assert.equal(verdict.name, 'PROTOCOL_VIOLATION')
    assert.match(verdict.reason, /not allowed in this packet type/)
  }
})

// spec: RFC 9000 §17.2#9
test('reserved bits in a long header are PROTOCOL_VIOLATION', () => {
  for (const firstByte of [0x04, 0x08]) {
    const initial = halfWay()
    initial.send(Level.Initial, frameBytes(FrameType.Ping, PADDING), { firstByte })
    assert.equal(initial.verdict().name, 'PROTOCOL_VIOLATION')
    const handshake = halfWayInHandshake()
    handshake.send(Level.Handshake, frameBytes(FrameType.Ping, 0, 0), { firstByte })
    assert.equal(handshake.verdict().name, 'PROTOCOL_VIOLATION')
  }
})

// spec: RFC 9000 §7.5#2
test('CRYPTO data beyond the buffer is CRYPTO_BUFFER_EXCEEDED before the handshake too', () => {
  const forged = halfWay()
  forged.send(Level.Initial, frameBytes(FrameType.Crypto, 1_000_000, 1, BYTE, PADDING))
  assert.equal(forged.verdict().name, 'CRYPTO_BUFFER_EXCEEDED')
})

// spec: RFC 9001 §4.1.3#1, §4.1.3#2
test('new CRYPTO data in an Initial packet after TLS has moved on is PROTOCOL_VIOLATION', () => {
  const forged = halfWay()
  forged.send(Level.Initial, frameBytes(FrameType.Crypto, 5_000, 1, BYTE, PADDING))
  const { name, reason } = forged.verdict()
  assert.equal(name, 'PROTOCOL_VIOLATION')
  assert.match(reason, /earlier encryption level/)
})

// spec: RFC 9001 §4.8
test('bytes that are no TLS message end the connection with the alert of TLS', () => {
  const forged = forgedPair('client')
  forged.pair.handshake()
  forged.send(Level.OneRtt, frameBytes(FrameType.Crypto, 0, 8, new Uint8Array(8).fill(0xff)))
  assert.match(forged.verdict().name, /^CRYPTO_ERROR/)
})

/** A client that has the server's first Initial, and meets another one of it. */
function secondInitial(token: Uint8Array): Pair {
  const forged = forgedPair('server')
  const { pair } = forged
  // The handshake stands still while the client has Initial keys only.
  pair.filter = ({ from }) => from === 'client'
  pair.connect()
  pair.run(() => pair.accepted !== undefined)
  forged.send(Level.Initial, frameBytes(STREAM, 0, 1, BYTE, PADDING), { token, packetNumber: 50 })
  pair.advance(50_000)
  return pair
}

// spec: RFC 9000 §17.2.2#2
test('an Initial packet of a server that carries a token is discarded', () => {
  const violation = secondInitial(new Uint8Array(0))
  assert.equal(
    violation.event('client', 'closed')?.reason.kind,
    'transport',
    'its STREAM frame would end the connection',
  )
  const pair = secondInitial(new Uint8Array(5))
  assert.equal(pair.event('client', 'closed'), undefined)
  pair.filter = () => true
  pair.run(() => pair.connection.core.handshakeConfirmed)
})

function versions(chosen: number, ...available: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * available.length)
  const view = new DataView(bytes.buffer)
  for (const [index, version] of [chosen, ...available].entries()) view.setUint32(4 * index, version)
  return bytes
}

const VERSION_INFORMATION = 0x11

// spec: RFC 9368 §4#7, §4#9, §4#10, §4#11
test('a client whose version_information contradicts its packets, or itself, is refused', () => {
  for (const [chosen, available, error] of [
    [Version.V2, [Version.V1, Version.V2], 'VERSION_NEGOTIATION_ERROR'],
    [Version.V1, [Version.V2], 'TRANSPORT_PARAMETER_ERROR'],
    [Version.V1, [], 'TRANSPORT_PARAMETER_ERROR'],
  ] as const) {
    const forged = forgedPair('client', {
      client: { versions: [Version.V1] },
      server: { versions: [Version.V1] },
      parametersOf: (side, bytes) =>
        side === 'client' ? withParameter(bytes, VERSION_INFORMATION, versions(chosen, ...available)) : bytes,
    })
    forged.pair.connect()
    assert.equal(forged.verdict().name, error)
  }
})

// spec: RFC 9368 §4#18, §4#19
test('a server that says it chose another version than its packets have is VERSION_NEGOTIATION_ERROR', () => {
  const forged = forgedPair('server', {
    parametersOf: (side, bytes) =>
      side === 'server'
        ? withParameter(bytes, VERSION_INFORMATION, versions(Version.V2, Version.V2, Version.V1))
        : bytes,
  })
  forged.pair.connect()
  assert.equal(forged.verdict().name, 'VERSION_NEGOTIATION_ERROR')
})

// spec: RFC 9368 §4#17
test('a server that names no version at all after Version Negotiation is VERSION_NEGOTIATION_ERROR', () => {
  const forged = forgedPair('server', {
    client: { versions: [Version.V2, Version.V1] },
    server: { versions: [Version.V1] },
    parametersOf: (side, bytes) =>
      side === 'server' ? withParameter(bytes, VERSION_INFORMATION, versions(Version.V1)) : bytes,
  })
  forged.pair.connect()
  assert.equal(forged.verdict().name, 'VERSION_NEGOTIATION_ERROR')
})

// spec: RFC 9368 §4#13, §4#15, §4#16, RFC 8999 §7
test('a Version Negotiation packet that hides a version both sides speak is detected as a downgrade', () => {
  const forged = forgedPair('server', {
    client: { versions: [Version.V2, Version.V1] },
    server: { versions: [Version.V1] },
    parametersOf: (side, bytes) =>
      side === 'server'
        ? withParameter(bytes, VERSION_INFORMATION, versions(Version.V1, Version.V1, Version.V2))
        : bytes,
  })
  forged.pair.connect()
  const { name, reason } = forged.verdict()
  assert.equal(name, 'VERSION_NEGOTIATION_ERROR')
  assert.match(reason, /downgrade/)
})

// spec: RFC 9368 §4#4, §4#6
test('version_information that cannot be read, or names version 0, is TRANSPORT_PARAMETER_ERROR', () => {
  for (const value of [new Uint8Array(3), new Uint8Array(6), versions(0, Version.V1), versions(Version.V1, 0)]) {
    const forged = forgedPair('client', {
      parametersOf: (side, bytes) => (side === 'client' ? withParameter(bytes, VERSION_INFORMATION, value) : bytes),
    })
    forged.pair.connect()
    assert.equal(forged.verdict().name, 'TRANSPORT_PARAMETER_ERROR')
  }
})
