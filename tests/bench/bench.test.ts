/** What the benchmark promises on any machine: sound statistics, and an engine that allocates little per packet. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ALLOCATED_BYTES_PER_PACKET_MAX, measureAllocation } from './allocation.ts'
import { arms } from './arms.ts'
import { median, spread } from './statistics.ts'

test('bulk transfer allocates no more per packet than its budget', () => {
  const { packets, bytesAllocatedPerPacket, bytesDelivered } = measureAllocation(32_000_000)
  assert.ok(packets > bytesDelivered / 1_500, `${packets} packets carry ${bytesDelivered} bytes`)
  assert.ok(bytesAllocatedPerPacket > 0, 'allocation is counted')
  assert.ok(bytesAllocatedPerPacket <= ALLOCATED_BYTES_PER_PACKET_MAX, `${bytesAllocatedPerPacket} bytes per packet`)
})

for (const [values, want] of [
  [[], undefined],
  [[3], 3],
  [[4, 1], 2.5],
  [[9, 1, 5], 5],
  [[4, 1, 3, 2], 2.5],
] as const)
  test(`the median of ${JSON.stringify(values)} is ${want}`, () => assert.equal(median(values), want))

test('the spread tells how far apart the quartiles are, and needs three values', () => {
  assert.equal(spread([1, 2]), undefined)
  assert.equal(spread([5, 5, 5, 5]), 0)
  assert.equal(spread([80, 90, 100, 110, 120]), 0.1)
})

test('larger scales mean more work for every implementation', () => {
  for (const arm of arms) {
    for (const measure of arm.measures) {
      const [small, large] = [arm.work(measure, 1), arm.work(measure, 3)]
      assert.equal(small.kind, measure)
      const size = (work: typeof small) => ('bytes' in work ? work.bytes : work.seconds)
      assert.equal(size(large), 3 * size(small), `${arm.name} ${measure}`)
    }
  }
})
