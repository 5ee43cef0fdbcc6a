/** Streams and datagrams bound to paths, interactive ones apart, everything twice: send policies over two real paths. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TransportConfig } from '../config.ts'
import { RoundRobinScheduler } from '../stream/stream-scheduler.ts'
import { Pair, type WireDatagram, clientTuple, transfer } from '../testing/index.ts'
import type { SendPolicy } from './send-policy.ts'

const FIRST = '10.0.0.1'
const SECOND = '10.7.7.7'
const DELAY_US: Readonly<Record<string, number>> = { [FIRST]: 10_000, [SECOND]: 40_000 }

const addressOf = ({ from, tuple }: WireDatagram): string =>
  from === 'client' ? tuple.localAddress : tuple.remoteAddress

/** Two validated paths of different delay. */
function twoPaths(config: Partial<TransportConfig> = {}): Pair {
  const both = { maxPaths: 4, ...config }
  const pair = new Pair({ client: both, server: both, delayUs: 1 })
  pair.filter = (datagram) => {
    datagram.atUs += DELAY_US[addressOf(datagram)] ?? 0
    return true
  }
  pair.handshake()
  pair.advance(200_000)
  pair.connection.openPath(clientTuple(41_000, SECOND), {}, pair.nowUs)
  pair.run(() => [pair.connection, pair.accepted].every((each) => each?.paths()[1]?.isValidated === true))
  pair.advance(200_000)
  pair.sent.length = 0
  return pair
}

/** Bytes the client has sent from an address since the log was cleared. */
function sentFrom(pair: Pair, address: string): number {
  return pair.sent
    .filter((datagram) => datagram.from === 'client' && addressOf(datagram) === address)
    .reduce((sum, { bytes }) => sum + bytes.length, 0)
}

for (const packetScheduler of ['adaptive', 'minrtt', 'rr', 'latency'] as const) {
  test(`${packetScheduler}: a stream bound to the slow path goes there and nowhere else`, () => {
    const pair = twoPaths({ packetScheduler })
    const up = transfer(pair, 'client', 400_000)
    assert.equal(pair.connection.setStreamPath(2, 1), true)
    pair.run(up.isDone)
    assert.ok(sentFrom(pair, SECOND) > 400_000)
    assert.ok(sentFrom(pair, FIRST) < 20_000, `${sentFrom(pair, FIRST)} bytes on the other path`)
  })
}

test('streams bound to different paths do not wait for each other', () => {
  const pair = twoPaths()
  const first = transfer(pair, 'client', 300_000)
  const second = transfer(pair, 'client', 300_000)
  pair.connection.setStreamPath(2, 0)
  pair.connection.setStreamPath(6, 1)
  pair.filter = (datagram) => {
    datagram.atUs += DELAY_US[addressOf(datagram)] ?? 0
    return addressOf(datagram) !== SECOND || pair.nowUs % 3 < 2
  }
  pair.run(first.isDone)
  pair.run(second.isDone, 20_000_000)
})

test('a bound stream goes elsewhere while its path is silent, and once it is over', () => {
  const pair = twoPaths()
  const up = transfer(pair, 'client', 1_000_000)
  pair.connection.setStreamPath(2, 1)
  pair.run(() => up.received() > 100_000)
  const { filter } = pair
  pair.filter = (datagram) => addressOf(datagram) !== SECOND && filter(datagram)
  pair.run(() => up.received() > 600_000)
  pair.connection.closePath(1, pair.nowUs)
  pair.run(up.isDone)
})

test('a stream bound to a backup path uses it although the other one works', () => {
  const pair = twoPaths()
  pair.connection.setPathStatus(1, 'backup')
  const up = transfer(pair, 'client', 200_000)
  pair.connection.setStreamPath(2, 1)
  pair.run(up.isDone)
  assert.ok(sentFrom(pair, SECOND) > 200_000)
})

test('binding a stream to a path that is not open, or one that is closed, says so', () => {
  const pair = twoPaths()
  const id = pair.connection.openStream('unidirectional') ?? -1
  assert.equal(pair.connection.setStreamPath(id, 9), false)
  assert.equal(pair.connection.setStreamPath(4_000, 1), false)
  pair.connection.closePath(1, pair.nowUs)
  assert.equal(pair.connection.setStreamPath(id, 1), false)
  assert.equal(pair.connection.setStreamPath(id, undefined), true)
})

