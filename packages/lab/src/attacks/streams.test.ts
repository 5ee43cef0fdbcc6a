/** Attacks with streams: rapid reset, tiny fragments, windows never opened, data never read. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { Frames } from './frames.ts'
import { assertHonestWorks, attack, createScene, flood, liveBytes, MIB } from './scene.ts'

const BYTE = new Uint8Array([7])
const STREAMS = 128

test('rapid reset: streams opened and reset as fast as the limits allow leave no trace and stall nobody', {
  timeout: 60_000,
}, () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  let next = 1
  let largestLimit = STREAMS
  flood(scene, 10_000, 1, () => {
    const frames = new Frames()
    largestLimit = Math.max(largestLimit, peer.tally.maxStreamsBidi)
    for (let i = 0; i < 40 && next < largestLimit; i++) {
      const id = next * 4
      next += 1
      frames.stream(id, 0, BYTE).numbers(FrameType.ResetStream, id, 0, 1).numbers(FrameType.StopSending, id, 0)
    }
    peer.send(frames.ping())
    acknowledge(peer)
  })
  assert.ok(next > 10_000, `only ${next} streams were possible`)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assert.ok(scene.responder.open.size <= STREAMS, `${scene.responder.open.size} streams are open`)
  assert.ok(liveBytes() - before < 16 * MIB, `grew by ${liveBytes() - before} bytes`)
  assertHonestWorks(scene)
})

/** Acknowledges exactly what arrived, as ranges. */
function acknowledge(peer: ReturnType<typeof attack>['peer']): void {
  const numbers = [...new Set(peer.receivedNumbers.splice(0))].sort((a, b) => b - a)
  const ranges: { smallest: number; largest: number }[] = []
  for (const number of numbers) {
    const last = ranges.at(-1)
    if (last !== undefined && last.smallest === number + 1) last.smallest = number
    else ranges.push({ smallest: number, largest: number })
  }
  if (ranges.length > 0) peer.send(new Frames(8_000).ack(ranges.slice(0, 100)))
}

// spec: RFC 9000 §4.6#3, §19.11#4
test('a stream beyond the limit closes the connection with STREAM_LIMIT_ERROR', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  peer.send(new Frames().stream(4 * 100_000, 0, BYTE))
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x04)
  assertHonestWorks(scene)
})

test('one byte in every sixteen thousand on every stream holds no more memory than the windows promise', () => {
  const scene = createScene()
  scene.responder.isReading = false
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  // 2 MiB of connection window, spread as thinly as possible.
  let credit = 2 * MIB
  for (let stream = 1; stream < STREAMS && credit > 0; stream++) {
    for (let offset = 1; offset + 1 <= MIB && credit > 16_384; offset += 16_384) {
      peer.send(new Frames().stream(stream * 4, offset, BYTE))
      credit -= 16_384
      scene.arena.run(100)
    }
  }
  scene.arena.run(100_000)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assert.ok(liveBytes() - before < 8 * MIB, `grew by ${liveBytes() - before} bytes`)
  scene.responder.isReading = true
  assertHonestWorks(scene)
})

test('every second byte of a stream ends the connection, not the memory', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  const before = liveBytes()
  flood(scene, 3_000, 10, (i) => {
    const frames = new Frames()
    for (let k = 0; k < 100; k++) frames.stream(4, (i * 100 + k) * 2 + 1, BYTE)
    if (peer.closeCode() === undefined) peer.send(frames)
  })
  assert.ok(peer.closeCode() !== undefined, 'so many gaps are an attack')
  assert.ok(liveBytes() - before < 8 * MIB)
  assertHonestWorks(scene)
})

// spec: RFC 9000 §4.1#2
test('more data than the window allows closes the connection with FLOW_CONTROL_ERROR', () => {
  const scene = createScene()
  scene.responder.isReading = false
  const { peer } = attack(scene)
  const block = new Uint8Array(1_000)
  for (let i = 0; i < 3_000 && peer.closeCode() === undefined; i++) {
    peer.send(new Frames().stream(4, i * block.length, block))
    scene.arena.run(100)
  }
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x03)
})

test('an application that never reads is sent no more than the window, however long the peer tries', () => {
  const scene = createScene()
  scene.responder.isReading = false
  const { peer, connection } = attack(scene)
  const block = new Uint8Array(1_000)
  const before = liveBytes()
  for (let i = 0; i < 1_048; i++) {
    peer.send(new Frames().stream(4, i * block.length, block))
    scene.arena.run(100)
  }
  scene.arena.run(1_000_000)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assert.equal(peer.tally.of('max_stream_data'), 0, 'no credit without reading')
  assert.ok(liveBytes() - before < 4 * MIB)
})

test('a peer that asks for much and opens no window makes the victim hold one send buffer per stream at most', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  // 1 GB on each of a hundred streams; never a MAX_DATA, never a MAX_STREAM_DATA.
  const request = new Uint8Array([0x3b, 0x9a, 0xca, 0x00])
  for (let stream = 1; stream <= 100; stream++) {
    peer.send(new Frames().stream(stream * 4, 0, request, true))
    scene.arena.run(1_000)
    acknowledge(peer)
  }
  for (let i = 0; i < 200; i++) {
    scene.arena.run(10_000)
    acknowledge(peer)
  }
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  const grown = liveBytes() - before
  assert.ok(grown < 40 * MIB, `holds ${grown} bytes for one connection that reads nothing`)
  assertHonestWorks(scene, 20_000_000)
})
