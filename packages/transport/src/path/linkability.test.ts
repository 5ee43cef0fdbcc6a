import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientTuple, Pair, transfer } from '../testing/pair.ts'

/** Addresses of the client at which each connection ID of a short header was seen. */
function addressesByCid(pair: Pair, from: 'client' | 'server'): Map<string, Set<string>> {
  const seen = new Map<string, Set<string>>()
  for (const { bytes, tuple, from: sender } of pair.sent) {
    if (sender !== from || ((bytes[0] as number) & 0x80) !== 0) continue
    const cid = Array.from(bytes.subarray(1, 9), (byte) => byte.toString(16)).join(' ')
    const address = from === 'client' ? tuple.localAddress : tuple.remoteAddress
    seen.set(cid, (seen.get(cid) ?? new Set()).add(address))
  }
  return seen
}

// spec: RFC 9000 §9.5#1, §9.5#2
for (const activeCidLimit of [2, 3, 8])
  test(`no connection ID is seen at two addresses of a client that migrates, either way, ${activeCidLimit} IDs at once`, () => {
    const pair = new Pair({ client: { activeCidLimit }, server: { activeCidLimit } }).handshake()
    pair.advance(200_000)
    for (let i = 0; i < 12; i++) {
      const down = transfer(pair, 'server', 20_000)
      assert.ok(pair.connection.migrate(clientTuple(40_000, `10.0.1.${i}`), pair.nowUs), `migration ${i}`)
      pair.run(() => pair.connection.stats().migrations === i + 1)
      const up = transfer(pair, 'client', 20_000)
      pair.run(() => up.isDone() && down.isDone())
      pair.advance(200_000)
    }
    for (const from of ['client', 'server'] as const) {
      const seen = addressesByCid(pair, from)
      assert.ok(seen.size > 12, `the ${from} used ${seen.size} connection IDs`)
      for (const [cid, addresses] of seen) assert.equal(addresses.size, 1, `${from}: ${cid} at ${[...addresses]}`)
    }
  })

test('packets under way to an abandoned path do not move it, wherever they come from', () => {
  const pair = new Pair({ client: { maxPaths: 2 }, server: { maxPaths: 2 } }).handshake()
  pair.advance(200_000)
  const id = pair.connection.openPath(clientTuple(50_000), {}, pair.nowUs)
  assert.ok(id !== undefined)
  pair.run(() => pair.accepted?.paths().some((path) => path.id === id && path.isValidated) === true)
  const up = transfer(pair, 'client', 50_000)
  // The NAT of the path rebinds in the moment in which the server gives it up.
  pair.filter = (datagram) => {
    if (datagram.from === 'client' && datagram.tuple.localPort === 50_000) datagram.tuple = clientTuple(50_001)
    return true
  }
  pair.accepted?.closePath(id, pair.nowUs)
  const { rebindings } = pair.accepted?.stats() ?? {}
  pair.run(up.isDone)
  assert.equal(pair.accepted?.stats().rebindings, rebindings)
  assert.equal(pair.accepted?.core.paths.probes.filter(({ path }) => path.id === id).length, 0)
})
