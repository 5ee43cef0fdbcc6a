/** `npm run sim -- --model`: runs the path model by seed, prints its commands, and cuts a failing list down. */
import { performance } from 'node:perf_hooks'
import { type ModelReport, runModelSeed } from '../src/model.ts'
import { modelSeeds } from '../src/model-seeds.ts'
import { shrinkPlan } from '../src/model-shrink.ts'
import { describeStep, drawModelPlan } from '../src/model-steps.ts'

function describe(report: ModelReport): string {
  const { seed, digest, steps, pathsOpened, pathsClosed, tampered, transfers, datagrams, virtualUs } = report
  return `model seed ${seed} digest ${digest}: ${steps.length} commands, ${pathsOpened} paths opened, ${pathsClosed} closed, ${tampered} datagrams tampered with, ${transfers} transfers, ${datagrams} datagrams in ${(virtualUs / 1e6).toFixed(1)} virtual seconds`
}

function fail(report: ModelReport): void {
  console.log(`\nFAILED ${describe(report)}\n${report.steps.join('\n')}\n${report.failure}\n${report.timeline}`)
  const shrunk = shrinkPlan(drawModelPlan(report.seed))
  if (shrunk !== undefined) {
    const lines = shrunk.plan.steps.map((step) => `  ${describeStep(step)}`)
    console.log(`\n${lines.length} commands are enough (${shrunk.runs} runs):\n${lines.join('\n')}\n${shrunk.failure}`)
    console.log(`as data, for packages/lab/src/model-seeds.ts:\n${JSON.stringify(shrunk.plan)}`)
  }
  console.log(`rerun: npm run sim -- --model --seed 0x${report.seed.toString(16)} --verbose`)
}

/** Runs one seed and prints its commands, their outcomes and its digest. Returns the exit code. */
export function runOneModel(seed: number, isVerbose: boolean): number {
  const report = runModelSeed(seed, { isVerbose })
  if (report.failure !== undefined) {
    fail(report)
    return 1
  }
  console.log(report.steps.join('\n'))
  if (isVerbose) console.log(report.timeline)
  console.log(describe(report))
  return 0
}

/** Runs the seeds that once failed, then `count` of them from `from` on. Returns the exit code. */
export function runManyModels(from: number, count: number, isKeepingGoing: boolean): number {
  const began = performance.now()
  const seeds = [...modelSeeds.map(({ seed }) => seed), ...Array.from({ length: count }, (_, i) => from + i)]
  const sums = { failures: 0, datagrams: 0, virtualUs: 0, opened: 0, tampered: 0 }
  for (const seed of seeds) {
    const report = runModelSeed(seed)
    sums.datagrams += report.datagrams
    sums.virtualUs += report.virtualUs
    sums.opened += report.pathsOpened
    sums.tampered += report.tampered
    if (report.failure === undefined) continue
    sums.failures++
    fail(report)
    if (!isKeepingGoing) return 1
  }
  const seconds = ((performance.now() - began) / 1_000).toFixed(1)
  console.log(
    `${seeds.length} model seeds (${modelSeeds.length} that once failed, ${count} from ${from}): ${seeds.length - sums.failures} passed, ${sums.failures} failed; ${sums.opened} paths, ${sums.tampered} of ${sums.datagrams} datagrams tampered with, ${(sums.virtualUs / 60e6).toFixed(0)} virtual minutes in ${seconds} s`,
  )
  return sums.failures === 0 ? 0 : 1
}
