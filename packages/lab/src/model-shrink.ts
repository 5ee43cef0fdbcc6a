/** Cuts a failing plan of the path model down to the commands that matter. */
import { runModel } from './model.ts'
import type { ModelPlan, ModelStep } from './model-steps.ts'

export interface ShrunkPlan {
  readonly plan: ModelPlan
  readonly failure: string
  /** Runs it took. */
  readonly runs: number
}

/** Finds the failure of a plan, undefined when it passes; `runModel` unless a test replaces it. */
export type PlanRunner = (plan: ModelPlan) => string | undefined

const RUNS_MAX = 400
/** What is tried for the time after each step. */
const SHORT_US = 1_000

/**
 * Leaves out commands, many at a time and then one by one, as long as the plan still fails in the same way; then makes
 * the pauses short. Undefined when the plan does not fail.
 */
export function shrinkPlan(
  plan: ModelPlan,
  run: PlanRunner = (each) => runModel(each).failure,
): ShrunkPlan | undefined {
  const first = run(plan)
  if (first === undefined) return undefined
  const kind = kindOf(first)
  let failure = first
  let runs = 1
  let { steps } = plan
  const fails = (candidate: readonly ModelStep[]): boolean => {
    if (runs >= RUNS_MAX) return false
    runs++
    const found = run({ ...plan, steps: candidate })
    if (found === undefined || kindOf(found) !== kind) return false
    failure = found
    steps = candidate
    return true
  }
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = steps.length - size; at >= 0 - size + 1; at -= size) {
      const from = Math.max(0, at)
      fails([...steps.slice(0, from), ...steps.slice(at + size)])
      at = Math.min(at, steps.length)
    }
  }
  for (let at = 0; at < steps.length; at++) {
    const step = steps[at] as ModelStep
    if (step.thenUs > SHORT_US) fails(steps.with(at, { ...step, thenUs: SHORT_US }))
  }
  return { plan: { ...plan, steps }, failure, runs }
}

/** Two failures are of one kind when they differ in nothing but numbers. */
function kindOf(failure: string): string {
  const [line = ''] = failure.split('\n')
  return line.replace(/[\d.:]+/g, '#').slice(0, 100)
}
