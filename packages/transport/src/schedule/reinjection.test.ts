/** What goes out twice without a loss: the ends of late flights, and what a silent path holds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pair, type WireDatagram, clientTuple, transfer } from '../testing/index.ts'

const SECOND = '10.7.7.7'
const DELAY_US = 20_000

const isOnSecond = ({ from, tuple }: WireDatagram): boolean =>
  (from === 'client' ? tuple.localAddress : tuple.remoteAddress) === SECOND

function twoPaths(): Pair {
  const both = { maxPaths: 4 }
  const pair = new Pair({ client: both, server: both, delayUs: DELAY_US })
  pair.handshake()
  pair.advance(200_000)
  pair.connection.openPath(clientTuple(41_000, SECOND), {}, pair.nowUs)
  pair.run(() => [pair.connection, pair.accepted].every((each) => each?.paths()[1]?.isValidated === true))
  // Both paths have round trips to go by.
  for (const path of [0, 1]) {
    const warmUp = transfer(pair, 'client', 300_000)
    pair.connection.setStreamPath(2 + 4 * path, path)
    pair.run(warmUp.isDone)
  }
  pair.advance(500_000)
  return pair
}

test('the end of a reply that is lost with its path arrives over the other one before a probe timeout', () => {
  const pair = twoPaths()
  const first = pair.connection.core.paths.get(0)
  assert.ok(first !== undefined)
  const ptoUs = first.ptoUs(pair.connection.core.maxAckDelayUs)
  const up = transfer(pair, 'client', 10_000)
  pair.filter = (datagram) => datagram.from === 'server' || isOnSecond(datagram)
  const startUs = pair.nowUs
  pair.run(up.isDone)
  assert.ok(pair.nowUs - startUs < ptoUs + DELAY_US, `${pair.nowUs - startUs} us, the probe timeout alone is ${ptoUs}`)
  assert.equal(first.recovery.ptoCount, 0)
})

test('what is sent twice for being late stays a small share of what is sent', () => {
  const pair = twoPaths()
  const { core } = pair.connection
  const before = core.reinjection.bytes
  const sentBefore = core.counters.bytesSent
  // Acknowledgments come late now and then, so that packets look late which are not.
  pair.filter = (datagram) => {
    if (datagram.from === 'server' && Math.floor(pair.nowUs / 250_000) % 2 === 0) datagram.atUs += 60_000
    return true
  }
  for (let i = 0; i < 200; i++) {
    const up = transfer(pair, 'client', 10_000)
    pair.run(up.isDone)
  }
  const twice = core.reinjection.bytes - before
  const sent = core.counters.bytesSent - sentBefore
  // 3 %, and what may have gathered before.
  assert.ok(twice <= 0.03 * sent + 65_536 + 1_500, `${twice} of ${sent} bytes`)
})

test('a path that falls silent hands back its flight in parts, as fast as the others take it', () => {
  const pair = twoPaths()
  const { core } = pair.connection
  const up = transfer(pair, 'client', 6_000_000)
  pair.connection.setStreamPath(10, 0)
  pair.run(() => (core.paths.get(0)?.recovery.inFlightBytes ?? 0) > 600_000)
  const before = core.reinjection.bytes
  const flight = core.paths.get(0)?.recovery.inFlightBytes ?? 0
  pair.filter = isOnSecond
  pair.run(() => core.reinjection.bytes > before)
  const atOnce = core.reinjection.bytes - before
  const windowBytes = core.paths.get(1)?.recovery.congestion.windowBytes ?? 0
  assert.ok(atOnce <= Math.max(windowBytes, 65_536) + 1_500, `${atOnce} at once, window ${windowBytes}`)
  assert.ok(atOnce < flight, `${atOnce} of ${flight}`)
  pair.run(up.isDone, 20_000_000)
})

test('without another path nothing goes out twice', () => {
  const pair = new Pair({ client: { maxPaths: 4 }, server: { maxPaths: 4 }, delayUs: DELAY_US })
  pair.handshake()
  const up = transfer(pair, 'client', 10_000)
  pair.filter = () => false
  pair.advance(300_000)
  pair.filter = () => true
  pair.run(up.isDone)
  assert.equal(pair.connection.core.reinjection.bytes, 0)
})

test('with all paths silent each is probed every five seconds, so that the first that returns is noticed', () => {
  const both = { maxPaths: 4, idleTimeoutUs: 600_000_000 }
  const pair = new Pair({ client: both, server: both, delayUs: DELAY_US })
  pair.handshake()
  pair.advance(200_000)
  pair.connection.openPath(clientTuple(41_000, SECOND), {}, pair.nowUs)
  pair.run(() => [pair.connection, pair.accepted].every((each) => each?.paths()[1]?.isValidated === true))
  const up = transfer(pair, 'client', 2_000_000)
  pair.run(() => up.received() > 100_000)
  pair.filter = () => false
  pair.advance(240_000_000)
  const backUs = pair.nowUs
  pair.filter = isOnSecond
  pair.run(() => up.received() > 1_000_000)
  assert.ok(pair.nowUs - backUs < 6_000_000, `${pair.nowUs - backUs} us after its return`)
  pair.run(up.isDone)
})
