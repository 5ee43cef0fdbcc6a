/** Attacks with connection IDs and paths. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { VICTIM } from './arena.ts'
import { Frames } from './frames.ts'
import { bogusAddress, cid } from './initials.ts'
import { assertHonestWorks, attack, createScene, flood, liveBytes, MIB } from './scene.ts'

// spec: RFC 9000 §5.1.1#5
test('more connection IDs than asked for close the connection with CONNECTION_ID_LIMIT_ERROR', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  flood(scene, 100, 5, (i) => {
    if (peer.closeCode() === undefined) peer.send(new Frames().newConnectionId(100 + i, 0, cid(i)))
  })
  assert.equal(peer.closeCode(), 0x09)
  assertHonestWorks(scene)
})

test('connection IDs that retire each other, unacknowledged, end in CONNECTION_ID_LIMIT_ERROR', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  const before = liveBytes()
  flood(scene, 20_000, 20, (i) => {
    if (peer.closeCode() === undefined) peer.send(new Frames().newConnectionId(100 + i, 100 + i, cid(i)))
  })
  assert.equal(peer.closeCode(), 0x09)
  assert.ok(peer.packetsReceived < 2_000)
  assert.ok(liveBytes() - before < 8 * MIB)
  assertHonestWorks(scene)
})

test("retiring the victim's connection IDs as fast as it issues them keeps its table small", () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  let retired = 1
  flood(scene, 20_000, 10, () => {
    // Seven were announced before the attack.
    if (retired > Math.max(7, peer.tally.newestCidSequence)) return
    peer.send(new Frames().numbers(FrameType.RetireConnectionId, retired).ping())
    retired += 1
    const largest = Math.max(0, ...peer.receivedNumbers.splice(0))
    peer.send(new Frames().ack([{ smallest: largest, largest }]))
  })
  assert.ok(retired > 50, `only ${retired} were retired`)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assert.ok(liveBytes() - before < 8 * MIB, `grew by ${liveBytes() - before} bytes`)
  assertHonestWorks(scene)
})

// spec: RFC 9000 §19.16#1
test('retiring a connection ID that was never issued is a PROTOCOL_VIOLATION', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  peer.send(new Frames().numbers(FrameType.RetireConnectionId, 1_000))
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x0a)
  assertHonestWorks(scene)
})

test('packets of one connection from three thousand addresses leave a handful of paths behind', {
  timeout: 60_000,
}, () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  flood(scene, 3_000, 10, (i) => {
    const from = bogusAddress(i)
    peer.send(new Frames().ping().padding(30), (bytes) => scene.arena.send(bytes, from, VICTIM))
  })
  assert.ok(connection.paths().length <= 16, `${connection.paths().length} paths`)
  assert.ok(connection.core.paths.probes.length <= 16, `${connection.core.paths.probes.length} addresses looked at`)
  assert.ok(liveBytes() - before < 24 * MIB, `grew by ${liveBytes() - before} bytes`)
  assertHonestWorks(scene)
})

// spec: RFC 9000 §8.2.2#1, §8.2.2#7, §19.17
test('path challenges in a flood on the same path are answered, but not one by one without bound', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = liveBytes()
  flood(scene, 2_000, 20, (i) => {
    const frames = new Frames()
    for (let k = 0; k < 100; k++) frames.pathChallenge(cid(i * 100 + k))
    peer.send(frames)
  })
  assert.ok(peer.tally.of('path_response') > 0)
  assert.ok(peer.tally.of('path_response') < 20_000, `${peer.tally.of('path_response')} responses to 200000 challenges`)
  assert.ok(scene.victim.connections.has(connection), peer.closeReason())
  assert.ok(liveBytes() - before < 8 * MIB)
  assertHonestWorks(scene)
})

// spec: RFC 9000 §12.3#4, §12.3#5
test('somebody who replays packets from elsewhere cannot take the path away', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const replayed = peer.seal(new Frames().ping().pathChallenge(cid(1)).padding(30), peer.nextPacketNumber)
  peer.nextPacketNumber += 1
  scene.arena.send(replayed, '10.6.6.6:6666', VICTIM)
  scene.arena.run(100_000)
  const elsewhere = '192.0.2.200:1'
  for (let i = 0; i < 200; i++) scene.arena.send(replayed, elsewhere, VICTIM)
  scene.arena.run(1_000_000)
  assert.equal(scene.arena.flow(VICTIM, elsewhere).bytes, 0, 'duplicates prove nothing')
  const received = peer.packetsReceived
  peer.send(new Frames().ping())
  scene.arena.run(100_000)
  assert.ok(peer.packetsReceived > received)
  assert.ok(scene.victim.connections.has(connection))
})
