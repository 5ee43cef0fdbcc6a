/** The kept inputs of every fuzz target keep their promises, and the fuzzer itself finds what it should. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadCorpus } from './corpus.ts'
import { type Finding, fuzz, minimize, runGuarded } from './fuzzer.ts'
import { mutate } from './mutate.ts'
import { Random } from './random.ts'
import { replay } from './replay.ts'
import type { FuzzTarget } from './target.ts'
import { targets } from './targets/index.ts'

for (const [name, load] of targets) {
  test(`every kept input of ${name} keeps its promises`, async () => {
    const target = await load()
    assert.ok(loadCorpus(name).length > 0, `there is no corpus; run: npm run fuzz -- ${name} --keep`)
    const result = replay(target)
    assert.equal(result.finding, undefined, explain(result.finding))
    assert.ok(result.outcomes > 1, 'inputs reach different outcomes')
  })

  test(`a short fuzz run of ${name} with a fixed seed finds nothing and repeats itself`, async () => {
    const target = await load()
    const options = { seed: 7, runsMax: target.shortRuns ?? 600, isOver: () => false }
    const first = fuzz(target, [], options)
    assert.equal(first.finding, undefined, explain(first.finding))
    const second = fuzz(target, [], options)
    assert.deepEqual(
      [second.runs, second.outcomes, second.fresh.length],
      [first.runs, first.outcomes, first.fresh.length],
    )
  })
}

/** Fails on the bytes 0xde 0xad anywhere; outcomes show how far an input got. */
const planted: FuzzTarget = {
  name: 'planted',
  inputBytesMax: 64,
  seeds: () => [new Uint8Array(8)],
  run(input) {
    const at = input.indexOf(0xde)
    if (at < 0) return 'nothing'
    if (input[at + 1] === 0xad) throw new Error('broken promise: planted')
    return 'half'
  },
}

test('the fuzzer finds a planted bug and shortens its input to the two bytes that matter', () => {
  const { finding, runs } = fuzz(planted, [], { seed: 1, runsMax: 2_000_000, isOver: () => false })
  assert.ok(finding, `not found in ${runs} inputs`)
  assert.deepEqual([...minimize(planted, finding).input], [0xde, 0xad])
})

test('an input that hangs is a finding, not a hang of the fuzzer', { timeout: 60_000 }, () => {
  const hanging: FuzzTarget = { ...planted, run: (input) => (input[0] === 1 ? forever() : 'fine') }
  const finding = runGuarded(hanging, [Uint8Array.of(0), Uint8Array.of(1)], undefined, 300)
  assert.deepEqual([...(finding?.input ?? [])], [1])
  assert.match(finding?.error.message ?? '', /hangs/)
})

test('the same seed gives the same mutations', () => {
  const run = (seed: number) => {
    const random = new Random(seed)
    const options = { bytesMax: 100, dictionary: [Uint8Array.of(9, 9)], other: Uint8Array.of(1, 2, 3) }
    return Array.from({ length: 50 }, () =>
      Buffer.from(mutate(Uint8Array.of(4, 5, 6), random, options)).toString('hex'),
    )
  }
  assert.deepEqual(run(5), run(5))
  assert.notDeepEqual(run(5), run(6))
})

function forever(): string {
  for (let count = 0; ; count++) if (count < 0) return 'never'
}

function explain(finding: Finding | undefined): string {
  return finding === undefined ? '' : `${Buffer.from(finding.input).toString('hex')}: ${finding.error.stack ?? ''}`
}
