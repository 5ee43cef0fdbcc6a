/** CUBIC against the formulas of RFC 9438, evaluated beside it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RttEstimator } from '../recovery/rtt.ts'
import { conformance, Sender } from './conformance.ts'
import type { CongestionController } from './controller.ts'
import { createCubic } from './cubic.ts'

const MTU = 1_000
const POLICY = { handshakeConfirmed: true, maxAckDelayUs: 0 }
const BETA = 0.7
const C = 0.4

conformance('CUBIC', createCubic, BETA)

function near(actual: number, expected: number, share: number): void {
  assert.ok(Math.abs(actual - expected) <= share * expected, `${actual} is not within ${share} of ${expected}`)
}

/** A sender that always fills the window, one ACK frame per `stepUs`, so that growth follows the curve closely. */
class Greedy {
  readonly controller: CongestionController
  readonly rtt: RttEstimator
  readonly rttUs: number
  nowUs: number

  constructor(rttUs: number, windowSegments: number) {
    this.controller = createCubic(MTU)
    this.rtt = new RttEstimator()
    this.rttUs = rttUs
    this.nowUs = 0
    while (this.controller.windowBytes < windowSegments * MTU) {
      const missing = windowSegments * MTU - this.controller.windowBytes
      this.step(rttUs, Math.min(missing, this.controller.windowBytes))
    }
    assert.equal(this.controller.windowBytes, windowSegments * MTU)
  }

  /** After `us`, acknowledges `bytes` sent one RTT ago, with the window full at that time. */
  step(us: number, bytes: number): void {
    const { controller } = this
    controller.onPacketSent(MTU, controller.windowBytes, 0, this.nowUs)
    this.nowUs += us
    this.rtt.onSample(this.rttUs, 0, POLICY, this.nowUs)
    controller.onPacketAcked(bytes, 0, this.nowUs - Math.min(us, this.rttUs), this.rtt, this.nowUs)
    controller.onAckFinished(controller.windowBytes - bytes, this.rtt, this.nowUs)
  }

  lose(): void {
    this.controller.onCongestion(this.nowUs, MTU, 'loss', this.controller.windowBytes, this.nowUs)
    this.nowUs += 1
  }

  /** Runs for `us` in steps of one hundredth of an RTT, acknowledging at the rate of the window. */
  run(us: number): void {
    const stepUs = this.rttUs / 100
    for (let elapsed = 0; elapsed < us; elapsed += stepUs) this.step(stepUs, this.controller.windowBytes / 100)
  }
}

test('CUBIC: after a loss the window is 0.7 of what it was and is back there after K seconds', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  assert.equal(sender.controller.windowBytes, 700 * MTU)
  const kSeconds = Math.cbrt((1_000 - 700) / C)
  near(kSeconds, 9.0856, 0.001)
  sender.run(kSeconds * 1e6)
  // cwnd follows W_cubic(t + RTT), which is flat around K.
  near(sender.controller.windowBytes, 1_000 * MTU, 0.005)
})

// spec: RFC 9438 §4.4, §4.5
test('CUBIC: the window follows W_cubic one round trip ahead, concave and convex', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  const kSeconds = Math.cbrt(300 / C)
  for (let second = 1; second <= 16; second += 1) {
    sender.run(1_000_000)
    const cubic = (t: number): number => (C * (t - kSeconds) ** 3 + 1_000) * MTU
    const window = sender.controller.windowBytes
    assert.ok(window >= cubic(second) * 0.99, `second ${second}: ${window} under W_cubic(t) ${cubic(second)}`)
    assert.ok(window <= cubic(second + 0.1) * 1.01, `second ${second}: ${window} over W_cubic(t + RTT)`)
  }
})

// spec: RFC 9438 §4.4, §4.5
test('CUBIC: each acknowledgment adds its share of what W_cubic reaches one round trip later', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  sender.step(1_000, MTU)
  const before = sender.controller.windowBytes
  assert.ok(before - 700 * MTU < 2, 'the stage begins with this acknowledgment, on the line of Reno')
  sender.step(50_000, 70 * MTU)
  const target = (C * (0.15 - Math.cbrt(300 / C)) ** 3 + 1_000) * MTU
  near(sender.controller.windowBytes - before, ((target - before) * 70 * MTU) / before, 0.01)
})

test('CUBIC: after a long time without acknowledgments the window grows by half at most', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  sender.step(1_000, MTU)
  const before = sender.controller.windowBytes
  sender.step(60_000_000, before)
  near(sender.controller.windowBytes, 1.5 * before, 0.000_01)
})

