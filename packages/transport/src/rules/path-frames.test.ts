/** What a peer may not say about paths (RFC 10069): each rule is broken over the wire, in both roles, and answered by its error. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { Level } from '../ports/crypto.ts'
import { type ForgedPair, type PairOptions, forgedPair, frameBytes, transfer } from '../testing/index.ts'
import { withParameter } from '../testing/parameters-of.ts'
import { openPath } from '../testing/path-pair.ts'

const multipath = { maxPaths: 4 }
/** Highest path ID that four paths allow, and the next one. */
const HIGHEST = 3
const BEYOND = 4
const INITIAL_MAX_PATH_ID = 0x3e
const CID = new Uint8Array(8).fill(0xc5)
const OTHER_CID = new Uint8Array(8).fill(0xc6)
const TOKEN = new Uint8Array(16).fill(9)
const TWO_TO_32 = 2 ** 32
const sides = ['client', 'server'] as const

function joined(side: 'client' | 'server', options: PairOptions = {}): ForgedPair {
  const forged = forgedPair(side, { client: multipath, server: multipath, ...options })
  forged.pair.handshake()
  forged.pair.advance(200_000)
  return forged
}

const newCid = (path: number, sequence: number, cid = CID, retirePriorTo = 0): Uint8Array =>
  frameBytes(FrameType.PathNewConnectionId, path, sequence, retirePriorTo, Uint8Array.of(cid.length), cid, TOKEN)

/** One frame of each type about path `id`. */
function framesAbout(id: number): readonly (readonly [string, Uint8Array])[] {
  return [
    ['PATH_ACK', frameBytes(FrameType.PathAck, id, 0, 0, 0, 0)],
    ['PATH_ACK with ECN counts', frameBytes(FrameType.PathAckEcn, id, 0, 0, 0, 0, 0, 0, 0)],
    ['PATH_ABANDON', frameBytes(FrameType.PathAbandon, id, 0)],
    ['PATH_STATUS_BACKUP', frameBytes(FrameType.PathStatusBackup, id, 9)],
    ['PATH_STATUS_AVAILABLE', frameBytes(FrameType.PathStatusAvailable, id, 9)],
    ['PATH_NEW_CONNECTION_ID', newCid(id, 0)],
    ['PATH_RETIRE_CONNECTION_ID', frameBytes(FrameType.PathRetireConnectionId, id, 0)],
    ['PATH_CIDS_BLOCKED', frameBytes(FrameType.PathCidsBlocked, id, 0)],
  ]
}
const limitFrames: readonly (readonly [string, Uint8Array])[] = [
  ['MAX_PATH_ID', frameBytes(FrameType.MaxPathId, HIGHEST)],
  ['PATHS_BLOCKED', frameBytes(FrameType.PathsBlocked, HIGHEST)],
]

