/** How paths are opened, validated, moved, abandoned and limited (RFC 10069), as it shows on the wire of honest endpoints. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { transportErrorCodes } from '@quicether/wire'
import { Level } from '../ports/crypto.ts'
import { clientTuple, serverTuple, transfer } from '../testing/index.ts'
import {
  type PathPair,
  type SeenPacket,
  clientAddressOf,
  joinedPair,
  openPath,
  pathPair,
  secondTuple,
  thirdTuple,
  withFrame,
} from '../testing/path-pair.ts'

const SECOND = secondTuple.localAddress
const names = (packet: SeenPacket): string[] => packet.frames.map(({ name }) => name)
const PATH_FRAMES = ['PathAbandon', 'PathStatus', 'MaxPathId', 'PathsBlocked', 'PathCidsBlocked']

/** Every 1-RTT packet went to a connection ID that the other side issued for the packet's path. */
function assertCidsBelong({ seen, issued }: PathPair): void {
  for (const { role, level, pathId, dcid } of seen) {
    if (level !== Level.OneRtt) continue
    const by = issued[role === 'client' ? 'server' : 'client']
    // Those of the handshake are of path 0 and in no frame.
    assert.equal(by.get(dcid) ?? 0, pathId, `${role} used ${dcid} on path ${pathId}`)
  }
}

for (const [client, server] of [
  [4, 1],
  [1, 4],
  [1, 1],
] as const) {
  // spec: RFC 10069 §2#1
  test(`nothing of multipath is on the wire when the client allows ${client} paths and the server ${server}`, () => {
    const { pair, seen } = joinedPair({ client: { maxPaths: client }, server: { maxPaths: server } })
    pair.connection.setPathStatus(0, 'backup')
    assert.equal(pair.connection.openPath(secondTuple, {}, pair.nowUs), undefined)
    assert.ok(pair.connection.migrate(clientTuple(43_000, '10.9.9.9'), pair.nowUs))
    const transfers = [transfer(pair, 'server', 200_000), transfer(pair, 'client', 200_000)]
    pair.run(() => transfers.every((each) => each.isDone()))
    for (const packet of seen) {
      for (const { name, numbers } of packet.frames) {
        assert.ok(!PATH_FRAMES.includes(name), name)
        if (name === 'Ack') assert.equal(numbers[0], -1, 'PATH_ACK')
        if (name === 'NewConnectionId' || name === 'RetireConnectionId') assert.equal(numbers[1], 0, `PATH_${name}`)
      }
    }
  })
}

// spec: RFC 10069 §2.3#1, §3.2#1, §4#1
test('once negotiated, 1-RTT packets carry PATH_ACK and path connection IDs, for path 0 as well, and earlier packets none', () => {
  const made = joinedPair()
  const { pair, seen } = made
  openPath(pair)
  pair.connection.rotateCid()
  const down = transfer(pair, 'server', 500_000)
  pair.run(down.isDone)
  for (const packet of seen) {
    for (const { name, numbers } of packet.frames) {
      if (packet.level !== Level.OneRtt) assert.ok(!PATH_FRAMES.includes(name) && name !== 'NewConnectionId', name)
      if (name === 'Ack') assert.equal((numbers[0] as number) >= 0, packet.level === Level.OneRtt)
      if (name === 'NewConnectionId' || name === 'RetireConnectionId') assert.equal(numbers[1], 1)
    }
  }
})

