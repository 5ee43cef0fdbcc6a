/** What every congestion controller must do, as a suite that each implementation runs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Level } from '../ports/crypto.ts'
import { RttEstimator } from '../recovery/rtt.ts'
import { type CongestionController, initialWindowBytes, isModelController, minimumWindowBytes } from './controller.ts'

const MTU = 1_200
const RTT_US = 100_000
const POLICY = { handshakeConfirmed: true, maxAckDelayUs: 25_000 }

/**
 * A sender of full-size packets on a path of constant delay and unlimited rate: each `round` fills the window (or as
 * much as told), waits one RTT and acknowledges what was sent, `packetsPerAck` at a time.
 */
export class Sender {
  readonly controller: CongestionController
  readonly rtt: RttEstimator
  nowUs: number
  inFlightBytes: number
  nextPacketNumber: number
  /** Packets are acknowledged and lost in order. */
  #oldest = 0

  constructor(controller: CongestionController) {
    this.controller = controller
    this.rtt = new RttEstimator()
    this.nowUs = 0
    this.inFlightBytes = 0
    this.nextPacketNumber = 0
  }

  send(): void {
    const { controller, nextPacketNumber: pn } = this
    this.inFlightBytes += MTU
    controller.onPacketSent(MTU, this.inFlightBytes, pn, this.nowUs)
    if (isModelController(controller))
      controller.delivery.onSent(Level.OneRtt, pn, this.#oldest, MTU, this.inFlightBytes, this.nowUs)
    this.nextPacketNumber += 1
  }

  /** Fills the window, or sends `packets`. Returns packets sent. */
  fill(packets: number = Infinity): number {
    let sent = 0
    while (sent < packets && this.inFlightBytes + MTU <= this.controller.windowBytes) {
      this.send()
      sent += 1
    }
    return sent
  }

  /** One ACK frame for `packets` packets sent at `sentAtUs`. */
  ack(packets: number, sentAtUs: number, latestUs: number = this.nowUs - sentAtUs): void {
    this.rtt.onSample(latestUs, 0, POLICY, this.nowUs)
    for (let i = 0; i < packets; i += 1) {
      this.inFlightBytes -= MTU
      if (isModelController(this.controller))
        this.controller.delivery.onAcked(Level.OneRtt, this.#oldest, MTU, sentAtUs, this.nowUs)
      this.#oldest += 1
      this.controller.onPacketAcked(MTU, 0, sentAtUs, this.rtt, this.nowUs)
    }
    this.controller.onAckFinished(this.inFlightBytes, this.rtt, this.nowUs)
  }

  /** Sends a flight, waits `rttUs`, acknowledges it. */
  round(packets: number = Infinity, packetsPerAck: number = 2, rttUs: number = RTT_US): void {
    const sentAtUs = this.nowUs
    let missing = this.fill(packets)
    this.nowUs += rttUs
    while (missing > 0) {
      const count = Math.min(packetsPerAck, missing)
      this.ack(count, sentAtUs)
      missing -= count
    }
  }

  /** Loses `packets` of those in flight, the newest of which was sent at `sentAtUs`. */
  lose(packets: number, sentAtUs: number): void {
    this.inFlightBytes -= packets * MTU
    for (let i = 0; i < packets && isModelController(this.controller); i += 1) {
      this.controller.delivery.onLost(Level.OneRtt, this.#oldest + i, MTU)
      this.controller.onPacketLost(MTU, sentAtUs, this.nowUs)
    }
    this.#oldest += packets
    this.controller.onCongestion(sentAtUs, packets * MTU, 'loss', this.inFlightBytes, this.nowUs)
  }
}

/** What every controller must do, whatever its law. `make` gives a fresh one. */
export function commonConformance(name: string, make: (mtuBytes: number) => CongestionController): void {
  firstWindow(name, make)
  changesOfPath(name, make)
}

/**
 * Runs the suite for controllers that know nothing but a window. `make` gives a fresh controller; `beta` is what it keeps
 * of the window upon congestion.
 */
export function conformance(name: string, make: (mtuBytes: number) => CongestionController, beta: number): void {
  commonConformance(name, make)
  windowBounds(name, make, beta)
  growth(name, make)
  recovery(name, make, beta)
}

function firstWindow(name: string, make: (mtuBytes: number) => CongestionController): void {
  for (const [mtu, expected] of [
    [1_200, 12_000],
    [1_472, 14_720],
    [1_500, 14_720],
    [9_000, 18_000],
  ] as const)
    test(`${name}: with datagrams of ${mtu} bytes the first window is ${expected}`, () => {
      assert.equal(make(mtu).windowBytes, expected)
      assert.equal(make(mtu).slowStartThresholdBytes, Infinity)
    })
}

function windowBounds(name: string, make: (mtuBytes: number) => CongestionController, beta: number): void {
  // spec: RFC 9438 §4.6#5
  test(`${name}: repeated congestion never shrinks the window under two datagrams`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 20; i += 1) {
      const before = sender.controller.windowBytes
      sender.fill(2)
      sender.nowUs += RTT_US
      sender.lose(2, sender.nowUs - RTT_US)
      const expected = Math.max(minimumWindowBytes(MTU), before * beta)
      assert.ok(Math.abs(sender.controller.windowBytes - expected) <= 1)
      sender.nowUs += 1
    }
    assert.equal(sender.controller.windowBytes, 2 * MTU)
    assert.equal(sender.controller.slowStartThresholdBytes, 2 * MTU)
  })

  // spec: RFC 9002 §7.6.2#4
  test(`${name}: persistent congestion leaves two datagrams and begins slow start again`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 4; i += 1) sender.round()
    const sentAtUs = sender.nowUs
    const lost = sender.fill()
    sender.nowUs += 3_000_000
    sender.lose(lost, sentAtUs)
    const threshold = sender.controller.slowStartThresholdBytes
    sender.controller.onPersistentCongestion(sender.nowUs)
    assert.equal(sender.controller.windowBytes, 2 * MTU)
    assert.equal(sender.controller.slowStartThresholdBytes, threshold)
    sender.nowUs += 1
    sender.round()
    assert.equal(sender.controller.windowBytes, 4 * MTU)
    assert.equal(sender.controller.state(), 'slow_start')
  })

  test(`${name}: after persistent congestion late acknowledgments of older packets open the window again`, () => {
    const sender = new Sender(make(MTU))
    const sentAtUs = sender.nowUs
    sender.fill()
    sender.nowUs += RTT_US
    sender.lose(2, sentAtUs)
    sender.controller.onPersistentCongestion(sender.nowUs)
    sender.ack(2, sentAtUs)
    assert.equal(sender.controller.windowBytes, 4 * MTU)
  })

  test(`${name}: slow start ends at the threshold, the rest of the acknowledgment counts as avoidance`, () => {
    const sender = new Sender(make(MTU))
    sender.lose(0, sender.nowUs)
    const threshold = sender.controller.slowStartThresholdBytes
    sender.controller.onPersistentCongestion(sender.nowUs)
    let window = sender.controller.windowBytes
    while (window < threshold) {
      assert.equal(sender.controller.state(), 'slow_start')
      sender.nowUs += 1
      sender.round(Infinity, 1_000)
      window = sender.controller.windowBytes
    }
    assert.ok(window > threshold && window <= threshold + MTU, `${window} for a threshold of ${threshold}`)
    assert.equal(sender.controller.state(), 'congestion_avoidance')
  })
}