for (const side of sides) {
  for (const [name, frame] of framesAbout(BEYOND)) {
    // spec: RFC 10069 §3.2.1#4, §4#3, §4.7#1
    test(`${name} for a path ID above the limit from a ${side} is PROTOCOL_VIOLATION`, () => {
      const forged = joined(side)
      forged.send(Level.OneRtt, frame)
      const { name: error, reason } = forged.verdict()
      assert.equal(error, 'PROTOCOL_VIOLATION')
      assert.match(reason, /path ID 4 above the limit 3/)
    })
  }

  for (const [name, frame] of [...framesAbout(0), ...limitFrames]) {
    for (const level of [Level.Initial, Level.Handshake] as const) {
      // spec: RFC 10069 §4#1, §4#2
      test(`${name} in ${level === Level.Initial ? 'an Initial' : 'a Handshake'} packet from a ${side} is PROTOCOL_VIOLATION`, () => {
        const forged = forgedPair(side, { client: multipath, server: multipath })
        const { pair } = forged
        pair.connect()
        // What a client really says would end the handshake before.
        pair.filter = ({ from }) =>
          from === 'server' || level === Level.Initial || !pair.connection.core.hasHandshakeKeys
        pair.run(() => {
          try {
            forged.send(level, frame, { packetNumber: 700 })
            return true
          } catch {
            return false
          }
        })
        const victim = side === 'client' ? 'server' : 'client'
        pair.run(() => pair.event(victim, 'closed') !== undefined)
        const reason = pair.event(victim, 'closed')?.reason
        assert.ok(reason?.kind === 'transport' && reason.by === 'local')
        assert.equal(reason.name, 'PROTOCOL_VIOLATION')
      })
    }

    for (const who of ['neither side', 'only the client', 'only the server'] as const) {
      // spec: RFC 10069 §2#1
      test(`${name} from a ${side} is FRAME_ENCODING_ERROR where ${who} offered multipath`, () => {
        const forged = joined(side, {
          client: { maxPaths: who === 'only the client' ? 4 : 1 },
          server: { maxPaths: who === 'only the server' ? 4 : 1 },
        })
        forged.send(Level.OneRtt, frame)
        const { name: error, reason } = forged.verdict()
        assert.equal(error, 'FRAME_ENCODING_ERROR')
        assert.match(reason, /multipath frame without negotiation/)
      })
    }

    // spec: RFC 10069 §4
    test(`${name} cut off, from a ${side}, is FRAME_ENCODING_ERROR`, () => {
      const forged = joined(side)
      forged.send(Level.OneRtt, frame.slice(0, frame.length - 1))
      assert.equal(forged.verdict().name, 'FRAME_ENCODING_ERROR')
    })
  }

  const violations: readonly (readonly [string, Uint8Array, string, RegExp])[] = [
    // spec: RFC 10069 §4.6#2, §4.6#3
    [
      'MAX_PATH_ID below initial_max_path_id',
      frameBytes(FrameType.MaxPathId, HIGHEST - 1),
      'PROTOCOL_VIOLATION',
      /MAX_PATH_ID 2 below the initial limit/,
    ],
    // spec: RFC 10069 §4.6#1, §4.6#3
    ['MAX_PATH_ID of 2^32', frameBytes(FrameType.MaxPathId, TWO_TO_32), 'PROTOCOL_VIOLATION', /./],
    // spec: RFC 10069 §4.7#1
    ['PATHS_BLOCKED above the limit', frameBytes(FrameType.PathsBlocked, BEYOND), 'PROTOCOL_VIOLATION', /path ID 4/],
    // spec: RFC 10069 §4.7#2
    [
      'PATH_CIDS_BLOCKED that expects a later connection ID than the next',
      frameBytes(FrameType.PathCidsBlocked, 1, 9),
      'PROTOCOL_VIOLATION',
      /sequence 9 was never issued/,
    ],
    // spec: RFC 10069 §4.4, RFC 9000 §19.15#5
    ['PATH_NEW_CONNECTION_ID that retires what comes after it', newCid(1, 1, CID, 2), 'FRAME_ENCODING_ERROR', /./],
    ['PATH_NEW_CONNECTION_ID without a connection ID', newCid(1, 1, new Uint8Array(0)), 'FRAME_ENCODING_ERROR', /./],
    ['PATH_NEW_CONNECTION_ID with 21 bytes', newCid(1, 1, new Uint8Array(21).fill(3)), 'FRAME_ENCODING_ERROR', /./],
    [
      'one connection ID under two sequence numbers of a path',
      Uint8Array.of(...newCid(1, 5), ...newCid(1, 6)),
      'PROTOCOL_VIOLATION',
      /contradicts an earlier one/,
    ],
    // spec: RFC 10069 §3.2.1
    [
      'one connection ID for two path IDs',
      Uint8Array.of(...newCid(1, 5), ...newCid(2, 5)),
      'PROTOCOL_VIOLATION',
      /issued again for path 2/,
    ],
    // spec: RFC 10069 §2.2
    [
      'more connection IDs for one path than active_connection_id_limit',
      Uint8Array.from(
        Array.from({ length: 9 }, (_, i) => [...newCid(1, i + 1, new Uint8Array(8).fill(0x40 + i))]).flat(),
      ),
      'CONNECTION_ID_LIMIT_ERROR',
      /limit 8/,
    ],
    // spec: RFC 10069 §4.5, RFC 9000 §19.16#1
    [
      'PATH_RETIRE_CONNECTION_ID of one never issued',
      frameBytes(FrameType.PathRetireConnectionId, 1, 77),
      'PROTOCOL_VIOLATION',
      /never issued/,
    ],
    [
      'PATH_RETIRE_CONNECTION_ID of the one it was sent to',
      frameBytes(FrameType.PathRetireConnectionId, 0, 0),
      'PROTOCOL_VIOLATION',
      /in a packet sent to it/,
    ],
    [
      'PATH_ACK of a packet never sent',
      frameBytes(FrameType.PathAck, 0, 9_999, 0, 0, 0),
      'PROTOCOL_VIOLATION',
      /never sent/,
    ],
    // spec: RFC 10069 §3.4#8
    [
      'PATH_ABANDON of the only open path',
      frameBytes(FrameType.PathAbandon, 0, 0),
      'NO_VIABLE_PATH',
      /the only open path was abandoned/,
    ],
  ]
  for (const [what, frames, error, because] of violations) {
    test(`${what} from a ${side} is ${error}`, () => {
      const forged = joined(side)
      forged.send(Level.OneRtt, frames)
      const { name, reason } = forged.verdict()
      assert.equal(name, error)
      assert.match(reason, because)
    })
  }

  // spec: RFC 10069 §2.1#1, §2.1#2
  test(`initial_max_path_id above 2^32 - 1 from a ${side} is TRANSPORT_PARAMETER_ERROR`, () => {
    const forged = forgedPair(side, {
      client: multipath,
      server: multipath,
      parametersOf: (from, bytes) =>
        from === side ? withParameter(bytes, INITIAL_MAX_PATH_ID, frameBytes(TWO_TO_32)) : bytes,
    })
    forged.pair.connect()
    assert.equal(forged.verdict().name, 'TRANSPORT_PARAMETER_ERROR')
  })

  test(`initial_max_path_id of 2^32 - 1 from a ${side} is fine`, () => {
    const forged = joined(side, {
      parametersOf: (from, bytes) =>
        from === side ? withParameter(bytes, INITIAL_MAX_PATH_ID, frameBytes(TWO_TO_32 - 1)) : bytes,
    })
    assert.equal(openPath(forged.pair), 1)
    for (const end of [forged.pair.connection, forged.pair.accepted])
      assert.ok((end?.core.multipath.registries.size ?? 0) <= 4, 'connection IDs up to the lower limit only')
  })

  for (const [when, waitUs] of [
    ['while it is remembered', 20_000],
    ['when it is forgotten', 10_000_000],
  ] as const) {
    // spec: RFC 10069 §3.4#7, §4#4
    test(`frames of a ${side} about a path that is over are ignored ${when}`, () => {
      const forged = joined(side)
      const { pair } = forged
      const id = openPath(pair)
      pair.connection.closePath(id, pair.nowUs)
      pair.advance(waitUs)
      for (const [, frame] of framesAbout(id)) forged.say(frame)
      forged.say(frameBytes(FrameType.PathCidsBlocked, id, 1_000))
      pair.advance(500_000)
      const victim = side === 'client' ? pair.accepted : pair.connection
      assert.equal(victim?.isClosed, false)
      assert.equal(victim?.core.multipath.registries.get(id)?.spare.length ?? 0, 0)
      assert.equal(victim?.core.multipath.registries.get(id)?.active, undefined)
      pair.advance(5_000_000)
      assert.equal(victim?.core.multipath.registries.has(id), false)
      const up = transfer(pair, 'client', 100_000)
      pair.run(up.isDone)
    })
  }

  // spec: RFC 10069 §4.6#4
  test(`MAX_PATH_ID of a ${side} that does not raise the limit is ignored`, () => {
    const forged = joined(side)
    const victim = side === 'client' ? forged.pair.accepted : forged.pair.connection
    for (const limit of [6, 5, 3, 6]) forged.say(frameBytes(FrameType.MaxPathId, limit))
    forged.pair.advance(100_000)
    assert.equal(victim?.core.multipath.peerMaxPathId, 6)
    assert.equal(victim?.isClosed, false)
  })

  // spec: RFC 10069 §4.3#2
  test(`a status of a ${side} that is older than the one known, or the same again, is ignored`, () => {
    const forged = joined(side)
    const { pair } = forged
    const id = openPath(pair)
    const victim = side === 'client' ? pair.accepted : pair.connection
    const status = (): string | undefined => victim?.core.paths.get(id)?.peerStatus
    const say = (type: number, sequence: number): void => {
      forged.say(frameBytes(type, id, sequence))
      pair.advance(50_000)
    }
    say(FrameType.PathStatusBackup, 5)
    assert.equal(status(), 'backup')
    say(FrameType.PathStatusAvailable, 4)
    say(FrameType.PathStatusAvailable, 5)
    assert.equal(status(), 'backup')
    // Sequence numbers are counted per path.
    forged.say(frameBytes(FrameType.PathStatusBackup, 0, 1))
    say(FrameType.PathStatusAvailable, 6)
    assert.equal(status(), 'available')
    assert.equal(victim?.core.paths.get(0)?.peerStatus, 'backup')
  })

  // spec: RFC 10069 §2.3#2
  test(`an ACK frame of a ${side} acknowledges packets of path 0, whatever path it comes on`, () => {
    const forged = joined(side)
    const { pair } = forged
    openPath(pair)
    pair.advance(500_000)
    const victim = side === 'client' ? pair.accepted : pair.connection
    pair.filter = ({ from }) => from !== side
    transfer(pair, side === 'client' ? 'server' : 'client', 2_000)
    pair.flush()
    const path = victim?.core.paths.get(0)
    const largest = (path?.space.sent.next ?? 0) - 1
    const inFlight = path?.recovery.inFlightBytes ?? 0
    assert.ok(inFlight > 0)
    forged.send(Level.OneRtt, frameBytes(FrameType.Ack, largest, 0, 0, 0), { pathId: 1 })
    pair.advance(15_000)
    assert.equal(path?.space.largestAcked, largest)
    assert.ok((path?.recovery.inFlightBytes ?? 0) < inFlight)
  })
}