// spec: RFC 10069 §3.1#1, §3.1#2, §3.1.2#2, §3.2.2#1, RFC 9000 §9.5#1
test('every packet of a path goes to a connection ID of that path, through rotation and migration of each', () => {
  const made = joinedPair()
  const { pair } = made
  const one = openPath(pair)
  const two = openPath(pair, thirdTuple)
  const run = (): void => {
    const transfers = [transfer(pair, 'server', 600_000), transfer(pair, 'client', 600_000)]
    pair.run(() => transfers.every((each) => each.isDone()))
    pair.advance(200_000)
  }
  run()
  assert.ok(pair.connection.rotateCid())
  run()
  for (const id of [one, two, 0]) {
    assert.ok(pair.connection.migrate(clientTuple(44_000 + id, `10.5.5.${id}`), pair.nowUs, id))
    run()
    const view = pair.accepted?.paths().find((path) => path.id === id)
    assert.equal(view?.remoteAddress, `10.5.5.${id}`)
  }
  assertCidsBelong(made)
  assert.deepEqual(new Set(made.seen.map(({ pathId }) => pathId)), new Set([0, one, two]))
  // RFC 9000 §9.5: one connection ID, one local address.
  const places = new Map<string, string>()
  for (const { from, bytes, tuple } of pair.sent) {
    if (from === 'server' || ((bytes[0] as number) & 0x80) !== 0) continue
    const cid = Buffer.from(bytes.subarray(1, 9)).toString('hex')
    assert.equal(places.get(cid) ?? tuple.localAddress, tuple.localAddress)
    places.set(cid, tuple.localAddress)
  }
})

// spec: RFC 10069 §3.1#3, §3.1#4, §3.1#5, §3.1#6, RFC 9000 §8.2.1#4, §8.2.2#1
test('a new path carries no data before it is validated, in 1200 bytes, and the server keeps to three times what came', () => {
  const made = joinedPair()
  const { pair, seen } = made
  const transfers = [transfer(pair, 'server', 3_000_000), transfer(pair, 'client', 3_000_000)]
  let received = 0
  let sentBytes = 0
  pair.filter = (datagram) => {
    if (clientAddressOf(datagram) !== SECOND) return true
    if (datagram.from === 'server') {
      sentBytes += datagram.bytes.length
      const isValid = pair.accepted?.core.paths.get(1)?.isValidated === true
      assert.ok(isValid || sentBytes <= 3 * received, `${sentBytes} sent, ${received} received`)
    } else received += datagram.bytes.length
    return true
  }
  seen.length = 0
  const id = openPath(pair)
  pair.run(() => transfers.every((each) => each.isDone()))
  const path = (role: 'client' | 'server'): SeenPacket[] =>
    seen.filter((packet) => packet.pathId === id && packet.role === role)
  for (const role of ['client', 'server'] as const) {
    const own = path(role)
    const response = path(role === 'client' ? 'server' : 'client').find((packet) =>
      names(packet).includes('PathResponse'),
    )
    assert.ok(response !== undefined)
    for (const packet of own) {
      if (packet.atUs < response.atUs + 10_000) assert.ok(!names(packet).includes('Stream'), `${role} sent data early`)
      if (names(packet).some((name) => name === 'PathChallenge' || name === 'PathResponse'))
        assert.ok(packet.length >= 1_200, `${packet.length} bytes`)
    }
    assert.ok(
      own.some((packet) => names(packet).includes('Stream')),
      `${role} used the path`,
    )
  }
  for (const packet of withFrame(seen, 'PathResponse')) assert.equal(packet.pathId, id)
})

// pitfall 23: a PATH_CHALLENGE that could not be expanded proves the address, not that 1200 bytes fit
for (const pathId of [0, 1]) {
  // spec: RFC 10069 §3.1#6, RFC 9000 §8.2.1#5, §8.2.3#1
  test(`path ${pathId}, rebound by a small packet, is validated a second time in a datagram of 1200 bytes`, () => {
    const { pair, seen } = joinedPair()
    openPath(pair)
    pair.advance(500_000)
    const old = pathId === 0 ? clientTuple() : secondTuple
    const moved = clientTuple(50_001, old.localAddress)
    pair.filter = (datagram) => {
      if (clientAddressOf(datagram) !== old.localAddress) return true
      if (datagram.from === 'client') datagram.tuple = moved
      else if (datagram.tuple.remotePort !== 50_001) return false
      else datagram.tuple = serverTuple(old.localPort, old.localAddress)
      return true
    }
    seen.length = 0
    // The only thing to be sent is small, and only this path may carry it.
    pair.connection.setPathStatus(1 - pathId, 'backup')
    pair.run(() => pair.accepted?.core.paths.get(1 - pathId)?.peerStatus === 'backup')
    pair.run(() => pair.accepted?.core.paths.get(pathId)?.tuple.remotePort === 50_001)
    pair.advance(2_000_000)
    const challenges = withFrame(seen, 'PathChallenge', 'server').filter((packet) => packet.pathId === pathId)
    const isSmall = challenges.findIndex(({ length }) => length < 1_200)
    assert.ok(isSmall >= 0, 'the first challenge is small')
    assert.ok(
      challenges.slice(isSmall + 1).some(({ length }) => length >= 1_200),
      'a full one follows',
    )
    assert.equal(pair.accepted?.core.paths.get(pathId)?.isValidated, true)
  })
}

