/** HyStart++ against RFC 9406 §4.2: every transition, and its effect on a controller. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RttEstimator } from '../recovery/rtt.ts'
import { Sender } from './conformance.ts'
import { createCubic } from './cubic.ts'
import { HyStart } from './hystart.ts'

const POLICY = { handshakeConfirmed: true, maxAckDelayUs: 25_000 }
const MTU = 1_200

/** Feeds rounds: each has `samples` ACKs of packets sent in the previous round, all with the same RTT. */
class Rounds {
  readonly hystart: HyStart
  readonly rtt: RttEstimator
  round: number
  exits: number

  constructor() {
    this.hystart = new HyStart()
    this.rtt = new RttEstimator()
    this.round = 0
    this.exits = 0
  }

  feed(rttUs: number, samples: number = 8): void {
    // Packets of round n are sent at time 10n + 5; its ACKs arrive while round n + 1 is being sent.
    for (let i = 0; i < samples; i += 1) {
      this.rtt.onSample(rttUs, 0, POLICY, 0)
      if (this.hystart.onAck(this.round * 10 + 5, this.round * 10 + 15 - 1, this.rtt)) this.exits += 1
    }
    this.round += 1
  }
}

test('a constant RTT never leaves slow start', () => {
  const rounds = new Rounds()
  for (let i = 0; i < 50; i += 1) rounds.feed(50_000, 20)
  assert.equal(rounds.hystart.phase, 'slow_start')
  assert.equal(rounds.hystart.growth(1_000), 1_000)
})

for (const [baseUs, thresholdUs] of [
  [10_000, 4_000],
  [80_000, 10_000],
  [400_000, 16_000],
] as const) {
  test(`at ${baseUs} us a rise of ${thresholdUs} us enters conservative slow start`, () => {
    const rounds = new Rounds()
    rounds.feed(baseUs)
    rounds.feed(baseUs + thresholdUs)
    assert.equal(rounds.hystart.phase, 'conservative')
    assert.equal(rounds.hystart.growth(1_000), 250)
  })

  test(`at ${baseUs} us a rise just under ${thresholdUs} us does not`, () => {
    const rounds = new Rounds()
    rounds.feed(baseUs)
    rounds.feed(baseUs + thresholdUs - 1)
    assert.equal(rounds.hystart.phase, 'slow_start')
  })
}

test('fewer than eight samples in a round decide nothing', () => {
  const rounds = new Rounds()
  rounds.feed(50_000)
  rounds.feed(90_000, 7)
  assert.equal(rounds.hystart.phase, 'slow_start')
  rounds.feed(200_000, 8)
  assert.equal(rounds.hystart.phase, 'conservative')
})

test('one sample as fast as before keeps slow start: the minimum of the round counts', () => {
  const rounds = new Rounds()
  rounds.feed(50_000)
  rounds.feed(50_000, 1)
  rounds.round -= 1
  rounds.feed(90_000, 20)
  assert.equal(rounds.hystart.phase, 'slow_start')
})

test('ACKs without a new sample do not count as samples', () => {
  const rounds = new Rounds()
  rounds.feed(50_000)
  rounds.rtt.onSample(90_000, 0, POLICY, 0)
  for (let i = 0; i < 20; i += 1) rounds.hystart.onAck(15, 24, rounds.rtt)
  assert.equal(rounds.hystart.phase, 'slow_start')
})

test('five rounds of conservative slow start end in congestion avoidance', () => {
  const rounds = new Rounds()
  rounds.feed(50_000)
  rounds.feed(60_000)
  for (let i = 0; i < 4; i += 1) {
    rounds.feed(60_000)
    assert.equal(rounds.hystart.phase, 'conservative', `round ${i}`)
  }
  rounds.feed(60_000)
  assert.equal(rounds.hystart.phase, 'finished')
  assert.equal(rounds.exits, 1)
  rounds.feed(60_000)
  assert.equal(rounds.exits, 1)
})

test('a delay that falls under the baseline again resumes slow start', () => {
  const rounds = new Rounds()
  rounds.feed(50_000)
  rounds.feed(60_000)
  rounds.feed(60_000)
  assert.equal(rounds.hystart.phase, 'conservative')
  rounds.feed(55_000)
  assert.equal(rounds.hystart.phase, 'slow_start')
  assert.equal(rounds.hystart.growth(1_000), 1_000)
  rounds.feed(62_000)
  assert.equal(rounds.hystart.phase, 'conservative')
})

test('congestion ends it until the path is reset', () => {
  const rounds = new Rounds()
  rounds.feed(50_000)
  rounds.hystart.finish()
  rounds.feed(90_000)
  assert.equal(rounds.hystart.phase, 'finished')
  rounds.hystart.reset()
  assert.equal(rounds.hystart.phase, 'slow_start')
})

/** Rounds on a path that holds 100 packets at 50 ms; every further packet waits 0.5 ms. Stops after `roundsMax`. */
function fillQueue(sender: Sender, roundsMax: number): void {
  for (let i = 0; i < roundsMax && sender.controller.slowStartThresholdBytes === Infinity; i += 1) {
    const packets = sender.controller.windowBytes / MTU
    sender.nowUs += 1
    sender.round(Infinity, 2, 50_000 + Math.max(0, packets - 100) * 500)
  }
}

test('a controller in conservative slow start paces as in congestion avoidance', () => {
  const sender = new Sender(createCubic(MTU))
  const gain = (): number =>
    (sender.controller.pacingRate(sender.rtt) * sender.rtt.smoothedUs) / 1e6 / sender.controller.windowBytes
  const gains: number[] = []
  while (sender.controller.slowStartThresholdBytes === Infinity) {
    gains.push(Math.round(gain() * 100) / 100)
    fillQueue(sender, 1)
  }
  assert.equal(gains[0], 2)
  assert.equal(gains.at(-1), 1.25)
})

test('a controller that was reset leaves slow start by delay again', () => {
  const sender = new Sender(createCubic(MTU))
  fillQueue(sender, 30)
  assert.notEqual(sender.controller.slowStartThresholdBytes, Infinity)
  sender.controller.reset(MTU)
  sender.rtt.reset()
  sender.inFlightBytes = 0
  fillQueue(sender, 30)
  assert.notEqual(sender.controller.slowStartThresholdBytes, Infinity)
})

test('a later slow start goes up to the threshold, whatever the delay does', () => {
  const sender = new Sender(createCubic(MTU))
  for (let i = 0; i < 7; i += 1) sender.round()
  sender.lose(0, sender.nowUs)
  const threshold = sender.controller.slowStartThresholdBytes
  sender.controller.onPersistentCongestion(sender.nowUs)
  for (let i = 0; sender.controller.windowBytes < threshold; i += 1) {
    sender.nowUs += 1
    sender.round(Infinity, 1, 50_000 * (i + 1))
    assert.equal(sender.controller.slowStartThresholdBytes, threshold)
  }
})

test('a controller on a path that queues leaves slow start without a loss', () => {
  const sender = new Sender(createCubic(MTU))
  fillQueue(sender, 30)
  const packets = sender.controller.windowBytes / MTU
  assert.ok(packets > 150 && packets < 1_200, `left slow start at ${packets} packets`)
  const window = sender.controller.windowBytes
  sender.nowUs += 1
  sender.round(Infinity, 2, 500_000)
  assert.equal(sender.controller.state(), 'congestion_avoidance')
  const grown = (sender.controller.windowBytes - window) / MTU
  assert.ok(grown >= 0.9 && grown < 6, `the curve begins flat at the window it left with, grew ${grown} packets`)
})
