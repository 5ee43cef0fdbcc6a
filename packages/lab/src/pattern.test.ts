import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Pattern } from './pattern.ts'

test('any cut of a pattern is recognised at its offset, and one wrong byte is found', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 0, max: 1e9 }),
      fc.integer({ min: 1, max: 65_536 }),
      fc.nat(),
      (key, offset, length, at) => {
        const pattern = new Pattern(key)
        const chunk = pattern.slice(offset, length)
        assert.equal(chunk.length, length)
        assert.equal(pattern.mismatch(offset, chunk), -1)
        const damaged = chunk.slice()
        damaged[at % length] = (damaged[at % length] as number) ^ 1
        assert.equal(pattern.mismatch(offset, damaged), at % length)
      },
    ),
    { numRuns: 50 },
  )
})

test('patterns of different keys differ, and so do neighbouring offsets', () => {
  assert.notEqual(new Pattern(1).mismatch(0, new Pattern(2).slice(0, 64)), -1)
  assert.notEqual(new Pattern(1).mismatch(1, new Pattern(1).slice(0, 64)), -1)
})
