/** Runs every kept input of a target once. */
import { loadCorpus } from './corpus.ts'
import { type Finding, runGuarded } from './fuzzer.ts'
import type { FuzzTarget } from './target.ts'

export interface ReplayResult {
  readonly inputs: number
  readonly outcomes: number
  readonly finding: Finding | undefined
}

/** Seeds and corpus; deterministic. */
export function replay(target: FuzzTarget): ReplayResult {
  const inputs = [...target.seeds(), ...loadCorpus(target.name).map((file) => file.input)]
  const outcomes = new Set<string>()
  const finding = runGuarded(target, inputs, (_input, outcome) => outcomes.add(outcome))
  return { inputs: inputs.length, outcomes: outcomes.size, finding }
}
