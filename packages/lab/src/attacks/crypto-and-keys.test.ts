/** Attacks on handshakes, CRYPTO buffers, key updates, and packets that do not authenticate. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VICTIM } from './arena.ts'
import { Frames } from './frames.ts'
import { bogusAddress, cid, InitialForge } from './initials.ts'
import { ATTACKER, assertHonestWorks, attack, createScene, flood, liveBytes, MIB } from './scene.ts'

// spec: RFC 9000 §7.5#2
test('CRYPTO data far ahead closes the connection with CRYPTO_BUFFER_EXCEEDED', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  peer.send(new Frames().crypto(10_000_000, new Uint8Array(100)))
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x0d)
  assertHonestWorks(scene)
})

test('handshakes whose ClientHello never completes hold a bounded amount of memory each', () => {
  const scene = createScene()
  const forge = new InitialForge(9)
  const before = liveBytes()
  const handshakes = 100
  // Everything but the first byte, spread over the buffer allowed.
  for (let k = 0; k < handshakes; k++) {
    for (let i = 0; i < 20; i++) {
      const frames = new Frames(2_000).crypto(1 + i * 3_000, new Uint8Array(1_000))
      scene.arena.send(forge.make(cid(k), { frames, packetNumber: i }), bogusAddress(k), VICTIM)
    }
    scene.arena.run(5_000)
  }
  const grown = liveBytes() - before
  assert.ok(grown < handshakes * 192 * 1_024, `${grown} bytes for ${handshakes} handshakes`)
  assertHonestWorks(scene)
  scene.arena.run(30_000_000)
  assert.equal(scene.victim.connections.size <= 1, true, 'handshakes that never end are given up')
})

test('post-handshake CRYPTO data that TLS does not expect closes only the connection it came on', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  flood(scene, 50, 5, (i) => peer.send(new Frames().crypto(i * 1_000, new Uint8Array(1_000).fill(0xff))))
  assert.ok(peer.closeCode() !== undefined)
  assertHonestWorks(scene)
})

// spec: RFC 9001 §6.1#2
test('a second key update before the first can have been acknowledged is KEY_UPDATE_ERROR', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  for (let i = 0; i < 2; i++) {
    peer.updateKeys()
    peer.send(new Frames().ping().padding(20))
    scene.arena.run(1)
  }
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x0e)
  assertHonestWorks(scene)
})

// spec: RFC 9001 §6.2#1, §6.2#2
test('a key update a second is followed a hundred times without other harm', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const before = scene.victim.crypto.openKeys()
  assert.ok(before >= 4, 'two keys for each of two connections')
  for (let i = 0; i < 100; i++) {
    peer.updateKeys()
    peer.send(new Frames().ping().padding(20))
    scene.arena.run(500_000)
    const largest = Math.max(...peer.receivedNumbers)
    peer.send(new Frames().ack([{ smallest: largest, largest }]).ping())
    scene.arena.run(500_000)
    assert.equal(peer.closeCode(), undefined, `update ${i}: ${peer.closeReason()}`)
  }
  assert.ok(scene.victim.connections.has(connection))
  assert.equal(scene.victim.crypto.openKeys(), before, 'old keys are released')
  assertHonestWorks(scene)
})

// spec: RFC 9001 §5.5#2
test('forged packets with a flipped key phase do not make the victim update its keys', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  flood(scene, 2_000, 20, (i) => {
    const bytes = peer.seal(new Frames().ping().padding(40), 1_000_000 + i)
    bytes[0] = (bytes[0] ?? 0) ^ 0x04
    scene.arena.send(bytes, ATTACKER, VICTIM)
  })
  peer.nextPacketNumber = 2_000_000
  const received = peer.packetsReceived
  peer.send(new Frames().ping())
  scene.arena.run(100_000)
  assert.ok(peer.packetsReceived > received, 'the old keys still work')
  assert.ok(scene.victim.connections.has(connection))
  assertHonestWorks(scene)
})

// spec: RFC 9001 §6.6#6, §6.6#7
test('so many forgeries that the integrity limit is reached close the connection with AEAD_LIMIT_REACHED', () => {
  const scene = createScene({ crypto: { integrityPackets: 100 } })
  const { peer, connection } = attack(scene)
  flood(scene, 150, 10, (i) => {
    const bytes = peer.seal(new Frames().ping().padding(40), 1_000_000 + i)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 0xff
    scene.arena.send(bytes, ATTACKER, VICTIM)
  })
  assert.equal(peer.closeCode(), 0x0f)
  scene.arena.run(5_000_000)
  assert.equal(scene.victim.connections.has(connection), false)
  assertHonestWorks(scene)
})

test('an Initial flood from ever new addresses leaves bounded state, and honest clients connect during it', {
  timeout: 60_000,
}, () => {
  const scene = createScene()
  const forge = new InitialForge(11)
  const before = liveBytes()
  let most = 0
  flood(scene, 6_000, 20, (i) => {
    scene.arena.send(forge.make(cid(i)), bogusAddress(i), VICTIM)
    most = Math.max(most, scene.victim.connections.size)
  })
  assert.ok(most <= 2_000, `${most} connections at once`)
  assert.ok(scene.victim.endpoint.stats.retries > 1_000, 'under load clients are asked to come back with a token')
  assert.ok(liveBytes() - before < 256 * MIB, `grew by ${liveBytes() - before} bytes`)
  assertHonestWorks(scene)
  const { peer } = attack(scene, '10.0.0.77:7777')
  assert.equal(peer.closeCode(), undefined, 'a new client gets in')
  scene.arena.run(60_000_000)
  assert.ok(scene.victim.connections.size <= 3, `${scene.victim.connections.size} connections a minute later`)
  assert.ok(liveBytes() - before < 32 * MIB, `still ${liveBytes() - before} bytes a minute later`)
})

test('thirty thousand random datagrams are dropped without an answer larger than they are', {
  timeout: 60_000,
}, () => {
  const scene = createScene()
  const before = liveBytes()
  let state = 12_345
  const next = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state >>> 8
  }
  const garbage = new Uint8Array(1_300)
  const from = bogusAddress(1)
  flood(scene, 30_000, 200, () => {
    const length = 1 + (next() % 1_299)
    for (let k = 0; k < 40; k++) garbage[k] = next()
    scene.arena.send(garbage.subarray(0, length), from, VICTIM)
  })
  const sent = scene.arena.flow(VICTIM, from).bytes
  assert.ok(sent < scene.arena.flow(from, VICTIM).bytes)
  assert.ok(liveBytes() - before < 32 * MIB)
  assertHonestWorks(scene)
})

// spec: RFC 9001 §5.5#2
test('corrupting any byte of a valid packet changes nothing but a counter', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  const bytes = peer.seal(new Frames().numbers(0x1d, 0, 0), 5_000)
  for (let i = 0; i < bytes.length; i++) {
    const broken = bytes.slice()
    broken[i] = (broken[i] ?? 0) ^ 0x10
    scene.arena.send(broken, ATTACKER, VICTIM)
  }
  scene.arena.run(1_000_000)
  assert.ok(scene.victim.connections.has(connection), 'the CONNECTION_CLOSE in it was not believed')
  scene.arena.send(bytes, ATTACKER, VICTIM)
  scene.arena.run(5_000_000)
  assert.equal(scene.victim.connections.has(connection), false, 'whole, it is')
})
