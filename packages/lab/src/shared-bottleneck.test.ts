/** Coupled congestion control takes one flow's share where paths meet, both links where they do not (goal G8); bbr under loss. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seconds } from './index.ts'
import { pairings, shareOfLinks } from './multipath-figures.ts'
import { type SharedBottleneckReport, sharedBottleneck } from './shared-bottleneck.ts'

const SEEDS = [1, 2, 3, 4]

function reports(congestion: 'lia' | 'olia' | 'balia' | 'new_reno'): SharedBottleneckReport[] {
  return SEEDS.map((seed) => sharedBottleneck({ seed, congestion, durationUs: seconds(25) }))
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

for (const congestion of ['lia', 'olia', 'balia'] as const) {
  // spec: RFC 6356 §1
  test(`${congestion}: two paths through one link take at most 1.2 times what a NewReno flow takes there`, (context) => {
    const ratios = reports(congestion).map(({ ratio }) => ratio)
    context.diagnostic(ratios.map((ratio) => ratio.toFixed(2)).join(' '))
    assert.ok(mean(ratios) <= 1.2, `${mean(ratios)} on average`)
    assert.ok(mean(ratios) >= 0.5, `${mean(ratios)} on average: hardly anything is left of two paths`)
  })

  test(`${congestion}: links that do not meet are both used`, (context) => {
    const [, , unlike] = pairings
    assert.ok(unlike !== undefined)
    const share = shareOfLinks({ seed: 1, a: unlike.a, b: unlike.b, lengthUs: seconds(6), config: { congestion } })
    context.diagnostic(`${(100 * share).toFixed(1)} % of the sum of the rates`)
    const fastAlone = 50 / 70
    assert.ok(share > 1.06 * fastAlone, `${share} of the sum, the faster link alone is ${fastAlone}`)
  })
}

test('uncoupled, two paths through one link take much more than one flow: what the coupled ones avoid', (context) => {
  const found = reports('new_reno')
  context.diagnostic(found.map(({ ratio }) => ratio.toFixed(2)).join(' '))
  assert.ok(mean(found.map(({ ratio }) => ratio)) > 1.5)
  for (const { utilisation } of found) assert.ok(utilisation > 0.9 && utilisation <= 1, `${utilisation} of the link`)
})

for (const congestion of ['bbr', 'tolerant'] as const)
  test(`${congestion} keeps a slow link with 1 % of loss in use, where CUBIC leaves it (goal G2)`, (context) => {
    const lossy = pairings[3]
    assert.ok(lossy !== undefined)
    const share = shareOfLinks({ seed: 1, a: lossy.a, b: lossy.b, lengthUs: seconds(8), config: { congestion } })
    context.diagnostic(`${(100 * share).toFixed(1)} % of the sum of the rates`)
    assert.ok(share > 0.84, `${share} of the sum of the rates`)
  })

for (const share of [0.25, 0.5, 1] as const)
  test(`tolerant takes no more from a NewReno flow than CUBIC does, in a queue of ${share} of what is under way`, (context) => {
    const ratioOf = (congestion: 'tolerant' | 'cubic'): number =>
      mean(
        [1, 2].map((seed) => {
          const queueBytes = share * 50_000
          return sharedBottleneck({ seed, congestion, paths: 1, queueBytes, durationUs: seconds(20) }).ratio
        }),
      )
    const [tolerant, cubic] = [ratioOf('tolerant'), ratioOf('cubic')]
    context.diagnostic(`${tolerant.toFixed(2)}, CUBIC ${cubic.toFixed(2)}`)
    assert.ok(tolerant <= 1.1 * cubic && tolerant < 1.5, `${tolerant} times as much, CUBIC ${cubic}`)
  })
