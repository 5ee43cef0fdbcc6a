/** Attacks that want the victim to send to somebody else: never more than three times what was received. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VICTIM } from './arena.ts'
import { Frames } from './frames.ts'
import { bogusAddress, cid, InitialForge } from './initials.ts'
import { assertHonestWorks, attack, createScene, flood } from './scene.ts'

const TARGET = '192.0.2.99:53'

// spec: RFC 9000 §8#1, §8.1#1, §8.1#2
test('a forged Initial draws at most three times its size towards the forged address, for ever', () => {
  const scene = createScene({ certificateBytes: 20_000 })
  const forge = new InitialForge(7)
  scene.arena.send(forge.make(cid(1)), TARGET, VICTIM)
  scene.arena.run(120_000_000)
  const { bytes } = scene.arena.flow(VICTIM, TARGET)
  assert.ok(bytes > 1_200, 'a real handshake was begun')
  assert.ok(bytes <= 3 * 1_200, `${bytes} bytes for 1200`)
})

// spec: RFC 9000 §8.1#1, §8.1#2
test('repeating the forged Initial draws at most three times what was sent in all', () => {
  const scene = createScene({ certificateBytes: 20_000 })
  const forge = new InitialForge(7)
  const initial = forge.make(cid(1))
  for (let i = 0; i < 50; i++) {
    scene.arena.send(initial, TARGET, VICTIM)
    scene.arena.run(20_000)
  }
  scene.arena.run(60_000_000)
  const { bytes } = scene.arena.flow(VICTIM, TARGET)
  assert.ok(bytes <= 3 * 50 * 1_200, `${bytes} bytes for 60000`)
  assertHonestWorks(scene)
})

// spec: RFC 9000 §14.1#3, §14.1#4
for (const datagramBytes of [300, 800, 1_199])
  test(`an Initial in a datagram of ${datagramBytes} bytes gets no handshake`, () => {
    const scene = createScene()
    const forge = new InitialForge(7)
    const small = new Frames(2_000).crypto(0, forge.clientHello.subarray(0, 100))
    scene.arena.send(forge.make(cid(1), { datagramBytes, frames: small }), TARGET, VICTIM)
    scene.arena.run(10_000_000)
    const { bytes } = scene.arena.flow(VICTIM, TARGET)
    // RFC 9000 §14.1 allows a CONNECTION_CLOSE, never more.
    assert.ok(bytes < datagramBytes, `${bytes} bytes for ${datagramBytes}`)
    assert.equal(scene.victim.connections.size, 1)
  })

// spec: RFC 9000 §5.2.2#2, §17.2.1#7
test('unknown versions in small datagrams get no Version Negotiation, in large ones one that is smaller', () => {
  const scene = createScene()
  const packet = new Uint8Array(1_200).fill(0x11)
  packet.set([0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8])
  packet[14] = 8
  for (let i = 0; i < 100; i++) scene.arena.send(packet.subarray(0, 1_199), TARGET, VICTIM)
  scene.arena.run(1_000_000)
  assert.equal(scene.arena.flow(VICTIM, TARGET).bytes, 0)
  scene.arena.send(packet, TARGET, VICTIM)
  scene.arena.run(1_000_000)
  const flow = scene.arena.flow(VICTIM, TARGET)
  assert.equal(flow.datagrams, 1)
  assert.ok(flow.bytes < 100)
})

// spec: RFC 9000 §6.1, RFC 9368 §2.1#6
test('a Version Negotiation packet gets no answer, so two servers cannot be set upon each other', () => {
  const scene = createScene()
  const packet = new Uint8Array(1_200).fill(0x22)
  packet.set([0xc0, 0, 0, 0, 0, 8])
  packet[14] = 8
  scene.arena.send(packet, TARGET, VICTIM)
  scene.arena.run(1_000_000)
  assert.equal(scene.arena.flow(VICTIM, TARGET).bytes, 0)
})

// spec: RFC 9000 §10.3.3, §10.3#5
test('stateless resets are smaller than what draws them, so that two endpoints do not keep each other busy', () => {
  const scene = createScene()
  let resets = 0
  for (let length = 21; length <= 1_400; length += 13) {
    const packet = new Uint8Array(length).fill(0x33)
    packet[0] = 0x41
    const from = bogusAddress(length)
    scene.arena.send(packet, from, VICTIM)
    scene.arena.run(30_000)
    const flow = scene.arena.flow(VICTIM, from)
    assert.ok(flow.bytes < length, `${flow.bytes} bytes for ${length}`)
    resets += flow.datagrams
  }
  assert.ok(resets > 50, `only ${resets} packets were answered at all`)
})

// spec: RFC 9000 §9.3#3
test('a client that claims to have moved draws at most three times what came from there', () => {
  const scene = createScene()
  const { peer, connection } = attack(scene)
  // A large download runs when the packets begin to come from the target's address.
  peer.send(new Frames().stream(4, 0, new Uint8Array([0x3b, 0x9a, 0xca, 0x00]), true))
  scene.arena.run(50_000)
  const spoofed = (bytes: Uint8Array): void => scene.arena.send(bytes, TARGET, VICTIM)
  for (let i = 0; i < 20; i++) {
    const largest = Math.max(0, ...peer.receivedNumbers)
    peer.send(
      new Frames()
        .ack([{ smallest: largest, largest }])
        .ping()
        .padding(200),
      spoofed,
    )
    scene.arena.run(20_000)
  }
  scene.arena.run(60_000_000)
  const received = scene.arena.flow(TARGET, VICTIM).bytes
  const sent = scene.arena.flow(VICTIM, TARGET).bytes
  assert.ok(
    sent <= 3 * received,
    `${sent} bytes for ${received}, connection ${scene.victim.connections.has(connection)}`,
  )
  assertHonestWorks(scene)
})

// spec: RFC 9000 §8.2.2#6
test('path challenges from forged addresses are answered within the same limit', () => {
  const scene = createScene()
  const { peer } = attack(scene)
  flood(scene, 500, 5, (i) => {
    const from = bogusAddress(i)
    peer.send(new Frames().pathChallenge(cid(i)).padding(10), (bytes) => scene.arena.send(bytes, from, VICTIM))
  })
  scene.arena.run(10_000_000)
  for (let i = 0; i < 500; i++) {
    const from = bogusAddress(i)
    const sent = scene.arena.flow(VICTIM, from).bytes
    assert.ok(sent <= 3 * scene.arena.flow(from, VICTIM).bytes, `${sent} bytes towards ${from}`)
  }
  assertHonestWorks(scene)
})