test('a further path over which 1200 bytes never arrive is abandoned, although its address is the client', () => {
  const { pair } = joinedPair()
  const id = openPath(pair)
  pair.advance(500_000)
  const moved = clientTuple(50_001, SECOND)
  pair.filter = (datagram) => {
    if (clientAddressOf(datagram) !== SECOND) return true
    if (datagram.from === 'client') datagram.tuple = moved
    else if (datagram.bytes.length > 1_000) return false
    else datagram.tuple = serverTuple(secondTuple.localPort, SECOND)
    return true
  }
  pair.connection.setPathStatus(0, 'backup')
  for (let i = 0; i < 10; i++) {
    const up = transfer(pair, 'client', 50)
    pair.run(up.isDone)
  }
  pair.run(() => pair.accepted?.paths().every((view) => view.id !== id || view.state === 'abandoned') ?? false)
  const down = transfer(pair, 'server', 200_000)
  pair.run(down.isDone)
})

// spec: RFC 10069 §3.1#7, §3.1#8, §3.4#1
test('a path that cannot be validated carries nothing and is closed with PATH_UNSTABLE_OR_POOR, on another path', () => {
  const { pair, seen } = joinedPair()
  pair.filter = (datagram) => clientAddressOf(datagram) !== SECOND
  seen.length = 0
  const id = pair.connection.openPath(secondTuple, {}, pair.nowUs)
  const up = transfer(pair, 'client', 1_000_000)
  pair.run(() => up.isDone() && pair.connection.paths().length === 1)
  for (const packet of seen.filter((each) => each.pathId === id && each.role === 'client'))
    assert.ok(
      names(packet).every((name) => name === 'PathChallenge' || name === 'Ping'),
      names(packet).join(' '),
    )
  const abandon = withFrame(seen, 'PathAbandon', 'client')[0]
  const frame = abandon?.frames.find(({ name }) => name === 'PathAbandon')
  assert.deepEqual(frame?.numbers, [id, transportErrorCodes.PATH_UNSTABLE_OR_POOR])
  assert.equal(abandon?.pathId, 0)
})

// spec: RFC 10069 §3.1.2#1, RFC 9000 §9.3#1
test('a NAT that rebinds one path moves that path only, in its own number space', () => {
  const made = joinedPair()
  const { pair, seen } = made
  const id = openPath(pair)
  const down = transfer(pair, 'server', 4_000_000)
  let port = secondTuple.localPort
  pair.filter = (datagram) => {
    if (clientAddressOf(datagram) !== SECOND) return true
    if (datagram.from === 'client') datagram.tuple = clientTuple(port, SECOND)
    else if (datagram.tuple.remotePort !== port) return false
    else datagram.tuple = serverTuple(secondTuple.localPort, SECOND)
    return true
  }
  pair.run(() => down.received() > 1_000_000)
  const before = Math.max(...seen.filter((packet) => packet.pathId === id).map(({ packetNumber }) => packetNumber))
  const first = pair.accepted?.core.paths.get(0)
  const windowBefore = first?.recovery.congestion.windowBytes ?? 0
  port = 50_001
  pair.run(down.isDone)
  const views = pair.accepted?.paths() ?? []
  assert.deepEqual(
    views.map(({ id: path, remotePort }) => [path, remotePort]),
    [
      [0, 40_000],
      [id, 50_001],
    ],
  )
  assert.ok((first?.recovery.congestion.windowBytes ?? 0) >= windowBefore / 2, 'the other path keeps its window')
  assert.ok(seen.some((packet) => packet.pathId === id && packet.packetNumber > before))
  assertCidsBelong(made)
})

