/** What other implementations on the wire taught the engine: each test is a failure seen against a stranger. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Version, decodeFrames, defaultTransportParameters } from '@quicether/wire'
import type { ConnectionObserver, PacketInfo } from './observe.ts'
import { type HandshakeFacts, authenticatePeer } from './parameters.ts'
import { Level } from './ports/crypto.ts'
import { Pair, clientTuple, transfer } from './testing/index.ts'
import { Notes } from './testing/watched.ts'

const silent: ConnectionObserver = {
  connectionStarted() {},
  packetSent() {},
  packetReceived() {},
  packetDropped() {},
  packetLost() {},
  metricsUpdated() {},
  event() {},
}

// spec: RFC 9000 §9.5#1, §9.5#2
test('a client that has migrated is not called back by packets under way to its old address', () => {
  const pair = new Pair().handshake()
  pair.advance(100_000)
  const down = transfer(pair, 'server', 2_000_000)
  pair.advance(40_000)
  assert.ok(pair.connection.migrate(clientTuple(41_000), pair.nowUs))
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
  pair.run(down.isDone)
  const cids = new Map<number, Set<string>>()
  for (const { from, bytes, tuple } of pair.sent) {
    if (from !== 'client' || ((bytes[0] as number) & 0x80) !== 0) continue
    const seen = cids.get(tuple.localPort) ?? new Set()
    seen.add(Buffer.from(bytes.subarray(1, 9)).toString('hex'))
    cids.set(tuple.localPort, seen)
  }
  const shared = [...(cids.get(40_000) ?? [])].filter((cid) => cids.get(41_000)?.has(cid))
  assert.deepEqual(shared, [])
  assert.equal(pair.connection.path.tuple.localPort, 41_000)
})

test('every Initial of a client that hears nothing carries the ClientHello', () => {
  const firstFrames: number[] = []
  const observer: ConnectionObserver = {
    ...silent,
    packetSent(packet: PacketInfo, bytes: Uint8Array, payloadStart: number) {
      if (packet.level === Level.Initial) firstFrames.push(bytes[payloadStart] as number)
    },
  }
  const pair = new Pair({ observe: ({ role }) => (role === 'client' ? observer : null) })
  pair.filter = ({ from }) => from !== 'client'
  pair.connect()
  pair.advance(6_000_000)
  assert.ok(firstFrames.length >= 3, `${firstFrames.length} Initials`)
  assert.ok(
    firstFrames.every((type) => type === 0x06),
    `first frame types ${firstFrames.join(', ')}`,
  )
})

function afterNegotiation(version: number): HandshakeFacts {
  return {
    role: 'client',
    peerCid: new Uint8Array([1]),
    originalDestinationCid: new Uint8Array([2]),
    retrySourceCid: undefined,
    version,
    originalVersion: version,
    isAfterVersionNegotiation: true,
    versions: [Version.V2, Version.V1],
  }
}

// spec: RFC 9368 §4#14, §8#1
test('Version Negotiation to version 1 works with a server that sends no version_information, to version 2 it does not', () => {
  const peer = {
    ...defaultTransportParameters(),
    initialSourceCid: new Uint8Array([1]),
    originalDestinationCid: new Uint8Array([2]),
  }
  authenticatePeer(peer, afterNegotiation(Version.V1))
  assert.throws(() => authenticatePeer(peer, afterNegotiation(Version.V2)), /without version_information/)
})

// spec: RFC 9000 §9.3.2#1, §9.3.3
test('a server whose client was moved by a forged source address goes back to the address it had validated', () => {
  const pair = new Pair().handshake()
  pair.advance(100_000)
  let seen = 0
  pair.filter = (datagram) => {
    if (datagram.from === 'server') return true
    seen++
    // An attacker on the way sends the first packet on from elsewhere and swallows what follows.
    if (seen > 1) return false
    datagram.tuple = clientTuple(50_000, '10.6.6.6')
    return true
  }
  pair.connection.rotateCid()
  pair.run(() => pair.accepted?.paths()[0]?.remotePort === 50_000)
  pair.run(() => pair.accepted?.paths()[0]?.remotePort === 40_000, 10_000_000)
  pair.filter = () => true
  const down = transfer(pair, 'server', 200_000)
  pair.run(down.isDone)
  assert.equal(pair.accepted?.isClosed, false)
})

// noq sends all its acknowledgments on the first path, the very one that we abandon: a lost PATH_ABANDON is never found lost.
// spec: RFC 10069 §3.4
test('a lost PATH_ABANDON reaches a peer that acknowledges on the abandoned path only', () => {
  const multipath = { maxPaths: 3 }
  const pair = new Pair({ client: multipath, server: multipath }).handshake()
  pair.advance(100_000)
  const id = pair.connection.openPath(clientTuple(41_000, '10.7.7.7'), {}, pair.nowUs)
  pair.run(() => pair.accepted?.paths().some((path) => path.id === id && path.isValidated) === true)
  const up = transfer(pair, 'client', 8_000_000)
  pair.run(() => up.received() > 500_000)
  let isAbandonLost = true
  pair.filter = ({ from }) => from === 'client' && !isAbandonLost
  pair.advance(1000)
  pair.connection.closePath(0, pair.nowUs)
  pair.advance(20_000)
  isAbandonLost = false
  pair.run(() => pair.accepted?.core.paths.get(0)?.isAbandoned !== false, 3_000_000)
  pair.filter = () => true
  pair.run(up.isDone)
})

/** Names the frames for connection IDs, those of RFC 9000 apart from those of RFC 10069. */
class CidFrames extends Notes {
  override onNewConnectionId(pathId: number, isPathFrame: boolean): void {
    this.names.push(isPathFrame ? `path ${pathId} new` : 'new')
  }

