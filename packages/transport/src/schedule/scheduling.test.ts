/** Packet schedulers in the engine: two real endpoints over links of different rate and delay. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TransportConfig } from '../config.ts'
import { Pair, type WireDatagram, clientTuple, transfer } from '../testing/index.ts'
import { type PacketScheduler, WAIT } from './packet-scheduler.ts'
import { packetSchedulers } from './schedulers.ts'

interface Pipe {
  readonly bytesPerSecond: number
  readonly delayUs: number
}

const FIRST = '10.0.0.1'
const SECOND = '10.7.7.7'
const QUEUE_US = 100_000

const addressOf = ({ from, tuple }: WireDatagram): string =>
  from === 'client' ? tuple.localAddress : tuple.remoteAddress

/** A filter that gives each client address a link with a rate, a delay and a queue of 100 ms in either direction. */
function over(pipes: Readonly<Record<string, Pipe>>): (datagram: WireDatagram) => boolean {
  const freeAtUs = new Map<string, number>()
  return (datagram) => {
    const pipe = pipes[addressOf(datagram)]
    if (pipe === undefined) return false
    const sentAtUs = datagram.atUs
    const key = `${datagram.from} ${addressOf(datagram)}`
    const startUs = Math.max(sentAtUs, freeAtUs.get(key) ?? 0)
    if (startUs - sentAtUs > QUEUE_US) return false
    const endUs = startUs + (datagram.bytes.length * 1e6) / pipe.bytesPerSecond
    freeAtUs.set(key, endUs)
    datagram.atUs = Math.ceil(endUs + pipe.delayUs)
    return true
  }
}

/** Two validated paths, each over its pipe. The pair's own delay is nearly none: the pipes have theirs. */
function twoPaths(config: Partial<TransportConfig>, pipes: Readonly<Record<string, Pipe>>): Pair {
  const both = { maxPaths: 4, ...config }
  const pair = new Pair({ client: both, server: both, delayUs: 1 })
  pair.filter = over(pipes)
  pair.handshake()
  pair.advance(200_000)
  pair.connection.openPath(clientTuple(41_000, SECOND), {}, pair.nowUs)
  pair.run(() => pair.connection.core.paths.paths.length === 2 && [pair.connection, pair.accepted].every(bothValid))
  return pair
}

function bothValid(connection: Pair['accepted']): boolean {
  const views = connection?.paths() ?? []
  return views.length === 2 && views.every(({ isValidated }) => isValidated)
}

const unequal = {
  [FIRST]: { bytesPerSecond: 2_500_000, delayUs: 10_000 },
  [SECOND]: { bytesPerSecond: 1_250_000, delayUs: 40_000 },
}

/** Bytes in the log that the server sent, by client address. */
function bytesByAddress(pair: Pair): Map<string, number> {
  const bytes = new Map<string, number>()
  for (const datagram of pair.sent) {
    if (datagram.from !== 'server') continue
    bytes.set(addressOf(datagram), (bytes.get(addressOf(datagram)) ?? 0) + datagram.bytes.length)
  }
  return bytes
}

for (const packetScheduler of packetSchedulers) {
  test(`${packetScheduler}: uploads and downloads over two unequal paths arrive whole`, () => {
    const pair = twoPaths({ packetScheduler }, unequal)
    const down = transfer(pair, 'server', 2_000_000)
    const up = transfer(pair, 'client', 1_000_000)
    pair.run(() => down.isDone() && up.isDone())
  })

  for (const dead of [FIRST, SECOND]) {
    test(`${packetScheduler}: a download goes on when the path from ${dead} falls silent`, () => {
      const pair = twoPaths({ packetScheduler }, unequal)
      const down = transfer(pair, 'server', 2_000_000)
      pair.run(() => down.received() > 300_000)
      const { filter } = pair
      pair.filter = (datagram) => addressOf(datagram) !== dead && filter(datagram)
      pair.run(down.isDone, 10_000_000)
    })
  }

  test(`${packetScheduler}: timers rest while nothing can be sent`, () => {
    const pair = twoPaths({ packetScheduler }, unequal)
    const down = transfer(pair, 'server', 500_000)
    let steps = 0
    pair.run(() => {
      steps++
      return down.isDone()
    })
    // Every step is a datagram that arrives or a timer: a scheduler that waits must not make them spin.
    assert.ok(steps < 4 * pair.sent.length, `${steps} steps for ${pair.sent.length} datagrams`)
  })
}

