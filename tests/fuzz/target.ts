/** What can be fuzzed: one function that takes any bytes, must not throw, and says what happened. */

export interface FuzzTarget {
  readonly name: string
  readonly inputBytesMax: number
  /** Inputs of a short run in the tests, for targets that are slow; 600 when absent. */
  readonly shortRuns?: number
  /** Well-formed inputs to start from. */
  seeds(): readonly Uint8Array[]
  /** Pieces worth inserting: type codes, special integers, strings. */
  readonly dictionary?: readonly Uint8Array[]
  /**
   * Handles one input and returns a short text that names the outcome; inputs with a new outcome are kept and mutated
   * further. Throws when a promise is broken: that is a finding.
   */
  run(input: Uint8Array): string
}

/** An error text without its particulars, so that outcomes of one kind are equal. */
export function shape(message: string): string {
  return message.replace(/0x[0-9a-f]+|\d+/gi, '#').slice(0, 120)
}

/** 0, 1, 2, 4, 8 … : sizes as outcomes without one outcome per size. */
export function magnitude(count: number): number {
  return count < 2 ? count : 2 ** Math.floor(Math.log2(count))
}

/** A promise of the code under test. */
export function promise(isKept: boolean, message: string): asserts isKept {
  if (!isKept) throw new Error(`broken promise: ${message}`)
}
