import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Ecn } from '../ports/datagrams.ts'
import { clientAddressOf, joinedPair, openPath, secondTuple } from '../testing/path-pair.ts'
import { transfer } from '../testing/pair.ts'
import { ACK_RANGES_KEPT, AckManager } from './ack-manager.ts'

/** An ACK manager that has seen these packet numbers; duplicates are dropped before it, as the receiver does. */
function after(numbers: readonly number[]): AckManager {
  const ack = new AckManager(false)
  for (const number of numbers)
    if (!ack.isDuplicate(number)) ack.onReceived(number, true, Ecn.NotEct, 25_000, 40_000, 1_000_000)
  return ack
}

for (const [numbers, missing, what] of [
  [[], 0, 'nothing came'],
  [[0, 1, 2, 3], 0, 'all came'],
  [[0, 1, 4], 0, 'a gap that the newest packet may have overtaken'],
  [[0, 1, 4, 5], 1, 'one of two is three behind'],
  [[0, 5, 6, 7], 4, 'a gap'],
  [[0, 5, 6, 7, 2, 3], 2, 'two of it came late'],
  [[0, 5, 6, 7, 1, 2, 3, 4, 4, 7], 0, 'all of it came late, some twice'],
  [[9], 7, 'the first packets never came'],
] as const)
  test(`of packets ${numbers.join(' ')} ${missing} count as missing: ${what}`, () => {
    assert.equal(after(numbers).packetsMissing, missing)
  })

test('whatever is dropped, doubled and shuffled a little, what did not come counts in the end, and nothing else', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 10, maxLength: 400 }), fc.nat(), (isDropped, seed) => {
      const arrived = isDropped.flatMap((dropped, number) => (dropped ? [] : [number]))
      const last = isDropped.length
      // Neighbours change places; three packets at the end settle the rest.
      for (let at = 1; at < arrived.length; at++) {
        if (((seed + at) * 2_654_435_761) % 7 < 2) arrived.splice(at - 1, 2, arrived[at] ?? 0, arrived[at - 1] ?? 0)
      }
      const ack = after([...arrived, ...arrived.slice(0, 3), last, last + 1, last + 2])
      // Ranges that had to be forgotten make late ones look like duplicates: then the estimate may only be higher.
      const dropped = isDropped.filter(Boolean).length
      if (ack.received.count < ACK_RANGES_KEPT) assert.equal(ack.packetsMissing, dropped)
      else assert.ok(ack.packetsMissing >= dropped)
    }),
  )
})

test('a receiver sees on each path about what was lost there, and nothing on the other', () => {
  const { pair } = joinedPair({ server: { skipPacketNumberEvery: 50, packetScheduler: 'rr' } })
  const id = openPath(pair, secondTuple)
  const dropped = new Map<string, number>()
  let count = 0
  pair.filter = (datagram) => {
    const address = clientAddressOf(datagram)
    if (datagram.from !== 'server' || address === '10.0.0.1' || ++count % 8 !== 0) return true
    dropped.set(address, (dropped.get(address) ?? 0) + 1)
    return false
  }
  const down = transfer(pair, 'server', 600_000)
  pair.run(down.isDone)
  pair.filter = () => true
  // What follows the last losses shows them.
  const tail = transfer(pair, 'server', 50_000)
  pair.run(tail.isDone)
  pair.advance(1_000_000)
  const views = pair.connection.paths()
  const skips = (pathId: number): number => pair.accepted?.core.paths.get(pathId)?.space.skips ?? 0
  const lost = dropped.get(secondTuple.localAddress) ?? 0
  assert.ok(lost >= 3, `${lost} datagrams were dropped`)
  for (const [pathId, expected] of [
    [0, 0],
    [id, lost],
  ] as const) {
    const missing = views.find((view) => view.id === pathId)?.packetsMissing ?? -1
    // Numbers left out on purpose are the only error, and few: their distance doubles.
    assert.ok(skips(pathId) <= 8, `${skips(pathId)} numbers left out`)
    assert.ok(missing >= expected && missing <= expected + skips(pathId), `path ${pathId}: ${missing} of ${expected}`)
  }
})
