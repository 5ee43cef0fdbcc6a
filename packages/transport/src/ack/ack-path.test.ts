/** Which path acknowledgments take, and that round trips stay right whichever the peer chooses (RFC 10069 §5.4, §5.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveConfig } from '../config.ts'
import { type PairOptions, transfer } from '../testing/index.ts'
import {
  type PathPair,
  type SeenPacket,
  clientAddressOf,
  joinedPair,
  openPath,
  secondTuple,
} from '../testing/path-pair.ts'
import { AckArrivals, SampleUse } from './ack-arrivals.ts'
import { type AckPath, ackPaths } from './ack-path.ts'

const FAST_US = 10_000
const SLOW_US = 60_000

/** Path 0 takes 10 ms one way, path 1 takes 60 ms. Only the client's policy is not the default. */
function unequal(ackPath: AckPath, options: PairOptions = {}): PathPair {
  // A scheduler that uses both paths whatever their delays.
  const both = { packetScheduler: 'rr' } as const
  const made = joinedPair({
    ...options,
    client: { ackPath, ...both, ...options.client },
    server: { ...both, ...options.server },
  })
  const { pair } = made
  pair.filter = (datagram) => {
    datagram.atUs = pair.nowUs + (clientAddressOf(datagram) === secondTuple.localAddress ? SLOW_US : FAST_US)
    return true
  }
  openPath(pair)
  pair.advance(500_000)
  return made
}

/** Path IDs of the client's packets that acknowledge path `about`. */
function carriers(seen: readonly SeenPacket[], about: number): Set<number> {
  const found = new Set<number>()
  for (const { role, pathId, frames } of seen) {
    if (role !== 'client') continue
    for (const { name, numbers } of frames) if (name === 'Ack' && numbers[0] === about) found.add(pathId)
  }
  return found
}

test('an unknown ackPath is refused with the list of those there are', () => {
  assert.throws(
    () => resolveConfig({ ackPath: 'shortest' as AckPath }),
    /ackPath is shortest; allowed: same, fastest, any/,
  )
  assert.equal(resolveConfig().ackPath, 'same')
})

test('same: each path is acknowledged on itself, and measures its own round trip', () => {
  const { pair, seen } = unequal('same')
  seen.length = 0
  const down = transfer(pair, 'server', 3_000_000)
  pair.run(down.isDone)
  // Once it has fallen silent, its last ones are said again over the other path.
  const elsewhere = seen.filter(
    ({ role, pathId, frames }) =>
      role === 'client' && frames.some(({ name, numbers }) => name === 'Ack' && numbers[0] !== pathId),
  )
  assert.ok(elsewhere.length <= 2, `${elsewhere.length} acknowledgments elsewhere`)
  const [first, second] = pair.accepted?.paths() ?? []
  assert.ok(first !== undefined && second !== undefined)
  assert.ok(first.rttMinUs >= 2 * FAST_US && first.smoothedRttUs < 3 * FAST_US, `${first.smoothedRttUs}`)
  assert.ok(second.rttMinUs >= 2 * SLOW_US && second.smoothedRttUs < 2.5 * SLOW_US, `${second.smoothedRttUs}`)
})

// spec: RFC 10069 §5.4
test('fastest: a slow path is acknowledged on the fast one, and its round trip is the sum of both ways', () => {
  const { pair, seen } = unequal('fastest')
  const warm = transfer(pair, 'server', 1_000_000)
  pair.run(warm.isDone)
  pair.advance(300_000)
  seen.length = 0
  const down = transfer(pair, 'server', 4_000_000)
  pair.run(down.isDone)
  assert.deepEqual([...carriers(seen, 0)], [0])
  assert.deepEqual([...carriers(seen, 1)], [0])
  const second = pair.accepted?.paths()[1]
  assert.ok(second !== undefined)
  assert.ok(second.rttMinUs >= SLOW_US + FAST_US && second.rttMinUs < SLOW_US + 2 * FAST_US, `${second.rttMinUs}`)
  assert.ok(second.smoothedRttUs < SLOW_US + 4 * FAST_US, `${second.smoothedRttUs}`)
})

// pitfall 15: what is chosen by round-trip time flaps between paths that are about as fast
test('fastest: a path that is slower only by a flutter does not take acknowledgments over and back', () => {
  const { pair, seen } = joinedPair({ client: { ackPath: 'fastest' } })
  pair.filter = (datagram) => {
    const isSecond = clientAddressOf(datagram) === secondTuple.localAddress
    datagram.atUs = pair.nowUs + 20_000 + (isSecond ? 0 : (pair.sent.length % 7) * 150)
    return true
  }
  openPath(pair)
  seen.length = 0
  const down = transfer(pair, 'server', 3_000_000)
  pair.run(down.isDone)
  let changes = 0
  let last = -1
  for (const { role, pathId, frames } of seen) {
    if (role !== 'client' || !frames.some(({ name, numbers }) => name === 'Ack' && numbers[0] === 1)) continue
    if (last >= 0 && last !== pathId) changes++
    last = pathId
  }
  assert.ok(changes <= 2, `${changes} changes`)
})

