import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DESCRIPTOR_WORDS, type KeyPair, Level, NO_KEY, OpenFailure } from '../ports/crypto.ts'
import { createFakeCrypto, type FakeCrypto } from './fake-crypto.ts'

const dcid = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)

interface Packet {
  readonly bytes: Uint8Array
  readonly pnOffset: number
}

/** A sealed 1-RTT or Initial-like packet: first byte, 8 bytes of CID, packet number, payload, tag. */
function seal(
  crypto: FakeCrypto,
  key: number,
  pn: number,
  payload: Uint8Array,
  {
    pnLength = 2,
    pathId = 0,
    first = 0x40,
    phase = 0,
  }: { pnLength?: number; pathId?: number; first?: number; phase?: number } = {},
): Packet {
  const pnOffset = 9
  const bytes = new Uint8Array(pnOffset + pnLength + payload.length + 16)
  bytes[0] = first | (phase << 2) | (pnLength - 1)
  bytes.set(dcid, 1)
  for (let i = 0; i < pnLength; i++) bytes[pnOffset + i] = Math.floor(pn / 256 ** (pnLength - 1 - i)) & 0xff
  bytes.set(payload, pnOffset + pnLength)
  const words = Int32Array.of(
    0,
    pnOffset + pnLength,
    bytes.length,
    pn | 0,
    Math.floor(pn / 2 ** 32),
    key,
    pathId,
    pnLength,
  )
  crypto.seal(bytes, words, 1)
  return { bytes, pnOffset }
}

function open(crypto: FakeCrypto, key: number, space: number, packet: Packet, pathId = 0) {
  const words = new Int32Array(DESCRIPTOR_WORDS)
  words.set([0, packet.bytes.length, packet.pnOffset, key, pathId, space])
  crypto.open(packet.bytes, words, 1)
  const [offset = 0, length = 0, pnLow = 0, pnHigh = 0, first = 0, generation = 0] = words
  return {
    length,
    pn: pnHigh * 2 ** 32 + (pnLow >>> 0),
    first,
    generation,
    payload: length < 0 ? new Uint8Array(0) : packet.bytes.slice(offset, offset + length),
  }
}

function pair(): { client: FakeCrypto; server: FakeCrypto; c: KeyPair; s: KeyPair; space: number } {
  const client = createFakeCrypto(1)
  const server = createFakeCrypto(2)
  const one = new Uint8Array(32).fill(1)
  const two = new Uint8Array(32).fill(2)
  const c = client.installKeys(Level.OneRtt, one, two)
  const s = server.installKeys(Level.OneRtt, two, one)
  return { client, server, c, s, space: server.createSpace() }
}

test('what one endpoint seals with Initial keys the other opens', () => {
  const client = createFakeCrypto(1)
  const server = createFakeCrypto(2)
  const c = client.initialKeys(1, dcid, 'client')
  const s = server.initialKeys(1, dcid, 'server')
  const payload = Uint8Array.from({ length: 100 }, (_, i) => i)
  const packet = seal(client, c.tx, 5, payload, { first: 0xc0 })
  const got = open(server, s.rx, server.createSpace(), packet)
  assert.equal(got.pn, 5)
  assert.equal(got.first, 0xc1)
  assert.deepEqual(got.payload, payload)
  const other = server.initialKeys(0x6b3343cf, dcid, 'server')
  assert.equal(
    open(server, other.rx, server.createSpace(), seal(client, c.tx, 6, payload, { first: 0xc0 })).length,
    OpenFailure.Authentication,
  )
})

test('any payload, packet number and path reads back whole', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 3, maxLength: 1500 }),
      fc.integer({ min: 1, max: 2 ** 31 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 0, max: 1000 }),
      (payload, pn, pnLength, pathId) => {
        const { client, server, c, s, space } = pair()
        // A receiver that has opened the packet before can expand any truncated number of the next one.
        assert.equal(
          open(server, s.rx, space, seal(client, c.tx, pn - 1, payload, { pnLength: 4, pathId }), pathId).pn,
          pn - 1,
        )
        const got = open(server, s.rx, space, seal(client, c.tx, pn, payload, { pnLength, pathId }), pathId)
        assert.equal(got.pn, pn)
        assert.deepEqual(got.payload, payload)
      },
    ),
  )
})

test('every flipped bit is refused and leaves the packet as it was', () => {
  const { client, server, c, s, space } = pair()
  const { bytes, pnOffset } = seal(client, c.tx, 1, new Uint8Array(37).fill(9))
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice()
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
    const before = damaged.slice()
    assert.equal(
      open(server, s.rx, space, { bytes: damaged, pnOffset }).length,
      OpenFailure.Authentication,
      `bit ${bit}`,
    )
    assert.deepEqual(damaged, before, `bit ${bit}`)
  }
  assert.equal(open(server, s.rx, space, { bytes, pnOffset }).pn, 1)
})

test('a packet sealed for one path does not open on another', () => {
  const { client, server, c, s, space } = pair()
  const packet = seal(client, c.tx, 1, new Uint8Array(30), { pathId: 3 })
  assert.equal(open(server, s.rx, space, packet, 2).length, OpenFailure.Authentication)
  assert.equal(open(server, s.rx, space, packet, 3).length, 30)
})

