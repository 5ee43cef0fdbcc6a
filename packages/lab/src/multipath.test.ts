/** Several paths between two engines in virtual time: what links together give, and what an outage costs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { milliseconds, type ScenarioLink, seconds, world } from './index.ts'
import { outage, pairings, shareOfLinks, twoLinks } from './multipath-figures.ts'

const link = (rate: number, delayMs: number): ScenarioLink => ({
  rateBitsPerSecond: rate * 1e6,
  delayUs: milliseconds(delayMs),
})
const wifi = link(40, 8)
const lte = link(20, 30)

/** Floors are below what is measured (docs/multipath.md), so that they tell a regression from a change of taste. */
const floors = [0.83, 0.83, 0.75, 0.55]

pairings.forEach(({ name, a, b }, index) => {
  // Uploads take the same code; one pair of them is enough.
  for (const direction of index === 2 ? (['download', 'upload'] as const) : (['download'] as const)) {
    test(`one stream uses both links: ${name}, ${direction}`, (context) => {
      const share = shareOfLinks({ seed: 1, a, b, direction, lengthUs: seconds(3) })
      context.diagnostic(`${(100 * share).toFixed(1)} % of the sum of the rates`)
      assert.ok(share > (floors[index] as number) && share < 1, `${share} of the sum of the rates`)
    })
  }
})

for (const fails of ['a', 'b'] as const) {
  for (const how of ['silent', 'told'] as const) {
    test(`a link that fails (${fails}, ${how}) costs less than a second, and its return brings the rate back`, (context) => {
      const report = outage({ seed: 2, a: wifi, b: lte, fails, how })
      const { gapUs, returnShare, survivorShare } = report
      context.diagnostic(
        `gap ${(gapUs / 1_000).toFixed(0)} ms, ${(100 * returnShare).toFixed(0)} % of the rate afterwards`,
      )
      assert.ok(gapUs < (how === 'told' ? milliseconds(400) : seconds(1)), `gap of ${gapUs} us`)
      assert.ok(survivorShare > 0.8, `${survivorShare} of the surviving link`)
      assert.ok(returnShare > 0.85, `${returnShare} of the rate before`)
    })
  }
}

test('acknowledgments lost with a dying link are repeated over the other: a slow survivor carries nothing twice', (context) => {
  const [, , , lossy] = pairings
  assert.ok(lossy !== undefined)
  const { gapUs, allowedUs } = outage({ seed: 1, a: lossy.a, b: lossy.b, fails: 'a', how: 'silent' })
  context.diagnostic(`gap ${(gapUs / 1_000).toFixed(0)} ms`)
  assert.ok(gapUs < 2 * allowedUs, `gap of ${gapUs} us`)
})

test('a path opened the moment the handshake is confirmed works a round trip later, though it overtakes its connection IDs', () => {
  // The second link is faster: the first packet of its path comes before the frames that say how to answer it.
  const lab = twoLinks({ seed: 3, a: link(100, 40), b: link(100, 10) })
  const views = lab.accepted[0]?.connection.paths() ?? []
  assert.equal(views.length, 2)
  const [openedUs, validUs] = ['opened', 'validated'].map((change) =>
    timeOf(lab.timeline('path'), `server#0 path 1 ${change}`),
  )
  assert.ok((validUs as number) - (openedUs as number) < 0.15, `${openedUs} s opened, ${validUs} s validated`)
  assert.ok(views.every((view) => view.packetsLost === 0))
})

/** Seconds at the start of a line of the timeline. */
function timeOf(timeline: string, text: string): number {
  const line = timeline.split('\n').find((each) => each.endsWith(text))
  assert.ok(line !== undefined, `${text} in\n${timeline}`)
  return Number.parseFloat(line)
}

test('an abandoned path is gone on both sides, a new one over the same link takes a new path ID', () => {
  const lab = twoLinks({ seed: 4, a: wifi, b: lte })
  const download = lab.client.download(20e6)
  lab.at(seconds(1)).abandon('b')
  lab.at(seconds(4)).open('b')
  lab.run(seconds(3))
  const ids = (): number[] => lab.accepted[0]?.connection.paths().map(({ id }) => id) ?? []
  assert.deepEqual(ids(), [0])
  lab.run(seconds(2))
  assert.deepEqual(ids(), [0, 2])
  lab.until(download.finished, { withinUs: seconds(10), what: 'the download' })
  assert.equal(download.receivedBytes, 20e6)
})