// pitfall 31: PATH_ABANDON retires all connection IDs; PATH_RETIRE_CONNECTION_ID besides is noise, and their reset tokens are void
for (const id of [0, 1]) {
  // spec: RFC 10069 §3.4#1, §3.4#2, §3.4#3, §3.4#4, RFC 9000 §10.3.1#3
  test(`PATH_ABANDON of path ${id} goes over another path, is answered, ends all sending there, and voids its reset tokens`, () => {
    const made = joinedPair()
    const { pair, seen } = made
    openPath(pair)
    const transfers = [transfer(pair, 'server', 2_000_000), transfer(pair, 'client', 2_000_000)]
    pair.run(() => transfers.every((each) => each.received() > 200_000))
    const peerCid = pair.connection.core.paths.get(id)?.cids.active
    assert.ok(peerCid?.resetToken !== undefined)
    seen.length = 0
    pair.connection.closePath(id, pair.nowUs)
    pair.run(() => transfers.every((each) => each.isDone()))
    pair.advance(100_000)
    for (const role of ['client', 'server'] as const) {
      const told = withFrame(seen, 'PathAbandon', role)[0]
      assert.ok(told !== undefined, `${role} said PATH_ABANDON`)
      assert.notEqual(told.pathId, id)
      const after = seen.slice(seen.indexOf(told) + 1).filter((packet) => packet.role === role)
      assert.ok(
        after.every(({ pathId }) => pathId !== id),
        `${role} sends nothing on it afterwards`,
      )
      const retired = withFrame(after, 'RetireConnectionId').flatMap(({ frames }) => frames)
      assert.ok(!retired.some(({ name, numbers }) => name === 'RetireConnectionId' && numbers[0] === id))
      const issued = withFrame(after, 'NewConnectionId').flatMap(({ frames }) => frames)
      assert.ok(!issued.some(({ name, numbers }) => name === 'NewConnectionId' && numbers[0] === id))
    }
    // Who knows the token of a retired connection ID can no longer end the connection with it.
    const reset = new Uint8Array(40).fill(0x41)
    reset.set(peerCid.resetToken, 24)
    pair.inject({ from: 'server', bytes: reset, tuple: serverTuple(), ecn: 0, atUs: pair.nowUs + 1_000 })
    pair.advance(200_000)
    assert.equal(pair.connection.isClosed, false)
    pair.advance(5_000_000)
    assert.deepEqual(
      pair.connection.paths().map((view) => view.id),
      [1 - id],
    )
    assert.deepEqual(
      pair.accepted?.paths().map((view) => view.id),
      [1 - id],
    )
    assert.equal(openPath(pair, thirdTuple), 2, 'its ID is not used again')
  })
}

// spec: RFC 9000 §10.3.1#1, §10.3.1#4
test('a stateless reset for a connection ID of any path ends the connection', () => {
  for (const id of [0, 1]) {
    const { pair } = joinedPair()
    openPath(pair)
    const token = pair.connection.core.paths.get(id)?.cids.active?.resetToken
    assert.ok(token !== undefined)
    const bytes = new Uint8Array(40).fill(0x41)
    bytes.set(token, 24)
    const tuple = id === 0 ? serverTuple() : serverTuple(secondTuple.localPort, SECOND)
    pair.inject({ from: 'server', bytes, tuple, ecn: 0, atUs: pair.nowUs + 1_000 })
    pair.advance(10_000)
    assert.deepEqual(pair.event('client', 'closed')?.reason, { kind: 'reset' })
  }
})