// spec: RFC 10069 §2.1#3, §2.1#4
test('initial_max_path_id in a packet with a zero-length connection ID is PROTOCOL_VIOLATION', () => {
  const forged = forgedPair('client', {
    client: multipath,
    server: multipath,
    parametersOf: (from, bytes) => (from === 'client' ? withParameter(bytes, 0x0f, new Uint8Array(0)) : bytes),
  })
  const { pair } = forged
  pair.connect()
  pair.connection.core.localCid = new Uint8Array(0)
  pair.run(() => pair.event('server', 'closed') !== undefined)
  const reason = pair.event('server', 'closed')?.reason
  assert.ok(reason?.kind === 'transport')
  assert.equal(reason.name, 'PROTOCOL_VIOLATION')
  assert.match(reason.reason, /multipath with zero-length connection IDs/)
})

// spec: RFC 10069 §2.1#6
test('a client does not remember initial_max_path_id: with 0-RTT it waits for what the server says this time', () => {
  let isReturning = false
  const { pair } = forgedPair('server', {
    client: multipath,
    server: multipath,
    parametersOf: (from, bytes) =>
      from === 'server' && isReturning ? withParameter(bytes, INITIAL_MAX_PATH_ID, frameBytes(1)) : bytes,
  })
  pair.handshake()
  pair.advance(200_000)
  isReturning = true
  const first = pair.accepted
  pair.connect({ earlyData: true })
  pair.flush()
  assert.equal(pair.connection.core.multipath.isNegotiated, false)
  pair.run(() => pair.connection.core.handshakeConfirmed && pair.accepted !== first)
  pair.advance(200_000)
  assert.equal(pair.connection.core.multipath.peerMaxPathId, 1)
  assert.equal(pair.connection.isClosed, false)
})

