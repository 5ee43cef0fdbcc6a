/** Packet protection against the vectors of RFC 9001, RFC 9369 and RFC 10069, and its rules for batches and key updates. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KeyPair } from '@quicether/transport'
import { DESCRIPTOR_WORDS, OpenFailure } from '@quicether/transport'
import { addon } from './addon.ts'
import { createNativeCrypto, systemRandom } from './crypto.ts'

const V1 = 1
const V2 = 0x6b3343cf
const DCID = hex('8394c8f03e515708')
const crypto = createNativeCrypto()

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

interface Packet {
  readonly header: Uint8Array
  readonly payload: Uint8Array
  readonly number: number
  readonly pnLength: number
  readonly path?: number
}

function seal(key: number, packet: Packet): Uint8Array {
  const { header, payload, number, pnLength, path = 0 } = packet
  const bytes = new Uint8Array(header.length + payload.length + 16)
  bytes.set(header)
  bytes.set(payload, header.length)
  const [low, high] = [number | 0, Math.floor(number / 2 ** 32)]
  crypto.seal(bytes, Int32Array.of(0, header.length, bytes.length, low, high, key, path, pnLength), 1)
  return bytes
}

interface Opened {
  readonly length: number
  readonly payload: Uint8Array
  readonly number: number
  readonly firstByte: number
  readonly generation: number
}

function open(key: number, space: number, packet: Uint8Array, pnOffset: number, path = 0): Opened {
  const bytes = packet.slice()
  const words = Int32Array.of(0, bytes.length, pnOffset, key, path, space, 0, 0)
  crypto.open(bytes, words, 1)
  const [offset = 0, length = 0, low = 0, high = 0, firstByte = 0, generation = 0] = words
  const payload = length < 0 ? new Uint8Array() : bytes.slice(offset, offset + length)
  return { length, payload, number: high * 2 ** 32 + (low >>> 0), firstByte, generation }
}

const clientInitialPayload = new Uint8Array(1162)
clientInitialPayload.set(
  hex(`060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868
       04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578
       616d706c652e636f6dff01000100000a00080006001d00170018001000070005
       04616c706e000500050100000000003300260024001d00209370b2c9caa47fba
       baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400
       0d0010000e0403050306030203080408050806002d00020101001c0002400100
       3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000
       75300901100f088394c8f03e51570806048000ffff`),
)
const serverInitialPayload = hex(`02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739
  88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94
  0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304`)

const initialVectors = [
  {
    name: 'RFC 9001 §A.2',
    version: V1,
    side: 'client',
    header: 'c300000001088394c8f03e5157080000449e00000002',
    pn: { number: 2, pnLength: 4 },
    payload: clientInitialPayload,
    // The last 16 bytes are the tag over everything between.
    start: 'c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c',
    end: '7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934',
  },
  {
    name: 'RFC 9001 §A.3',
    version: V1,
    side: 'server',
    header: 'c1000000010008f067a5502a4262b50040750001',
    pn: { number: 1, pnLength: 2 },
    payload: serverInitialPayload,
    start: 'cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3',
    end: '8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee',
  },
  {
    name: 'RFC 9369 §A.2',
    version: V2,
    side: 'client',
    header: 'd36b3343cf088394c8f03e5157080000449e00000002',
    pn: { number: 2, pnLength: 4 },
    payload: clientInitialPayload,
    start: 'd76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa162e75d6c',
    end: '9a37ddec600545473cfb5a05e08d0b209973b2172b4d21fb69745a262ccde96ba18b2faa745b6fe189cf772a9f84cbfc',
  },
  {
    name: 'RFC 9369 §A.3',
    version: V2,
    side: 'server',
    header: 'd16b3343cf0008f067a5502a4262b50040750001',
    pn: { number: 1, pnLength: 2 },
    payload: serverInitialPayload,
    start: 'dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89237bbf872630',
    end: '17915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca84bed8521e2e140',
  },
] as const

for (const vector of initialVectors) {
  // spec: RFC 9001 §5.2
  test(`${vector.name}: the ${vector.side} Initial is sealed to the published bytes and opens on the other side`, () => {
    const ours = crypto.initialKeys(vector.version, DCID, vector.side)
    const theirs = crypto.initialKeys(vector.version, DCID, vector.side === 'client' ? 'server' : 'client')
    const header = hex(vector.header)
    const sealed = seal(ours.tx, { header, payload: vector.payload, ...vector.pn })
    const text = toHex(sealed)
    assert.equal(text.slice(0, vector.start.length), vector.start)
    assert.equal(text.slice(-vector.end.length), vector.end)

    const space = crypto.createSpace()
    const opened = open(theirs.rx, space, sealed, header.length - vector.pn.pnLength)
    assert.deepEqual(opened.payload, Uint8Array.from(vector.payload))
    assert.equal(opened.number, vector.pn.number)
    assert.equal(opened.firstByte, header[0])
    assert.equal(crypto.keyLimits(ours.tx).cipherSuite, 'TLS_AES_128_GCM_SHA256')
  })
}

for (const [name, version, pseudo, tag] of [
  ['RFC 9001 §A.4', V1, 'ff000000010008f067a5502a4262b5746f6b656e', '04a265ba2eff4d829058fb3f0f2496ba'],
  ['RFC 9369 §A.4', V2, 'cf6b3343cf0008f067a5502a4262b5746f6b656e', 'c8646ce8bfe33952d955543665dcc7b6'],
] as const) {
  test(`${name}: the Retry integrity tag is the published one`, () => {
    const packet = hex(`08${toHex(DCID)}${pseudo}`)
    assert.equal(toHex(crypto.retryIntegrityTag(version, packet)), tag)
  })
}

const chachaSecret = hex('9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b')
for (const [name, version, sealed] of [
  ['RFC 9001 §A.5', V1, '4cfe4189655e5cd55c41f69080575d7999c25a5bfb'],
  ['RFC 9369 §A.5', V2, '5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba'],
] as const) {
  test(`${name}: the ChaCha20-Poly1305 short header packet is sealed to the published bytes`, () => {
    const key = addon.keyFromSecret(version, 'TLS_CHACHA20_POLY1305_SHA256', chachaSecret, false)
    const packet = { header: hex('4200bff4'), payload: hex('01'), number: 654_360_564, pnLength: 3 }
    assert.equal(toHex(seal(key, packet)), sealed)
    assert.equal(crypto.keyLimits(key).confidentialityPackets, Number.POSITIVE_INFINITY)
    assert.equal(crypto.keyLimits(key).integrityPackets, 2 ** 36)
  })
}

test('RFC 10069 §2.4: the nonce of packet 54321 on path 3 is the published one', () => {
  const iv = hex('6b26114b9cba2b63a9e8dd4f')
  assert.equal(toHex(addon.packetNonce(iv, 3, 54_321, 0)), '6b2611489cba2b63a9e8097e')
})

function oneRttPair(secretByte: number, suite = 'TLS_AES_256_GCM_SHA384'): { sender: KeyPair; receiver: KeyPair } {
  const length = suite === 'TLS_AES_256_GCM_SHA384' ? 48 : 32
  const [up, down] = [new Uint8Array(length).fill(secretByte), new Uint8Array(length).fill(secretByte + 1)]
  const key = (secret: Uint8Array, receives: boolean) => addon.keyFromSecret(V1, suite, secret, receives)
  return { sender: { tx: key(up, false), rx: key(down, true) }, receiver: { tx: key(down, false), rx: key(up, true) } }
}

function short(number: number, phase: number, pnLength = 2): Uint8Array {
  const header = new Uint8Array(9 + pnLength)
  header[0] = 0x40 | (phase << 2) | (pnLength - 1)
  header.fill(0xc1, 1, 9)
  for (let index = 0; index < pnLength; index++) header[8 + pnLength - index] = Math.floor(number / 256 ** index) & 0xff
  return header
}

function sealShort(key: number, number: number, phase = 0, path = 0, pnLength = 2): Uint8Array {
  return seal(key, { header: short(number, phase, pnLength), payload: hex('01020304'), number, pnLength, path })
}

for (const suite of ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']) {
  test(`${suite}: a packet opens only with the path ID it was sealed for`, () => {
    const { sender, receiver } = oneRttPair(1, suite)
    const space = crypto.createSpace()
    const sealed = sealShort(sender.tx, 7, 0, 5)
    assert.equal(open(receiver.rx, space, sealed, 9, 4).length, OpenFailure.Authentication)
    assert.equal(open(receiver.rx, space, sealed, 9, 0).length, OpenFailure.Authentication)
    assert.equal(open(receiver.rx, space, sealed, 9, 5).number, 7)
  })
}

test('packet numbers beyond 32 bits expand from one byte', () => {
  const { sender, receiver } = oneRttPair(3)
  const space = crypto.createSpace()
  const start = 2 ** 40 + 100
  for (let number = 0; number <= 8; number++) {
    // Climb with four-byte numbers, each within the window of the one before.
    const climb = Math.min(start, number * 2 ** 31 - 1)
    if (climb > 0) assert.equal(open(receiver.rx, space, sealShort(sender.tx, climb, 0, 0, 4), 9).number, climb)
  }
  let reached = 8 * 2 ** 31 - 1
  while (reached < start) {
    reached = Math.min(start, reached + 2 ** 31 - 1)
    assert.equal(open(receiver.rx, space, sealShort(sender.tx, reached, 0, 0, 4), 9).number, reached)
  }
  for (const number of [start + 1, start + 100, start - 20, start + 101]) {
    assert.equal(open(receiver.rx, space, sealShort(sender.tx, number, 0, 0, 1), 9).number, number)
  }
})

test('a whole batch is sealed and opened in one call, and a bad packet does not hurt its neighbours', () => {
  const { sender, receiver } = oneRttPair(5)
  const space = crypto.createSpace()
  const count = 48
  const stride = 1200
  const bytes = new Uint8Array(count * stride)
  const words = new Int32Array(count * DESCRIPTOR_WORDS)
  for (let index = 0; index < count; index++) {
    bytes.set(short(index, 0), index * stride)
    bytes.fill(index, index * stride + 11, (index + 1) * stride - 16)
    words.set([index * stride, 11, stride, index, 0, sender.tx, 0, 2], index * DESCRIPTOR_WORDS)
  }
  crypto.seal(bytes, words, count)
  const damaged = 17
  bytes[damaged * stride + 600] = (bytes[damaged * stride + 600] ?? 0) ^ 1
  for (let index = 0; index < count; index++) {
    words.set([index * stride, stride, 9, receiver.rx, 0, space, 0, 0], index * DESCRIPTOR_WORDS)
  }
  crypto.open(bytes, words, count)
  for (let index = 0; index < count; index++) {
    const [offset = 0, length = 0, low = 0] = words.subarray(index * DESCRIPTOR_WORDS)
    if (index === damaged) {
      assert.equal(length, OpenFailure.Authentication)
      continue
    }
    assert.equal(length, stride - 11 - 16)
    assert.equal(low, index)
    assert.ok(bytes.subarray(offset, offset + length).every((byte) => byte === index))
  }
})

// spec: RFC 9000 §10.3.1#1
test('the last 16 bytes survive a failed opening, so that a stateless reset can be recognised', () => {
  const { receiver } = oneRttPair(7)
  const space = crypto.createSpace()
  const bytes = new Uint8Array(64).map((_, index) => (index === 0 ? 0x41 : index * 7))
  const tail = bytes.slice(-16)
  const words = Int32Array.of(0, bytes.length, 9, receiver.rx, 0, space, 0, 0)
  crypto.open(bytes, words, 1)
  assert.equal(words[1], OpenFailure.Authentication)
  assert.deepEqual(bytes.slice(-16), tail)
})

// spec: RFC 9001 §6.1#3, §6.3#3
test('after a key update both sides go on, and late packets of the old phase still open', () => {
  const { sender, receiver } = oneRttPair(9)
  const space = crypto.createSpace()
  assert.equal(open(receiver.rx, space, sealShort(sender.tx, 0), 9).generation, 0)
  const late = sealShort(sender.tx, 1)
  crypto.rotate(sender)
  const first = open(receiver.rx, space, sealShort(sender.tx, 2, 1), 9)
  assert.deepEqual([first.length, first.generation], [4, 1])
  assert.equal(open(receiver.rx, space, late, 9).generation, 0)

  crypto.rotate(receiver)
  assert.equal(open(receiver.rx, space, sealShort(sender.tx, 3, 1), 9).generation, 1)
  assert.deepEqual(open(receiver.rx, space, late, 9).payload, hex('01020304'))
  crypto.dropPrevious(receiver.rx)
  assert.equal(open(receiver.rx, space, late, 9).length, OpenFailure.Authentication)

  crypto.rotate(sender)
  const second = open(receiver.rx, space, sealShort(sender.tx, 4, 0), 9)
  assert.deepEqual([second.length, second.generation], [4, 2])
})

test('a path that was silent during a key update opens old and new packets alike', () => {
  const { sender, receiver } = oneRttPair(11)
  const [busy, quiet] = [crypto.createSpace(), crypto.createSpace()]
  const old = sealShort(sender.tx, 0, 0, 1)
  crypto.rotate(sender)
  assert.equal(open(receiver.rx, busy, sealShort(sender.tx, 0, 1), 9).generation, 1)
  crypto.rotate(receiver)
  assert.equal(open(receiver.rx, quiet, old, 9, 1).generation, 0)
  crypto.rotate(sender)
  assert.equal(open(receiver.rx, quiet, sealShort(sender.tx, 1, 0, 1), 9, 1).generation, 2)
})

test('the updated keys are those of RFC 9001: a chain of updates stays in step in both directions', () => {
  const { sender, receiver } = oneRttPair(13, 'TLS_AES_128_GCM_SHA256')
  const [up, down] = [crypto.createSpace(), crypto.createSpace()]
  for (let update = 0; update < 6; update++) {
    const phase = update & 1
    assert.equal(open(receiver.rx, up, sealShort(sender.tx, update, phase), 9).generation, update)
    assert.equal(open(sender.rx, down, sealShort(receiver.tx, update, phase), 9).generation, update)
    crypto.rotate(sender)
    crypto.rotate(receiver)
    crypto.dropPrevious(sender.rx)
    crypto.dropPrevious(receiver.rx)
  }
})

test('a closed key opens nothing, even when its place in the table is used again', () => {
  const { sender, receiver } = oneRttPair(15)
  const space = crypto.createSpace()
  const sealed = sealShort(sender.tx, 1)
  crypto.closeKey(receiver.rx)
  crypto.closeKey(receiver.rx)
  crypto.closeKey(-1)
  assert.equal(open(receiver.rx, space, sealed, 9).length, OpenFailure.NoKey)
  for (let index = 0; index < 3000; index++) {
    const key = addon.keyFromSecret(V1, 'TLS_AES_128_GCM_SHA256', new Uint8Array(32), true)
    assert.notEqual(key, receiver.rx)
    crypto.closeKey(key)
  }
  assert.equal(open(receiver.rx, space, sealed, 9).length, OpenFailure.NoKey)
  assert.throws(() => sealShort(receiver.rx, 1), { code: 'ERR_CLOSED' })
})

test('descriptors that reach beyond their slab are refused before anything is touched', () => {
  const { sender, receiver } = oneRttPair(17)
  const space = crypto.createSpace()
  const bytes = new Uint8Array(100)
  const range = { code: 'ERR_RANGE' }
  for (const [offset, header, length] of [
    [-1, 11, 60],
    [50, 11, 60],
    [0, 11, 2 ** 31 - 1],
    [0, 90, 100],
    [0, 2, 60],
    [0, -5, 60],
  ] as const) {
    const words = Int32Array.of(offset, header, length, 0, 0, sender.tx, 0, 2)
    assert.throws(() => crypto.seal(bytes, words, 1), range, `${offset} ${header} ${length}`)
  }
  for (const [offset, length, pnOffset] of [
    [-1, 60, 9],
    [50, 60, 9],
    [0, -1, 9],
    [0, 60, -9],
  ] as const) {
    const words = Int32Array.of(offset, length, pnOffset, receiver.rx, 0, space, 0, 0)
    assert.throws(() => crypto.open(bytes, words, 1), range, `${offset} ${length} ${pnOffset}`)
  }
  assert.throws(() => crypto.seal(bytes, new Int32Array(8), 2), range)
  const shared = new ArrayBuffer(128)
  assert.throws(() => crypto.open(new Uint8Array(shared), new Int32Array(shared, 0, 8), 1), range)
  assert.deepEqual(bytes, new Uint8Array(100))
})

// spec: RFC 9001 §5.4.2
test('a packet too short to be sampled is refused without an exception', () => {
  const { receiver } = oneRttPair(19)
  const words = Int32Array.of(0, 28, 9, receiver.rx, 0, crypto.createSpace(), 0, 0)
  crypto.open(new Uint8Array(28), words, 1)
  assert.equal(words[1], OpenFailure.TooShort)
})

// spec: RFC 9000 §8.1.4#2, §8.1.4#4
test('a token opens for its endpoint and address only', () => {
  const [plain, address, nonce] = [hex('c0ffee'), hex('7f000001'), new Uint8Array(12).fill(9)]
  const token = crypto.sealToken(plain, address, nonce)
  assert.deepEqual(crypto.openToken(token, address), plain)
  assert.equal(crypto.openToken(token, hex('7f000002')), undefined)
  assert.equal(createNativeCrypto().openToken(token, address), undefined)
  assert.equal(crypto.openToken(token.slice(0, 20), address), undefined)
  assert.equal(crypto.openToken(new Uint8Array(), address), undefined)
  const keys = { tokenKey: new Uint8Array(32).fill(1), resetKey: new Uint8Array(32).fill(2) }
  const kept = createNativeCrypto(keys).sealToken(plain, address, nonce)
  assert.deepEqual(createNativeCrypto(keys).openToken(kept, address), plain)
})

// spec: RFC 9000 §10.3.2#1
test('stateless reset tokens are stable per connection ID and differ between endpoints', () => {
  const token = crypto.statelessResetToken(DCID)
  assert.equal(token.length, 16)
  assert.deepEqual(crypto.statelessResetToken(DCID), token)
  assert.notDeepEqual(crypto.statelessResetToken(hex('8394c8f03e515709')), token)
  assert.notDeepEqual(createNativeCrypto().statelessResetToken(DCID), token)
})

test('endpoint keys of a wrong length are refused by name', () => {
  assert.throws(() => createNativeCrypto({ tokenKey: new Uint8Array(31) }), { code: 'ERR_RANGE', message: /tokenKey/ })
  assert.throws(() => createNativeCrypto({ resetKey: new Uint8Array(33) }), { code: 'ERR_RANGE', message: /resetKey/ })
})

test('random bytes are fresh on every call, small requests and large ones', () => {
  const random = systemRandom()
  const seen = new Set<string>()
  const calls = 2000
  for (let call = 0; call < calls; call++) {
    const bytes = new Uint8Array(call % 3 === 0 ? 200 : 16)
    random.fill(bytes)
    seen.add(toHex(bytes))
  }
  assert.equal(seen.size, calls)
})