// pitfall 1: frames that waited for the acknowledgment of an abandoned path's packets are sent again elsewhere
// pitfall 2: data in flight on an abandoned path does not wait for the peer's PATH_ABANDON and three PTOs
// spec: RFC 10069 §3.4.3#2
test('what an abandoned path had in flight counts as lost at once: data, and frames about other paths', () => {
  const { pair, seen } = joinedPair()
  openPath(pair)
  openPath(pair, thirdTuple)
  const up = transfer(pair, 'client', 3_000_000)
  pair.run(() => up.received() > 500_000)
  // Path 1 swallows everything; on it travel data and the PATH_ABANDON of path 2.
  pair.filter = (datagram) => clientAddressOf(datagram) !== SECOND
  pair.advance(5_000)
  pair.connection.closePath(2, pair.nowUs)
  pair.advance(5_000)
  const closedUs = pair.nowUs
  pair.connection.closePath(1, pair.nowUs)
  const inFlight = pair.connection.core.paths.get(1)?.recovery.inFlightBytes
  assert.equal(inFlight, 0)
  pair.run(up.isDone)
  assert.ok(pair.nowUs - closedUs < 2_000_000, `${pair.nowUs - closedUs} us`)
  pair.run(() => pair.accepted?.core.paths.get(2)?.isAbandoned !== false)
  const told = withFrame(seen, 'PathAbandon', 'client').flatMap(({ frames }) => frames)
  assert.ok(told.some(({ name, numbers }) => name === 'PathAbandon' && numbers[0] === 2))
})

// spec: RFC 10069 §4.3#1, §4.3#3
test('statuses are numbered upwards, and a lost one is repeated only if it is the last', () => {
  const { pair, seen } = joinedPair({ datagramsMax: 1 })
  const id = openPath(pair)
  seen.length = 0
  // Data around them tells of the loss: no path falls silent.
  const up = transfer(pair, 'client', 1_000_000)
  let dropped = 0
  pair.filter = ({ from }) => {
    const isStatus = from === 'client' && seen.at(-1)?.frames.some(({ name }) => name === 'PathStatus') === true
    return !isStatus || dropped++ >= 3
  }
  for (const status of ['backup', 'available', 'backup'] as const) {
    pair.connection.setPathStatus(id, status)
    pair.advance(2_000)
  }
  pair.run(up.isDone)
  pair.run(() => pair.accepted?.core.paths.get(id)?.peerStatus === 'backup')
  pair.advance(1_000_000)
  const numbers = withFrame(seen, 'PathStatus', 'client').flatMap(({ frames }) =>
    frames.filter(({ name }) => name === 'PathStatus').map((frame) => frame.numbers[2] as number),
  )
  assert.deepEqual(numbers.slice(0, 3), [1, 2, 3])
  assert.ok(numbers.slice(3).length > 0 && numbers.slice(3).every((number) => number === 3), numbers.join(' '))
})

// pitfall 20: a server that misses what a path is for never uses it as meant
test('a path opened as backup is one for the server, too, although the status overtakes the first packet of the path', () => {
  const { pair } = joinedPair()
  pair.filter = (datagram) => {
    if (clientAddressOf(datagram) === SECOND) datagram.atUs = pair.nowUs + 80_000
    return true
  }
  const id = pair.connection.openPath(secondTuple, { status: 'backup' }, pair.nowUs)
  assert.ok(id !== undefined)
  pair.run(() => pair.accepted?.core.paths.get(id)?.isValidated === true)
  assert.equal(pair.accepted?.core.paths.get(id)?.peerStatus, 'backup')
  const before = pair.accepted?.core.paths.get(id)?.packetsSent ?? 0
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  assert.ok((pair.accepted?.core.paths.get(id)?.packetsSent ?? 0) - before < 10)
})

// spec: RFC 10069 §3.2.1#3, §3.2.1#5, §4.7
test('a client without a path ID says PATHS_BLOCKED, once for each limit', () => {
  const { pair, seen } = joinedPair({ client: { maxPaths: 8 }, server: { maxPaths: 2 } })
  openPath(pair)
  for (let i = 0; i < 5; i++) {
    assert.equal(pair.connection.openPath(thirdTuple, {}, pair.nowUs), undefined)
    pair.advance(100_000)
  }
  const said = (): number[][] =>
    withFrame(seen, 'PathsBlocked').flatMap(({ frames }) =>
      frames.filter(({ name }) => name === 'PathsBlocked').map(({ numbers }) => [...numbers]),
    )
  // A packet that is merely late may be sent once more over the other path.
  assert.ok(said().length <= 2, `${said().length} times for five tries`)
  assert.deepEqual(new Set(said().flat()), new Set([1]))
  // Path IDs are used in order; one that is over makes room for the next.
  pair.connection.closePath(1, pair.nowUs)
  pair.advance(5_000_000)
  assert.equal(openPath(pair, thirdTuple), 2)
  assert.equal(pair.connection.openPath(secondTuple, {}, pair.nowUs), undefined)
  pair.advance(100_000)
  assert.deepEqual(new Set(said().flat()), new Set([1, 2]))
})

