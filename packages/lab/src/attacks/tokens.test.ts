/** Attacks with address validation tokens: stolen, invented, or honestly obtained in great numbers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeaderStatus, HeaderView, PacketType } from '@quicether/wire'
import { VICTIM } from './arena.ts'
import { bogusAddress, cid, InitialForge } from './initials.ts'
import { assertHonestWorks, attack, createScene, type Scene } from './scene.ts'

/** What a Retry tells a client. */
interface Ticket {
  readonly token: Uint8Array
  readonly scid: Uint8Array
}

/** Sends an Initial from `from` and returns what the Retry in answer contains. */
function retryFor(scene: Scene, forge: InitialForge, number: number, from: string): Ticket {
  let ticket: Ticket | undefined
  const header = new HeaderView()
  scene.arena.attach(from, {
    receive: (bytes) => {
      if (header.parse(bytes, 0, bytes.length, 8) !== HeaderStatus.Ok || header.type !== PacketType.Retry) return
      ticket = {
        token: bytes.slice(header.tokenOffset, header.tokenOffset + header.tokenLength),
        scid: bytes.slice(header.scidOffset, header.scidOffset + header.scidLength),
      }
    },
  })
  scene.arena.send(forge.make(cid(number)), from, VICTIM)
  scene.arena.until(() => ticket !== undefined, 1_000_000, 'a Retry')
  scene.arena.detach(from)
  if (ticket === undefined) throw new Error('no Retry')
  return ticket
}

// spec: RFC 9000 §8.1.4#4
test('a Retry token stolen by another address opens no handshake for it', () => {
  const scene = createScene({ server: { retry: 'always' } })
  const forge = new InitialForge(21)
  const ticket = retryFor(scene, forge, 1, bogusAddress(1))
  const thief = bogusAddress(2)
  const connections = scene.victim.connections.size
  const initial = forge.make(ticket.scid, { token: ticket.token })
  for (let i = 0; i < 10; i++) scene.arena.send(initial, thief, VICTIM)
  scene.arena.run(1_000_000)
  const { bytes } = scene.arena.flow(VICTIM, thief)
  assert.ok(bytes < 1_200, `a refusal at most, not ${bytes} bytes`)
  scene.arena.run(20_000_000)
  assert.equal(scene.victim.connections.size, connections)
})

// spec: RFC 9000 §8.1.1, §8.1.2
test('a token in the hands of its owner does', () => {
  const scene = createScene({ server: { retry: 'always' }, certificateBytes: 6_000 })
  const forge = new InitialForge(21)
  const from = bogusAddress(1)
  const ticket = retryFor(scene, forge, 1, from)
  const before = scene.arena.flow(VICTIM, from).bytes
  scene.arena.send(forge.make(ticket.scid, { token: ticket.token }), from, VICTIM)
  scene.arena.run(100_000)
  assert.ok(
    scene.arena.flow(VICTIM, from).bytes - before > 3 * 1_200,
    'the address is validated: no amplification limit',
  )
})

test('a Retry token that is an hour old is refused', () => {
  const scene = createScene({ server: { retry: 'always' } })
  const forge = new InitialForge(21)
  const from = bogusAddress(1)
  const ticket = retryFor(scene, forge, 1, from)
  scene.arena.run(3_600_000_000)
  const before = scene.arena.flow(VICTIM, from).bytes
  scene.arena.send(forge.make(ticket.scid, { token: ticket.token }), from, VICTIM)
  scene.arena.run(1_000_000)
  assert.ok(scene.arena.flow(VICTIM, from).bytes - before < 1_200)
})

// spec: RFC 9000 §8.1.3#10, §8.1.4#1, §8.1.4#2
test('invented tokens of any kind and length are refused or answered like none', () => {
  const scene = createScene({ server: { retry: 'always' } })
  const forge = new InitialForge(21)
  const before = scene.victim.connections.size
  for (let length = 1; length < 400; length += 7) {
    const token = new Uint8Array(length).fill(length)
    token[0] = length % 4
    scene.arena.send(forge.make(cid(length), { token, datagramBytes: 1_400 }), bogusAddress(length), VICTIM)
    scene.arena.run(20_000)
    assert.ok(scene.arena.flow(VICTIM, bogusAddress(length)).bytes <= 3 * 1_400)
  }
  scene.arena.run(20_000_000)
  assert.equal(scene.victim.connections.size, before)
  assertHonestWorks(scene)
})

test('clients that come back with valid tokens and then fall silent occupy no more than the handshakes allowed', {
  timeout: 60_000,
}, () => {
  const scene = createScene({ server: { retry: 'always', handshakesMax: 300 } })
  const forge = new InitialForge(23)
  const tickets = Array.from({ length: 500 }, (_, i) => retryFor(scene, forge, i, bogusAddress(i)))
  let most = 0
  tickets.forEach(({ scid, token }, i) => {
    scene.arena.send(forge.make(scid, { token }), bogusAddress(i), VICTIM)
    scene.arena.run(100)
    most = Math.max(most, scene.victim.connections.size)
  })
  scene.arena.run(50_000)
  most = Math.max(most, scene.victim.connections.size)
  assert.ok(most >= 200 && most <= 302, `${most} connections`)
  assert.ok(scene.victim.endpoint.stats.refused > 0)
  assertHonestWorks(scene)
  scene.arena.run(30_000_000)
  const { peer } = attack(scene, '10.0.0.88:8888')
  assert.equal(peer.closeCode(), undefined, 'when they have timed out, new clients get in')
})
