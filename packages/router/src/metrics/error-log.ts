/** Errors by kind: exact counts, and a bounded number of examples. */

import { printable } from '../printable.ts'

/** Where an error arose: in the QUIC connection, in one stream, or in the service behind the router. */
export type ErrorScope = 'connection' | 'stream' | 'backend'

export interface ErrorEntry {
  readonly scope: ErrorScope
  /** Stable short name, e.g. `upstream-refused`. */
  readonly kind: string
  readonly count: number
  readonly firstAt: string
  readonly lastAt: string
  /** The latest message of this kind. */
  readonly lastMessage: string
}

/** Kinds kept apart; further ones are counted under `other`. */
const kindsMax = 200
const messageCharactersMax = 300

/** Counts errors by scope and kind. */
export class ErrorLog {
  readonly #entries = new Map<string, { -readonly [Key in keyof ErrorEntry]: ErrorEntry[Key] }>()

  add(scope: ErrorScope, kind: string, message: string): void {
    const at = new Date().toISOString()
    const lastMessage = printable(message, messageCharactersMax)
    let key = `${scope} ${kind}`
    if (!this.#entries.has(key) && this.#entries.size >= kindsMax) key = `${scope} other`
    const entry = this.#entries.get(key)
    if (entry === undefined) {
      this.#entries.set(key, {
        scope,
        kind: key.slice(scope.length + 1),
        count: 1,
        firstAt: at,
        lastAt: at,
        lastMessage,
      })
      return
    }
    entry.count++
    entry.lastAt = at
    entry.lastMessage = lastMessage
  }

  count(): number {
    let sum = 0
    for (const entry of this.#entries.values()) sum += entry.count
    return sum
  }

  /** Most frequent first. */
  entries(): ErrorEntry[] {
    return [...this.#entries.values()].map((entry) => ({ ...entry })).sort((a, b) => b.count - a.count)
  }
}
