/** The packet schedulers one by one: the suite they share, and what each is for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Moment, type Traits, conformance, lane } from './conformance.ts'
import { WAIT } from './packet-scheduler.ts'
import { createPacketScheduler, packetSchedulers } from './schedulers.ts'
import { WeightedPaths } from './weighted.ts'

const traits: Readonly<Record<(typeof packetSchedulers)[number], Traits>> = {
  adaptive: { mayWait: true, servesEveryLane: false },
  minrtt: { mayWait: false, servesEveryLane: false },
  rr: { mayWait: false, servesEveryLane: true },
  weighted: { mayWait: false, servesEveryLane: true },
  latency: { mayWait: false, servesEveryLane: true },
  redundant: { mayWait: false, servesEveryLane: false },
  backup: { mayWait: true, servesEveryLane: false },
  blest: { mayWait: true, servesEveryLane: false },
  ecf: { mayWait: true, servesEveryLane: false },
}

for (const name of packetSchedulers) conformance(() => createPacketScheduler(name, []), traits[name])

/** Bytes by lane after `bursts` decisions with all windows open. */
function shares(scheduler: ReturnType<typeof createPacketScheduler>, moment: Moment, bursts: number): number[] {
  const bytes = moment.lanes.map(() => 0)
  for (let i = 0; i < bursts; i++) {
    for (let j = 0; j < moment.lanes.length; j++) moment.acknowledge(j)
    const index = moment.burst(scheduler)
    bytes[index] = (bytes[index] as number) + (moment.lanes[index]?.inFlightBytes ?? 0)
  }
  return bytes
}

test('minrtt fills the fastest path and then the next', () => {
  const scheduler = createPacketScheduler('minrtt', [])
  const moment = new Moment([
    lane(0, { rttUs: 40_000, windowPackets: 16 }),
    lane(1, { rttUs: 10_000, windowPackets: 16 }),
  ])
  assert.deepEqual([moment.burst(scheduler), moment.burst(scheduler)], [1, 0])
})

test('rr takes paths in turn and passes over those that cannot send', () => {
  const scheduler = createPacketScheduler('rr', [])
  const moment = new Moment([lane(0), lane(4), lane(7)])
  const picks: number[] = []
  for (let i = 0; i < 6; i++) {
    if (i === 3) (moment.lanes[1] as { budgetBytes: number }).budgetBytes = 0
    picks.push(moment.burst(scheduler))
  }
  assert.deepEqual(picks, [0, 1, 2, 0, 2, 0])
})

test('weighted shares bytes by the weights it is given, exactly over any longer span', () => {
  const moment = new Moment([lane(0), lane(1), lane(2)])
  const bytes = shares(new WeightedPaths([5, 3]), moment, 900)
  const total = bytes.reduce((sum, one) => sum + one, 0)
  for (const [index, weight] of [5, 3, 1].entries()) {
    const share = (bytes[index] as number) / total
    assert.ok(Math.abs(share - weight / 9) < 0.01, `path ${index}: ${share}, wanted ${weight / 9}`)
  }
})

test('weighted shares bytes by window per round trip when no weights are given', () => {
  const moment = new Moment([
    lane(0, { rttUs: 20_000, windowPackets: 80 }),
    lane(1, { rttUs: 40_000, windowPackets: 40 }),
  ])
  const [fast = 0, slow = 0] = shares(createPacketScheduler('weighted', []), moment, 500)
  assert.ok(Math.abs(fast / slow - 4) < 0.1, `ratio ${fast / slow}`)
})

test('weighted does not let a path that was blocked for long silence the others afterwards', () => {
  const scheduler = new WeightedPaths([1, 1])
  const moment = new Moment([lane(0), lane(1)])
  for (let i = 0; i < 1_000; i++) {
    moment.acknowledge(0)
    ;(moment.lanes[1] as { budgetBytes: number }).budgetBytes = 0
    moment.burst(scheduler)
  }
  const [first = 0, second = 0] = shares(scheduler, moment, 100)
  assert.ok(first / second > 0.7, `${first} against ${second} bytes`)
})

test('backup keeps to the path with the lowest ID, waits for it, and moves on when it is gone', () => {
  const scheduler = createPacketScheduler('backup', [])
  const moment = new Moment([lane(0, { windowPackets: 16 }), lane(1)])
  assert.equal(moment.burst(scheduler), 0)
  assert.equal(moment.burst(scheduler), WAIT)
  moment.lanes.shift()
  assert.equal(moment.burst(scheduler), 0)
})

test('blest spares a slow path when the flow control window is small, and uses it when it is not', () => {
  const small = new Moment([lane(0, { rttUs: 10_000, inFlightShare: 1 }), lane(1, { rttUs: 200_000 })])
  small.sendWindowBytes = 500_000
  assert.equal(small.burst(createPacketScheduler('blest', [])), WAIT)
  small.sendWindowBytes = 16_000_000
  assert.equal(small.burst(createPacketScheduler('blest', [])), 1)
})

test('blest becomes more careful when flow control did stop the connection', () => {
  const scheduler = createPacketScheduler('blest', [])
  const moment = new Moment([lane(0, { rttUs: 10_000, inFlightShare: 1 }), lane(1, { rttUs: 100_000 })])
  // 10 round trips of the fast path with 60,000 bytes each, and some growth: just below the window.
  moment.sendWindowBytes = 660_000
  moment.nowUs = 1
  assert.equal(scheduler.pick(moment), 1)
  moment.stalls = 1
  moment.nowUs += 200_000
  assert.equal(scheduler.pick(moment), WAIT)
})

test('ecf leaves the end of a transfer to the fast path, and a long queue to both', () => {
  const scheduler = createPacketScheduler('ecf', [])
  const moment = new Moment([lane(0, { rttUs: 10_000, inFlightShare: 1 }), lane(1, { rttUs: 200_000 })])
  moment.queuedBytes = 30_000
  assert.equal(moment.burst(scheduler), WAIT)
  moment.queuedBytes = 5_000_000
  assert.equal(moment.burst(scheduler), 1)
})

test('ecf, having waited, does not change its mind at once', () => {
  const moment = new Moment([lane(0, { rttUs: 10_000, inFlightShare: 1 }), lane(1, { rttUs: 100_000 })])
  const fresh = createPacketScheduler('ecf', [])
  const waited = createPacketScheduler('ecf', [])
  moment.queuedBytes = 60_000
  assert.equal(waited.pick(moment), WAIT)
  // Between the two limits: 100 ms + 25 ms, and a quarter more.
  moment.queuedBytes = 60_000 * 12.5
  assert.equal(fresh.pick(moment), 1)
  assert.equal(waited.pick(moment), WAIT)
})

for (const name of ['blest', 'ecf'] as const) {
  test(`${name} tries a path that has no round-trip time yet`, () => {
    const moment = new Moment([lane(0, { rttUs: 10_000, inFlightShare: 1 }), lane(1, { rttUs: 333_000 })])
    moment.queuedBytes = 1
    moment.sendWindowBytes = 1
    ;(moment.lanes[1] as { hasRttSample: boolean }).hasRttSample = false
    assert.equal(moment.burst(createPacketScheduler(name, [])), 1)
  })
}
