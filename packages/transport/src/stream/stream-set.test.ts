import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EventQueue } from '../event-queue.ts'
import { StreamSet } from './stream-set.ts'

const KIB = 1024
const MIB = 1024 * KIB

function createSet(role: 'client' | 'server' = 'client'): StreamSet {
  const set = new StreamSet(
    {
      role,
      streamWindowBytes: MIB,
      streamWindowMaxBytes: MIB,
      connectionWindowBytes: MIB,
      connectionWindowMaxBytes: MIB,
      maxStreamsBidi: 4,
      maxStreamsUni: 4,
      sendBufferBytes: MIB,
      connectionSendBufferBytes: 4 * MIB,
    },
    new EventQueue(),
  )
  set.applyPeerLimits({
    initialMaxData: 1024 * MIB,
    initialMaxStreamDataBidiLocal: 1024 * MIB,
    initialMaxStreamDataBidiRemote: 1024 * MIB,
    initialMaxStreamDataUni: 1024 * MIB,
    initialMaxStreamsBidi: 1_000,
    initialMaxStreamsUni: 1_000,
  })
  return set
}

/** Writes as much as `count` new streams take. */
function fill(set: StreamSet, count: number): number {
  const block = new Uint8Array(64 * KIB)
  let total = 0
  for (let i = 0; i < count; i++) {
    const id = set.open('unidirectional') as number
    for (let accepted = set.write(id, block); accepted > 0; accepted = set.write(id, block)) total += accepted
  }
  return total
}

const FLOOR = 64 * KIB

test('all streams together buffer what is configured, or four congestion windows where that is more', () => {
  const small = createSet()
  small.fitSendBuffers(100 * KIB)
  assert.equal(fill(small, 10), 4 * MIB + 6 * FLOOR)
  const large = createSet()
  large.fitSendBuffers(2.5 * MIB)
  assert.equal(fill(large, 10), 10 * MIB + 9 * FLOOR)
})

test('a huge congestion window raises the send buffers to 64 MiB in all and no further', () => {
  const set = createSet()
  set.fitSendBuffers(10_000 * MIB)
  assert.equal(fill(set, 5), 64 * MIB + 4 * FLOOR)
})

test('send buffers shrink again with the congestion windows', () => {
  const set = createSet()
  set.fitSendBuffers(20 * MIB)
  set.fitSendBuffers(100 * KIB)
  assert.equal(fill(set, 1), MIB)
})

const NONE = new Uint8Array(0)
const unexpected = (): void => assert.fail('nothing is left to read')

/** The peer opens as many streams as it may, and resets each at once. */
function peerOpensAndResets(set: StreamSet): number[] {
  const ids = [2, 6, 10, 14]
  for (const id of ids) {
    set.onStream(id, 0, NONE, 0, 0, false, 100)
    set.onResetStream(id, 7, 0)
  }
  return ids
}

// spec: RFC 9000 §3.2, §4.6
test('stop() after a reset releases the stream, and the peer may open another one', () => {
  const set = createSet('server')
  const ids = peerOpensAndResets(set)
  assert.equal(set.count, 4)
  for (const id of ids) set.stop(id, 1)
  assert.equal(set.count, 0)
  set.onStream(18, 0, NONE, 0, 0, false, 100)
  assert.equal(set.count, 1)
})

test('read() after a reset tells so and releases the stream', () => {
  const set = createSet('server')
  for (const id of peerOpensAndResets(set)) assert.equal(set.read(id, unexpected), 'reset')
  assert.equal(set.count, 0)
  assert.equal(set.read(2, unexpected), 'finished', 'nothing is known of it any more')
})

test('read() goes on telling of a reset as long as our own side of the stream is open', () => {
  const set = createSet('server')
  set.onStream(0, 0, new Uint8Array(10), 0, 10, false, 100)
  set.onResetStream(0, 7, 10)
  assert.equal(set.read(0, unexpected), 'reset')
  assert.equal(set.read(0, unexpected), 'reset')
  assert.equal(set.count, 1)
})
