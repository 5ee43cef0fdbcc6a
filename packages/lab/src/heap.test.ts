import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TaskHeap } from './heap.ts'

test('tasks come out by time, and in the order of scheduling where times are equal', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20 })), (times) => {
      const heap = new TaskHeap()
      const ran: string[] = []
      times.forEach((time, index) => {
        heap.push(time, { run: () => ran.push(`${time}/${index}`) })
      })
      for (let task = heap.pop(); task !== undefined; task = heap.pop()) task.run(0)
      const expected = times
        .map((time, index) => ({ time, index }))
        .sort((a, b) => a.time - b.time || a.index - b.index)
        .map(({ time, index }) => `${time}/${index}`)
      assert.deepEqual(ran, expected)
      assert.equal(heap.nextUs(), Infinity)
    }),
  )
})

test('a task that would never come is refused', () => {
  assert.throws(() => new TaskHeap().push(Infinity, { run: () => {} }), /finite time/)
  assert.throws(() => new TaskHeap().push(Number.NaN, { run: () => {} }), /finite time/)
})
