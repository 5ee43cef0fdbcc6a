/** RTT estimation against the equations of RFC 9002 §5, evaluated beside it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { INITIAL_RTT_US, RttEstimator } from './rtt.ts'

const confirmed = { handshakeConfirmed: true, maxAckDelayUs: 25_000 }
const handshaking = { handshakeConfirmed: false, maxAckDelayUs: 25_000 }

function near(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 1e-6 * Math.max(1, Math.abs(expected)), `${actual} is not ${expected}`)
}

test('before the first sample the RTT is 333 ms and the probe timeout about one second', () => {
  const rtt = new RttEstimator()
  assert.equal(rtt.hasSample, false)
  assert.equal(rtt.smoothedUs, INITIAL_RTT_US)
  assert.equal(rtt.varUs, 166_500)
  assert.equal(rtt.ptoUs(0), 999_000)
})

// spec: RFC 9002 §5.2#1
test('the first sample replaces the assumption and ignores the acknowledgment delay', () => {
  const rtt = new RttEstimator()
  rtt.onSample(40_000, 15_000, confirmed, 7)
  assert.equal(rtt.smoothedUs, 40_000)
  assert.equal(rtt.varUs, 20_000)
  assert.equal(rtt.minUs, 40_000)
  assert.equal(rtt.firstSampleAtUs, 7)
})

// spec: RFC 9002 §5.2#2
test('later samples are smoothed with 1/8 and 1/4, the variation against the old mean', () => {
  const rtt = new RttEstimator()
  rtt.onSample(40_000, 0, confirmed, 0)
  rtt.onSample(60_000, 10_000, confirmed, 1)
  near(rtt.varUs, 0.75 * 20_000 + 0.25 * 10_000)
  near(rtt.smoothedUs, 0.875 * 40_000 + 0.125 * 50_000)
})

// spec: RFC 9002 §5.3#3
test('a claimed acknowledgment delay is capped only after the handshake is confirmed', () => {
  const before = new RttEstimator()
  before.onSample(40_000, 0, handshaking, 0)
  before.onSample(100_000, 50_000, handshaking, 1)
  near(before.smoothedUs, 0.875 * 40_000 + 0.125 * 50_000)
  const after = new RttEstimator()
  after.onSample(40_000, 0, confirmed, 0)
  after.onSample(100_000, 50_000, confirmed, 1)
  near(after.smoothedUs, 0.875 * 40_000 + 0.125 * 75_000)
})

// spec: RFC 9002 §5.3#4
test('a delay that would push the sample under the minimum is not subtracted', () => {
  const rtt = new RttEstimator()
  rtt.onSample(40_000, 0, confirmed, 0)
  rtt.onSample(45_000, 20_000, confirmed, 1)
  near(rtt.smoothedUs, 0.875 * 40_000 + 0.125 * 45_000)
})

// spec: RFC 9002 §6.1.2#2, §6.2.1#1
test('timers never fall under the granularity of 1 ms', () => {
  const rtt = new RttEstimator()
  for (let i = 0; i < 100; i += 1) rtt.onSample(50, 0, confirmed, i)
  near(rtt.ptoUs(0), 50 + 1_000)
  assert.equal(rtt.lossDelayUs(), 1_000)
})

test('loss delay is 9/8 of the larger of smoothed and latest RTT, persistent congestion three probe timeouts', () => {
  const rtt = new RttEstimator()
  rtt.onSample(40_000, 0, confirmed, 0)
  rtt.onSample(80_000, 0, confirmed, 1)
  assert.equal(rtt.lossDelayUs(), 90_000)
  assert.equal(rtt.persistentCongestionUs(25_000), 3 * (rtt.smoothedUs + 4 * rtt.varUs + 25_000))
})

test('persistent congestion renews the minimum, a reset forgets everything', () => {
  const rtt = new RttEstimator()
  rtt.onSample(10_000, 0, confirmed, 0)
  rtt.onSample(90_000, 0, confirmed, 1)
  assert.equal(rtt.minUs, 10_000)
  rtt.onPersistentCongestion()
  assert.equal(rtt.minUs, 90_000)
  rtt.reset()
  assert.equal(rtt.hasSample, false)
  assert.equal(rtt.smoothedUs, INITIAL_RTT_US)
})

test('the least round trip leaves out what the peer says it waited, and forgets a shorter way within a minute', () => {
  const rtt = new RttEstimator()
  assert.equal(rtt.leastUs, Infinity)
  rtt.onSample(40_000, 15_000, confirmed, 0)
  assert.equal(rtt.leastUs, 25_000)
  rtt.onSample(90_000, 0, confirmed, 29_000_000)
  assert.equal(rtt.leastUs, 25_000)
  rtt.onSample(90_000, 0, confirmed, 31_000_000)
  assert.equal(rtt.leastUs, 25_000)
  rtt.onSample(80_000, 0, confirmed, 62_000_000)
  assert.equal(rtt.leastUs, 80_000)
  // A delay that cannot be true harms nobody but the one who claims it.
  rtt.onSample(80_000, 2 ** 40, confirmed, 62_000_001)
  assert.equal(rtt.leastUs, 1)
  rtt.reset()
  assert.equal(rtt.leastUs, Infinity)
})

test('whatever a peer claims, the mean stays between the smallest and the largest sample', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 10_000_000 }), fc.nat(2 ** 40), fc.boolean()), { minLength: 1 }),
      (samples) => {
        const rtt = new RttEstimator()
        for (const [latest, delay, isConfirmed] of samples)
          rtt.onSample(latest, delay, isConfirmed ? confirmed : handshaking, 0)
        const all = samples.map(([latest]) => latest)
        assert.equal(rtt.minUs, Math.min(...all))
        assert.ok(rtt.smoothedUs >= Math.min(...all) - 1e-6 && rtt.smoothedUs <= Math.max(...all) + 1e-6)
        assert.ok(rtt.varUs >= 0 && Number.isFinite(rtt.ptoUs(25_000)))
      },
    ),
  )
})
