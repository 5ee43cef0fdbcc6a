/** The driver cannot send on one path any more: the others go on at once, and it comes back when it works again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientTuple, Pair, transfer } from '../testing/index.ts'

const secondTuple = clientTuple(41_000, '10.7.7.7')

/** Two validated paths. */
function joined(): Pair {
  const config = { maxPaths: 4, idleTimeoutUs: 300_000_000 }
  const pair = new Pair({ client: config, server: config }).handshake()
  pair.advance(100_000)
  assert.equal(pair.connection.openPath(secondTuple, {}, pair.nowUs), 1)
  pair.run(() => pair.connection.paths()[1]?.isValidated === true)
  pair.advance(100_000)
  return pair
}

// pitfall 18: picoquic #1409 and PR 1410: a socket error on one path left a hole in the stream for ever
for (const dead of [0, 1]) {
  test(`what path ${dead} had in flight goes over the other one at once when its socket fails`, () => {
    const pair = joined()
    const tuple = dead === 0 ? clientTuple() : secondTuple
    const up = transfer(pair, 'client', 2_000_000)
    pair.run(() => up.received() > 300_000)
    pair.filter = (datagram) =>
      (datagram.from === 'client' ? datagram.tuple.localAddress : datagram.tuple.remoteAddress) !== tuple.localAddress
    pair.connection.onSendFailed(tuple)
    const failedAtUs = pair.nowUs
    assert.equal(pair.connection.paths()[dead]?.state, 'silent')
    assert.equal(pair.connection.paths()[1 - dead]?.state, 'active')
    pair.run(up.isDone)
    // Nothing waited for a probe timeout of a second or more: a round trip is 20 ms here.
    assert.ok(pair.nowUs - failedAtUs < 500_000, `${pair.nowUs - failedAtUs} us`)
  })
}

test('a path whose socket failed is probed on and carries data again once it answers', () => {
  const pair = joined()
  pair.filter = ({ tuple }) => tuple.localAddress !== secondTuple.localAddress
  pair.connection.onSendFailed(secondTuple)
  pair.advance(10_000_000)
  assert.equal(pair.connection.paths()[1]?.state, 'silent')
  const probes = pair.sent.filter(({ tuple }) => tuple.localAddress === secondTuple.localAddress).length
  pair.advance(30_000_000)
  const more = pair.sent.filter(({ tuple }) => tuple.localAddress === secondTuple.localAddress).length - probes
  assert.ok(more >= 4 && more <= 60, `${more} probes in 30 s`)
  pair.filter = () => true
  pair.run(() => pair.connection.paths()[1]?.state === 'active', 6_000_000)
  const before = pair.connection.paths()[1]?.bytesSent ?? 0
  pair.run(transfer(pair, 'client', 3_000_000).isDone)
  assert.ok((pair.connection.paths()[1]?.bytesSent ?? 0) - before > 10_000)
})

test('a socket error on the only path, on one that is silent already, or of a strange tuple changes nothing', () => {
  const pair = new Pair().handshake()
  pair.connection.onSendFailed(clientTuple())
  assert.equal(pair.connection.paths()[0]?.state, 'active')
  const two = joined()
  two.connection.onSendFailed(clientTuple(9, '10.250.0.1'))
  assert.ok(two.connection.paths().every(({ state }) => state === 'active'))
  two.connection.onSendFailed(clientTuple())
  two.connection.onSendFailed(secondTuple)
  assert.deepEqual(
    two.connection.paths().map(({ state }) => state),
    ['silent', 'active'],
  )
})

// pitfall 16: noq #523: after an outage the probe timeout backs off for minutes; a change of the network ends that
test('silent paths are probed at once when the network has changed, instead of when their back-off ends', () => {
  const config = { maxPaths: 4, idleTimeoutUs: 3_600_000_000 }
  const gapUs = (isTold: boolean): number => {
    const pair = new Pair({ client: config, server: config }).handshake()
    pair.advance(100_000)
    const up = transfer(pair, 'client', 500_000)
    pair.run(() => up.received() > 100_000)
    pair.filter = () => false
    // Just after a probe, so that the next one is far away.
    pair.advance(120_000_000)
    const probes = pair.sent.length
    pair.run(() => pair.sent.length > probes)
    pair.filter = () => true
    const backUs = pair.nowUs
    if (isTold) pair.connection.probeSilentPaths()
    pair.run(up.isDone)
    return pair.nowUs - backUs
  }
  const [told, untold] = [gapUs(true), gapUs(false)]
  assert.ok(told < untold - 1_000_000, `${told} us, otherwise ${untold} us`)
})