test('a datagram bound to a path goes there, one that has expired nowhere', () => {
  const pair = twoPaths()
  const payload = new Uint8Array(1_000)
  for (let i = 0; i < 8; i++) assert.equal(pair.connection.sendDatagram(payload, { path: 1 }), true)
  pair.connection.sendDatagram(payload, { expiresAtUs: pair.nowUs })
  pair.advance(200_000)
  assert.ok(sentFrom(pair, SECOND) > 8_000 && sentFrom(pair, SECOND) < 10_000)
  assert.ok(sentFrom(pair, FIRST) < 500)
  const { datagramsSent, datagramsDropped } = pair.connection.stats()
  assert.deepEqual([datagramsSent, datagramsDropped], [8, 1])
})

test('datagrams bound to a path are dropped with it, and refused afterwards', () => {
  const pair = twoPaths()
  const payload = new Uint8Array(500)
  pair.connection.sendDatagram(payload, { path: 1 })
  pair.connection.closePath(1, pair.nowUs)
  assert.equal(pair.connection.sendDatagram(payload, { path: 1 }), false)
  pair.connection.sendDatagram(payload)
  pair.advance(200_000)
  const { datagramsSent, datagramsDropped } = pair.connection.stats()
  assert.deepEqual([datagramsSent, datagramsDropped], [1, 1])
})

test('latency: small and urgent streams take the fast path only, bulk takes both', () => {
  const pair = twoPaths({ packetScheduler: 'latency' })
  const bulk = transfer(pair, 'client', 2_000_000)
  pair.run(() => bulk.received() > 500_000)
  const startUs = pair.nowUs
  const small = transfer(pair, 'client', 5_000)
  pair.run(small.isDone)
  assert.ok(pair.nowUs - startUs < 2 * 40_000, `${pair.nowUs - startUs} us beside bulk`)
  pair.run(bulk.isDone)
  assert.ok(sentFrom(pair, SECOND) > 20_000)
})

test('redundant: everything goes on both paths, and a path that dies costs nothing but itself', () => {
  const pair = twoPaths({ packetScheduler: 'redundant' })
  const up = transfer(pair, 'client', 8_000)
  pair.run(up.isDone)
  pair.advance(300_000)
  // Both have room for all of it, so nothing is acknowledged before it has been repeated.
  assert.ok(sentFrom(pair, FIRST) > 8_000 && sentFrom(pair, SECOND) > 8_000)
  // What survives has a window for it already.
  const warmUp = transfer(pair, 'client', 600_000)
  pair.connection.setStreamPath(6, 1)
  pair.run(warmUp.isDone)
  const next = transfer(pair, 'client', 100_000)
  pair.run(() => next.received() > 20_000)
  const { filter } = pair
  pair.filter = (datagram) => addressOf(datagram) !== FIRST && filter(datagram)
  // Goal G4: no longer without news than a round trip of the survivor.
  let lastUs = pair.nowUs
  let gapUs = 0
  let received = next.received()
  pair.run(() => {
    if (next.received() > received) {
      gapUs = Math.max(gapUs, pair.nowUs - lastUs)
      lastUs = pair.nowUs
      received = next.received()
    }
    return next.isDone()
  })
  assert.ok(gapUs <= 2 * 40_000 + 1_000, `${gapUs} us without news`)
})

test('a send policy of your own decides about paths and streams together', () => {
  const asked: string[] = []
  const policy = (): SendPolicy => ({
    name: 'own',
    createStreamOrder() {
      asked.push('order')
      return new RoundRobinScheduler()
    },
    pick({ lanes }) {
      asked.push('path')
      return lanes.findIndex(({ budgetBytes }) => budgetBytes > 0)
    },
  })
  const pair = twoPaths({ sendPolicy: policy })
  const up = transfer(pair, 'client', 100_000)
  pair.run(up.isDone)
  assert.ok(asked.includes('order') && asked.includes('path'))
})
