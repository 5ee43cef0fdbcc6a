/** The path model: the engine keeps to it, it repeats itself, and it notices what is wrong. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runModel, runModelSeed } from './model.ts'
import { modelRegressions, modelSeeds } from './model-seeds.ts'
import { shrinkPlan } from './model-shrink.ts'
import { describeStep, drawModelPlan, type ModelPlan, type ModelStep } from './model-steps.ts'

/** `npm run check` runs 500 by `npm run sim -- --model`; here they show that each command is put to the test. */
const SEEDS = 60

for (const { found, plan } of modelRegressions)
  test(`fixed for good: ${found}`, () => {
    assert.equal(runModel(plan).failure, undefined)
  })

test('seeds that once failed, and fresh ones, keep to the model and work in the end', () => {
  const totals = { opened: 0, closed: 0, tampered: 0, migrations: 0, rebindings: 0, keyUpdates: 0, transfers: 0 }
  const seeds = [...modelSeeds.map(({ seed }) => seed), ...Array.from({ length: SEEDS }, (_, i) => 10_001 + i)]
  for (const seed of seeds) {
    const report = runModelSeed(seed)
    totals.opened += report.pathsOpened
    totals.closed += report.pathsClosed
    totals.tampered += report.tampered
    totals.migrations += report.migrations
    totals.rebindings += report.rebindings
    totals.keyUpdates += report.keyUpdates
    totals.transfers += report.transfers
    const lines = `${report.steps.join('\n')}\n${report.failure}\n${report.timeline}`
    assert.equal(report.failure, undefined, `rerun: npm run sim -- --model --seed ${seed}\n${lines}`)
  }
  // A model that nothing happens to would pass, too.
  const least = { opened: 2, closed: 0.5, tampered: 10, migrations: 0.5, rebindings: 0.5, keyUpdates: 1, transfers: 4 }
  for (const [name, share] of Object.entries(least)) {
    const total = totals[name as keyof typeof totals]
    assert.ok(total > share * SEEDS, `${total} ${name} in ${SEEDS} seeds`)
  }
})

test('one seed runs the same way byte for byte, whether watched or not', () => {
  for (const seed of [7, 0x5eed]) {
    const [first, second, watched] = [runModelSeed(seed), runModelSeed(seed), runModelSeed(seed, { isVerbose: true })]
    assert.deepEqual(second, first)
    assert.equal(watched.digest, first.digest)
    assert.match(watched.timeline, /client > 1rtt \d+ /)
  }
  assert.notEqual(runModelSeed(7).digest, runModelSeed(8).digest)
})

test('every kind of command and of tampering is drawn', () => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 60; seed++) {
    for (const step of drawModelPlan(seed).steps) seen.add(step.op === 'tamper' ? `tamper ${step.how.kind}` : step.op)
  }
  const kinds = ['drop', 'hold', 'duplicate', 'corrupt', 'spoof', 'race', 'replay'].map((kind) => `tamper ${kind}`)
  const commands = ['drive', 'loss', 'delay', 'cut', 'mend', 'down', 'up', 'rebind', 'migrate', 'open', 'close']
  const others = ['status', 'waver', 'update-keys', 'starve', 'transfer', 'datagrams']
  assert.deepEqual([...seen].sort(), [...kinds, ...commands, ...others].sort())
})

test('a failing list is cut down to the commands that matter', () => {
  const plan = drawModelPlan(3)
  const culprits: readonly ModelStep[] = [
    { op: 'open', link: 1, isBackup: true, thenUs: 1_000 },
    { op: 'starve', side: 'server', thenUs: 50_000 },
  ]
  const others = plan.steps.filter(({ op }) => op !== 'open' && op !== 'starve')
  const steps = others.toSpliced(4, 0, culprits[0] as ModelStep).toSpliced(12, 0, culprits[1] as ModelStep)
  const has = (each: ModelPlan, step: ModelStep | undefined): boolean =>
    each.steps.some(({ op, ...rest }) => op === step?.op && ('side' in rest ? rest.side === 'server' : true))
  const run = (each: ModelPlan): string | undefined =>
    culprits.every((step) => has(each, step)) ? `Error: broke after ${each.steps.length} steps` : undefined
  const shrunk = shrinkPlan({ ...plan, steps }, run)
  assert.deepEqual(
    shrunk?.plan.steps.map(({ op }) => op),
    ['open', 'starve'],
  )
  assert.equal(describeStep(shrunk?.plan.steps[1] as ModelStep), 'starve side server, then 1.0 ms')
  assert.equal(
    shrinkPlan(plan, () => undefined),
    undefined,
  )
})
