/** What went wrong in other implementations with addresses, connection IDs and validation (docs/pitfalls.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Pair, type WireDatagram, clientTuple, serverTuple, transfer } from '../testing/index.ts'
import { clientAddressOf, joinedPair, openPath, secondTuple, withFrame } from '../testing/path-pair.ts'

/** A NAT in front of the client: its public port is `port` at each moment, old ports are gone. */
function natted(
  pair: Pair,
  inside: { readonly localPort: number; readonly localAddress: string },
): { port: number; dropped: number } {
  const nat = { port: inside.localPort, dropped: 0 }
  const before = pair.filter
  pair.filter = (datagram) => {
    if (clientAddressOf(datagram) !== inside.localAddress) return before(datagram)
    if (datagram.from === 'client') datagram.tuple = clientTuple(nat.port, inside.localAddress)
    else if (datagram.tuple.remotePort !== nat.port) {
      nat.dropped++
      return false
    } else datagram.tuple = serverTuple(inside.localPort, inside.localAddress)
    return before(datagram)
  }
  return nat
}

const cidOf = ({ bytes }: WireDatagram): string =>
  ((bytes[0] as number) & 0x80) !== 0 ? '' : Buffer.from(bytes.subarray(1, 9)).toString('hex')

// pitfall 8: a NAT rebinding together with a rotation of connection IDs: the old tuple is never freed, the IDs run out
for (const id of [0, 1]) {
  test(`path ${id} is rebound and rotated two hundred times, and neither side runs out of connection IDs or remembers old tuples`, () => {
    const { pair } = joinedPair()
    openPath(pair)
    pair.advance(300_000)
    const nat = natted(pair, id === 0 ? clientTuple() : secondTuple)
    pair.connection.setPathStatus(1 - id, 'backup')
    pair.advance(100_000)
    for (let round = 0; round < 200; round++) {
      nat.port = 20_000 + round
      assert.ok(pair.connection.core.paths.get(id)?.cids.rotate(), `round ${round}: a connection ID is spare`)
      const up = transfer(pair, 'client', 500)
      pair.run(up.isDone)
      pair.run(() => pair.accepted?.core.paths.get(id)?.tuple.remotePort === nat.port)
      pair.advance(1_500_000)
    }
    assert.equal(pair.accepted?.isClosed, false)
    assert.equal(pair.connection.isClosed, false)
    assert.ok((pair.accepted?.core.paths.probes.length ?? 0) <= 8)
    for (const end of [pair.connection, pair.accepted]) {
      const cids = end?.core.paths.get(id)?.cids
      assert.ok((cids?.inUse.length ?? 0) <= 8 && (cids?.local.length ?? 0) <= 8)
    }
    const down = transfer(pair, 'server', 100_000)
    pair.run(down.isDone)
  })
}

// pitfall 9: a connection ID is never retired on a switch, so that the third migration never sends a PATH_CHALLENGE
test('each of fifty migrations sends its challenge and retires the connection ID it leaves', () => {
  const { pair, seen } = joinedPair()
  for (let round = 1; round <= 50; round++) {
    seen.length = 0
    assert.ok(pair.connection.migrate(clientTuple(1_024 + round, `10.9.9.${round}`), pair.nowUs), `migration ${round}`)
    pair.run(() => pair.connection.stats().migrations === round)
    const up = transfer(pair, 'client', 100)
    pair.run(up.isDone)
    pair.advance(100_000)
    assert.ok(withFrame(seen, 'PathChallenge', 'client').length > 0)
    assert.ok(withFrame(seen, 'RetireConnectionId', 'client').length > 0)
  }
})

