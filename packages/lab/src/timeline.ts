/** What happened in a run, as lines of text that fit an inline snapshot. */
import type { Micros } from '@quicether/transport'

export interface TimelineEntry {
  readonly atUs: Micros
  readonly topic: string
  readonly text: string
}

/** Entries kept; the oldest give way, and `dropped` counts them. */
const ENTRIES_MAX = 100_000

export class Timeline {
  readonly #entries: TimelineEntry[] = []
  #dropped = 0

  get entries(): readonly TimelineEntry[] {
    return this.#entries
  }

  get dropped(): number {
    return this.#dropped
  }

  add(atUs: Micros, topic: string, text: string): void {
    if (this.#entries.length >= ENTRIES_MAX) {
      this.#entries.splice(0, ENTRIES_MAX / 10)
      this.#dropped += ENTRIES_MAX / 10
    }
    this.#entries.push({ atUs, topic, text })
  }

  /** Lines `1.250s text` of the named topics, of all topics (with their names) when none is named. */
  text(...topics: readonly string[]): string {
    const lines: string[] = []
    for (const { atUs, topic, text } of this.#entries) {
      if (topics.length === 0) lines.push(`${formatTime(atUs)} ${topic} ${text}`)
      else if (topics.includes(topic)) lines.push(`${formatTime(atUs)} ${text}`)
    }
    return lines.join('\n')
  }

  /** The last lines, for error messages. */
  tail(count: number): string {
    return this.#entries
      .slice(-count)
      .map(({ atUs, topic, text }) => `  ${formatTime(atUs)} ${topic} ${text}`)
      .join('\n')
  }
}

/** `0s`, `1.25s`, `0.000012s`: exact to the microsecond and no longer than needed. */
export function formatTime(atUs: Micros): string {
  return `${Number((atUs / 1e6).toFixed(6))}s`
}

/** Seconds as microseconds, for scenarios. */
export function seconds(count: number): Micros {
  return count * 1_000_000
}

/** Milliseconds as microseconds, for scenarios. */
export function milliseconds(count: number): Micros {
  return count * 1_000
}
