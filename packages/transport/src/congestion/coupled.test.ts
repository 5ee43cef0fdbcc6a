/** LIA, OLIA and BALIA: alone like NewReno, together no more than one flow, and to the better path. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { conformance, Sender } from './conformance.ts'
import type { CongestionController } from './controller.ts'
import { CoupledGroup, type CoupledPath, createCoupled } from './coupled.ts'
import { type CoupledView, laws } from './coupled-laws.ts'
import { createNewReno } from './new-reno.ts'

const MTU = 1_200
const RTT_US = 100_000
const algorithms = ['lia', 'olia', 'balia'] as const

const open: CoupledPath = { isUsable: () => true, isSuspect: () => false, isAbandoned: false }

function make(algorithm: (typeof algorithms)[number], group = new CoupledGroup(), path = open): CongestionController {
  return createCoupled(algorithm, MTU, undefined, path, group)
}

/** Ends slow start at a window of `packets`. */
function atWindow(controller: CongestionController, packets: number): Sender {
  const sender = new Sender(controller)
  while (controller.windowBytes < 2 * packets * MTU) sender.round()
  sender.fill()
  sender.nowUs += RTT_US
  sender.lose(1, sender.nowUs - RTT_US)
  sender.ack(sender.inFlightBytes / MTU, sender.nowUs - RTT_US)
  sender.nowUs += 1
  return sender
}

const view = (packets: number, rttMs: number, intervalPackets = 100): CoupledView => ({
  windowBytes: packets * MTU,
  smoothedRttUs: rttMs * 1_000,
  lossIntervalBytes: intervalPackets * MTU,
  sinceLossBytes: 0,
})

for (const algorithm of algorithms) {
  conformance(
    algorithm.toUpperCase(),
    (mtuBytes) => createCoupled(algorithm, mtuBytes, undefined, open, new CoupledGroup()),
    0.5,
  )

  test(`${algorithm}: one path alone grows and shrinks as NewReno`, () => {
    const [coupled, reno] = [new Sender(make(algorithm)), new Sender(createNewReno(MTU))]
    for (let i = 0; i < 200; i += 1) {
      for (const sender of [coupled, reno]) {
        sender.fill()
        const sentAtUs = sender.nowUs
        sender.nowUs += RTT_US
        if (i % 37 === 5) sender.lose(1, sentAtUs)
        sender.ack(sender.inFlightBytes / MTU, sentAtUs)
        sender.nowUs += 1
      }
      assert.ok(Math.abs(coupled.controller.windowBytes - reno.controller.windowBytes) <= 2, `round ${i}`)
    }
  })

  test(`${algorithm}: two like paths together grow no faster than one flow with their rate`, () => {
    const both = [view(40, 50), view(40, 50)]
    const [first] = both
    assert.ok(first !== undefined)
    // Packets per round trip of both together, against one of a NewReno flow.
    const perRound = (2 * laws[algorithm].growth(first, both) * MTU * 40 * MTU) / MTU
    assert.ok(perRound <= 1.001 && perRound >= 0.2, `${perRound} packets per round trip`)
  })

  test(`${algorithm}: siblings that are silent, unusable or gone do not count`, () => {
    const group = new CoupledGroup()
    const state = { usable: true, suspect: false, isAbandoned: false }
    const path: CoupledPath = {
      isUsable: () => state.usable,
      isSuspect: () => state.suspect,
      get isAbandoned() {
        return state.isAbandoned
      },
    }
    atWindow(make(algorithm, group, path), 30)
    const own = atWindow(make(algorithm, group), 30)
    const grown = (): number => {
      const before = own.controller.windowBytes
      own.round(Infinity, 1_000)
      own.nowUs += 1
      return own.controller.windowBytes - before
    }
    assert.ok(grown() < 0.9 * MTU, 'a sibling slows growth down')
    for (const change of [{ suspect: true }, { suspect: false, usable: false }]) {
      Object.assign(state, change)
      assert.ok(grown() > 0.95 * MTU, JSON.stringify(change))
    }
    Object.assign(state, { usable: true, isAbandoned: true })
    make(algorithm, group)
    assert.equal(group.size, 2, 'an abandoned path leaves the group when the next one comes')
  })

  test(`${algorithm}: a path without its own acknowledgments yet may be cut`, () => {
    const sender = new Sender(make(algorithm))
    sender.fill()
    sender.lose(1, 0)
    assert.equal(sender.controller.windowBytes, 5 * MTU)
  })
}

// RFC 6356 §3: the increase is never more than that of NewReno on the path.
test('lia: a path never grows faster than NewReno would on it, whatever the others are', () => {
  for (const others of [[view(1, 500)], [view(400, 5)], [view(2, 10), view(3, 900)]]) {
    const own = view(10, 80)
    assert.ok(laws.lia.growth(own, [own, ...others]) <= 1 / own.windowBytes + 1e-15)
  }
})

test('lia: the formula of RFC 6356 for windows of 10 and 30 at 20 and 60 ms', () => {
  const [own, other] = [view(10, 20), view(30, 60)]
  const best = Math.max(10 / 0.02 ** 2, 30 / 0.06 ** 2)
  const alpha = (40 * best) / (10 / 0.02 + 30 / 0.06) ** 2
  const expected = Math.min(alpha / 40, 1 / 10)
  assert.ok(Math.abs(laws.lia.growth(own, [own, other]) * MTU - expected) < 1e-9)
})

test('olia: the window grows on the best path that is not yet the widest, at the cost of the widest', () => {
  const good = view(10, 50, 1_000)
  const wide = view(60, 50, 50)
  const all = [good, wide]
  const without = (own: CoupledView): number => {
    const rates = (70 * MTU) / 50_000
    return own.windowBytes / 50_000 ** 2 / rates ** 2
  }
  assert.ok(laws.olia.growth(good, all) > without(good))
  assert.ok(laws.olia.growth(wide, all) < without(wide))
  assert.ok(laws.olia.growth(wide, all) >= 0)
})

test('balia: the slower path of two gives up more upon a loss, three quarters at most', () => {
  const [fast, slow] = [view(80, 20), view(10, 80)]
  assert.equal(laws.balia.decrease(fast, [fast, slow]), 0.5)
  assert.equal(laws.balia.decrease(slow, [fast, slow]), 0.75)
})
