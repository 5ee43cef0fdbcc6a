/** What HTTP says of methods (RFC 9110 §9.2). */

const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const IDEMPOTENT: ReadonlySet<string> = new Set([...SAFE, 'PUT', 'DELETE'])

/** Asks for nothing but a look: may be sent as 0-RTT data (RFC 9110 §9.2.1, RFC 8470 §4). Unknown methods are not safe. */
export function isSafeMethod(method: string): boolean {
  return SAFE.has(method)
}

/** Doing it twice is like doing it once: may be sent again after a failure (RFC 9110 §9.2.2). */
export function isIdempotentMethod(method: string): boolean {
  return IDEMPOTENT.has(method)
}
