/** Attacks on clients: forged answers to their handshake, and servers that send too much of everything. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeRetryWithoutTag, encodeVersionNegotiation, FrameType, Version } from '@quicether/wire'
import { Arena, Downloader, Node, Responder, Sniffer, VICTIM } from './arena.ts'
import { Frames } from './frames.ts'
import { cid } from './initials.ts'
import { RawPeer } from './raw-peer.ts'
import { liveBytes, MIB } from './scene.ts'

const CLIENT = '10.0.0.2:5000'
const EVIL_SERVER = '10.0.0.66:443'

interface Bystanders {
  readonly arena: Arena
  readonly sniffer: Sniffer
  readonly client: Downloader
}

/** An honest server and a client that is about to connect to it. */
function connecting(): Bystanders {
  const arena = new Arena()
  const sniffer = new Sniffer(arena)
  new Responder(new Node(arena, VICTIM, { seed: 1, isServer: true }))
  const client = new Downloader(new Node(arena, CLIENT, { seed: 2, config: { keepAliveUs: 5_000_000 } }))
  return { arena, sniffer, client }
}

function assertDownloads({ arena, client }: Bystanders): void {
  client.download(200_000)
  arena.until(() => client.finished > 0, 10_000_000, `the download (${client.closed ?? 'still open'})`)
}

// spec: RFC 9000 §17.2.5.2#3
test('a forged Retry, whose integrity tag is wrong, does not divert a client', () => {
  const scene = connecting()
  const scid = scene.sniffer.scid(CLIENT, VICTIM)
  const body = encodeRetryWithoutTag(Version.V1, scid, cid(9), new Uint8Array(50), 0)
  const retry = new Uint8Array(body.length + 16)
  retry.set(body)
  for (let i = 0; i < 50; i++) scene.arena.send(retry, VICTIM, CLIENT)
  assertDownloads(scene)
})

test("a Version Negotiation packet that does not repeat the client's connection IDs changes nothing", () => {
  const scene = connecting()
  const scid = scene.sniffer.scid(CLIENT, VICTIM)
  for (let i = 0; i < 50; i++) {
    scene.arena.send(encodeVersionNegotiation(scid, cid(i), [0x0a0a0a0a], 0), VICTIM, CLIENT)
    scene.arena.send(encodeVersionNegotiation(cid(i), scid, [0x0a0a0a0a], 0), VICTIM, CLIENT)
  }
  assertDownloads(scene)
})

test('packets that look like stateless resets with guessed tokens do not end a connection', () => {
  const scene = connecting()
  assertDownloads(scene)
  const guess = new Uint8Array(43)
  for (let i = 0; i < 5_000; i++) {
    for (let k = 0; k < guess.length; k++) guess[k] = Math.imul(i * 43 + k, 2_654_435_761) >>> 24
    guess[0] = 0x40 | ((guess[0] ?? 0) & 0x3f)
    scene.arena.send(guess, VICTIM, CLIENT)
  }
  scene.arena.run(1_000_000)
  assert.equal(scene.client.closed, undefined)
  const { finished } = scene.client
  scene.client.download(1_000)
  scene.arena.until(() => scene.client.finished > finished, 5_000_000, 'another download')
})

// spec: RFC 9000 §9#5
test('a client takes nothing from addresses that are not its server, valid packets included', () => {
  const scene = connecting()
  const seen: Uint8Array[] = []
  scene.arena.onDatagram = (bytes, from) => {
    if (from === VICTIM && seen.length < 20) seen.push(bytes)
  }
  scene.client.download(300_000)
  // Every datagram of the server arrives from elsewhere first, and at once.
  for (let i = 0; i < 400 && scene.client.finished === 0; i++) {
    for (const bytes of seen.splice(0)) scene.arena.send(bytes, '192.0.2.77:443', CLIENT)
    scene.arena.run(1_000)
  }
  assert.equal(scene.client.finished, 1)
  assert.equal(scene.arena.flow(CLIENT, '192.0.2.77:443').bytes, 0)
})

/** A client connected to a server that an attacker speaks for now. */
function evilServer(): { scene: Bystanders; peer: RawPeer } {
  const arena = new Arena()
  const sniffer = new Sniffer(arena)
  const server = new Node(arena, EVIL_SERVER, { seed: 3, isServer: true })
  const client = new Downloader(new Node(arena, CLIENT, { seed: 2, config: { keepAliveUs: 5_000_000 } }), EVIL_SERVER)
  arena.until(() => client.isConnected, 5_000_000, 'handshake with the evil server')
  arena.run(500_000)
  server.freeze()
  const dcid = sniffer.scid(CLIENT, EVIL_SERVER)
  const peer = new RawPeer(server.crypto, dcid, 8, (bytes) => arena.send(bytes, EVIL_SERVER, CLIENT))
  arena.attach(EVIL_SERVER, { receive: (bytes) => peer.receive(bytes) })
  return { scene: { arena, sniffer, client }, peer }
}

test('a server that hands out tokens without end fills no memory of the client', () => {
  const { scene, peer } = evilServer()
  const before = liveBytes()
  for (let i = 0; i < 10_000; i++) {
    peer.send(new Frames().numbers(FrameType.NewToken, 1_000).raw(new Uint8Array(1_000).fill(i)))
    if (i % 10 === 0) scene.arena.run(1_000)
  }
  scene.arena.run(100_000)
  assert.equal(scene.client.closed, undefined)
  assert.ok(liveBytes() - before < 4 * MIB, `grew by ${liveBytes() - before} bytes`)
})

// spec: RFC 9000 §19.7#2
test('an empty token is a FRAME_ENCODING_ERROR', () => {
  const { scene, peer } = evilServer()
  peer.send(new Frames().numbers(FrameType.NewToken, 0))
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x07)
})

test('HANDSHAKE_DONE repeated is harmless', () => {
  const { scene, peer } = evilServer()
  for (let i = 0; i < 1_000; i++) {
    const frames = new Frames()
    for (let k = 0; k < 1_000; k++) frames.numbers(FrameType.HandshakeDone)
    peer.send(frames)
    if (i % 10 === 0) scene.arena.run(1_000)
  }
  scene.arena.run(100_000)
  assert.equal(scene.client.closed, undefined)
  assert.ok(peer.packetsReceived > 0)
})

// spec: RFC 9000 §19.8#1
test('a server that sends on streams the client never opened is told STREAM_STATE_ERROR', () => {
  const { scene, peer } = evilServer()
  peer.send(new Frames().stream(4_000, 0, new Uint8Array(10)))
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x05)
})

// spec: RFC 9000 §4.6#3, §19.11#4
test('a server that pushes streams beyond the limit is told STREAM_LIMIT_ERROR', () => {
  const { scene, peer } = evilServer()
  peer.send(new Frames().stream(3 + 4 * 100_000, 0, new Uint8Array(10)))
  scene.arena.run(100_000)
  assert.equal(peer.closeCode(), 0x04)
})
