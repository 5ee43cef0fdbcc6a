/** The first congestion window: ten datagrams, or as many as the application asks for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveConfig } from '../config.ts'
import { createSeededRandom } from '../testing/random.ts'
import { type CongestionAlgorithm, congestionAlgorithms, createCongestionController } from './algorithms.ts'
import type { CongestionController } from './controller.ts'
import { CoupledGroup } from './coupled.ts'

const MTU = 1_200
const path = { isUsable: () => true, isSuspect: () => false, isAbandoned: false }

function create(algorithm: CongestionAlgorithm, packets: number): CongestionController {
  const context = { random: createSeededRandom(1), coupled: new CoupledGroup() }
  return createCongestionController(algorithm, MTU, packets, path, context)
}

for (const algorithm of congestionAlgorithms) {
  // spec: RFC 9002 §7.2
  test(`${algorithm} begins with ten datagrams, or with as many as the application asks for`, () => {
    assert.equal(create(algorithm, 10).windowBytes, 10 * MTU)
    for (const packets of [2, 32, 1_000]) {
      const controller = create(algorithm, packets)
      assert.equal(controller.windowBytes, packets * MTU)
      controller.reset(MTU)
      assert.equal(controller.windowBytes, packets * MTU, 'a path that leads elsewhere begins anew')
    }
  })
}

test('an initial window outside its bounds is named', () => {
  assert.throws(() => resolveConfig({ initialWindowPackets: 1 }), /initialWindowPackets is 1; allowed: 2 to 1000/u)
  assert.equal(resolveConfig({ initialWindowPackets: 32 }).initialWindowPackets, 32)
})
