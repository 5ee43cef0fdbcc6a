/** The loop: mutate, run under a watchdog, keep what behaves in a new way, stop at the first broken promise. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext, Script } from 'node:vm'
import { mutate } from './mutate.ts'
import { Random } from './random.ts'
import type { FuzzTarget } from './target.ts'

/** A batch that runs longer than this holds an input that hangs. */
const HANG_MS = 10_000
const POOL_MAX = 4_000
const OUTCOMES_MAX = 50_000
/** Live memory may grow by this much over a whole run: the pool and the outcomes, with room to spare. */
export const HEAP_GROWTH_BYTES_MAX = 96 * 1024 * 1024

export interface Finding {
  readonly input: Uint8Array
  readonly error: Error
}

export interface FuzzResult {
  readonly runs: number
  readonly outcomes: number
  /** Inputs that showed a new outcome, shortest first. */
  readonly fresh: readonly Uint8Array[]
  readonly finding: Finding | undefined
  readonly heapGrowthBytes: number
}

export interface FuzzOptions {
  readonly seed: number
  /** Stop after so many inputs. */
  readonly runsMax: number
  /** Asked between batches. */
  readonly isOver: () => boolean
  readonly onProgress?: (runs: number, outcomes: number) => void
}

/** Runs inputs under the watchdog; undefined = all promises kept. */
export function runGuarded(
  target: FuzzTarget,
  inputs: readonly Uint8Array[],
  visit?: (input: Uint8Array, outcome: string) => void,
  hangMs = HANG_MS,
): Finding | undefined {
  let current: Uint8Array = new Uint8Array(0)
  const guarded = globalThis as { quicetherFuzzBatch?: () => void }
  guarded.quicetherFuzzBatch = () => {
    for (const input of inputs) {
      current = input
      // A copy: a target that changes its input must not change what is kept.
      const outcome = target.run(input.slice())
      visit?.(input, outcome)
    }
  }
  try {
    batchScript.runInThisContext({ timeout: hangMs })
    return undefined
  } catch (thrown) {
    return { input: current, error: asError(thrown) }
  } finally {
    delete guarded.quicetherFuzzBatch
  }
}

/** Deterministic by seed and start corpus, but for the moment at which `isOver` ends it. */
export function fuzz(target: FuzzTarget, corpus: readonly Uint8Array[], options: FuzzOptions): FuzzResult {
  const random = new Random(options.seed)
  const pool = [...target.seeds(), ...corpus]
  if (pool.length === 0) pool.push(new Uint8Array(0))
  const outcomes = new Set<string>()
  const fresh: Uint8Array[] = []
  let finding = runGuarded(target, pool, (_input, outcome) => outcomes.add(outcome))
  const heapBefore = liveHeapBytes()
  let runs = pool.length
  while (finding === undefined && runs < options.runsMax && !options.isOver()) {
    const batch = nextBatch(target, pool, random, Math.min(256, options.runsMax - runs))
    finding = runGuarded(target, batch, (input, outcome) => {
      if (outcomes.has(outcome) || outcomes.size >= OUTCOMES_MAX) return
      outcomes.add(outcome)
      fresh.push(input)
      if (pool.length < POOL_MAX) pool.push(input)
      else pool[random.below(POOL_MAX)] = input
    })
    runs += batch.length
    options.onProgress?.(runs, outcomes.size)
  }
  const heapGrowthBytes = liveHeapBytes() - heapBefore
  fresh.sort((a, b) => a.length - b.length)
  return { runs, outcomes: outcomes.size, fresh, finding, heapGrowthBytes }
}

/** Shortens a finding: fewer bytes, the same kind of error. */
export function minimize(target: FuzzTarget, finding: Finding, attemptsMax = 4_000): Finding {
  const kind = finding.error.message.slice(0, 40)
  let best = finding
  let attempts = 0
  for (let size = Math.ceil(best.input.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.input.length && attempts < attemptsMax; attempts++) {
      const input = Uint8Array.from([...best.input.subarray(0, at), ...best.input.subarray(at + size)])
      const found = runGuarded(target, [input])
      if (found?.error.message.startsWith(kind)) best = found
      else at += size
    }
  }
  return best
}

function nextBatch(target: FuzzTarget, pool: readonly Uint8Array[], random: Random, count: number): Uint8Array[] {
  const batch: Uint8Array[] = []
  const dictionary = target.dictionary ?? []
  for (let index = 0; index < count; index++) {
    const options = { bytesMax: target.inputBytesMax, dictionary, other: random.pick(pool) }
    batch.push(mutate(random.pick(pool), random, options))
  }
  return batch
}

const batchScript = new Script('globalThis.quicetherFuzzBatch()')

function asError(thrown: unknown): Error {
  if (!(thrown instanceof Error)) {
    // Errors of the watchdog come from outside of this realm.
    const { code, message } = (thrown ?? {}) as { code?: string; message?: string }
    return new Error(code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? hangMessage : `threw ${message ?? String(thrown)}`)
  }
  if ((thrown as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return new Error(hangMessage)
  return thrown
}

const hangMessage = `broken promise: the input hangs without an end`

function liveHeapBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