// pitfall 10: a connection ID is used on two addresses when no other one is left
test('with no connection ID to spare a client does not move, open or answer from elsewhere, rather than link its addresses', () => {
  const { pair } = joinedPair({ client: { activeCidLimit: 2, maxPaths: 2 }, server: { maxPaths: 2 } })
  openPath(pair)
  pair.advance(300_000)
  // The server's replacements are lost.
  pair.filter = ({ from }) => from === 'client'
  for (const id of [0, 1]) {
    const { cids } = pair.connection.core.paths.get(id) ?? assert.fail()
    while (cids.spare.length > 0) assert.ok(cids.rotate())
  }
  pair.sent.length = 0
  for (const id of [0, 1]) {
    assert.equal(pair.connection.migrate(clientTuple(46_000 + id, '10.9.9.9'), pair.nowUs, id), false)
    assert.equal(pair.connection.openPath(clientTuple(47_000, '10.9.9.8'), {}, pair.nowUs), undefined)
  }
  const up = transfer(pair, 'client', 100_000)
  pair.advance(2_000_000)
  const used = new Map<string, string>()
  for (const datagram of pair.sent.filter(({ from }) => from === 'client')) {
    assert.ok(!['10.9.9.9', '10.9.9.8'].includes(datagram.tuple.localAddress))
    const cid = cidOf(datagram)
    assert.equal(used.get(cid) ?? datagram.tuple.localAddress, datagram.tuple.localAddress)
    used.set(cid, datagram.tuple.localAddress)
  }
  pair.filter = () => true
  pair.run(up.isDone)
})

// pitfall 11: the path that a rebinding makes has no connection ID: no PATH_CHALLENGE, and the server goes on sending to the dead address
test('a server without a connection ID to spare validates a rebound client all the same, and leaves the old address', () => {
  for (const id of [0, 1]) {
    const { pair } = joinedPair({ server: { activeCidLimit: 2 } })
    openPath(pair)
    pair.advance(300_000)
    const inside = id === 0 ? clientTuple() : secondTuple
    const nat = natted(pair, inside)
    const { cids } = pair.accepted?.core.paths.get(id) ?? assert.fail()
    const { filter } = pair
    pair.filter = (datagram) => datagram.from === 'server' && filter(datagram)
    while (cids.spare.length > 0) assert.ok(cids.rotate())
    pair.filter = filter
    pair.connection.setPathStatus(1 - id, 'backup')
    const down = transfer(pair, 'server', 3_000_000)
    pair.run(() => down.received() > 500_000)
    nat.port = 50_001
    pair.run(
      () =>
        pair.accepted?.core.paths.get(id)?.isValidated === true &&
        pair.accepted.core.paths.get(id)?.tuple.remotePort === 50_001,
    )
    pair.advance(50_000)
    nat.dropped = 0
    pair.run(down.isDone)
    pair.advance(100_000)
    assert.ok(nat.dropped <= 4, `${nat.dropped} datagrams to the address that is gone`)
  }
})

// pitfall 22: a path counts as validated because another one has the same remote address
test('a second path from an address already known is validated by itself, and carries nothing before', () => {
  const { pair, seen } = joinedPair()
  const same = clientTuple(41_000)
  let isAnswering = false
  pair.filter = ({ from, tuple }) => from === 'server' || tuple.localPort !== 41_000 || seen.length < 1 || isAnswering
  const id = pair.connection.openPath(same, {}, pair.nowUs)
  assert.equal(id, 1)
  isAnswering = true
  pair.flush()
  isAnswering = false
  // The server sees the path, but hears no PATH_RESPONSE.
  seen.length = 0
  const down = transfer(pair, 'server', 2_000_000)
  pair.run(down.isDone)
  assert.equal(pair.accepted?.core.paths.get(1)?.isValidated, false)
  const own = seen.filter((packet) => packet.role === 'server' && packet.pathId === 1)
  assert.ok(own.length > 0 && own.every(({ frames }) => frames.every(({ name }) => name !== 'Stream')))
  assert.ok(own.reduce((sum, { length }) => sum + length, 0) <= 3 * 1_200)
})

