/** Which field lines are worth, or safe, to put into the dynamic table. */

/**
 * Secrets: never in a table, and marked so that intermediaries keep them out of theirs (RFC 9204 §7.1.3), because the
 * size of a request would tell an attacker whether a guess of the value was right.
 */
const SENSITIVE: ReadonlySet<string> = new Set([
  'authorization',
  'authentication-info',
  'cookie',
  'proxy-authorization',
  'proxy-authentication-info',
  'set-cookie',
  'x-api-key',
  'x-auth-token',
  'x-csrf-token',
  'x-xsrf-token',
])

/** Fields whose values change from message to message: inserting them only pushes out useful entries. */
const VOLATILE: ReadonlySet<string> = new Set([
  'age',
  'content-length',
  'content-range',
  'date',
  'etag',
  'expires',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'last-modified',
  'location',
  'range',
])

/** Fields whose values repeat on almost every message of a connection: worth inserting at first sight. */
const STEADY: ReadonlySet<string> = new Set([
  ':authority',
  'accept',
  'accept-encoding',
  'accept-language',
  'access-control-allow-origin',
  'alt-svc',
  'cache-control',
  'content-encoding',
  'content-security-policy',
  'content-type',
  'origin',
  'referer',
  'server',
  'strict-transport-security',
  'user-agent',
  'vary',
  'via',
])

/** Whether values of this field are secrets: never-indexed literals only. */
export function isSensitive(name: string): boolean {
  return SENSITIVE.has(name)
}

const RECENT_LINES = 256

/** Remembers hashes of lines seen lately, to recognise the second time a line comes by. */
export class RecentLines {
  readonly #hashes: Uint32Array

  constructor() {
    this.#hashes = new Uint32Array(RECENT_LINES)
  }

  /** Whether the line was seen lately; notes that it is seen now. A false yes costs one needless insertion. */
  sawBefore(name: string, value: string): boolean {
    // FNV-1a over both strings.
    let hash = 0x811c9dc5
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    hash = Math.imul(hash ^ 0x0a, 0x01000193)
    for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193)
    hash = (hash >>> 0) | 1
    const slot = (hash >>> 8) % RECENT_LINES
    const seen = this.#hashes[slot] === hash
    this.#hashes[slot] = hash
    return seen
  }
}

/** Steady fields at first sight, others when they come a second time; nothing that would fill a third of the table. */
export function shouldIndex(name: string, value: string, capacityBytes: number, recent: RecentLines): boolean {
  if ((name.length + value.length + 32) * 3 > capacityBytes || VOLATILE.has(name)) return false
  return STEADY.has(name) || recent.sawBefore(name, value)
}
