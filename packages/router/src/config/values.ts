/** Building blocks of the configuration's shape: each says in words what a reader should write instead. */
import * as v from 'valibot'
import { rangeProblem } from '../forwarding/client-address.ts'

/** A whole number within bounds. */
export function whole(min: number, max: number, unit: string) {
  const expected = `a whole number from ${min} to ${max} (${unit})`
  return v.pipe(v.number(expected), v.integer(expected), v.minValue(min, expected), v.maxValue(max, expected))
}

/** Text that is not empty. */
export function text(expected: string) {
  return v.pipe(v.string(expected), v.minLength(1, expected))
}

/** True or false, with a default. */
export function flag(byDefault: boolean) {
  return v.optional(v.boolean('true or false'), byDefault)
}

/** A time in milliseconds; 0 stands for "no limit" where the setting says so. */
export function milliseconds(min: number, max: number, byDefault: number) {
  return v.optional(whole(min, max, 'milliseconds'), byDefault)
}

const portExpected = 'a port number from 0 to 65535'

export const port = v.pipe(
  v.number(portExpected),
  v.integer(portExpected),
  v.minValue(0, portExpected),
  v.maxValue(65_535, portExpected),
)

/** An IP address or a range such as 10.0.0.0/8. */
export const addressRange = v.pipe(
  v.string('an address or range in quotes, e.g. "10.0.0.0/8"'),
  v.check((value) => rangeProblem(value) === undefined, 'an IP address or a range, e.g. "10.0.0.0/8" or "::1"'),
)

/** What requests are told apart by, for limits and for hashing. */
export const requestKey = v.pipe(
  v.string('"address", "path", "host", "header:NAME" or "cookie:NAME"'),
  v.regex(
    /^(?:address|path|host|header:[a-z0-9!#$%&'*+.^_`|~-]+|cookie:[A-Za-z0-9!#$%&'*+.^_`|~-]+)$/u,
    '"address", "path", "host", "header:name" in lower case or "cookie:NAME"',
  ),
)

/** Requests per second with a burst, for each key. */
export const rateLimit = v.strictObject({
  requests_per_second: v.pipe(
    v.number('a number of requests per second, e.g. 50'),
    v.minValue(0.001, 'a number from 0.001 to 1000000'),
    v.maxValue(1_000_000, 'a number from 0.001 to 1000000'),
  ),
  /** Requests that may come at once after a pause. */
  burst: v.optional(whole(1, 1_000_000, 'requests'), 20),
  key: v.optional(requestKey, 'address'),
  /** Keys remembered; beyond, the ones not seen for longest are forgotten. */
  keys: v.optional(whole(1, 1_000_000, 'keys'), 10_000),
})

export type RateLimitConfig = v.InferOutput<typeof rateLimit>