test('PATH_ABANDON of a path never used is answered, and packets still under way to it draw no stateless reset', () => {
  const forged = joined('client')
  const { pair } = forged
  const dcid = pair.accepted?.core.multipath.registries.get(2)?.local[0]?.cid
  assert.ok(dcid !== undefined)
  forged.say(frameBytes(FrameType.PathAbandon, 2, 0))
  pair.advance(50_000)
  assert.equal(pair.accepted?.isClosed, false)
  pair.sent.length = 0
  forged.send(Level.OneRtt, frameBytes(FrameType.Ping, new Uint8Array(100)), { pathId: 2, dcid })
  pair.advance(100_000)
  const known = [...pair.connection.core.multipath.registries.values()].flatMap(({ local }) =>
    local.map(({ cid }) => cid),
  )
  const isKnown = (bytes: Uint8Array): boolean => known.some((cid) => cid.every((byte, i) => byte === bytes[i + 1]))
  assert.ok(pair.sent.every(({ from, bytes }) => from === 'client' || isKnown(bytes)))
  assert.equal(pair.accepted?.core.paths.get(2), undefined, 'the path ID is over')
  pair.advance(5_000_000)
  assert.equal(pair.accepted?.core.multipath.registries.has(2), false)
  assert.equal(openPath(pair), 1)
})