test('CUBIC: a short path grows like Reno with alpha 0.53 up to the old window, with 1 beyond', () => {
  // 50 segments at 10 ms: Reno needs 15/0.53 round trips = 0.28 s for what the cubic curve needs K = 3.3 s.
  const sender = new Greedy(10_000, 50)
  sender.lose()
  const alpha = (3 * (1 - BETA)) / (1 + BETA)
  sender.run(100_000)
  near(sender.controller.windowBytes, (35 + 10 * alpha) * MTU, 0.01)
  sender.run(10_000 * (15 / alpha - 10))
  near(sender.controller.windowBytes, 50 * MTU, 0.01)
  sender.run(100_000)
  near(sender.controller.windowBytes, 60 * MTU, 0.02)
})

test('CUBIC: a loss below the previous maximum lowers the plateau further (fast convergence)', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  sender.run(2_000_000)
  const before = sender.controller.windowBytes
  assert.ok(before < 1_000 * MTU)
  sender.lose()
  near(sender.controller.windowBytes, before * BETA, 0.001)
  const plateau = (before * (1 + BETA)) / 2
  const kSeconds = Math.cbrt((plateau - before * BETA) / MTU / C)
  sender.run(kSeconds * 1e6)
  near(sender.controller.windowBytes, plateau, 0.005)
})

test('CUBIC: a loss above the previous maximum takes the window itself as plateau', () => {
  const sender = new Greedy(100_000, 100)
  sender.lose()
  sender.run(12_000_000)
  const before = sender.controller.windowBytes
  assert.ok(before > 100 * MTU)
  sender.lose()
  sender.run(Math.cbrt((before * (1 - BETA)) / MTU / C) * 1e6)
  assert.ok(sender.controller.windowBytes >= before * 0.99)
})

// spec: RFC 9438 §4.2
test('CUBIC: time in which the application sends little does not count on the curve', () => {
  const busy = new Greedy(100_000, 1_000)
  const pausing = new Greedy(100_000, 1_000)
  for (const sender of [busy, pausing]) {
    sender.lose()
    sender.run(3_000_000)
  }
  assert.equal(busy.controller.windowBytes, pausing.controller.windowBytes)
  // Thirty seconds of one packet per round trip.
  for (let i = 0; i < 300; i += 1) {
    pausing.controller.onPacketSent(MTU, MTU, 0, pausing.nowUs)
    pausing.nowUs += 100_000
    pausing.rtt.onSample(100_000, 0, POLICY, pausing.nowUs)
    pausing.controller.onPacketAcked(MTU, 0, pausing.nowUs - 100_000, pausing.rtt, pausing.nowUs)
    pausing.controller.onAckFinished(0, pausing.rtt, pausing.nowUs)
  }
  near(pausing.controller.windowBytes, busy.controller.windowBytes, 0.01)
  // And ten seconds of complete silence.
  pausing.nowUs += 10_000_000
  pausing.controller.onPacketSent(MTU, MTU, 0, pausing.nowUs)
  busy.run(3_000_000)
  pausing.run(3_000_000)
  near(pausing.controller.windowBytes, busy.controller.windowBytes, 0.01)
})

test('CUBIC: after persistent congestion the curve begins at the window where slow start ends', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  sender.run(500_000)
  sender.controller.onCongestion(sender.nowUs, MTU, 'loss', 0, sender.nowUs)
  sender.controller.onPersistentCongestion(sender.nowUs)
  assert.equal(sender.controller.windowBytes, 2 * MTU)
  while (sender.controller.windowBytes < sender.controller.slowStartThresholdBytes)
    sender.step(100_000, sender.controller.windowBytes)
  const start = sender.controller.windowBytes
  sender.run(5_000_000)
  // K = 0: convex from the first moment, with Reno's line as the floor.
  const cubic = start + C * MTU * 5.05 ** 3
  const reno = start + MTU * 50 * ((3 * (1 - BETA)) / (1 + BETA))
  near(sender.controller.windowBytes, Math.max(cubic, reno), 0.02)
})

