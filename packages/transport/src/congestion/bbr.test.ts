/** BBR on paths of known rate and delay: the cases of draft-ietf-ccwg-bbr, appendix "BBR Example Test Cases". */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bottleneck, type BottleneckOptions } from '../testing/bottleneck.ts'
import { Bbr } from './bbr.ts'
import { commonConformance } from './conformance.ts'
import { createCubic } from './cubic.ts'

const MTU = 1_200
const MEGABIT = 125_000
const SECOND = 1_000_000

const SEED = 7
commonConformance('BBR', (mtuBytes) => new Bbr(mtuBytes, undefined, SEED))

interface Flow {
  readonly path: Bottleneck
  readonly bbr: Bbr
  /** Runs until BBR is in this state. */
  reach(state: string, withinUs?: number): void
  product(): number
}

function flow(options: BottleneckOptions): Flow {
  const bbr = new Bbr(MTU, undefined, SEED)
  const path = new Bottleneck(bbr, options)
  return {
    path,
    bbr,
    reach: (state, withinUs = 10 * SECOND) => {
      const isReached = path.until(() => bbr.state() === state, withinUs)
      assert.ok(isReached, `${state} within ${withinUs} us, is ${bbr.state()}`)
    },
    product: () => (path.bytesPerSecond * path.rttUs) / 1e6,
  }
}

const usual: BottleneckOptions = { bytesPerSecond: 20 * MEGABIT, rttUs: 40_000 }

function near(actual: number, expected: number, share: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= share * expected, `${what}: ${actual}, expected ${expected}`)
}

for (const [megabits, rttMs] of [
  [0.5, 50],
  [5, 10],
  [20, 40],
  [50, 150],
  [200, 8],
] as const)
  test(`at ${megabits} Mbit/s and ${rttMs} ms startup finds the rate, then no queue stands`, () => {
    const { path, bbr, reach, product } = flow({ bytesPerSecond: megabits * MEGABIT, rttUs: rttMs * 1_000 })
    reach('drain')
    reach('probe_bw_cruise')
    near(bbr.pacingRate(path.recovery.rtt), path.bytesPerSecond * 0.99, 0.03, 'pacing rate')
    path.run(SECOND)
    const rate = path.rateOver(5 * SECOND)
    assert.ok(rate > 0.93 * path.bytesPerSecond, `${rate} of ${path.bytesPerSecond}`)
    assert.ok(bbr.windowBytes <= Math.max(3 * product(), 30 * MTU), `window ${bbr.windowBytes}`)
    near(path.recovery.rtt.minUs, path.rttUs, 0.5, 'shortest round trip')
  })

test('startup is over within three rounds of reaching the rate', () => {
  const { path, reach, product } = flow(usual)
  assert.ok(path.until(() => path.recovery.inFlightBytes > product(), 2 * SECOND))
  const fullUs = path.nowUs
  reach('drain', 8 * usual.rttUs)
  reach('probe_bw_cruise', 8 * usual.rttUs)
  assert.ok(path.nowUs - fullUs <= 12 * usual.rttUs)
})

test('an application that sends little keeps startup going, and the rate is found when it sends more', () => {
  const { path, bbr, reach } = flow(usual)
  path.isGreedy = false
  for (let i = 0; i < 200; i += 1) {
    path.pendingBytes = 3 * MTU
    path.run(20_000)
  }
  assert.equal(bbr.state(), 'startup')
  path.isGreedy = true
  reach('drain')
  path.run(SECOND)
  assert.ok(path.rateOver(3 * SECOND) > 0.93 * path.bytesPerSecond)
})

test('many losses end startup though the application is the limit', () => {
  const { path, bbr } = flow(usual)
  path.isGreedy = false
  path.loseEvery = 8
  const isOver = path.until(() => {
    if (path.pendingBytes < MTU) path.pendingBytes = 400 * MTU
    return bbr.state() !== 'startup'
  }, 5 * SECOND)
  assert.ok(isOver)
})

test('the bandwidth probe raises what is in flight and lets the queue drain after it', () => {
  const { path, reach, product } = flow(usual)
  reach('probe_bw_cruise')
  reach('probe_bw_refill')
  reach('probe_bw_up')
  assert.ok(path.until(() => path.recovery.inFlightBytes > 1.2 * product(), SECOND))
  reach('probe_bw_down')
  reach('probe_bw_cruise')
  assert.ok(path.recovery.inFlightBytes < 1.15 * product() + 4 * MTU, `${path.recovery.inFlightBytes} in flight`)
})

test('an application without data during the probe does not lower the rate believed', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_refill')
  path.isGreedy = false
  for (let i = 0; i < 100; i += 1) {
    path.pendingBytes = 2 * MTU
    path.run(20_000)
  }
  path.isGreedy = true
  path.run(3 * usual.rttUs)
  assert.ok(bbr.pacingRate(path.recovery.rtt) > 0.85 * path.bytesPerSecond, `${bbr.pacingRate(path.recovery.rtt)}`)
})

