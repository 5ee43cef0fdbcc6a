import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSeededRandom } from '@quicether/transport/testing'
import { FaultSwarm } from './faults.ts'
import { World } from './world.ts'

function storm(seed: number): { world: World; swarm: FaultSwarm; sleeps: number[] } {
  const world = new World({ seed, startUs: 0 })
  const host = world.addHost('client')
  const nat = world.addNat({ publicAddress: '198.51.100.1' })
  const link = world.addLink('wifi', { rateBitsPerSecond: 10e6, delayUs: 5_000, lossRatio: 0.01 })
  host.addInterface('wifi', { addresses: ['10.0.0.2'], link, nat })
  const sleeps = [0, 0]
  const swarm = new FaultSwarm(world, {
    links: world.links,
    nats: world.nats,
    interfaces: host.interfaces,
    sleepers: [
      {
        suspend: () => {
          sleeps[0] = (sleeps[0] ?? 0) + 1
        },
        resume: () => {
          sleeps[1] = (sleeps[1] ?? 0) + 1
        },
      },
    ],
    canRebind: () => true,
  })
  swarm.schedule(createSeededRandom(seed), { startUs: 0, endUs: 5_000_000, count: 40, outageUsMax: 2_000_000 })
  return { world, swarm, sleeps }
}

test('a storm changes things, overlaps, and leaves everything as it was', () => {
  const { world, swarm, sleeps } = storm(1)
  const link = world.links[0]
  const before = { ...link?.up.settings }
  let worst = 0
  let changed = 0
  for (let i = 0; i < 500; i++) {
    world.run(10_000)
    worst = Math.max(worst, swarm.active)
    if (JSON.stringify(link?.up.settings) !== JSON.stringify(before)) changed++
  }
  assert.equal(swarm.begun, 40)
  assert.ok(worst >= 3, `${worst} at once`)
  assert.ok(changed > 20)
  assert.equal(swarm.active, 0)
  assert.deepEqual({ ...link?.up.settings }, before)
  assert.equal(link?.isCut, false)
  assert.equal(world.hosts[0]?.interfaces[0]?.isUp, true)
  assert.ok((sleeps[1] ?? 0) >= 1, 'the host was woken')
})

test('the same seed draws the same storm, another seed another', () => {
  const tell = (seed: number): string => {
    const { world } = storm(seed)
    world.run(6_000_000)
    return world.timeline('fault')
  }
  assert.equal(tell(5), tell(5))
  assert.notEqual(tell(5), tell(6))
  assert.match(tell(5), /until \d/)
})

test('NATs keep their mappings while rebinding is not allowed', () => {
  const world = new World({ seed: 1, startUs: 0 })
  const nat = world.addNat({ publicAddress: '198.51.100.1' })
  const swarm = new FaultSwarm(world, {
    links: [world.addLink('x')],
    nats: [nat],
    interfaces: [],
    sleepers: [],
    canRebind: () => false,
  })
  swarm.schedule(createSeededRandom(2), { startUs: 0, endUs: 1_000_000, count: 50, outageUsMax: 1_000 })
  world.run(2_000_000)
  assert.equal(nat.stats.rebindings, 0)
  assert.ok(swarm.begun > 20 && swarm.begun < 50)
})