test('a packet that nobody can have sealed opens no path', () => {
  const forged = joined('client')
  const { pair } = forged
  const dcid = pair.accepted?.core.multipath.registries.get(1)?.local[0]?.cid
  assert.ok(dcid !== undefined)
  const bytes = forged.forger.forge(Level.OneRtt, frameBytes(FrameType.Ping, new Uint8Array(1_100)), {
    pathId: 1,
    dcid,
  })
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
  const tuple = pair.connection.path.tuple
  pair.inject({ from: 'client', bytes, tuple, ecn: 0, atUs: pair.nowUs + 1_000 })
  pair.sent.length = 0
  pair.advance(3_000_000)
  assert.deepEqual(
    pair.sent.filter(({ from }) => from === 'server'),
    [],
  )
  assert.ok(!pair.serverEvents.some((event) => event.kind === 'path' && event.path === 1))
  assert.equal(openPath(pair), 1)
})

test('a server that sends on a path the client has not opened is not heard, and nothing breaks', () => {
  const forged = joined('server')
  const { pair } = forged
  const dcid = pair.connection.core.multipath.registries.get(1)?.local[0]?.cid
  assert.ok(dcid !== undefined)
  forged.send(Level.OneRtt, frameBytes(FrameType.Ping, new Uint8Array(100)), { pathId: 1, dcid })
  pair.advance(500_000)
  assert.equal(pair.connection.isClosed, false)
  assert.equal(pair.connection.paths().length, 1)
  assert.equal(pair.connection.core.keys.failedPackets, 0)
})

test('connection IDs keep apart by path: the same sequence number is new on another path', () => {
  const forged = joined('server')
  const { pair } = forged
  forged.send(Level.OneRtt, Uint8Array.of(...newCid(1, 5), ...newCid(2, 5, OTHER_CID)))
  pair.advance(100_000)
  assert.equal(pair.connection.isClosed, false)
})