// spec: RFC 10069 §5.4
test('any: acknowledgments ride on what leaves first, and round trips do not flutter with them', () => {
  const { pair, seen } = unequal('any')
  seen.length = 0
  const down = transfer(pair, 'server', 4_000_000)
  const up = transfer(pair, 'client', 4_000_000)
  pair.run(() => down.isDone() && up.isDone())
  assert.deepEqual([...carriers(seen, 1)].sort(), [0, 1])
  assert.deepEqual([...carriers(seen, 0)].sort(), [0, 1])
  const [first, second] = pair.accepted?.paths() ?? []
  assert.ok(first !== undefined && second !== undefined)
  assert.ok(first.rttMinUs >= 2 * FAST_US && first.smoothedRttUs < SLOW_US, `${first.smoothedRttUs}`)
  assert.ok(second.rttMinUs >= SLOW_US + FAST_US && second.smoothedRttUs < 3 * SLOW_US, `${second.smoothedRttUs}`)
})

// pitfall 5: PATH_ACKs that all ride a congested foreign path inflate the other paths' round trips
for (const ackPath of ackPaths) {
  test(`${ackPath}: a path whose way back is congested does not slow the acknowledgments of the other one`, () => {
    const { pair } = joinedPair({ client: { ackPath } })
    const startUs = pair.nowUs
    pair.filter = (datagram) => {
      const isFirst = clientAddressOf(datagram) !== secondTuple.localAddress
      const isCongested = isFirst && datagram.from === 'client' && pair.nowUs - startUs > 150_000
      datagram.atUs = pair.nowUs + (isCongested ? 300_000 : isFirst ? 10_000 : 15_000)
      return true
    }
    openPath(pair)
    // Both ways, so that the client measures its paths, too.
    const transfers = [transfer(pair, 'server', 8_000_000), transfer(pair, 'client', 8_000_000)]
    pair.run(() => transfers.every((each) => each.isDone()) || pair.nowUs - startUs > 4_000_000)
    const second = pair.accepted?.core.paths.get(1)
    assert.ok(second !== undefined && second.rtt.smoothedUs < 60_000, `${second?.rtt.smoothedUs} us`)
  })

  test(`${ackPath}: a download outlives the silent death of either path`, () => {
    for (const dead of ['10.0.0.1', secondTuple.localAddress]) {
      const { pair } = unequal(ackPath)
      const { filter } = pair
      const down = transfer(pair, 'server', 6_000_000)
      pair.run(() => down.received() > 2_000_000)
      pair.filter = (datagram) => clientAddressOf(datagram) !== dead && filter(datagram)
      const diedUs = pair.nowUs
      pair.run(down.isDone)
      assert.ok(pair.nowUs - diedUs < 5_000_000, `${pair.nowUs - diedUs} us`)
    }
  })

  // spec: RFC 10069 §3.4.3#1
  test(`${ackPath}: what arrived on an abandoned path is acknowledged on another one, although nothing else is to be said`, () => {
    const { pair, seen } = unequal(ackPath)
    const down = transfer(pair, 'server', 8_000_000)
    pair.run(() => down.received() > 1_000_000)
    // The server does not hear of the abandonment: it goes on sending, and the client does not take its time.
    const { filter } = pair
    pair.filter = (datagram) => (datagram.from === 'server' ? filter(datagram) : false)
    pair.connection.closePath(1, pair.nowUs)
    seen.length = 0
    const sinceUs = pair.nowUs
    pair.advance(100_000)
    const told = seen.filter(
      ({ role, frames }) => role === 'client' && frames.some(({ name, numbers }) => name === 'Ack' && numbers[0] === 1),
    )
    assert.ok(told.length > 0)
    assert.ok(told.every(({ pathId, atUs }) => pathId === 0 && atUs >= sinceUs))
  })
}

test('samples come from acknowledgments over the own path, or over one other path that is kept to', () => {
  const arrivals = new AckArrivals()
  assert.equal(arrivals.onArrival(1, 0, 50, 0), SampleUse.Take, 'the very first says more than nothing')
  assert.equal(arrivals.onArrival(1, 1, 50, 10), SampleUse.Restart, 'another way back: another smallest round trip')
  assert.equal(arrivals.onArrival(1, 0, 50, 20), SampleUse.None)
  assert.equal(arrivals.onArrival(1, 1, 50, 30), SampleUse.Take)
  assert.equal(arrivals.onArrival(1, 0, 50, 100), SampleUse.None)
  assert.equal(arrivals.onArrival(1, 2, 50, 110), SampleUse.None, 'not twice the same')
  assert.equal(arrivals.onArrival(1, 0, 50, 120), SampleUse.None)
  assert.equal(arrivals.onArrival(1, 0, 50, 130), SampleUse.None)
  assert.equal(
    arrivals.onArrival(1, 0, 50, 140),
    SampleUse.Restart,
    'three in a row, and none over the own path for long',
  )
  assert.equal(arrivals.onArrival(1, 0, 50, 150), SampleUse.Take)
})
