/** What went wrong in other implementations when paths fell silent, returned or were given up (docs/pitfalls.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ackPaths } from '../ack/ack-path.ts'
import { Level } from '../ports/crypto.ts'
import { type Pair, type WireDatagram, clientTuple, serverTuple, transfer } from '../testing/index.ts'
import { clientAddressOf, joinedPair, openPath, secondTuple, thirdTuple } from '../testing/path-pair.ts'

const FIRST = '10.0.0.1'
const SECOND = secondTuple.localAddress
const on = (address: string) => (datagram: WireDatagram) => clientAddressOf(datagram) === address
const isOpen = (pair: Pair): boolean => !pair.connection.isClosed && pair.accepted?.isClosed === false

// pitfall 3: nothing is lost before an acknowledgment, so that a stream waits for the idle time of a black hole
for (const dead of [FIRST, SECOND]) {
  test(`what a path from ${dead} swallows is offered to the other one after a probe timeout, long before the path is given up`, () => {
    const { pair } = joinedPair()
    openPath(pair)
    const down = transfer(pair, 'server', 3_000_000)
    pair.run(() => down.received() > 500_000)
    pair.filter = (datagram) => clientAddressOf(datagram) !== dead
    const id = dead === FIRST ? 0 : 1
    const path = pair.accepted?.core.paths.get(id)
    const ptoUs = path?.ptoUs(25_000) ?? 0
    const startUs = pair.nowUs
    let gapUs = 0
    let lastUs = pair.nowUs
    let before = down.received()
    pair.run(() => {
      if (down.received() > before) {
        gapUs = Math.max(gapUs, pair.nowUs - lastUs)
        before = down.received()
        lastUs = pair.nowUs
      }
      return down.isDone()
    })
    assert.ok(gapUs <= Math.max(250_000, 3 * 20_000 + 2 * ptoUs), `${gapUs} us without a byte, PTO ${ptoUs} us`)
    assert.ok(pair.nowUs - startUs < 5_000_000)
    assert.equal(path?.isAbandoned, false, 'it is still there to return')
  })
}

// pitfall 4: a probe timeout of an abandoned path expires
test('timers of an abandoned path are gone: nothing happens there, whatever was armed', () => {
  const { pair } = joinedPair()
  const id = openPath(pair)
  const transfers = [transfer(pair, 'server', 2_000_000), transfer(pair, 'client', 2_000_000)]
  pair.run(() => transfers.every((each) => each.received() > 100_000))
  // A probe timeout, a loss timer and an acknowledgment are due there when it is abandoned.
  pair.filter = (datagram) => clientAddressOf(datagram) !== SECOND
  pair.advance(30_000)
  pair.connection.closePath(id, pair.nowUs)
  const path = pair.connection.core.paths.get(id)
  const { ptoCount, packetsLost } = path?.recovery ?? assert.fail()
  pair.run(() => transfers.every((each) => each.isDone()))
  pair.advance(20_000_000)
  assert.ok(isOpen(pair))
  assert.deepEqual([path?.recovery.ptoCount, path?.recovery.packetsLost], [ptoCount, packetsLost])
  assert.equal(path?.recovery.inFlightBytes, 0)
})

// pitfall 6: the sender moves to the backup path, the receiver goes on acknowledging on the dead one, and the backup is judged dead, too
for (const ackPath of ackPaths) {
  test(`ackPath ${ackPath}: a backup path that takes over is acknowledged where it can be heard, and stays good`, () => {
    const config = { ackPath }
    const { pair } = joinedPair({ client: config, server: config })
    const id = openPath(pair)
    pair.connection.setPathStatus(id, 'backup')
    pair.run(() => pair.accepted?.core.paths.get(id)?.peerStatus === 'backup')
    const down = transfer(pair, 'server', 4_000_000)
    pair.run(() => down.received() > 1_000_000)
    pair.filter = (datagram) => clientAddressOf(datagram) !== FIRST
    const diedUs = pair.nowUs
    let probeTimeouts = 0
    pair.run(() => {
      const { ptoCount = 0 } = pair.accepted?.core.paths.get(id)?.recovery ?? {}
      probeTimeouts = Math.max(probeTimeouts, ptoCount)
      return down.isDone()
    })
    assert.ok(pair.nowUs - diedUs < 3_000_000, `${pair.nowUs - diedUs} us`)
    assert.ok(probeTimeouts <= 1, `${probeTimeouts} probe timeouts on the path that works`)
  })
}

// pitfall 12: a path to a link that was down stays pending for ever: no PATH_CHALLENGE after the link is back
test('a path opened while its link is down is given up, and the next try over the link that is back works', () => {
  const { pair } = joinedPair()
  let isDown = true
  pair.filter = (datagram) => !isDown || clientAddressOf(datagram) !== SECOND
  const lost = pair.connection.openPath(secondTuple, {}, pair.nowUs)
  assert.equal(lost, 1)
  pair.run(() => pair.connection.paths().length === 1)
  isDown = false
  assert.equal(openPath(pair), 2)
  // One that is there and loses its link for a while needs nobody's help.
  isDown = true
  pair.advance(20_000_000)
  isDown = false
  pair.connection.closePath(0, pair.nowUs)
  const down = transfer(pair, 'server', 100_000)
  pair.run(down.isDone, 10_000_000)
})

// pitfall 13: a flapping link leaks path slots until "too many paths"
test('a link that flaps for half an hour takes no more than its one slot, tried every ten seconds', () => {
  const { pair } = joinedPair({ client: { maxPaths: 2 }, server: { maxPaths: 2 } })
  let isDown = false
  pair.filter = (datagram) => !isDown || clientAddressOf(datagram) !== SECOND
  let opened = 0
  for (let round = 0; round < 180; round++) {
    isDown = round % 3 === 0
    const id = pair.connection.openPath(clientTuple(20_000 + round, SECOND), {}, pair.nowUs)
    if (id !== undefined) opened++
    pair.advance(isDown ? 7_000_000 : 1_000_000)
    if (id !== undefined) pair.connection.closePath(id, pair.nowUs)
    pair.advance(isDown ? 3_000_000 : 9_000_000)
    assert.ok(isOpen(pair))
    assert.ok(pair.connection.paths().length <= 2 && (pair.accepted?.paths().length ?? 0) <= 2)
  }
  assert.ok(opened >= 175, `${opened} of 180 tries had a path ID`)
  assert.ok(pair.connection.core.multipath.registries.size <= 3)
})

// pitfall 14: challenges, probes or abandons that repeat for ever on an idle connection
test('an idle connection is silent: nothing is challenged or probed again, with a dead path only its probe, ever more rarely', () => {
  const { pair } = joinedPair({ client: { idleTimeoutUs: 0 }, server: { idleTimeoutUs: 0 } })
  openPath(pair)
  openPath(pair, thirdTuple)
  pair.advance(5_000_000)
  pair.sent.length = 0
  pair.advance(600_000_000)
  assert.equal(pair.sent.length, 0, 'ten minutes without a datagram')
  pair.filter = (datagram) => clientAddressOf(datagram) !== SECOND
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  pair.advance(60_000_000)
  pair.sent.length = 0
  pair.advance(600_000_000)
  const probes = pair.sent.filter(on(SECOND)).length
  assert.ok(probes <= 2 * (600 / 5) + 2, `${probes} datagrams to a dead path in ten minutes`)
  assert.ok(pair.sent.length <= 2 * probes + 10, `${pair.sent.length} datagrams altogether`)
})

// pitfall 16: the back-off of probe timeouts grows to minutes during an outage
test('after an outage of five minutes data flows within ten seconds, with one path or with two', () => {
  for (const paths of [1, 2]) {
    const config = { idleTimeoutUs: 0 }
    const { pair } = joinedPair({ client: config, server: config })
    if (paths === 2) openPath(pair)
    const down = transfer(pair, 'server', 3_000_000)
    pair.run(() => down.received() > 500_000)
    pair.filter = () => false
    pair.advance(300_000_000)
    pair.filter = () => true
    const before = down.received()
    const backUs = pair.nowUs
    pair.run(() => down.received() > before)
    assert.ok(pair.nowUs - backUs < 10_000_000, `${pair.nowUs - backUs} us after the return of ${paths}`)
    pair.run(down.isDone)
  }
})

// pitfall 17: the record of sent packets is replaced when the path moves, and what was in flight is never sent again
test('what is in flight while a path moves is recovered, in both directions, by migration and by rebinding', () => {
  for (const how of ['migration', 'rebinding'] as const) {
    const { pair } = joinedPair()
    const transfers = [transfer(pair, 'server', 3_000_000), transfer(pair, 'client', 3_000_000)]
    let port = 40_000
    pair.filter = (datagram) => {
      if (datagram.from === 'client' && datagram.tuple.localPort === 40_000) datagram.tuple = clientTuple(port)
      else if (datagram.from === 'server' && datagram.tuple.remotePort === port) datagram.tuple = serverTuple()
      return true
    }
    for (let round = 1; round <= 5; round++) {
      pair.run(() => transfers.every((each) => each.received() > round * 400_000))
      // Everything under way is lost with the old address.
      const inner = pair.filter
      pair.filter = () => false
      pair.advance(12_000)
      pair.filter = inner
      if (how === 'rebinding') port = 50_000 + round
      else assert.ok(pair.connection.migrate(clientTuple(45_000 + round, '10.9.9.9'), pair.nowUs))
    }
    pair.run(() => transfers.every((each) => each.isDone()), 30_000_000)
  }
})

// pitfall 18: a socket error on one path leaves a hole in a stream for ever
test('trains that a failing socket swallowed leave no hole, whether the path is closed then or recovers, or all of them fail', () => {
  for (const after of ['closed', 'recovers', 'all fail'] as const) {
    const { pair } = joinedPair()
    const id = openPath(pair)
    const up = transfer(pair, 'client', 4_000_000)
    pair.run(() => up.received() > 500_000)
    pair.filter = (datagram) =>
      datagram.from === 'server' || (after !== 'all fail' && clientAddressOf(datagram) !== SECOND)
    pair.advance(60_000)
    if (after === 'closed') pair.connection.closePath(id, pair.nowUs)
    else pair.advance(1_000_000)
    if (after !== 'closed') pair.filter = () => true
    pair.run(up.isDone, 20_000_000)
  }
})

// pitfall 19: setting up the second path races the first data: half of the runs wedge
test('a second path may be opened at any moment, in any order with data and connection IDs, and nothing wedges', () => {
  for (let step = 0; step < 30; step++) {
    const { pair } = joinedPair({ seed: step + 1, delayUs: 5_000 })
    pair.filter = (datagram) => {
      // The second path is faster than the first, so that its packets overtake what they depend on.
      datagram.atUs = pair.nowUs + (clientAddressOf(datagram) === SECOND ? 1_000 : 30_000)
      return true
    }
    const fresh = joinedPair({ seed: step + 100 }).pair
    for (const each of [pair, fresh]) {
      const up = transfer(each, 'client', 60_000)
      each.advance(step * 1_400)
      const id = each.connection.openPath(secondTuple, {}, each.nowUs)
      const down = transfer(each, 'server', 60_000)
      each.run(() => up.isDone() && down.isDone(), 10_000_000)
      if (id !== undefined) each.run(() => each.accepted?.core.paths.get(id)?.isValidated === true, 5_000_000)
    }
  }
})

// pitfall 21: keys are updated while a path is opened; its very first packet comes in the new phase
test('the first packet of a path may be the first one of a key phase, for either side, again and again', () => {
  const { pair, seen } = joinedPair()
  for (const [round, end] of (['client', 'server', 'client', 'server'] as const).entries()) {
    const updater = end === 'client' ? pair.connection : pair.accepted
    const before = pair.connection.core.keys.generation
    const lostUs = pair.nowUs + 40_000
    // On path 0 nothing gets through for a while: what is on the new path is all there is.
    pair.filter = (datagram) => pair.nowUs > lostUs || clientAddressOf(datagram) !== FIRST
    updater?.updateKeys()
    pair.flush()
    const tuple = clientTuple(21_000 + round, `10.7.8.${round}`)
    const id = pair.connection.openPath(tuple, {}, pair.nowUs)
    assert.ok(id !== undefined)
    const transfers = [transfer(pair, 'server', 200_000), transfer(pair, 'client', 200_000)]
    pair.run(() => transfers.every((each) => each.isDone()))
    pair.run(
      () => pair.connection.core.keys.generation === before + 1 && pair.accepted?.core.keys.generation === before + 1,
    )
    const first = seen.find((packet) => packet.role === 'client' && packet.pathId === id)
    assert.equal(first?.level, Level.OneRtt)
    if (end === 'client') assert.equal(first?.keyPhase, (before + 1) & 1, 'sealed in the new phase')
    pair.connection.closePath(id, pair.nowUs)
    pair.advance(8_000_000)
    assert.ok(isOpen(pair))
  }
})
