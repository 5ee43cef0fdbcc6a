/** The guard tells a regression from noise. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Accepted, compare, compareAll, compareAllocation, describe, isFailure } from './compare.ts'

const figure = (values: readonly number[], name = 'download') => ({ name, values })
const steady = [0.5, 0.51, 0.49, 0.5, 0.5]

test('a figure that fell by a fifth without noise is worse', () => {
  const comparison = compare(figure(steady), figure(steady.map((value) => value * 0.8)))
  assert.equal(comparison.verdict, 'worse')
  assert.ok(isFailure(comparison))
})

test('a figure that rose by a fifth is better and fails nothing', () => {
  const comparison = compare(figure(steady), figure(steady.map((value) => value * 1.2)))
  assert.equal(comparison.verdict, 'better')
  assert.ok(!isFailure(comparison))
})

test('a difference of a few percent is never a regression', () => {
  assert.equal(compare(figure(steady), figure(steady.map((value) => value * 0.95))).verdict, 'same')
})

test('a fall within the noise of either run is no regression', () => {
  const noisy = [0.3, 0.42, 0.5, 0.58, 0.7]
  assert.equal(compare(figure(noisy), figure(steady.map((value) => value * 0.8))).verdict, 'same')
  assert.equal(compare(figure(steady), figure(noisy.map((value) => value * 0.8))).verdict, 'same')
})

test('noise that would hide a third is called unclear, not the same', () => {
  const wild = [0.1, 0.3, 0.5, 0.8, 1]
  assert.equal(compare(figure(wild), figure(steady)).verdict, 'unclear')
})

test('a fall beyond even wild noise is a regression', () => {
  const wild = [0.4, 0.45, 0.5, 0.6, 0.65]
  assert.equal(compare(figure(wild), figure(steady.map((value) => value / 5))).verdict, 'worse')
})

test('two rounds have no spread and so decide nothing', () => {
  assert.equal(compare(figure(steady), figure([0.1, 0.1])).verdict, 'unclear')
})

test('a figure that is no longer measured fails, a fresh one does not', () => {
  assert.ok(isFailure(compare(figure(steady), undefined)))
  assert.ok(!isFailure(compare(undefined, figure(steady))))
})

test('allocation has hardly any noise: six percent more is a regression', () => {
  assert.equal(compareAllocation(400, 424).verdict, 'worse')
  assert.equal(compareAllocation(400, 416).verdict, 'same')
  assert.equal(compareAllocation(400, 300).verdict, 'better')
})

test('all figures of both sides are compared once', () => {
  const accepted: Accepted = {
    date: '',
    commit: '',
    machine: '',
    bytesAllocatedPerPacket: 400,
    figures: [figure(steady, 'download'), figure(steady, 'gone')],
  }
  const all = compareAll(accepted, [figure(steady, 'download'), figure(steady, 'fresh')], 400)
  const verdicts = all.map(({ name, verdict }) => `${name} ${verdict}`)
  assert.deepEqual(verdicts, ['bytes allocated per packet same', 'download same', 'fresh new', 'gone missing'])
  assert.match(describe(all[1] as (typeof all)[number]), /^SAME +download +0\.500 → +0\.500 {2}\+0\.0 % of ±8 %$/)
})