  override onRetireConnectionId(pathId = 0, isPathFrame = false): void {
    this.names.push(isPathFrame ? `path ${pathId} retire` : 'retire')
  }
}

// picoquic closes the connection when RETIRE_CONNECTION_ID for path 0 comes on a path whose own ID has the same sequence number.
// spec: RFC 10069 §3.2#1
test('with several paths the connection IDs of path 0, too, are given and retired by the frames that name their path', () => {
  const notes = { client: new CidFrames(), server: new CidFrames() }
  const multipath = { maxPaths: 3 }
  const pair = new Pair({
    client: multipath,
    server: multipath,
    observe: ({ role }) => ({
      ...silent,
      packetSent({ level }: PacketInfo, bytes: Uint8Array, start: number, end: number) {
        if (level === Level.OneRtt) decodeFrames(bytes, start, end, level, true, notes[role])
      },
    }),
  }).handshake()
  pair.advance(100_000)
  const id = pair.connection.openPath(clientTuple(41_000, '10.7.7.7'), {}, pair.nowUs)
  pair.run(() => pair.accepted?.paths().some((path) => path.id === id && path.isValidated) === true)
  assert.ok(pair.connection.rotateCid())
  const up = transfer(pair, 'client', 500_000)
  pair.run(up.isDone)
  for (const { names } of [notes.client, notes.server]) {
    assert.ok(names.includes('path 0 new'), names.join(', '))
    assert.ok(!names.includes('new') && !names.includes('retire'), names.join(', '))
  }
  assert.ok(notes.client.names.includes('path 0 retire'))
})

test('streams that are reset while packets are filled in turn do not bring the connection down', () => {
  for (let atUs = 0; atUs < 100_000; atUs += 2_500) {
    const pair = new Pair({ datagramsMax: 8 }).handshake()
    const down = transfer(pair, 'client', 400_000)
    const others = Array.from({ length: 3 }, () => pair.connection.openStream('unidirectional') as number)
    // More than a packet of each waits, so that the packets after the first of a train are filled without questions.
    for (const id of others) pair.connection.write(id, new Uint8Array(60_000))
    pair.advance(atUs)
    for (const id of others.slice(0, 2)) pair.connection.reset(id, 7)
    pair.run(() => down.isDone() || pair.event('client', 'closed') !== undefined)
    assert.equal(pair.event('client', 'closed'), undefined, `reset after ${atUs} µs`)
  }
})