function growth(name: string, make: (mtuBytes: number) => CongestionController): void {
  // spec: RFC 9438 §4.10
  test(`${name}: slow start doubles the window each round trip`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 1; i <= 5; i += 1) {
      sender.round()
      assert.equal(sender.controller.windowBytes, 2 ** i * 10 * MTU)
    }
  })

  test(`${name}: an application that sends two packets per round trip does not inflate the window`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 100; i += 1) {
      sender.round(2, 1)
      sender.nowUs += 1_000
    }
    assert.equal(sender.controller.windowBytes, initialWindowBytes(MTU))
    assert.equal(sender.controller.state(), 'application_limited')
  })

  test(`${name}: in congestion avoidance a window that is half used does not grow`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 4; i += 1) sender.round()
    sender.fill()
    sender.nowUs += RTT_US
    sender.lose(1, sender.nowUs - RTT_US)
    sender.ack(sender.inFlightBytes / MTU, sender.nowUs - RTT_US)
    sender.nowUs += 1
    sender.round(20)
    const window = sender.controller.windowBytes
    for (let i = 0; i < 50; i += 1) {
      sender.nowUs += 1
      sender.round(20)
    }
    assert.equal(sender.controller.windowBytes, window)
  })

  test(`${name}: pacing is twice the window per round trip in slow start and 1.25 times after`, () => {
    const sender = new Sender(make(MTU))
    sender.round()
    const slowStart = sender.controller.pacingRate(sender.rtt)
    assert.ok(Math.abs(slowStart - (2 * sender.controller.windowBytes * 1e6) / sender.rtt.smoothedUs) < 1)
    sender.lose(0, sender.nowUs)
    const after = sender.controller.pacingRate(sender.rtt)
    assert.ok(Math.abs(after - (1.25 * sender.controller.windowBytes * 1e6) / sender.rtt.smoothedUs) < 25)
  })

  test(`${name}: the same bytes grow the window alike however acknowledgments are grouped`, () => {
    const windows = [1, 2, 10, 1_000].map((packetsPerAck) => {
      const sender = new Sender(make(MTU))
      for (let i = 0; i < 3; i += 1) sender.round(Infinity, packetsPerAck)
      return sender.controller.windowBytes
    })
    for (const window of windows) assert.equal(window, windows[0])
  })

  test(`${name}: without loss for an hour the window stays under 1 GiB`, () => {
    const controller = make(MTU)
    const rtt = new RttEstimator()
    for (let i = 0; i < 40; i += 1) {
      const nowUs = i * RTT_US
      controller.onPacketSent(MTU, controller.windowBytes, i, nowUs)
      rtt.onSample(RTT_US, 0, POLICY, nowUs + RTT_US)
      controller.onPacketAcked(controller.windowBytes, i, nowUs, rtt, nowUs + RTT_US)
      controller.onAckFinished(0, rtt, nowUs + RTT_US)
    }
    assert.equal(controller.windowBytes, 2 ** 30)
  })
}

