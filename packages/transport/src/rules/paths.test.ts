/** Path validation, migration, Version Negotiation, Retry and the QUIC bit, as they show on the wire. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Version, encodeRetryWithoutTag, encodeVersionNegotiation, retryPseudoPacket } from '@quicether/wire'
import { createTuple } from '../ports/datagrams.ts'
import { type Pair, clientTuple, serverTuple, transfer } from '../testing/index.ts'
import { watched } from '../testing/watched.ts'

// spec: RFC 9000 §8.2.1#3, §8.2.1#4, §8.2.2#1, §8.2.2#3, §8.2.2#5, §9#4, §9.3#2, §19.17
test('a migration is validated from both ends with fresh data in full-sized datagrams, answered where it came from', () => {
  const { pair, sent } = watched()
  pair.handshake()
  pair.advance(200_000)
  const challenges = new Map<string, { role: string; port: number }>()
  const answered: string[] = []
  let seen = sent.length
  pair.filter = ({ bytes, tuple, from }) => {
    const packets = sent.slice(seen)
    seen = sent.length
    const port = from === 'client' ? tuple.localPort : tuple.remotePort
    for (const { role, frames, pathData } of packets) {
      if (pathData.length === 0) continue
      assert.ok(bytes.length >= 1_200, `${frames.join(' ')} in ${bytes.length} bytes`)
      const names = frames.filter((name) => name.startsWith('path_'))
      names.forEach((name, index) => {
        const data = pathData[index] as string
        const challenge = challenges.get(data)
        if (name === 'path_challenge') {
          assert.equal(challenge, undefined, 'challenge data is never used twice')
          challenges.set(data, { role, port })
        } else {
          assert.notEqual(challenge?.role, role, 'a response answers the peer')
          assert.equal(challenge?.port, port, 'a response goes where the challenge came from')
          answered.push(data)
        }
      })
    }
    return true
  }
  assert.ok(pair.connection.migrate(clientTuple(41_000, '10.9.9.9'), pair.nowUs))
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
  pair.advance(2_000_000)
  const roles = new Set(answered.map((data) => challenges.get(data)?.role))
  assert.deepEqual([...roles].sort(), ['client', 'server'])
})

// spec: RFC 9000 §9.4#2
test('a path to a new address begins with the first window and no memory of the old round trips', () => {
  const { pair } = watched()
  pair.handshake()
  const up = transfer(pair, 'client', 3_000_000)
  const down = transfer(pair, 'server', 3_000_000)
  pair.run(() => up.isDone() && down.isDone())
  const window = (side: 'client' | 'server'): number =>
    (side === 'client' ? pair.connection : pair.accepted)?.path.recovery.congestion.windowBytes ?? 0
  assert.ok(window('client') > 50_000 && window('server') > 50_000)
  assert.ok(pair.connection.migrate(clientTuple(41_000, '10.9.9.9'), pair.nowUs))
  pair.run(() => pair.clientEvents.some((event) => event.kind === 'path' && event.change === 'migrated'))
  pair.run(() => pair.accepted?.paths()[0]?.remoteAddress === '10.9.9.9')
  assert.ok(window('client') <= 20_000, `${window('client')} bytes`)
  assert.ok(window('server') <= 20_000, `${window('server')} bytes`)
})

// spec: RFC 9000 §9#1, §9#2, §18.2#3
test('a client does not migrate before the handshake is confirmed, nor from a server that forbids it', () => {
  const early = watched().pair
  early.connect()
  assert.equal(early.connection.migrate(clientTuple(41_000), early.nowUs), false)
  const forbidden = watched({ server: { isActiveMigrationDisabled: true } }).pair
  forbidden.handshake()
  forbidden.advance(100_000)
  assert.equal(forbidden.connection.migrate(clientTuple(41_000), forbidden.nowUs), false)
  forbidden.advance(1_000_000)
  assert.ok(forbidden.sent.every(({ from, tuple }) => from === 'server' || tuple.localPort === 40_000))
})

/** Connection IDs of the client's first packet. */
function firstCids(pair: Pair): { dcid: Uint8Array; scid: Uint8Array } {
  const bytes = pair.sent[0]?.bytes as Uint8Array
  const dcidEnd = 6 + (bytes[5] as number)
  return { dcid: bytes.slice(6, dcidEnd), scid: bytes.slice(dcidEnd + 1, dcidEnd + 1 + (bytes[dcidEnd] as number)) }
}

function fromServer(pair: Pair, bytes: Uint8Array, afterUs: number): void {
  pair.inject({ from: 'server', bytes, tuple: serverTuple(), ecn: 0, atUs: pair.nowUs + afterUs })
}

