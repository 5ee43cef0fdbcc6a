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
  let finding: Finding | undefined
  // Each on its own under the watchdog: together they take long on a busy machine, and that is no hang.
  for (const input of inputs) finding ??= runGuarded(target, [input], (_input, outcome) => outcomes.add(outcome))
  return { inputs: inputs.length, outcomes: outcomes.size, finding }
}