function recovery(name: string, make: (mtuBytes: number) => CongestionController, beta: number): void {
  // spec: RFC 9002 §7.3.1, §7.3.2, RFC 9438 §4.6#1
  for (const kind of ['loss', 'ecn'] as const)
    test(`${name}: ${kind} cuts the window once per round trip and sets the threshold to it`, () => {
      const sender = new Sender(make(MTU))
      for (let i = 0; i < 4; i += 1) sender.round()
      const before = sender.controller.windowBytes
      const sentAtUs = sender.nowUs
      sender.fill()
      sender.nowUs += RTT_US
      for (let i = 0; i < 5; i += 1) {
        sender.controller.onCongestion(sentAtUs, kind === 'loss' ? MTU : 0, kind, sender.inFlightBytes, sender.nowUs)
        sender.nowUs += 1_000
      }
      assert.ok(Math.abs(sender.controller.windowBytes - before * beta) <= 1)
      assert.equal(sender.controller.slowStartThresholdBytes, sender.controller.windowBytes)
      assert.equal(sender.controller.state(), 'recovery')
    })

  test(`${name}: acknowledgments of packets sent before the loss do not grow the window`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 4; i += 1) sender.round()
    const sentAtUs = sender.nowUs
    const sent = sender.fill()
    sender.nowUs += RTT_US
    sender.lose(1, sentAtUs)
    const window = sender.controller.windowBytes
    sender.ack(sent - 1, sentAtUs)
    assert.equal(sender.controller.windowBytes, window)
    assert.equal(sender.controller.state(), 'recovery')
  })

  test(`${name}: recovery ends with the first packet sent in it, and a later loss cuts again`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 4; i += 1) sender.round()
    sender.fill()
    sender.nowUs += RTT_US
    sender.lose(1, sender.nowUs - RTT_US)
    sender.ack(sender.inFlightBytes / MTU, sender.nowUs - RTT_US)
    sender.nowUs += 1
    sender.round()
    assert.equal(sender.controller.state(), 'congestion_avoidance')
    const window = sender.controller.windowBytes
    const sentAtUs = sender.nowUs
    sender.fill()
    sender.nowUs += RTT_US
    sender.lose(1, sentAtUs)
    assert.ok(Math.abs(sender.controller.windowBytes - window * beta) <= 1)
  })

  test(`${name}: congestion avoidance after loss never outgrows slow start, nor one and a half windows`, () => {
    const sender = new Sender(make(MTU))
    for (let i = 0; i < 6; i += 1) sender.round()
    sender.fill()
    sender.nowUs += RTT_US
    sender.lose(1, sender.nowUs - RTT_US)
    sender.ack(sender.inFlightBytes / MTU, sender.nowUs - RTT_US)
    for (let i = 0; i < 200; i += 1) {
      const before = sender.controller.windowBytes
      sender.nowUs += 1
      sender.round()
      assert.ok(sender.controller.windowBytes >= before, 'a window shrank without congestion')
      assert.ok(sender.controller.windowBytes <= 1.51 * before, `${before} grew to ${sender.controller.windowBytes}`)
    }
    assert.ok(sender.controller.windowBytes > 640 * MTU * beta, 'the window grew')
  })
}

