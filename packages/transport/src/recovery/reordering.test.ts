/** Reordering: what is learnt, its bounds, and that it is forgotten. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Reordering } from './reordering.ts'
import { RttEstimator } from './rtt.ts'

function rttOf(us: number): RttEstimator {
  const rtt = new RttEstimator()
  rtt.onSample(us, 0, { handshakeConfirmed: true, maxAckDelayUs: 25_000 }, 0)
  return rtt
}

test('a path begins with the thresholds of RFC 9002: three packets, 9/8 of the RTT', () => {
  const reordering = new Reordering()
  assert.equal(reordering.packetThreshold, 3)
  assert.equal(reordering.lossDelayUs(rttOf(80_000)), 90_000)
})

test('a packet that arrives ten numbers late raises the threshold just above that', () => {
  const reordering = new Reordering()
  reordering.onSpuriousLoss(10, 85_000)
  assert.equal(reordering.packetThreshold, 11)
  assert.equal(reordering.lossDelayUs(rttOf(80_000)), 90_000)
  reordering.onSpuriousLoss(5, 120_000)
  assert.equal(reordering.packetThreshold, 11)
  assert.equal(reordering.lossDelayUs(rttOf(80_000)), 120_000)
})

test('what a peer makes us learn is bounded', () => {
  const reordering = new Reordering()
  reordering.onSpuriousLoss(1_000_000, 3_600_000_000)
  assert.equal(reordering.packetThreshold, 1_024)
  assert.equal(reordering.lossDelayUs(rttOf(80_000)), 160_000)
})

test('sixteen losses in order forget it, a late packet in between keeps it', () => {
  const reordering = new Reordering()
  reordering.onSpuriousLoss(50, 200_000)
  for (let i = 0; i < 16; i++) reordering.onLosses()
  reordering.onSpuriousLoss(4, 90_000)
  for (let i = 0; i < 16; i++) reordering.onLosses()
  assert.equal(reordering.packetThreshold, 51)
  reordering.onLosses()
  assert.equal(reordering.packetThreshold, 3)
  assert.equal(reordering.lossDelayUs(rttOf(80_000)), 90_000)
})
