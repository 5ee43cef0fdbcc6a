/** CUBIC that does not answer losses without a queue: what it keeps, what it gives up, what it still answers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RttEstimator } from '../recovery/rtt.ts'
import { Bottleneck, type BottleneckOptions } from '../testing/bottleneck.ts'
import { commonConformance } from './conformance.ts'
import type { CongestionController } from './controller.ts'
import { createCubic, createTolerantCubic } from './cubic.ts'
import { LossJudge } from './loss-judge.ts'

const MTU = 1_200
const SECOND = 1_000_000
const POLICY = { handshakeConfirmed: true, maxAckDelayUs: 0 }
/** 20 Mbit/s and 100 ms: 208 packets under way. */
const link: BottleneckOptions = { bytesPerSecond: 2_500_000, rttUs: 100_000 }

commonConformance('tolerant', createTolerantCubic)

/** Share of the link that is used after ten seconds. */
function shareOf(make: (mtuBytes: number) => CongestionController, options: BottleneckOptions): number {
  const path = new Bottleneck(make(MTU), options)
  path.run(10 * SECOND)
  return path.rateOver(10 * SECOND) / options.bytesPerSecond
}

test('one lost packet in a hundred costs a far link a quarter of its rate, where CUBIC keeps less than a fifth', () => {
  const lossy = { ...link, loseEvery: 100 }
  assert.ok(shareOf(createTolerantCubic, lossy) > 0.75)
  assert.ok(shareOf(createCubic, lossy) < 0.2)
})

test('more than two lost packets in a hundred are congestion whatever the delay says', () => {
  const lossy = { ...link, loseEvery: 25 }
  assert.ok(shareOf(createTolerantCubic, lossy) < 0.25, `${shareOf(createTolerantCubic, lossy)}`)
})

test('where delays vary by more than an eighth every loss is answered, as CUBIC does', () => {
  const jittery = { ...link, loseEvery: 100, jitterUs: 60_000 }
  const share = shareOf(createTolerantCubic, jittery)
  assert.ok(share < 0.5 && share < shareOf(createTolerantCubic, { ...link, loseEvery: 100 }) - 0.25, `${share}`)
})

for (const share of [0.25, 0.5, 1] as const)
  test(`in a queue of ${share} of what is under way it does to the byte what CUBIC does`, () => {
    const queueBytes = share * link.bytesPerSecond * 0.1
    const run = (make: (mtuBytes: number) => CongestionController): number[] => {
      const path = new Bottleneck(make(MTU), { ...link, queueBytes })
      return Array.from({ length: 20 }, () => path.rateOver(SECOND))
    }
    const rates = run(createTolerantCubic)
    assert.ok(Math.max(...rates) > 0.98 * link.bytesPerSecond, 'the queue overflows')
    assert.deepEqual(rates, run(createCubic))
  })

test('ECN marks are answered, queue or not', () => {
  const controller = createTolerantCubic(MTU)
  const rtt = new RttEstimator()
  rtt.onSample(50_000, 0, POLICY, 50_000)
  controller.onPacketSent(MTU, MTU, 0, 0)
  controller.onPacketAcked(MTU, 0, 0, rtt, 50_000)
  controller.onAckFinished(0, rtt, 50_000)
  const before = controller.windowBytes
  controller.onCongestion(40_000, MTU, 'loss', before, 60_000)
  assert.equal(controller.windowBytes, before)
  controller.onCongestion(40_000, 0, 'ecn', before, 60_000)
  assert.ok(controller.windowBytes < before)
})

for (const [laterUs, sentLaterUs, isUndone, what] of [
  [52_000, 5_000, true, 'a packet sent right behind it met no queue'],
  [58_000, 5_000, false, 'the packets behind it met a queue, too'],
  [52_000, 30_000, false, 'it is the next round that meets none'],
] as const)
  test(`a loss that was noticed late is ${isUndone ? 'not answered in the end' : 'answered'} when ${what}`, () => {
    const controller = createTolerantCubic(MTU)
    const rtt = new RttEstimator()
    let pn = 0
    const deliver = (sentAtUs: number, rttUs: number): void => {
      rtt.onSample(rttUs, 0, POLICY, sentAtUs + rttUs)
      controller.onPacketAcked(MTU, pn++, sentAtUs, rtt, sentAtUs + rttUs)
      controller.onAckFinished(controller.windowBytes - MTU, rtt, sentAtUs + rttUs)
    }
    for (let ms = 0; ms < 100; ms += 1) controller.onPacketSent(MTU, controller.windowBytes, ms, ms * 1_000)
    for (let ms = 0; ms < 40; ms += 1) deliver(ms * 1_000, 50_000)
    const before = controller.windowBytes
    rtt.onSample(70_000, 0, POLICY, 112_000)
    controller.onCongestion(41_000, MTU, 'loss', before, 112_000)
    assert.ok(controller.windowBytes < before)
    deliver(41_000 + sentLaterUs, laterUs)
    assert.equal(controller.windowBytes >= before, isUndone)
  })

/** A round trip that was `minUs` once and is `latestUs` now. */
function rttOf(minUs: number, latestUs: number): RttEstimator {
  const rtt = new RttEstimator()
  rtt.onSample(minUs, 0, POLICY, 0)
  rtt.onSample(latestUs, 0, POLICY, 0)
  return rtt
}

for (const [minUs, latestUs, isRandom, what] of [
  [100_000, 100_000, true, 'no queue'],
  [100_000, 109_000, true, 'less than ten milliseconds of it'],
  [100_000, 111_000, false, 'more than ten milliseconds of it'],
  [40_000, 44_000, true, 'a tenth of a shorter way'],
  [40_000, 46_000, false, 'more than an eighth of a shorter way'],
  [5_000, 5_000, false, 'a way too short to tell'],
] as const)
  test(`a loss with ${what} (${latestUs / 1_000} of ${minUs / 1_000} ms) is ${isRandom ? 'the link’s' : 'congestion'}`, () => {
    const judge = new LossJudge()
    judge.onAcked(1_000 * MTU, MTU)
    assert.equal(judge.isRandom(MTU, MTU, rttOf(minUs, latestUs)), isRandom)
  })

test('the ratio of losses is one of the last thousand packets, and begins anew on another way', () => {
  const rtt = rttOf(100_000, 100_000)
  const judge = new LossJudge()
  const loseAndDeliver = (lost: number, delivered: number): boolean => {
    const isRandom = judge.isRandom(lost * MTU, MTU, rtt)
    for (let i = 0; i < delivered; i += 1) judge.onAcked(MTU, MTU)
    return isRandom
  }
  assert.equal(loseAndDeliver(3, 10), true, 'a few at the beginning')
  assert.equal(loseAndDeliver(3, 10), false, 'six of 20')
  judge.reset()
  assert.equal(loseAndDeliver(3, 10_000), true)
  assert.equal(loseAndDeliver(30, 10_000), false, 'thirty at once')
  assert.equal(loseAndDeliver(3, 0), true, 'long ago')
})
