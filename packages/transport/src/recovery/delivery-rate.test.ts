/** Delivery rate samples: bursts, compressed acknowledgments, idle times, slow applications, losses. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Level } from '../ports/crypto.ts'
import { DeliveryRate } from './delivery-rate.ts'

const MTU = 1_200

/** Sends and acknowledges packets of one space by hand. */
class Path {
  readonly delivery = new DeliveryRate()
  readonly sentAtUs: number[] = []
  inFlightBytes = 0

  send(nowUs: number): number {
    const pn = this.sentAtUs.length
    this.sentAtUs.push(nowUs)
    this.inFlightBytes += MTU
    this.delivery.onSent(Level.OneRtt, pn, 0, MTU, this.inFlightBytes, nowUs)
    return pn
  }

  ack(nowUs: number, ...numbers: number[]): void {
    this.delivery.clearSample()
    for (const pn of numbers) {
      this.inFlightBytes -= MTU
      this.delivery.onAcked(Level.OneRtt, pn, MTU, this.sentAtUs[pn] as number, nowUs)
    }
    this.delivery.finishAck(1)
  }

  lose(pn: number): void {
    this.inFlightBytes -= MTU
    this.delivery.onLost(Level.OneRtt, pn, MTU)
  }
}

test('packets that leave and arrive every millisecond show that rate', () => {
  const path = new Path()
  for (let ms = 0; ms < 200; ms += 1) {
    if (ms >= 50) path.ack(ms * 1_000, ms - 50)
    path.send(ms * 1_000)
  }
  assert.ok(
    Math.abs(path.delivery.bytesPerSecond - MTU * 1_000) < 0.03 * MTU * 1_000,
    `${path.delivery.bytesPerSecond}`,
  )
  assert.equal(path.delivery.isAppLimited, false)
})

test('acknowledgments that come all at once do not make the path look faster than we sent', () => {
  const path = new Path()
  for (let ms = 0; ms < 100; ms += 1) path.send(ms * 1_000)
  path.ack(150_000, ...Array.from({ length: 50 }, (_, i) => i))
  path.ack(150_100, ...Array.from({ length: 50 }, (_, i) => 50 + i))
  assert.ok(path.delivery.bytesPerSecond <= MTU * 1_000 * 1.03, `${path.delivery.bytesPerSecond}`)
})

test('a burst is no faster than its acknowledgments', () => {
  const path = new Path()
  for (let i = 0; i < 20; i += 1) path.send(0)
  for (let i = 0; i < 20; i += 1) path.ack(50_000 + i * 2_000, i)
  // 20 packets in 50 ms of way and 38 ms of acknowledgments.
  assert.ok(path.delivery.bytesPerSecond <= (20 * MTU * 1e6) / 88_000 + 1, `${path.delivery.bytesPerSecond}`)
})

test('no sample is faster than both sending and acknowledging over its own interval', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3_000), fc.nat(5)), { minLength: 5, maxLength: 80 }), (steps) => {
      const path = new Path()
      let nowUs = 1
      let acked = 0
      for (const [pauseUs, count] of steps) {
        nowUs += pauseUs
        for (let i = 0; i < count; i += 1) path.send(nowUs)
        nowUs += 500
        const most = Math.min(acked + count, path.sentAtUs.length)
        if (most === acked) continue
        const numbers = Array.from({ length: most - acked }, (_, i) => acked + i)
        acked = most
        path.ack(nowUs, ...numbers)
        assert.ok(path.delivery.sampleBytes >= numbers.length * MTU)
        assert.ok(path.delivery.deliveredBytes === acked * MTU)
        // All that was ever delivered, over the time since the first packet, is a bound for one sample's bytes only.
        assert.ok(path.delivery.sampleBytes <= path.delivery.deliveredBytes)
        assert.ok(Number.isFinite(path.delivery.bytesPerSecond) && path.delivery.bytesPerSecond >= 0)
      }
    }),
    { numRuns: 200 },
  )
})

test('after an idle time the interval begins with the first packet sent again', () => {
  const path = new Path()
  path.send(0)
  path.ack(50_000, 0)
  path.send(10_000_000)
  path.send(10_000_000)
  path.ack(10_050_000, 1, 2)
  assert.equal(path.delivery.bytesPerSecond, (2 * MTU * 1e6) / 50_000)
})

test('samples count as application-limited until what was in flight then is delivered', () => {
  const path = new Path()
  path.send(0)
  path.delivery.markLimited(path.inFlightBytes)
  path.send(1_000)
  path.ack(50_000, 0)
  assert.equal(path.delivery.isAppLimited, false, 'sent before the application ran dry')
  assert.equal(path.delivery.isLimited, true)
  path.ack(51_000, 1)
  assert.equal(path.delivery.isAppLimited, true)
  assert.equal(path.delivery.isLimited, false)
  path.send(52_000)
  path.ack(99_000, 2)
  assert.equal(path.delivery.isAppLimited, false)
})

test('intervals shorter than the shortest round trip give no rate', () => {
  const path = new Path()
  path.send(0)
  path.delivery.onAcked(Level.OneRtt, 0, MTU, 0, 10_000)
  path.delivery.finishAck(40_000)
  assert.equal(path.delivery.bytesPerSecond, 0)
  assert.equal(path.delivery.sampleBytes, MTU)
})

test('a lost packet tells what was in flight with it and lost since; neighbours are one event', () => {
  const path = new Path()
  for (let i = 0; i < 10; i += 1) path.send(i)
  path.lose(3)
  assert.equal(path.delivery.isNewLossRange, true)
  assert.equal(path.delivery.lossInFlightBytes, 4 * MTU)
  assert.equal(path.delivery.lossLostBytes, MTU)
  path.lose(4)
  assert.equal(path.delivery.isNewLossRange, false)
  assert.equal(path.delivery.lossLostBytes, 2 * MTU)
  path.lose(6)
  assert.equal(path.delivery.isNewLossRange, true)
})

test('packets sent before the path led elsewhere are delivered, but say nothing', () => {
  const path = new Path()
  path.send(0)
  path.send(1_000)
  path.delivery.reset()
  path.ack(50_000, 0, 1)
  assert.equal(path.delivery.hasSample, false)
  assert.equal(path.delivery.bytesPerSecond, 0)
  path.send(60_000)
  path.ack(80_000, 2)
  assert.equal(path.delivery.hasSample, true)
})

test('thousands of packets outstanding keep what each of them saw', () => {
  const path = new Path()
  for (let i = 0; i < 5_000; i += 1) path.send(i * 10)
  for (const pn of [0, 63, 64, 127, 128, 4_095, 4_096, 4_999]) {
    path.delivery.onLost(Level.OneRtt, pn, 0)
    assert.equal(path.delivery.lossInFlightBytes, (pn + 1) * MTU, `packet ${pn}`)
  }
})