test('the path of the handshake can be abandoned; what follows goes over the other one alone', () => {
  const lab = twoLinks({ seed: 5, a: wifi, b: lte })
  const download = lab.client.download(10e6)
  lab.run(seconds(0.5))
  lab.closePath('a')
  lab.run(seconds(1))
  const before = lab.link('a').down.stats.delivered
  lab.until(download.finished, { withinUs: seconds(10), what: 'the download' })
  assert.ok(lab.link('a').down.stats.delivered - before < 10, 'nothing but farewells')
})

test('a backup link stays free while the other one works, takes over when it dies, and is left when it returns', () => {
  const lab = twoLinks({ seed: 6, a: wifi, b: lte })
  lab.setPathStatus('b', 'backup')
  lab.run(seconds(0.5))
  const carried = (): number => lab.link('b').down.stats.deliveredBytes
  const download = lab.client.download(60e6)
  const [idle] = [carried()]
  lab.run(seconds(3))
  assert.ok(carried() - idle < 20_000, `${carried() - idle} bytes over the backup`)
  lab.link('a').cut()
  lab.run(seconds(3))
  assert.ok(carried() - idle > 2e6, `${carried() - idle} bytes over the backup while it was needed`)
  lab.link('a').mend()
  lab.run(seconds(4))
  const after = carried()
  lab.run(seconds(1))
  assert.ok(carried() - after < 20_000, `${carried() - after} bytes over the backup afterwards`)
  lab.until(download.finished, { withinUs: seconds(30), what: 'the download' })
})

test('links may die and return again and again, one at a time, without a byte lost', () => {
  const lab = twoLinks({ seed: 7, a: wifi, b: lte })
  const transfer = lab.client.exchange(20e6)
  for (let round = 0; round < 6; round++) {
    const name = round % 2 === 0 ? 'a' : 'b'
    lab.at(seconds(1 + 2 * round)).cut(name)
    lab.at(seconds(2 + 2 * round)).mend(name)
  }
  lab.until(transfer.finished, { withinUs: seconds(60), what: 'the transfers' })
  assert.equal(transfer.receivedBytes, 20e6)
})

test('both links dead at once, then one back: the transfer goes on', () => {
  const lab = twoLinks({ seed: 8, a: wifi, b: lte })
  const download = lab.client.download(20e6)
  lab.at(seconds(1)).cut('a').cut('b')
  lab.at(seconds(3)).mend('b')
  lab.until(download.finished, { withinUs: seconds(40), what: 'the download' })
})

test('a path abandoned while nothing gets through draws no stateless reset once everything does again', () => {
  const lab = twoLinks({ seed: 10, a: wifi, b: lte })
  const download = lab.client.download(10e6)
  lab.run(seconds(0.5))
  // The server goes on sending to a path that the client has given up long ago.
  lab.link('a').up.isCut = true
  lab.link('b').up.isCut = true
  lab.closePath('b')
  lab.run(seconds(4))
  lab.link('a').mend()
  lab.link('b').mend()
  lab.until(download.finished, { withinUs: seconds(20), what: 'the download' })
  assert.equal(lab.client.party.endpoint.stats.resets, 0)
})

test('a path may be abandoned while the only other one proves its new address', () => {
  const lab = twoLinks({ seed: 11, a: { ...wifi, nat: 'restricted' }, b: lte })
  const upload = lab.client.upload(10e6)
  lab.run(seconds(0.5))
  lab.nat('a').rebind('198.51.100.77')
  lab.link('b').set({ delayUs: milliseconds(1) })
  lab.run(milliseconds(12))
  lab.closePath('b')
  lab.until(upload.finished, { withinUs: seconds(20), what: 'the upload' })
  assert.equal(lab.client.app.closed, undefined)
})

test('without multipath the wish for a backup path is not sent', () => {
  const lab = world({ seed: 12, links: { a: wifi } })
  lab.until(() => lab.client.app.isConfirmed, { withinUs: seconds(5) })
  lab.setPathStatus('a', 'backup')
  const download = lab.client.download(100_000)
  lab.until(download.finished, { withinUs: seconds(5), what: 'the download' })
})

test('a path over a link without a path is refused by name', () => {
  const lab = twoLinks({ seed: 9, a: wifi, b: lte })
  lab.closePath('b')
  lab.run(seconds(5))
  assert.throws(() => lab.setPathStatus('b', 'backup'), /no path over b; open one with openPath\('b'\)/)
})
