/** The arithmetic of the workers' benchmark. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { derive } from './figures.ts'

test('capacity is what the workers could do with a processor each, held back by the busiest', () => {
  const one = derive({ elapsedMs: 1000, requests: 1000, clientCpuMs: 500, workerCpuMs: [1000] })
  assert.deepEqual(one, { rate: 1000, capacity: 1000, cpuUs: 1000, clientCpuUs: 500, evenness: 1 })
  const even = derive({ elapsedMs: 1000, requests: 1300, clientCpuMs: 700, workerCpuMs: [650, 650] })
  assert.equal(even.capacity, 2000)
  assert.equal(even.rate, 1300)
  const uneven = derive({ elapsedMs: 1000, requests: 1300, clientCpuMs: 700, workerCpuMs: [975, 325] })
  assert.equal(uneven.evenness, 650 / 975)
  assert.ok(Math.abs(uneven.capacity - 1333.3) < 0.1)
})