test('once the shortest round trip is five seconds old, half of the product is in flight for a fifth of a second', () => {
  const { path, bbr, reach, product } = flow(usual)
  reach('probe_bw_cruise')
  // The way got longer: no sample is as short as before.
  path.rttUs += 10_000
  reach('probe_rtt', 7 * SECOND)
  const beganUs = path.nowUs
  assert.ok(path.until(() => path.recovery.inFlightBytes <= 0.5 * product() + MTU, 500_000))
  path.until(() => bbr.state() !== 'probe_rtt', SECOND)
  assert.ok(path.nowUs - beganUs >= 200_000 && path.nowUs - beganUs < 500_000, `${path.nowUs - beganUs} us`)
  assert.equal(bbr.state(), 'probe_bw_cruise')
  path.run(SECOND)
  assert.ok(path.rateOver(3 * SECOND) > 0.9 * path.bytesPerSecond)
})

test('round trips that stay the shortest need no pause to be measured', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  assert.equal(
    path.until(() => bbr.state() === 'probe_rtt', 12 * SECOND),
    false,
  )
})

test('idle time measures the round trip: no pause follows it, and the rate is there at once', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  path.isGreedy = false
  path.run(8 * SECOND)
  assert.equal(path.recovery.inFlightBytes, 0)
  path.isGreedy = true
  assert.equal(
    path.until(() => bbr.state() === 'probe_rtt', 2 * SECOND),
    false,
  )
  assert.ok(path.rateOver(SECOND) > 0.9 * path.bytesPerSecond)
})

test('ten times the rate is found within some seconds', () => {
  const { path, reach } = flow({ bytesPerSecond: 10 * MEGABIT, rttUs: 40_000, queueBytes: 100_000 })
  reach('probe_bw_cruise')
  path.bytesPerSecond = 100 * MEGABIT
  path.run(30 * SECOND)
  assert.ok(path.rateOver(5 * SECOND) > 0.85 * path.bytesPerSecond)
})

test('a tenth of the rate is believed within some seconds, few packets get lost after', () => {
  const { path, bbr, reach } = flow({ bytesPerSecond: 100 * MEGABIT, rttUs: 40_000 })
  reach('probe_bw_cruise')
  path.bytesPerSecond = 10 * MEGABIT
  path.run(15 * SECOND)
  assert.ok(bbr.pacingRate(path.recovery.rtt) < 1.5 * path.bytesPerSecond)
  const before = path.dropped
  const rate = path.rateOver(10 * SECOND)
  assert.ok(rate > 0.9 * path.bytesPerSecond)
  assert.ok((path.dropped - before) * MTU < 0.03 * rate * 10, `${path.dropped - before} packets dropped in 10 s`)
})

for (const loseEvery of [200, 100] as const)
  test(`one packet in ${loseEvery} lost costs little, where CUBIC gives up most of a long path`, () => {
    const options = { bytesPerSecond: 20 * MEGABIT, rttUs: 120_000, loseEvery }
    const bbr = new Bottleneck(new Bbr(MTU, undefined, SEED), options)
    const cubic = new Bottleneck(createCubic(MTU), options)
    for (const path of [bbr, cubic]) path.run(5 * SECOND)
    const [ofBbr, ofCubic] = [bbr, cubic].map((path) => path.rateOver(10 * SECOND) / path.bytesPerSecond)
    assert.ok((ofBbr as number) > 0.8, `BBR ${ofBbr}`)
    assert.ok((ofCubic as number) < 0.5, `CUBIC ${ofCubic}`)
  })

test('a shallow queue is not overrun for long', () => {
  const { path, reach } = flow({ ...usual, queueBytes: 12 * MTU })
  reach('probe_bw_cruise')
  path.run(2 * SECOND)
  const before = path.dropped
  const rate = path.rateOver(10 * SECOND)
  assert.ok(rate > 0.7 * path.bytesPerSecond, `${rate}`)
  assert.ok((path.dropped - before) * MTU < 0.03 * rate * 10, `${path.dropped - before} packets dropped in 10 s`)
})

test('losses outside of a probe lower rate and window for a while, the next probe lifts them', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  path.run(300_000)
  const before = bbr.pacingRate(path.recovery.rtt)
  path.bytesPerSecond /= 2
  path.queueBytes = 10 * MTU
  path.run(500_000)
  assert.ok(bbr.pacingRate(path.recovery.rtt) < 0.8 * before)
  path.bytesPerSecond *= 2
  path.queueBytes = 100_000
  path.run(8 * SECOND)
  assert.ok(bbr.pacingRate(path.recovery.rtt) > 0.85 * before)
})

