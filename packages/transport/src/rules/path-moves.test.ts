/** Address changes and key updates where several paths, or an attacker, make them hard (RFC 9000 §9, RFC 10069 §2.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { clientTuple, forgedPair, frameBytes, transfer } from '../testing/index.ts'
import { clientAddressOf, joinedPair, openPath, secondTuple, withFrame } from '../testing/path-pair.ts'

const SECOND = secondTuple.localAddress

for (const id of [0, 1]) {
  // spec: RFC 9000 §9.3.2#1, §9.3.2#2, §9.3.3
  test(`path ${id}: an attacker who sends each packet on from another address does not make the server forget the true one`, () => {
    const { pair } = joinedPair()
    openPath(pair)
    pair.advance(500_000)
    pair.connection.setPathStatus(1 - id, 'backup')
    pair.run(() => pair.accepted?.core.paths.get(1 - id)?.peerStatus === 'backup')
    const victim = id === 0 ? clientTuple() : secondTuple
    const claimed = new Set<string>()
    pair.filter = (datagram) => {
      if (datagram.from === 'server') return datagram.tuple.remoteAddress === victim.localAddress
      if (datagram.tuple.localAddress !== victim.localAddress) return false
      const address = `10.66.0.${claimed.size + 1}`
      claimed.add(address)
      datagram.tuple = clientTuple(6_000, address)
      return claimed.size <= 30
    }
    for (let round = 0; round < 30; round++) {
      pair.connection.core.pingPending = true
      pair.connection.setPathStatus(-1, 'available')
      pair.advance(40_000)
    }
    assert.ok(claimed.size >= 20, `${claimed.size} addresses`)
    assert.notEqual(pair.accepted?.core.paths.get(id)?.tuple.remoteAddress, victim.localAddress)
    pair.filter = ({ from }) => from === 'server'
    pair.run(() => pair.accepted?.core.paths.get(id)?.tuple.remoteAddress === victim.localAddress, 10_000_000)
    pair.filter = () => true
    const down = transfer(pair, 'server', 200_000)
    pair.run(down.isDone)
  })
}

// spec: RFC 9000 §9.4#1
test('what was sent before a move says nothing about the way after it: late acknowledgments measure no round trip', () => {
  const { pair } = joinedPair()
  let isSlow = true
  pair.filter = (datagram) => {
    datagram.atUs = pair.nowUs + (isSlow ? 200_000 : 5_000)
    return true
  }
  const up = transfer(pair, 'client', 2_000_000)
  pair.run(() => up.received() > 100_000)
  isSlow = false
  assert.ok(pair.connection.migrate(clientTuple(43_000, '10.9.9.9'), pair.nowUs))
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
  const { rtt } = pair.connection.path
  let worstUs = 0
  pair.run(() => {
    if (rtt.hasSample) worstUs = Math.max(worstUs, rtt.latestUs)
    return up.isDone()
  })
  assert.ok(worstUs > 0 && worstUs < 100_000, `${worstUs} us`)
})

// spec: RFC 9000 §8.2.1#6
test('a PATH_CHALLENGE in a small datagram is answered all the same', () => {
  const forged = forgedPair('client', { server: { maxPaths: 4 }, client: { maxPaths: 4 } })
  const { pair } = forged
  pair.handshake()
  pair.advance(200_000)
  const sizes: number[] = []
  pair.filter = ({ from, bytes }) => {
    if (from === 'server') sizes.push(bytes.length)
    return true
  }
  forged.say(frameBytes(FrameType.PathChallenge, new Uint8Array(8).fill(7)))
  pair.advance(50_000)
  assert.ok(
    sizes.some((size) => size >= 1_200),
    'a PATH_RESPONSE in a full datagram',
  )
  assert.equal(pair.accepted?.isClosed, false)
})

/** One path of 10 ms, one of 400 ms, one way. */
function fastAndSlow(): ReturnType<typeof joinedPair> {
  const made = joinedPair()
  made.pair.filter = (datagram) => {
    datagram.atUs = made.pair.nowUs + (clientAddressOf(datagram) === SECOND ? 400_000 : 10_000)
    return true
  }
  openPath(made.pair)
  made.pair.advance(3_000_000)
  return made
}

// spec: RFC 10069 §2.5#1, RFC 9001 §6.5
test('old keys are kept while packets of the slowest path may be under way, and the next update waits as long', () => {
  const { pair, seen } = fastAndSlow()
  const transfers = [transfer(pair, 'server', 6_000_000), transfer(pair, 'client', 6_000_000)]
  pair.run(() => transfers.every((each) => each.received() > 500_000))
  const dropped = (): number =>
    pair.connection.stats().packetsDropped + (pair.accepted?.stats().packetsDropped ?? Infinity)
  const before = dropped()
  const ptoUs = Math.min(pair.connection.core.paths.largestPtoUs(), pair.accepted?.core.paths.largestPtoUs() ?? 0)
  assert.ok(ptoUs > 800_000)
  const updates: number[] = []
  let generation = 0
  const end = pair.connection
  end.updateKeys()
  pair.run(() => {
    if (end.core.keys.generation > generation) {
      generation = end.core.keys.generation
      updates.push(pair.nowUs)
      // As soon as it is allowed again.
      end.updateKeys()
    }
    return transfers.every((each) => each.isDone()) && updates.length >= 2
  }, 30_000_000)
  assert.ok((updates[1] as number) - (updates[0] as number) >= 3 * 800_000, `${updates.join(' ')} us`)
  assert.equal(dropped(), before, 'no packet came too late for its keys')
  assert.deepEqual(new Set(seen.filter(({ keyPhase }) => keyPhase === 1).map(({ pathId }) => pathId)), new Set([0, 1]))
})

// spec: RFC 10069 §2.5
test('both sides may update their keys at the same moment, each hearing of it on another path', () => {
  const { pair } = fastAndSlow()
  const transfers = [transfer(pair, 'server', 2_000_000), transfer(pair, 'client', 2_000_000)]
  pair.run(() => transfers.every((each) => each.received() > 300_000))
  pair.connection.updateKeys()
  pair.accepted?.updateKeys()
  pair.run(() => transfers.every((each) => each.isDone()))
  assert.equal(pair.connection.core.keys.generation, 1)
  assert.equal(pair.accepted?.core.keys.generation, 1)
  assert.equal(pair.connection.isClosed || pair.accepted?.isClosed, false)
})

// spec: RFC 10069 §3.1.2#1
test('a client may move any of its paths, again and again, while the others go on', () => {
  const { pair, seen } = joinedPair()
  openPath(pair)
  const transfers = [transfer(pair, 'server', 6_000_000), transfer(pair, 'client', 6_000_000)]
  for (let round = 1; round <= 12; round++) {
    const id = round % 2
    pair.run(() => transfers.every((each) => each.received() > round * 300_000))
    // The peer replaces the connection ID that the last move has used up.
    pair.run(() => (pair.connection.core.paths.get(id)?.cids.spare.length ?? 0) > 0)
    assert.ok(
      pair.connection.migrate(clientTuple(41_000 + round, `10.9.${id}.${round}`), pair.nowUs, id),
      `move ${round}`,
    )
    pair.run(() => pair.accepted?.core.paths.get(id)?.tuple.remoteAddress === `10.9.${id}.${round}`)
  }
  pair.run(() => transfers.every((each) => each.isDone()))
  assert.ok(withFrame(seen, 'PathChallenge', 'client').some(({ pathId }) => pathId === 1))
  assert.equal(pair.connection.stats().migrations, 12)
})