test('sealing a packet number again throws, but each path counts alone', () => {
  const { client, c } = pair()
  seal(client, c.tx, 7, new Uint8Array(30))
  seal(client, c.tx, 7, new Uint8Array(30), { pathId: 1 })
  assert.throws(() => seal(client, c.tx, 7, new Uint8Array(30)), /nonce reuse: packet number 7 on path 0/)
  assert.throws(() => seal(client, c.tx, 6, new Uint8Array(30)), /nonce reuse/)
})

test('closed keys throw, closing twice does nothing, and NO_KEY refuses', () => {
  const { client, server, c, s, space } = pair()
  const packet = seal(client, c.tx, 1, new Uint8Array(30))
  assert.equal(open(server, NO_KEY, space, packet).length, OpenFailure.NoKey)
  assert.equal(server.openKeys(), 2)
  server.closeKey(s.rx)
  server.closeKey(s.rx)
  server.closeKey(NO_KEY)
  assert.equal(server.openKeys(), 1)
  assert.throws(() => open(server, s.rx, space, packet), /key 0 was closed/)
  client.closeKey(c.tx)
  assert.throws(() => seal(client, c.tx, 2, new Uint8Array(30)), /closed/)
  server.closeSpace(space)
  assert.equal(server.openSpaces(), 0)
})

test('a packet too short for the header protection sample is refused, and refused to be sealed', () => {
  const { client, server, c, s, space } = pair()
  assert.equal(open(server, s.rx, space, { bytes: new Uint8Array(28), pnOffset: 9 }).length, OpenFailure.TooShort)
  assert.throws(() => seal(client, c.tx, 1, new Uint8Array(1), { pnLength: 2 }), /sample/)
  assert.equal(open(server, s.rx, space, seal(client, c.tx, 1, new Uint8Array(2), { pnLength: 2 })).length, 2)
})

test('packets of both phases open across a key update, until the previous key is dropped', () => {
  const { client, server, c, s, space } = pair()
  const body = new Uint8Array(40)
  assert.equal(open(server, s.rx, space, seal(client, c.tx, 1, body)).generation, 0)
  const late = seal(client, c.tx, 2, body)
  const later = seal(client, c.tx, 3, body)
  client.rotate(c)
  assert.throws(() => seal(client, c.tx, 4, body, { phase: 0 }), /key phase bit 0/)
  assert.equal(
    open(server, s.rx, space, seal(client, c.tx, 4, body, { phase: 1 })).generation,
    1,
    'opened with the next key',
  )
  server.rotate(s)
  assert.equal(open(server, s.rx, space, late).generation, 0, 'opened with the previous key')
  assert.equal(open(server, s.rx, space, seal(client, c.tx, 5, body, { phase: 1 })).generation, 1)
  server.dropPrevious(s.rx)
  assert.equal(open(server, s.rx, space, later).length, OpenFailure.Authentication)
})

test('the side that updates first still opens the old phase of its peer', () => {
  const { client, server, c, s, space } = pair()
  const body = new Uint8Array(40)
  open(server, s.rx, space, seal(client, c.tx, 1, body))
  server.rotate(s)
  assert.equal(open(server, s.rx, space, seal(client, c.tx, 2, body)).generation, 0)
  client.rotate(c)
  assert.equal(open(server, s.rx, space, seal(client, c.tx, 3, body, { phase: 1 })).generation, 1)
})

test('tokens open only where they were sealed, unchanged and for the same associated data', () => {
  const crypto = createFakeCrypto(1)
  const plain = Uint8Array.of(1, 2, 3)
  const bound = Uint8Array.of(9)
  const token = crypto.sealToken(plain, bound, new Uint8Array(12).fill(4))
  assert.deepEqual(crypto.openToken(token, bound), plain)
  assert.equal(crypto.openToken(token, Uint8Array.of(8)), undefined)
  assert.equal(createFakeCrypto(2).openToken(token, bound), undefined)
  for (let i = 0; i < token.length; i++) {
    const damaged = token.slice()
    damaged[i] = (damaged[i] as number) ^ 1
    assert.equal(crypto.openToken(damaged, bound), undefined)
  }
  assert.equal(crypto.openToken(new Uint8Array(5), bound), undefined)
  assert.throws(() => crypto.sealToken(plain, bound, new Uint8Array(8)), /nonce of 8 bytes/)
})

test('Retry tags agree between endpoints, reset tokens belong to one', () => {
  const a = createFakeCrypto(1)
  const b = createFakeCrypto(2)
  assert.deepEqual(a.retryIntegrityTag(1, dcid), b.retryIntegrityTag(1, dcid))
  assert.notDeepEqual(a.retryIntegrityTag(1, dcid), b.retryIntegrityTag(2, dcid))
  assert.equal(a.statelessResetToken(dcid).length, 16)
  assert.deepEqual(a.statelessResetToken(dcid), createFakeCrypto(1).statelessResetToken(dcid))
  assert.notDeepEqual(a.statelessResetToken(dcid), b.statelessResetToken(dcid))
})
