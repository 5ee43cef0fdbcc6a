/** The counts that decide whether a run passed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countsOf } from './runner.ts'

test('the last closing line of a step is what counts', () => {
  assert.deepEqual(countsOf('1 passed, 0 failed\nmore\n7 passed, 2 failed, 1 skipped\n', 1), {
    passed: 7,
    failed: 2,
    skipped: 1,
  })
})

test('a tool without a closing line is one test', () => {
  assert.deepEqual(countsOf('fine', 0), { passed: 1, failed: 0, skipped: 0 })
  assert.deepEqual(countsOf('not fine', 2), { passed: 0, failed: 1, skipped: 0 })
})

test('a step that ends badly after good tests has failed', () => {
  assert.deepEqual(countsOf('7 passed, 0 failed\n', 134), { passed: 7, failed: 1, skipped: 0 })
})
