/** How far a long computation is, drawn over itself on a terminal. */
const barColumns = 30

/** One line: bar, count, remaining time once it can be told, what was done last. Silent unless `out` is a terminal. */
export class ProgressLine {
  readonly #out: NodeJS.WriteStream
  readonly #startedMs = performance.now()

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
  }

  show(done: number, of: number, last: string): void {
    if (!this.#out.isTTY) return
    const text = progressText(done, of, performance.now() - this.#startedMs, last)
    this.#out.write(`\r\x1b[K${[...text].slice(0, (this.#out.columns || 80) - 1).join('')}`)
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#out.isTTY) this.#out.write('\r\x1b[K')
  }
}

/** The line's text. */
export function progressText(done: number, of: number, elapsedMs: number, last: string): string {
  const full = of === 0 ? barColumns : Math.floor((done / of) * barColumns)
  const leftSeconds = Math.ceil(((elapsedMs / Math.max(1, done)) * (of - done)) / 1_000)
  const left =
    done < 3 ? '' : leftSeconds < 100 ? `, ${leftSeconds} s left` : `, ${Math.round(leftSeconds / 60)} min left`
  return `${'█'.repeat(full)}${'░'.repeat(barColumns - full)} ${done}/${of}${left}  ${last}`
}