test('losses that prove spurious are forgotten', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  path.run(200_000)
  const rate = bbr.pacingRate(path.recovery.rtt)
  const window = bbr.windowBytes
  const { next } = path.space.sent
  // Later than the thresholds of loss detection allow, but they come.
  for (let pn = next; pn < next + 30; pn += 1) path.lateUs.set(pn, 30_000)
  assert.ok(path.until(() => path.recovery.packetsLost > 0, 500_000))
  path.run(200_000)
  assert.ok(bbr.pacingRate(path.recovery.rtt) >= 0.99 * rate, `${bbr.pacingRate(path.recovery.rtt)} of ${rate}`)
  assert.ok(bbr.windowBytes >= 0.99 * window)
})

test('a startup ended by losses that prove spurious goes on', () => {
  const { path, bbr } = flow({ bytesPerSecond: 100 * MEGABIT, rttUs: 100_000 })
  assert.ok(path.until(() => path.space.sent.next > 60, SECOND))
  const { next } = path.space.sent
  for (let pn = next; pn < next + 100; pn += 3) path.lateUs.set(pn, 60_000)
  const states = new Set<string>()
  path.until(() => {
    states.add(bbr.state())
    return false
  }, 800_000)
  assert.ok(path.recovery.packetsLost >= 6)
  path.run(2 * SECOND)
  assert.ok(path.rateOver(SECOND) > 0.9 * path.bytesPerSecond, [...states].join(' '))
})

// RFC 9002 §7.6.2: "the sender's congestion window MUST be reduced to the minimum congestion window"
test('persistent congestion leaves four datagrams and what is acknowledged with it; the path that works again is filled within a second', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  path.run(300_000)
  let least = Infinity
  const { bytesPerSecond } = path
  // Everything is dropped for three seconds.
  path.queueBytes = 0
  path.loseAllUnderWay()
  path.run(3 * SECOND)
  path.queueBytes = 100_000
  assert.ok(
    path.until(() => {
      least = Math.min(least, bbr.windowBytes)
      return least <= 6 * MTU
    }, 3 * SECOND),
    `window never below ${least}`,
  )
  path.run(SECOND)
  assert.ok(path.rateOver(SECOND) > 0.9 * bytesPerSecond)
})

// draft-ietf-ccwg-bbr, "ECN": the "response MUST treat any CE marks as congestion"
test('CE marks end startup', () => {
  const { path, bbr } = flow(usual)
  path.run(100_000)
  assert.equal(bbr.state(), 'startup')
  path.recovery.onEcnCongestion(path.nowUs, path.nowUs)
  assert.equal(bbr.state(), 'drain')
})

test('CE marks end a bandwidth probe and bound what may be in flight', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  reach('probe_bw_up')
  path.run(usual.rttUs)
  const inFlightBytes = path.recovery.inFlightBytes
  assert.ok(bbr.windowBytes > 1.5 * inFlightBytes)
  path.recovery.onEcnCongestion(path.nowUs, path.nowUs)
  assert.equal(bbr.state(), 'probe_bw_down')
  path.run(usual.rttUs)
  assert.ok(bbr.windowBytes <= inFlightBytes + 4 * MTU, `${bbr.windowBytes} with ${inFlightBytes} in flight then`)
})

test('CE marks while cruising lower the rate for a while', () => {
  const { path, bbr, reach } = flow(usual)
  reach('probe_bw_cruise')
  path.run(200_000)
  const window = bbr.windowBytes
  path.recovery.onEcnCongestion(path.nowUs, path.nowUs)
  path.run(2 * usual.rttUs)
  assert.ok(bbr.windowBytes < window, `${bbr.windowBytes} of ${window}`)
})

test('on a link whose round trip varies by its own length the rate is found all the same', () => {
  const { path } = flow({ bytesPerSecond: 50 * MEGABIT, rttUs: 40_000, jitterUs: 60_000 })
  path.run(4 * SECOND)
  const rate = path.rateOver(8 * SECOND)
  assert.ok(rate > 0.6 * path.bytesPerSecond, `${rate} of ${path.bytesPerSecond}`)
})

test('four packets in flight are the least, however short the path', () => {
  const { path, bbr } = flow({ bytesPerSecond: MEGABIT / 10, rttUs: 5_000 })
  path.run(10 * SECOND)
  assert.ok(bbr.windowBytes >= 4 * MTU)
  assert.ok(path.rateOver(5 * SECOND) > 0.85 * path.bytesPerSecond)
})

test('flows with different seeds do not probe at the same moments', () => {
  const times = [1, 2].map((seed) => {
    const bbr = new Bbr(MTU, undefined, seed)
    const path = new Bottleneck(bbr, { bytesPerSecond: 50 * MEGABIT, rttUs: 100_000 })
    assert.ok(path.until(() => bbr.state() === 'probe_bw_up', 10 * SECOND))
    return path.nowUs
  })
  assert.notEqual(times[0], times[1])
})