// pitfall 24: a PATH_RESPONSE goes to the address the path has by now, not to where the challenge came from
for (const id of [0, 1]) {
  test(`path ${id}: a challenge is answered where it came from, although the path has moved meanwhile, and the fallback ends`, () => {
    const { pair, seen } = joinedPair()
    openPath(pair)
    pair.advance(500_000)
    const old = id === 0 ? clientTuple() : secondTuple
    assert.ok(pair.connection.migrate(clientTuple(48_000, '10.9.9.9'), pair.nowUs, id))
    // The server's answer to the challenge is delayed, until the path is elsewhere for the server.
    pair.sent.length = 0
    seen.length = 0
    pair.run(() => pair.accepted?.core.paths.get(id)?.tuple.remoteAddress === '10.9.9.9')
    const answers = pair.sent.filter(({ from }) => from === 'server')
    assert.ok(withFrame(seen, 'PathResponse', 'server').length > 0)
    assert.ok(answers.some(({ tuple }) => tuple.remoteAddress === '10.9.9.9'))
    const up = transfer(pair, 'client', 50_000)
    pair.run(up.isDone)
    pair.advance(20_000_000)
    const probes =
      pair.accepted?.core.paths.probes.filter((probe) => probe.path.id === id && probe.isValidating()) ?? []
    assert.deepEqual(probes, [], 'no validation runs for ever')
    pair.sent.length = 0
    const down = transfer(pair, 'server', 100_000)
    pair.run(down.isDone)
    assert.ok(
      pair.sent.every(
        ({ from, tuple }) =>
          from === 'client' ||
          tuple.remoteAddress !== old.localAddress ||
          id === 1 ||
          tuple.remotePort !== old.localPort,
      ),
    )
  })
}

// pitfall 25: quick successive rebindings reset the congestion window again and again
test('a NAT that changes its port every fifty milliseconds costs no congestion window', () => {
  const { pair } = joinedPair()
  const nat = natted(pair, clientTuple())
  const warm = transfer(pair, 'client', 3_000_000)
  pair.run(warm.isDone)
  const path = pair.connection.core.paths.get(0)
  const server = pair.accepted?.core.paths.get(0)
  const mtuBytes = server?.mtu.mtuBytes
  for (let round = 0; round < 20; round++) {
    nat.port = 30_000 + round
    const up = transfer(pair, 'client', 100_000)
    pair.advance(50_000)
    pair.run(up.isDone)
  }
  assert.ok((pair.accepted?.stats().rebindings ?? 0) >= 15, `${pair.accepted?.stats().rebindings} rebindings`)
  assert.ok((path?.recovery.congestion.windowBytes ?? 0) > 100_000)
  // What a server would have reset with the window: its round trips and its MTU.
  assert.ok((server?.rtt.smoothedUs ?? Infinity) < 50_000)
  assert.equal(server?.mtu.mtuBytes, mtuBytes)
  assert.ok((mtuBytes ?? 0) > 1_200)
})

// pitfall 26: packets replayed from elsewhere with the same delay flip the path so fast that no validation ends
for (const id of [0, 1]) {
  test(`path ${id}: an attacker as fast as the client, who repeats every packet from elsewhere, cannot keep the path from working`, () => {
    const { pair } = joinedPair()
    openPath(pair)
    pair.advance(300_000)
    const victim = id === 0 ? clientTuple() : secondTuple
    const attacker = clientTuple(6_666, '10.66.66.66')
    let count = 0
    pair.filter = (datagram) => {
      if (datagram.from === 'server') return datagram.tuple.remoteAddress !== attacker.localAddress
      if (datagram.tuple.localAddress !== victim.localAddress) return true
      // Now the copy is first, now the original.
      pair.inject({
        ...datagram,
        bytes: datagram.bytes.slice(),
        tuple: attacker,
        atUs: datagram.atUs + (count++ % 2 === 0 ? -1 : 1),
      })
      return true
    }
    pair.connection.setPathStatus(1 - id, 'backup')
    const transfers = [transfer(pair, 'server', 1_000_000), transfer(pair, 'client', 1_000_000)]
    pair.run(() => transfers.every((each) => each.isDone()), 60_000_000)
    assert.equal(pair.accepted?.isClosed, false)
    pair.filter = ({ from, tuple }) => from === 'client' || tuple.remoteAddress !== attacker.localAddress
    const rest = transfer(pair, 'server', 200_000)
    pair.run(rest.isDone, 10_000_000)
    pair.advance(10_000_000)
    assert.equal(pair.accepted?.core.paths.get(id)?.tuple.remoteAddress, victim.localAddress)
  })
}
