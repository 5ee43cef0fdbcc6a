/** Attacks with acknowledgments. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { Frames, type PacketRange } from './frames.ts'
import { ATTACKER, assertHonestWorks, attack, createScene, flood, liveBytes, MIB } from './scene.ts'

const REQUEST_1_GB = new Uint8Array([0x3b, 0x9a, 0xca, 0x00])

test('acknowledging what was never sent closes the connection, others go on', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  peer.send(new Frames().ack([{ smallest: 0, largest: 1_000_000 }]))
  scene.arena.run(100_000)
  assert.match(peer.closeReason(), /never sent/)
  assert.equal(peer.closeCode(), 0x0a)
  scene.arena.run(5_000_000)
  assert.equal(scene.victim.connections.has(connection), false)
  assertHonestWorks(scene)
})

test('a receiver that acknowledges faster than it receives is caught by a skipped packet number', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  peer.send(new Frames().stream(4, 0, REQUEST_1_GB, true))
  scene.arena.run(50_000)
  // It claims to have everything up to the newest number it has seen, lost packets and gaps included.
  let largest = Math.max(...peer.receivedNumbers)
  let packets = 0
  while (peer.closeCode() === undefined && packets < 20_000) {
    peer.send(new Frames().ack([{ smallest: 0, largest }]))
    scene.arena.run(5_000)
    largest = Math.max(largest, ...peer.receivedNumbers.splice(0))
    packets = peer.packetsReceived
  }
  assert.match(peer.closeReason(), /skipped/)
  assertHonestWorks(scene)
})

test('ACK frames of five hundred ranges, a thousand times over, change nothing and are survived', {
  timeout: 60_000,
}, () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  peer.send(new Frames().stream(4, 0, REQUEST_1_GB, true))
  scene.arena.run(100_000)
  const before = liveBytes()
  flood(scene, 1_000, 10, () => {
    const seen = [...new Set(peer.receivedNumbers)].sort((a, b) => b - a)
    // Every second packet that really arrived: honest numbers, the most ranges possible.
    const ranges: PacketRange[] = []
    for (let i = 0; i < seen.length && ranges.length < 500; i += 2) {
      const number = seen[i] ?? 0
      if (ranges.length === 0 || (ranges.at(-1)?.smallest ?? 0) - number >= 2)
        ranges.push({ smallest: number, largest: number })
    }
    peer.receivedNumbers.splice(0, Math.max(0, peer.receivedNumbers.length - 2_000))
    peer.send(new Frames().ack(ranges))
  })
  assert.ok(liveBytes() - before < 24 * MIB, `grew by ${liveBytes() - before} bytes`)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assertHonestWorks(scene)
})

test('two hundred ACK frames in each packet cost no more than a few, other connections keep their pace', {
  timeout: 60_000,
}, () => {
  const scene = createScene()
  const { peer } = attack(scene)
  peer.send(new Frames().stream(4, 0, REQUEST_1_GB, true))
  scene.arena.run(100_000)
  flood(scene, 2_000, 10, () => {
    const numbers = peer.receivedNumbers
    const largest = numbers.at(-1) ?? 0
    const frames = new Frames()
    // The newest packet again and again: nothing new, no skipped number touched.
    for (let i = 0; i < 200; i++) frames.ack([{ smallest: largest, largest }])
    peer.send(frames)
  })
  assertHonestWorks(scene)
})

test('acknowledging twenty-five thousand packets again and again is cheap, one lost packet kept open below them', {
  timeout: 30_000,
}, () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  peer.send(new Frames().numbers(FrameType.MaxData, 2 ** 40))
  for (let i = 1; i <= 100; i++) {
    peer.send(new Frames().stream(4 * i, 0, REQUEST_1_GB, true).numbers(FrameType.MaxStreamData, 4 * i, 2 ** 38))
    scene.arena.run(1_000)
  }
  // An honest download first, until tens of thousands of packets are under way.
  const { sent } = connection.core.paths.primary.space
  const ranges: { smallest: number; largest: number }[] = []
  let missing = -1
  const acknowledge = (): void => {
    for (const number of peer.receivedNumbers.splice(0).sort((a, b) => a - b)) {
      const last = ranges.at(-1)
      if (number === missing) continue
      if (last?.largest === number - 1) last.largest = number
      else if (last === undefined || number > last.largest) ranges.push({ smallest: number, largest: number })
    }
    if (missing < 0 && ranges.length > 30) ranges.splice(0, ranges.length - 30)
    peer.send(new Frames(4_000).ack(ranges.toReversed().slice(0, 300)))
  }
  for (let i = 0; i < 120 && sent.next - sent.first < 15_000; i++) {
    scene.arena.run(2_500)
    acknowledge()
  }
  scene.arena.run(2_500)
  missing = Math.min(...peer.receivedNumbers)
  ranges.length = 0
  for (let i = 0; i < 6; i++) {
    acknowledge()
    scene.arena.run(2_500)
  }
  assert.ok(sent.next - sent.first > 15_000 && sent.first <= missing, 'the victim remembers thousands of packets')
  const frame = new Frames(4_000).ack(ranges.toReversed().slice(0, 300))
  assert.ok(frame.length < 1_200)
  for (let i = 0; i < 20_000; i++) {
    scene.victim.receive(peer.seal(frame, peer.nextPacketNumber), ATTACKER)
    peer.nextPacketNumber += 1
  }
  scene.arena.run(1)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assertHonestWorks(scene)
})

// spec: RFC 9000 §13.2.3#4
test('packet numbers with gaps do not make the victim remember or report more than 64 ranges', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  flood(scene, 20_000, 20, () => {
    peer.nextPacketNumber += 1
    peer.send(new Frames().ping().padding(20))
  })
  assert.ok(peer.tally.ackRangesMax <= 64, `${peer.tally.ackRangesMax} ranges in one ACK`)
  assert.ok(peer.bytesReceived < 3 * peer.bytesSent, 'the answers stay small')
  assert.ok(liveBytes() - before < 16 * MIB)
  assert.ok(scene.victim.connections.has(connection))
  assertHonestWorks(scene)
})