// spec: RFC 10069 §3.2.1#5
test('a client at a limit of its own says nothing: more paths are not wanted', () => {
  const { pair, seen } = joinedPair({ client: { maxPaths: 2 }, server: { maxPaths: 8 } })
  openPath(pair)
  assert.equal(pair.connection.openPath(thirdTuple, {}, pair.nowUs), undefined)
  pair.advance(100_000)
  assert.deepEqual(withFrame(seen, 'PathsBlocked'), [])
})

// pitfall 7: a PATH_CIDS_BLOCKED that was lost is not repeated once its path is gone
test('a client without a connection ID for a path says PATH_CIDS_BLOCKED, repeats a lost one, and not when the path is gone', () => {
  for (const isGone of [false, true]) {
    const { pair, seen } = joinedPair()
    const id = openPath(pair)
    pair.advance(500_000)
    const { cids } = pair.connection.core.paths.get(id) ?? assert.fail()
    // The server's replacements do not come.
    let isLosing = true
    pair.filter = () => !isLosing
    const spare = cids.spare.length
    for (let i = 0; i < spare; i++)
      assert.ok(pair.connection.migrate(clientTuple(45_000 + i, '10.9.9.9'), pair.nowUs, id))
    seen.length = 0
    assert.equal(pair.connection.migrate(clientTuple(46_000, '10.9.9.9'), pair.nowUs, id), false)
    pair.advance(1_000)
    const said = (): number[][] =>
      withFrame(seen, 'PathCidsBlocked').flatMap(({ frames }) =>
        frames.filter(({ name }) => name === 'PathCidsBlocked').map(({ numbers }) => [...numbers]),
      )
    assert.deepEqual(said(), [[id, cids.nextPeerSequence]])
    if (isGone) pair.connection.closePath(id, pair.nowUs)
    pair.advance(1_500_000)
    isLosing = false
    pair.run(() => isGone || cids.spare.length > 0 || said().length > 1)
    pair.advance(10_000_000)
    if (isGone) assert.equal(said().length, 1)
    assert.equal(pair.accepted?.isClosed, false)
    const up = transfer(pair, 'client', 100_000)
    pair.run(up.isDone)
  }
})

// spec: RFC 10069 §2.6#1
test('closing and draining last three of the largest PTO of all paths', () => {
  const { pair } = joinedPair()
  pair.filter = (datagram) => {
    if (clientAddressOf(datagram) === SECOND) datagram.atUs = pair.nowUs + 300_000
    return true
  }
  openPath(pair)
  pair.advance(2_000_000)
  const up = transfer(pair, 'client', 1_000)
  pair.run(up.isDone)
  const ptoUs = pair.connection.core.paths.largestPtoUs()
  assert.ok(ptoUs > 600_000)
  pair.connection.close(0, 'done')
  const sinceUs = pair.nowUs
  pair.run(() => pair.connection.core.state === 4)
  assert.ok(pair.nowUs - sinceUs >= 3 * ptoUs - 50_000, `${pair.nowUs - sinceUs} us`)
  pair.run(() => pair.accepted?.core.state === 4)
  assert.ok(pair.nowUs - sinceUs >= 3 * 600_000)
})

// spec: RFC 10069 §5.9
test('packets on any path keep the connection from idling out, and silence on all of them ends it', () => {
  const { pair } = joinedPair({ client: { idleTimeoutUs: 3_000_000 } })
  openPath(pair)
  pair.filter = (datagram) => clientAddressOf(datagram) === SECOND
  for (let i = 0; i < 8; i++) {
    const up = transfer(pair, 'client', 5_000)
    pair.run(up.isDone)
    pair.advance(1_500_000)
  }
  assert.equal(pair.connection.isClosed, false)
  pair.filter = () => false
  pair.run(() => pair.connection.isClosed && (pair.accepted?.isClosed ?? false))
  assert.equal(pair.event('client', 'closed')?.reason.kind, 'idle')
})

