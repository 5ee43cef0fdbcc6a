/** NAT rebindings and migrations: short gaps, and nothing that piles up. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { migrateAgainAndAgain, rebindingGap } from './migrations.ts'
import { milliseconds, seconds } from './timeline.ts'
import { twoLinks } from './multipath-figures.ts'

const links = [
  { rateBitsPerSecond: 50e6, delayUs: milliseconds(5) },
  { rateBitsPerSecond: 20e6, delayUs: milliseconds(40) },
]

for (const link of links)
  for (const direction of ['download', 'upload'] as const)
    for (const publicAddress of [undefined, '198.51.100.77'])
      test(`a NAT that rebinds to another ${publicAddress === undefined ? 'port' : 'address'} costs no more than 1.5 RTT and a PTO (G6): ${direction}, ${link.delayUs / 1_000} ms`, (context) => {
        for (const seed of [1, 2, 3]) {
          const options = { seed, link, direction, ...(publicAddress === undefined ? {} : { publicAddress }) }
          const { gapUs, allowedUs } = rebindingGap(options)
          context.diagnostic(`gap ${(gapUs / 1_000).toFixed(0)} ms of ${(allowedUs / 1_000).toFixed(0)} ms`)
          assert.ok(gapUs <= allowedUs, `gap of ${gapUs} us, ${allowedUs} us allowed`)
        }
      })

for (const hasSecondPath of [false, true])
  test(`a thousand migrations ${hasSecondPath ? 'of one path of two' : 'of the only path'} leave nothing behind`, () => {
    const { migrations, before, after, cidsUsed, closed } = migrateAgainAndAgain({
      seed: 1,
      count: 1_000,
      hasSecondPath,
    })
    assert.equal(migrations, 1_000)
    assert.equal(closed, false)
    assert.ok(cidsUsed >= 1_000, `${cidsUsed} connection IDs used: each address gets its own`)
    for (const side of [0, 1] as const) {
      assert.ok(after.probes[side] <= 8, `${after.probes[side]} address pairs looked at`)
      assert.equal(after.registries[side], before.registries[side])
      // A few connection IDs stay with addresses that may still be asked about.
      assert.ok(
        after.routes[side] <= before.routes[side] + 8,
        `${before.routes[side]} routes, then ${after.routes[side]}`,
      )
    }
  })

test('all paths dead for a minute, then one returns: probes are few, nothing is lost, the rate is back in a second (G5)', () => {
  const lab = twoLinks({
    seed: 3,
    a: { rateBitsPerSecond: 40e6, delayUs: milliseconds(8) },
    b: { rateBitsPerSecond: 20e6, delayUs: milliseconds(30) },
    config: { idleTimeoutUs: seconds(300) },
  })
  const bytes = 40e6
  const download = lab.client.download(bytes)
  lab.run(seconds(2))
  lab.link('a').cut()
  lab.link('b').cut()
  lab.run(seconds(5))
  const offered = (): number => lab.link('a').down.stats.offered + lab.link('b').down.stats.offered
  const before = offered()
  lab.run(seconds(55))
  // A probe of one or two packets per path, at most every five seconds once the back-off has reached its cap.
  assert.ok(offered() - before <= 2 * 2 * (55 / 5 + 4), `${offered() - before} packets in 55 s of silence`)
  assert.ok(offered() - before >= 2 * 3, 'dead paths are asked again and again')
  assert.equal(lab.client.app.closed, undefined)
  const received = download.receivedBytes
  lab.link('b').mend()
  const returnedUs = lab.world.nowUs
  lab.until(() => download.receivedBytes > received, { withinUs: seconds(15), what: 'the first byte after the return' })
  const resumedAfterUs = lab.world.nowUs - returnedUs
  assert.ok(resumedAfterUs <= seconds(5.5), `resumed after ${resumedAfterUs} us`)
  lab.until(download.finished, { withinUs: seconds(60), what: 'the download' })
  assert.equal(download.receivedBytes, bytes)
})
