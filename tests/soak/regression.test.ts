/** The slope that decides whether memory leaks: exact lines, noise without a trend, too little to tell. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { slopeOf } from './regression.ts'

test('a line is found exactly, without doubt', () => {
  const { perX, margin } = slopeOf([0, 1, 2, 3], [5, 7, 9, 11])
  assert.equal(perX, 2)
  assert.equal(margin, 0)
})

test('noise without a trend has a slope that may be zero, and a trend under the same noise has not', () => {
  const xs = Array.from({ length: 60 }, (_, index) => index)
  const noise = xs.map((index) => ((index * 7919) % 101) - 50)
  const flat = slopeOf(xs, noise)
  assert.ok(Math.abs(flat.perX) <= flat.margin)
  const rising = slopeOf(
    xs,
    xs.map((x, index) => 3 * x + (noise[index] ?? 0)),
  )
  assert.ok(rising.perX - rising.margin > 0)
})

test('two samples give a slope and no certainty', () => {
  assert.deepEqual(slopeOf([0, 2], [1, 5]), { perX: 2, margin: Infinity })
})

test('samples of one moment are refused', () => {
  assert.throws(() => slopeOf([3, 3], [1, 2]), /two different times/)
})
