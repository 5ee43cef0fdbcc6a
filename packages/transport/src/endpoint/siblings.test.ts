/** What lets several endpoints serve one address: chosen connection IDs, datagrams that are handed on, tokens of one key. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeCrypto } from '../testing/fake-crypto.ts'
import { clientTuple, Pair, transfer } from '../testing/pair.ts'
import { createSeededRandom } from '../testing/random.ts'
import { TokenMint } from './tokens.ts'

const mark = 0x5a

/** Random but for the first byte. */
function marking() {
  const random = createSeededRandom(77)
  return {
    fill(bytes: Uint8Array): void {
      random.fill(bytes)
      bytes[0] = mark
    },
  }
}

test('every connection ID that a server gives out comes from its source of them, that of a Retry included', () => {
  const seen: number[] = []
  const pair = new Pair({ accept: { retry: 'always' }, serverEndpoint: { connectionIds: marking() } })
  pair.filter = ({ from, bytes }) => {
    // A first Initial of the client has an ID of its own choice; those that answer the Retry have the server's.
    const isLong = ((bytes[0] as number) & 0x80) !== 0
    if (from === 'client') seen.push(bytes[isLong ? 6 : 1] as number)
    return true
  }
  pair.handshake()
  pair.connection.migrate(clientTuple(40_001), pair.nowUs)
  const up = transfer(pair, 'client', 5_000)
  pair.run(up.isDone)
  assert.ok(seen.length > 5)
  assert.deepEqual(new Set(seen.slice(1)), new Set([mark]))
})

test('a datagram of no connection is offered first, and neither accepted nor answered when it is taken', () => {
  const offered: { readonly first: number; readonly cid: string; readonly length: number }[] = []
  let isTaken = true
  const pair = new Pair({
    serverEndpoint: {
      onUnrouted: ({ bytes, offsets, lengths }, index, { dcidOffset, dcidLength }) => {
        const cid = Buffer.from(bytes.subarray(dcidOffset, dcidOffset + dcidLength)).toString('hex')
        offered.push({ first: bytes[offsets[index] as number] as number, cid, length: lengths[index] as number })
        return isTaken
      },
    },
  })
  pair.connect()
  pair.advance(100)
  pair.advance(50_000)
  assert.equal(pair.server.connectionCount, 0)
  assert.ok(offered.length > 0)
  assert.equal(offered[0]?.length, pair.sent[0]?.bytes.length)
  isTaken = false
  pair.run(() => pair.connection.core.handshakeConfirmed)
  const before = offered.length
  const up = transfer(pair, 'client', 5_000)
  pair.run(up.isDone)
  assert.equal(offered.length, before, 'what has a connection is offered to nobody')
})

test('a token is good at every endpoint with the same key, wherever their clocks began', () => {
  const [crypto, random, tuple] = [createFakeCrypto(1), createSeededRandom(1), clientTuple()]
  const started = 5_000_000_000_000
  const early = new TokenMint(crypto, random, started)
  const late = new TokenMint(crypto, random, started + 3_600_000_000)
  const token = early.fresh(tuple, 1, 3_600_500_000)
  assert.equal(late.check(token, tuple, 1, 600_000).kind, 'new')
  assert.equal(late.check(late.fresh(tuple, 1, 700_000), tuple, 1, 600_000).kind, 'new', 'clocks differ a little')
  const hour = 3_600_000_000
  assert.equal(late.check(token, tuple, 1, 25 * hour).kind, 'none', 'it is a day old')
  assert.equal(late.check(early.fresh(tuple, 1, 3 * hour), tuple, 1, 0).kind, 'none', 'it is from the future')
})