// spec: RFC 9000 §6.2#2, §6.2#3, RFC 9368 §4#1, §4#2
test('Version Negotiation that lists the version in use, or comes after another packet, is ignored', () => {
  const listed = watched().pair
  listed.connect()
  listed.flush()
  const { dcid, scid } = firstCids(listed)
  fromServer(listed, encodeVersionNegotiation(scid, dcid, [Version.V2, Version.V1], 0), 1_000)
  listed.run(() => listed.connection.core.handshakeConfirmed)
  assert.equal(listed.connection.stats().version, Version.V1)

  const late = watched().pair
  late.connect()
  late.run(() => late.connection.core.hasHandshakeKeys)
  const cids = firstCids(late)
  fromServer(late, encodeVersionNegotiation(cids.scid, cids.dcid, [0x0a0a0a0a], 0), 1)
  late.run(() => late.connection.core.handshakeConfirmed)
  assert.equal(late.event('client', 'closed'), undefined)
})

/** A Retry with a right integrity tag, as only somebody on the path can make it. */
function retryFor(pair: Pair, retryScid: Uint8Array, token: Uint8Array): Uint8Array {
  const { dcid, scid } = firstCids(pair)
  const body = encodeRetryWithoutTag(Version.V1, scid, retryScid, token, 0)
  const tag = pair.serverCrypto.retryIntegrityTag(Version.V1, retryPseudoPacket(dcid, body))
  return Uint8Array.of(...body, ...tag)
}

const TOKEN = new Uint8Array(30).fill(5)

// spec: RFC 9000 §17.2.5.1#2, §17.2.5.2#4
test('a Retry without a token, or with the connection ID the client chose itself, is discarded', () => {
  for (const make of [
    (pair: Pair) => retryFor(pair, firstCids(pair).dcid, TOKEN),
    (pair: Pair) => retryFor(pair, new Uint8Array(8).fill(3), new Uint8Array(0)),
  ]) {
    const { pair } = watched()
    pair.connect()
    pair.flush()
    fromServer(pair, make(pair), 1_000)
    pair.run(() => pair.connection.core.handshakeConfirmed)
    assert.equal(pair.event('client', 'closed'), undefined)
  }
})

// spec: RFC 9000 §17.2.5.1#3, §17.2.5.2#1, §17.2.5.3#1, §17.2.5.3#2
test('the first Retry is obeyed with the same ClientHello and rising packet numbers, a second one is not', () => {
  const { pair, sent } = watched()
  pair.filter = ({ from }) => from === 'client'
  pair.connect()
  pair.flush()
  const first = new Uint8Array(8).fill(3)
  const hello = sent.length
  fromServer(pair, retryFor(pair, first, TOKEN), 1_000)
  fromServer(pair, retryFor(pair, new Uint8Array(8).fill(4), TOKEN), 2_000)
  pair.advance(3_000_000)
  const later = pair.sent.filter(({ from, atUs }) => from === 'client' && atUs > 1_011_000)
  assert.ok(later.length >= 2)
  for (const { bytes } of later) {
    assert.deepEqual(bytes.slice(6, 14), first)
    assert.equal(bytes[6 + 8 + 1 + (bytes[14] as number)], TOKEN.length)
  }
  const numbers = sent.filter(({ role }) => role === 'client').map(({ packetNumber }) => packetNumber)
  assert.ok(numbers.slice(hello).every((number, index) => number > (numbers[hello + index - 1] as number)))
})

const isBitClear = ({ bytes }: { readonly bytes: Uint8Array }): boolean => ((bytes[0] as number) & 0x40) === 0

// spec: RFC 9287 §3#2, §3.1#2, §3.1#5
test('the QUIC bit is cleared only towards a peer that announced grease_quic_bit, and such packets are understood', () => {
  const greased = watched().pair
  greased.handshake()
  const up = transfer(greased, 'client', 300_000)
  greased.run(up.isDone)
  assert.ok(greased.sent.some((datagram) => datagram.from === 'client' && isBitClear(datagram)))
  const first = greased.sent.find(({ from }) => from === 'client')
  assert.equal(first !== undefined && isBitClear(first), false)

  const plain = watched({ server: { isGreaseEnabled: false } }).pair
  plain.handshake()
  const again = transfer(plain, 'client', 300_000)
  plain.run(again.isDone)
  assert.ok(!plain.sent.some((datagram) => datagram.from === 'client' && isBitClear(datagram)))
})

// spec: RFC 9000 §9.6.1#3
test('a preferred address that does not answer costs nothing: the client stays where it is', () => {
  const { pair } = watched({
    accept: { preferredAddress: { ipv4: { address: '10.0.0.77', port: 8443 } } },
    connect: {
      tupleTo: (remoteAddress, remotePort) =>
        createTuple({
          localAddress: '10.0.0.1',
          localPort: 40_000,
          remoteAddress,
          remotePort,
          interfaceIndex: 0,
          socket: 0,
        }),
    },
  })
  let tried = 0
  pair.filter = ({ from, tuple }) => {
    if (from === 'server' || tuple.remoteAddress !== '10.0.0.77') return true
    tried++
    return false
  }
  pair.handshake()
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  pair.advance(10_000_000)
  assert.ok(tried > 0)
  const again = transfer(pair, 'server', 10_000)
  pair.run(again.isDone)
  assert.equal(pair.connection.paths()[0]?.remoteAddress, '10.0.0.2')
})