for (const packetScheduler of ['minrtt', 'weighted', 'rr', 'ecf', 'blest'] as const) {
  test(`${packetScheduler}: two links together carry more than the better one alone could`, () => {
    const pair = twoPaths({ packetScheduler }, unequal)
    const warmUp = transfer(pair, 'server', 3_000_000)
    pair.run(warmUp.isDone)
    const startUs = pair.nowUs
    const bytes = 12_000_000
    const down = transfer(pair, 'server', bytes)
    pair.run(down.isDone)
    const rate = (bytes * 1e6) / (pair.nowUs - startUs)
    assert.ok(rate > 1.1 * unequal[FIRST].bytesPerSecond, `${Math.round(rate)} bytes per second`)
  })
}

test('backup: only the first path carries data while it works', () => {
  const pair = twoPaths({ packetScheduler: 'backup' }, unequal)
  pair.sent.length = 0
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  const bytes = bytesByAddress(pair)
  assert.ok((bytes.get(SECOND) ?? 0) < 20_000, `${bytes.get(SECOND)} bytes on the second path`)
})

test('weighted: fixed weights decide what each path carries when both could carry everything', () => {
  const wide = { bytesPerSecond: 12_500_000, delayUs: 5_000 }
  const config = { packetScheduler: 'weighted', pathWeights: [1, 3], isPaced: false } as const
  const pair = twoPaths(config, { [FIRST]: wide, [SECOND]: wide })
  const warmUp = transfer(pair, 'server', 2_000_000)
  pair.run(warmUp.isDone)
  pair.sent.length = 0
  // Little enough at a time that windows are no limit: only the weights decide.
  for (let round = 0; round < 60; round++) {
    const down = transfer(pair, 'server', 100_000)
    pair.run(down.isDone)
  }
  const bytes = bytesByAddress(pair)
  const ratio = (bytes.get(SECOND) ?? 0) / (bytes.get(FIRST) ?? 1)
  assert.ok(ratio > 2 && ratio < 4, `ratio ${ratio}`)
})

/** A user's scheduler: always the path with the highest ID that can send. */
function lastFirst(): PacketScheduler {
  return {
    name: 'last-first',
    pick({ lanes }) {
      for (let i = lanes.length - 1; i >= 0; i--) if ((lanes[i]?.budgetBytes ?? 0) > 0) return i
      return WAIT
    },
  }
}

test('a scheduler of the user decides where data goes', () => {
  const pair = twoPaths({ packetScheduler: lastFirst }, unequal)
  pair.sent.length = 0
  const down = transfer(pair, 'server', 6_000)
  pair.run(down.isDone)
  const bytes = bytesByAddress(pair)
  assert.ok((bytes.get(SECOND) ?? 0) > 6_000)
  assert.ok((bytes.get(FIRST) ?? 0) < 2_000)
})

test('a scheduler that always waits is overruled as soon as every path can send', () => {
  const pair = twoPaths({ packetScheduler: () => ({ name: 'lazy', pick: () => WAIT }) }, unequal)
  const down = transfer(pair, 'server', 300_000)
  pair.run(down.isDone)
})

for (const [what, pick, reason] of [
  ['throws', () => assert.fail('out of ideas'), /packet scheduler broken failed: out of ideas/],
  ['picks a path that is not there', () => 7, /packet scheduler broken picked lane 7/],
  ['picks no whole number', () => NaN, /packet scheduler broken picked lane NaN/],
] as const) {
  test(`a scheduler that ${what} ends the connection and is named`, () => {
    const broken = twoPaths({ packetScheduler: () => ({ name: 'broken', pick }) }, unequal)
    const id = broken.accepted?.openStream('unidirectional') ?? -1
    broken.accepted?.write(id, new Uint8Array(1_000))
    broken.run(() => broken.event('server', 'closed') !== undefined)
    const closed = broken.event('server', 'closed')?.reason
    assert.ok(closed?.kind === 'transport' && closed.name === 'INTERNAL_ERROR')
    assert.match(closed.reason, reason)
  })
}

test('send buffers hold four times what all paths carry while the slowest one takes a round trip', () => {
  const pair = twoPaths({ packetScheduler: 'rr', sendBufferBytes: 1_024, connectionSendBufferBytes: 1_024 }, unequal)
  const warmUp = transfer(pair, 'server', 3_000_000)
  pair.run(warmUp.isDone)
  pair.advance(1_000_000)
  const paths = pair.accepted?.paths() ?? []
  const slowestUs = Math.max(...paths.map(({ smoothedRttUs }) => smoothedRttUs))
  const carried = paths.reduce((sum, path) => sum + (path.windowBytes * slowestUs) / path.smoothedRttUs, 0)
  const windows = paths.reduce((sum, path) => sum + path.windowBytes, 0)
  assert.ok(carried > 1.2 * windows, 'the paths differ')
  const id = pair.accepted?.openStream('unidirectional') ?? -1
  const accepted = pair.accepted?.write(id, new Uint8Array(10_000_000)) ?? 0
  assert.ok(Math.abs(accepted / carried - 4) < 0.1, `${accepted} bytes accepted, ${Math.round(carried)} carried`)
})