// spec: RFC 10069 §5.2
test('two paths over one pair of addresses are two paths: own numbers, own connection IDs, and one goes on without the other', () => {
  const made = joinedPair()
  const { pair, seen } = made
  assert.equal(openPath(pair, clientTuple()), 1)
  const down = transfer(pair, 'server', 3_000_000)
  pair.run(() => down.received() > 1_000_000)
  for (const id of [0, 1]) assert.ok(seen.some((packet) => packet.pathId === id && names(packet).includes('Stream')))
  pair.connection.closePath(0, pair.nowUs)
  pair.run(down.isDone)
  assertCidsBelong(made)
})

// spec: RFC 10069 §2.2
test('a server that forbids migration gets no further path to the address of its handshake, but one to another address', () => {
  const { pair } = joinedPair({ server: { isActiveMigrationDisabled: true } })
  assert.equal(pair.connection.openPath(secondTuple, {}, pair.nowUs), undefined)
  assert.equal(pair.connection.core.multipath.isForbidden(secondTuple), true)
  const elsewhere = { ...secondTuple, remoteAddress: '10.0.0.99' }
  assert.equal(pair.connection.openPath(elsewhere, {}, pair.nowUs), 1)
})

// spec: RFC 10069 §3.4#8
test('closing the last path tells the peer, over that path', () => {
  const { pair } = joinedPair()
  openPath(pair)
  pair.connection.closePath(1, pair.nowUs)
  pair.advance(100_000)
  pair.connection.closePath(0, pair.nowUs)
  pair.advance(100_000)
  const reason = pair.event('server', 'closed')?.reason
  assert.ok(reason?.kind === 'transport' && reason.by === 'peer')
  assert.equal(reason.name, 'NO_VIABLE_PATH')
})

test('a CONNECTION_CLOSE takes a path that works, whichever is silent', () => {
  for (const dead of ['10.0.0.1', SECOND]) {
    const { pair } = joinedPair()
    openPath(pair)
    pair.filter = (datagram) => clientAddressOf(datagram) !== dead
    const up = transfer(pair, 'client', 500_000)
    pair.run(up.isDone)
    pair.advance(500_000)
    pair.connection.close(7, 'done')
    pair.advance(100_000)
    assert.deepEqual(pair.event('server', 'closed')?.reason, {
      kind: 'application',
      by: 'peer',
      code: 7,
      reason: 'done',
    })
  }
})

test('packets of a path that arrive late are known, for three PTOs after its end', () => {
  const { pair } = joinedPair()
  const id = openPath(pair)
  const up = transfer(pair, 'client', 3_000_000)
  pair.run(() => up.received() > 200_000)
  const late: Parameters<typeof pair.inject>[0][] = []
  pair.filter = (datagram) => {
    if (datagram.from === 'server' || clientAddressOf(datagram) !== SECOND) return true
    late.push({ ...datagram })
    return false
  }
  pair.advance(8_000)
  pair.connection.closePath(id, pair.nowUs)
  pair.run(up.isDone)
  pair.advance(60_000)
  assert.ok(late.length > 0 && pair.accepted?.core.paths.get(id)?.isAbandoned === true)
  const before = pair.accepted?.core.paths.get(id)?.packetsReceived ?? 0
  for (const datagram of late) pair.inject({ ...datagram, atUs: pair.nowUs + 1_000 })
  pair.advance(20_000)
  assert.ok((pair.accepted?.core.paths.get(id)?.packetsReceived ?? 0) > before)
})

test('what is said about paths not open yet is bounded by the limit of path IDs', () => {
  const { pair } = pathPair()
  pair.handshake()
  for (let round = 0; round < 40; round++) {
    const id = openPath(pair, clientTuple(30_000 + round, SECOND))
    pair.connection.closePath(id, pair.nowUs)
    pair.run(() => pair.connection.paths().length === 1 && pair.accepted?.paths().length === 1)
    pair.advance(30_000)
  }
  assert.ok(pair.connection.core.multipath.registries.size <= 5)
  assert.ok((pair.accepted?.core.multipath.registries.size ?? 0) <= 5)
})