test('CUBIC: a reduction is undone when all packets behind it arrive after all', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  sender.run(2_000_000)
  const window = sender.controller.windowBytes
  const threshold = sender.controller.slowStartThresholdBytes
  const sentAtUs = sender.nowUs
  sender.controller.onCongestion(sentAtUs, 2 * MTU, 'loss', 0, sender.nowUs)
  sender.controller.onCongestion(sentAtUs, MTU, 'loss', 0, sender.nowUs + 5)
  sender.nowUs += 10
  sender.controller.onSpuriousLoss?.(2 * MTU, sentAtUs, sender.nowUs)
  sender.step(1_000, 7 * MTU)
  assert.ok(sender.controller.windowBytes < window, 'one packet is still missing')
  sender.controller.onSpuriousLoss?.(MTU, sentAtUs, sender.nowUs)
  assert.equal(sender.controller.windowBytes, window)
  assert.equal(sender.controller.slowStartThresholdBytes, threshold)
  // The curve goes on where it was: K and epoch are the old ones.
  const kSeconds = Math.cbrt(300 / C)
  sender.run(3_000_000)
  near(sender.controller.windowBytes, (C * (5.1 - kSeconds) ** 3 + 1_000) * MTU, 0.005)
  sender.run((kSeconds - 5) * 1e6)
  near(sender.controller.windowBytes, 1_000 * MTU, 0.005)
})

test('CUBIC: an ECN mark in the same round trip makes the reduction final', () => {
  const sender = new Greedy(100_000, 1_000)
  const sentAtUs = sender.nowUs
  sender.controller.onCongestion(sentAtUs, MTU, 'loss', 0, sender.nowUs)
  sender.controller.onCongestion(sentAtUs, 0, 'ecn', 0, sender.nowUs + 1)
  sender.controller.onSpuriousLoss?.(MTU, sentAtUs, sender.nowUs + 2)
  assert.equal(sender.controller.windowBytes, 700 * MTU)
})

test('CUBIC: a spurious loss of an earlier reduction does not undo a later one', () => {
  const sender = new Greedy(100_000, 1_000)
  const firstUs = sender.nowUs
  sender.lose()
  sender.run(1_000_000)
  sender.lose()
  const window = sender.controller.windowBytes
  sender.nowUs += 1
  sender.controller.onSpuriousLoss?.(MTU, firstUs, sender.nowUs)
  assert.equal(sender.controller.windowBytes, window)
})

test('CUBIC: a window that has outgrown the old one is not cut back by an undo', () => {
  const sender = new Greedy(10_000, 50)
  const sentAtUs = sender.nowUs
  sender.lose()
  sender.run(1_000_000)
  const window = sender.controller.windowBytes
  assert.ok(window > 50 * MTU)
  sender.controller.onSpuriousLoss?.(MTU, sentAtUs, sender.nowUs)
  assert.equal(sender.controller.windowBytes, window)
})

test('CUBIC: a new MTU in mid-curve does not move the window', () => {
  const sender = new Greedy(100_000, 1_000)
  sender.lose()
  sender.run(4_000_000)
  const before = sender.controller.windowBytes
  sender.controller.onMtuChanged(1_452)
  sender.step(1_000, before / 100)
  near(sender.controller.windowBytes, before, 0.002)
})

test('CUBIC: any order of events keeps the window between two datagrams and 1 GiB', () => {
  const event = fc.record({
    kind: fc.constantFrom('ack', 'loss', 'ecn', 'persistent', 'spurious', 'mtu', 'idle'),
    us: fc.nat(2_000_000),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 120 }), (events) => {
      const sender = new Sender(createCubic(1_200))
      let mtu = 1_200
      for (const { kind, us, share } of events) {
        sender.nowUs += us
        const { controller, nowUs } = sender
        if (kind === 'ack') sender.round(Math.ceil(share * 50))
        if (kind === 'loss') controller.onCongestion(nowUs - us, 1_200, 'loss', 0, nowUs)
        if (kind === 'ecn') controller.onCongestion(nowUs - us, 0, 'ecn', 0, nowUs)
        if (kind === 'persistent') controller.onPersistentCongestion(nowUs)
        if (kind === 'spurious') controller.onSpuriousLoss?.(1_200, nowUs - us, nowUs)
        if (kind === 'mtu') mtu = 1_200 + Math.floor(share * 8_000)
        if (kind === 'mtu') controller.onMtuChanged(mtu)
        assert.ok(controller.windowBytes >= 2 * mtu && controller.windowBytes <= 2 ** 30, `${controller.windowBytes}`)
        assert.ok(controller.slowStartThresholdBytes >= 2 * mtu)
        assert.ok(controller.pacingRate(sender.rtt) > 0)
      }
    }),
    { numRuns: 200 },
  )
})
