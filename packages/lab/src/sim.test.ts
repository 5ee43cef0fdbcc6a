import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CryptoPort, DESCRIPTOR_WORDS, OpenOut } from '@quicether/transport'
import { fakePartyCrypto, type PartyCryptoFactory } from './parties.ts'
import { runSeed } from './sim.ts'

/** `npm run check` runs 500 by `npm run sim`; here they show that each promise is put to the test. */
const SEEDS = 100

// spec: RFC 9000 §2.2#1, §8#1, §8.1#1, §14.1#1
test(`${SEEDS} seeds of random traffic and faults keep every promise and finish`, () => {
  const totals = { transfers: 0, faults: 0, datagrams: 0, connections: 0, opened: 0, closed: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const report = runSeed(seed)
    totals.transfers += report.transfers
    totals.faults += report.faults
    totals.datagrams += report.datagrams
    totals.connections += report.connections
    totals.opened += report.pathsOpened
    totals.closed += report.pathsClosed
    assert.equal(
      report.failure,
      undefined,
      `seed ${seed}: ${report.failure}\n${report.timeline}\nrerun: npm run sim -- --seed 0x${seed.toString(16)} --verbose`,
    )
  }
  // A simulation in which nothing happens would pass, too.
  assert.ok(totals.transfers > 10 * SEEDS, `${totals.transfers} transfers`)
  assert.ok(totals.faults > 2 * SEEDS, `${totals.faults} faults`)
  assert.ok(totals.datagrams > 500 * SEEDS, `${totals.datagrams} datagrams`)
  assert.ok(totals.connections > SEEDS, `${totals.connections} connections`)
  assert.ok(totals.opened > SEEDS / 4, `${totals.opened} further paths`)
  assert.ok(totals.closed > SEEDS / 20, `${totals.closed} paths closed`)
})

test('one seed runs the same way byte for byte, whether watched or not', () => {
  for (const seed of [3, 0x5eed]) {
    const [first, second, watched] = [runSeed(seed), runSeed(seed), runSeed(seed, { isVerbose: true })]
    assert.deepEqual(second, first)
    assert.equal(watched.digest, first.digest)
    assert.match(watched.timeline, /client0 > initial 0 .*CRYPTO 0\+/)
  }
  assert.notEqual(runSeed(3).digest, runSeed(4).digest)
})

/** The fake with one fault of its own: what a broken engine or port would look like. */
function broken(change: (real: CryptoPort) => Partial<CryptoPort>): PartyCryptoFactory {
  return (name, seed, incarnation) => {
    const party = fakePartyCrypto()(name, seed, incarnation)
    const { crypto } = party
    const changed = change({ ...bound(crypto) })
    // The fake's TLS holds the instance itself: change that one.
    Object.assign(crypto, changed)
    return party
  }
}

function bound(crypto: CryptoPort): CryptoPort {
  const copy: Record<string, unknown> = {}
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(crypto))) {
    const value = crypto[name as keyof CryptoPort]
    if (typeof value === 'function') copy[name] = (value as (...args: unknown[]) => unknown).bind(crypto)
  }
  return copy as unknown as CryptoPort
}

/** Failures of the first seeds with a broken part in place. */
function failures(change: (real: CryptoPort) => Partial<CryptoPort>): string {
  let all = ''
  for (let seed = 1; seed <= 5; seed++) all += `${runSeed(seed, { createCrypto: broken(change) }).failure ?? ''}\n`
  return all
}

test('data that changes between wire and application is noticed', () => {
  let packets = 0
  const found = failures((real) => ({
    open: (bytes, words, count) => {
      real.open(bytes, words, count)
      for (let i = 0; i < count; i++) {
        const base = i * DESCRIPTOR_WORDS
        const length = words[base + OpenOut.PayloadLength] as number
        // The last byte of a large packet is stream data.
        if (length > 1_000 && ++packets % 50 === 0) {
          const last = (words[base + OpenOut.PayloadOffset] as number) + length - 1
          bytes[last] = (bytes[last] as number) ^ 1
        }
      }
    },
  }))
  assert.match(found, /SafetyError: .*differs from what was sent/)
})

test('a key that is never closed is noticed', () => {
  assert.match(
    failures(() => ({ closeKey: () => {} })),
    /keys and 0 packet number spaces were never closed/,
  )
})

test('an answer that never comes is noticed', () => {
  const found = failures((real) => {
    let sealed = 0
    return {
      // After a while packets leave with broken tags: the peer hears nothing any more.
      seal: (bytes, words, count) => {
        real.seal(bytes, words, count)
        sealed += count
        if (sealed > 40) for (let i = 0; i < count; i++) bytes[(words[i * DESCRIPTOR_WORDS] as number) + 20] = 0
      },
    }
  })
  assert.match(found, /LivenessError|closed during the run: idle/)
})
