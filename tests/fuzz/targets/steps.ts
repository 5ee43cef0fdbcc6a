/** Reads an input as a program: steps of an operation, an argument and a payload. */

export interface Step {
  readonly operation: number
  readonly argument: number
  readonly payload: Uint8Array
}

/** Bytes as `operation argument length payload…`; the last payload may be shorter than it says. */
export function* steps(input: Uint8Array, stepsMax: number): Generator<Step> {
  let at = 0
  for (let count = 0; count < stepsMax && at < input.length; count++) {
    const operation = input[at] ?? 0
    const argument = input[at + 1] ?? 0
    const length = input[at + 2] ?? 0
    yield { operation, argument, payload: input.subarray(at + 3, at + 3 + length) }
    at += 3 + length
  }
}

/** The reverse, for seeds. */
export function program(
  ...list: readonly (readonly [operation: number, argument: number, payload: Uint8Array])[]
): Uint8Array {
  return Uint8Array.from(
    list.flatMap(([operation, argument, payload]) => [operation, argument, payload.length, ...payload]),
  )
}
