/** The default scheduler: when it takes a slow path along, and when it leaves it alone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Adaptive } from './adaptive.ts'
import { Moment, lane } from './conformance.ts'
import { WAIT } from './packet-scheduler.ts'

const MTU = 1_200

/** A fast path that is full, and a slow one with room. */
function fastIsFull(slow: { readonly rttUs: number; readonly windowPackets: number }): Moment {
  const moment = new Moment([
    lane(0, { rttUs: 30_000, windowPackets: 150, inFlightShare: 1 }),
    lane(1, { ...slow, inFlightShare: 0 }),
  ])
  for (const each of moment.lanes) each.isStartingUp = false
  return moment
}

/** Asks for `us` microseconds without a pause, as a transfer of that length would; returns the last answer. */
function after(scheduler: Adaptive, moment: Moment, us: number): number {
  let pick = scheduler.pick(moment)
  const endUs = moment.nowUs + us
  while (moment.nowUs < endUs) {
    moment.nowUs += 100_000
    pick = scheduler.pick(moment)
  }
  return pick
}

test('adaptive takes along at once what is hardly slower', () => {
  assert.equal(new Adaptive().pick(fastIsFull({ rttUs: 60_000, windowPackets: 150 })), 1)
})

test('adaptive takes a much slower path along once the transfer has lasted long enough to pay for it', () => {
  const scheduler = new Adaptive()
  const moment = fastIsFull({ rttUs: 640_000, windowPackets: 150 })
  assert.equal(after(scheduler, moment, 3_000_000), WAIT)
  assert.equal(after(scheduler, moment, 20_000_000), 1)
})

test('adaptive takes a much slower path along at once when the fast one alone would be busy with what waits', () => {
  const moment = fastIsFull({ rttUs: 640_000, windowPackets: 150 })
  assert.equal(new Adaptive().pick(moment), WAIT)
  // Twenty-five seconds at the rate of the fast path.
  moment.queuedBytes = 150_000_000
  assert.equal(new Adaptive().pick(moment), 1)
})

test('adaptive begins anew after a pause', () => {
  const scheduler = new Adaptive()
  const moment = fastIsFull({ rttUs: 640_000, windowPackets: 100 })
  assert.equal(after(scheduler, moment, 30_000_000), 1)
  moment.nowUs += 5_000_000
  moment.lanes[1] = fastIsFull({ rttUs: 640_000, windowPackets: 100 }).lanes[1] as (typeof moment.lanes)[number]
  assert.equal(scheduler.pick(moment), WAIT)
})

test('adaptive leaves a slow path alone that losses keep small', () => {
  const moment = fastIsFull({ rttUs: 640_000, windowPackets: 4 })
  ;(moment.lanes[1] as { lossRatio: number }).lossRatio = 0.05
  assert.equal(after(new Adaptive(), moment, 10_000_000), WAIT)
})

test('adaptive sends the known rest where it arrives first', () => {
  const scheduler = new Adaptive()
  const moment = fastIsFull({ rttUs: 120_000, windowPackets: 150 })
  assert.equal(after(scheduler, moment, 5_000_000), 1)
  moment.isEnding = true
  moment.queuedBytes = 10 * MTU
  assert.equal(scheduler.pick(moment), WAIT)
  moment.queuedBytes = 10_000 * MTU
  assert.equal(scheduler.pick(moment), 1)
})

// pitfall 27: the order of interfaces decides, and a path that loses 30 % gets most of the traffic
test('adaptive prefers the path that loses nothing, whichever comes first', () => {
  for (const lossy of [0, 1]) {
    const moment = new Moment([lane(0, { rttUs: 30_000 }), lane(1, { rttUs: 30_000 })])
    ;(moment.lanes[lossy] as { lossRatio: number }).lossRatio = 0.3
    ;(moment.lanes[lossy] as { smoothedRttUs: number }).smoothedRttUs = 25_000
    assert.equal(new Adaptive().pick(moment), 1 - lossy)
  }
})

test('adaptive tries a path that was never tried', () => {
  const moment = fastIsFull({ rttUs: 333_000, windowPackets: 10 })
  ;(moment.lanes[1] as { hasRttSample: boolean }).hasRttSample = false
  assert.equal(new Adaptive().pick(moment), 1)
})
