/** Tests of deadlines that move: one timer, and no blame for time that this process itself has lost. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from './clock.ts'
import { ManualClock } from './testing/manual-clock.ts'
import { Watchdog } from './watchdog.ts'

test('a deadline that is moved on expires at its last place, with one timer', async () => {
  const clock = new ManualClock()
  let expired = 0
  const watch = new Watchdog(clock, () => expired++)
  watch.feed(100)
  for (let at = 0; at < 50; at++) {
    await clock.advance(50)
    watch.feed(100)
    assert.equal(clock.pending, 1)
  }
  await clock.advance(99)
  assert.equal(expired, 0)
  await clock.advance(1)
  assert.equal(expired, 1)
  assert.equal(clock.pending, 0)
})

test('a pause lasts as long as it likes, and a stop for ever', async () => {
  const clock = new ManualClock()
  let expired = 0
  const watch = new Watchdog(clock, () => expired++)
  watch.feed(100)
  watch.pause()
  await clock.advance(1_000)
  watch.feed(100)
  await clock.advance(50)
  watch.feed(20)
  await clock.advance(20)
  assert.equal(expired, 1)
  watch.feed(10)
  await clock.advance(1_000)
  assert.equal(expired, 1)
})

test('when the timer itself comes late, what has arrived meanwhile is looked at first', () => {
  let nowMs = 0
  let action: (() => void) | undefined
  const clock: Clock = {
    nowMs: () => nowMs,
    after: (_delayMs, run) => {
      action = run
      return () => {
        action = undefined
      }
    },
  }
  const fire = (atMs: number): void => {
    nowMs = atMs
    const due = action
    action = undefined
    due?.()
  }
  let expired = 0
  const watch = new Watchdog(clock, () => expired++)
  watch.feed(100)
  fire(5_000)
  assert.equal(expired, 0)
  // The data that had arrived is read and moves the deadline.
  watch.feed(100)
  fire(5_020)
  assert.equal(expired, 0)
  fire(9_000)
  assert.equal(expired, 0)
  fire(12_000)
  assert.equal(expired, 1)
})