function changesOfPath(name: string, make: (mtuBytes: number) => CongestionController): void {
  test(`${name}: a larger MTU before the first acknowledgment gives the larger first window`, () => {
    const controller = make(1_200)
    controller.onMtuChanged(1_452)
    assert.equal(controller.windowBytes, 14_520)
  })

  test(`${name}: a larger MTU later keeps the window but raises the minimum`, () => {
    const sender = new Sender(make(MTU))
    sender.round()
    const window = sender.controller.windowBytes
    sender.controller.onMtuChanged(1_452)
    assert.equal(sender.controller.windowBytes, window)
    sender.controller.onMtuChanged(20_000)
    assert.equal(sender.controller.windowBytes, 40_000)
  })

  test(`${name}: discarded packets change nothing`, () => {
    const sender = new Sender(make(MTU))
    sender.round()
    const window = sender.controller.windowBytes
    const state = sender.controller.state()
    sender.controller.onPacketDiscarded(5 * MTU)
    assert.equal(sender.controller.windowBytes, window)
    assert.equal(sender.controller.state(), state)
  })

  test(`${name}: a reset behaves like a new controller`, () => {
    const used = new Sender(make(MTU))
    for (let i = 0; i < 6; i += 1) used.round()
    used.lose(0, used.nowUs)
    used.nowUs += 1
    for (let i = 0; i < 6; i += 1) used.round()
    used.fill()
    used.controller.reset(MTU)
    const again = new Sender(used.controller)
    const fresh = new Sender(make(MTU))
    again.nowUs = used.nowUs
    fresh.nowUs = used.nowUs
    for (let i = 0; i < 8; i += 1) {
      assert.equal(again.controller.windowBytes, fresh.controller.windowBytes)
      assert.equal(again.controller.slowStartThresholdBytes, fresh.controller.slowStartThresholdBytes)
      assert.equal(again.controller.state(), fresh.controller.state())
      again.round(i === 0 ? 2 : Infinity)
      fresh.round(i === 0 ? 2 : Infinity)
      if (i === 4) {
        again.lose(0, again.nowUs)
        fresh.lose(0, fresh.nowUs)
        again.nowUs += 1
        fresh.nowUs += 1
      }
    }
  })
}
