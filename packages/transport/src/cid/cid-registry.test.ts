import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CidHost, CidRegistry } from './cid-registry.ts'

const LIMIT = 8
const host: CidHost = {
  issue: () => {
    throw new Error('nothing of ours is issued here')
  },
  unroute() {},
  trustResetToken() {},
  forgetResetToken() {},
}

function bytesOf(sequence: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (sequence >>> (8 * (i % 4))) & 0xff)
}

function announce(registry: CidRegistry, sequence: number): void {
  registry.onNew(sequence, 0, bytesOf(sequence, 8), bytesOf(sequence, 16), LIMIT)
}

/** The peer's RETIRE_CONNECTION_ID frames go out and are acknowledged. */
function settle(registry: CidRegistry): number[] {
  const retired = registry.retirePending.splice(0)
  for (const sequence of retired) registry.onRetireAcked(sequence)
  return retired
}

// spec: RFC 9000 §19.15
test('a late copy of a NEW_CONNECTION_ID never brings back what was retired, however long ago', () => {
  const registry = new CidRegistry(0, host)
  registry.adoptPeer(bytesOf(0, 8), undefined)
  for (let sequence = 1; sequence <= 1_000; sequence++) {
    announce(registry, sequence)
    assert.ok(registry.rotate())
    settle(registry)
  }
  for (let sequence = 0; sequence < 1_000; sequence++) announce(registry, sequence)
  assert.deepEqual(registry.spare, [])
  assert.deepEqual(registry.retirePending, [])
  assert.equal(registry.active?.sequence, 1_000)
})

test('a peer that numbers its connection IDs with gaps can retire and announce on, and each is retired once', () => {
  const registry = new CidRegistry(0, host)
  registry.adoptPeer(bytesOf(0, 8), undefined)
  const retired: number[] = []
  // One that stays in use all the time lies in the oldest gap.
  announce(registry, 1)
  const kept = registry.takeSpare()
  assert.ok(kept)
  registry.inUse.push(kept)
  for (let sequence = 3; sequence <= 2_001; sequence += 2) {
    announce(registry, sequence)
    assert.ok(registry.rotate())
    retired.push(...settle(registry))
  }
  registry.retire(kept)
  retired.push(...settle(registry))
  assert.equal(retired.at(-1), 1, 'the one that stayed in use is retired like any other')
  assert.equal(new Set(retired).size, retired.length)
  assert.equal(retired.length, 1_001)
})

// spec: RFC 9000 §13.3
test('a lost RETIRE_CONNECTION_ID goes out again until it is acknowledged, not after', () => {
  const registry = new CidRegistry(0, host)
  registry.adoptPeer(bytesOf(0, 8), undefined)
  announce(registry, 1)
  registry.rotate()
  assert.deepEqual(registry.retirePending.splice(0), [0])
  registry.onRetireLost(0)
  assert.deepEqual(registry.retirePending.splice(0), [0])
  registry.onRetireAcked(0)
  registry.onRetireLost(0)
  assert.deepEqual(registry.retirePending, [])
})

// spec: RFC 10069 §3.4#2
test('an abandoned path issues and retires nothing any more, although frames that said so are lost afterwards', () => {
  const issuing: CidHost = {
    ...host,
    issue: (_path, sequence) => ({ sequence, cid: bytesOf(sequence, 8), resetToken: bytesOf(sequence, 16) }),
  }
  const registry = new CidRegistry(1, issuing)
  announce(registry, 0)
  announce(registry, 1)
  registry.replenish(2)
  assert.deepEqual(registry.announcePending.splice(0), [0, 1])
  assert.ok(registry.rotate())
  assert.deepEqual(registry.retirePending.splice(0), [0])
  registry.forgetPeer()
  registry.onAnnouncementLost(1)
  registry.onRetireLost(0)
  registry.replenish(4)
  assert.deepEqual([registry.announcePending, registry.retirePending], [[], []])
  assert.equal(registry.local.length, 2, 'ours are known until the path is forgotten')
})
