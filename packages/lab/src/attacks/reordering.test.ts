/** Networks that shuffle packets: no attack, but the engine must not take it for loss. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSeededRandom } from '@quicether/transport/testing'
import { createScene, MIB } from './scene.ts'

for (const [jitterUs, withinUs] of [
  [1_000, 3_000_000],
  [10_000, 20_000_000],
] as const)
  test(`packets shuffled within ${jitterUs / 1_000} ms of a 20 ms round trip do not starve a download`, () => {
    const scene = createScene()
    const random = createSeededRandom(jitterUs)
    scene.arena.jitter = () => random.fraction() * jitterUs
    scene.honest.download(32 * MIB)
    scene.arena.until(() => scene.honest.finished === 2, withinUs, `32 MiB (${scene.honest.bytes} bytes arrived)`)
    const [connection] = scene.victim.connections
    const lost = connection?.stats().packetsLost ?? Infinity
    assert.ok(lost < 3_000, `${lost} packets were taken for lost, none was`)
  })
