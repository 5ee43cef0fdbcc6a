/** What the runner tells a program on its command line (`ROLE name=value …`), and how the program answers: JSON lines. */
import { readFileSync } from 'node:fs'

/** Streams that ask for an echo begin with eight bytes of ones; as a number that is this, and no count comes near it. */
export const ECHO = 2 ** 64
/** More bytes than any run moves. */
export const ENDLESS = 2 ** 50
/** Bytes of a message and of a request. */
export const MESSAGE_BYTES = 100

export class Arguments {
  readonly role: string
  readonly #values: ReadonlyMap<string, string>

  constructor(words: readonly string[] = process.argv.slice(2)) {
    const [role, ...rest] = words
    if (role !== 'server' && role !== 'client') {
      throw new Error('usage: server|client name=value …; tests/bench/peers/README.md lists the names')
    }
    this.role = role
    this.#values = new Map(
      rest.map((word) => {
        const at = word.indexOf('=')
        if (at < 1) throw new Error(`"${word}" is not of the form name=value`)
        return [word.slice(0, at), word.slice(at + 1)]
      }),
    )
  }

  /** `otherwise` when the word was not given; without it that is an error. */
  text(name: string, otherwise?: string): string {
    const value = this.#values.get(name) ?? otherwise
    if (value === undefined) throw new Error(`${name}= is missing`)
    return value
  }

  number(name: string): number {
    const value = Number(this.text(name))
    if (Number.isNaN(value)) throw new Error(`${name}=${this.text(name)} is not a number`)
    return value
  }

  /** Counts at which memory is read, ascending. */
  steps(): number[] {
    return this.text('steps').split(',').map(Number)
  }

  pem(name: string): { readonly pem: string; readonly label: string } {
    const file = this.text(name)
    return { pem: readFileSync(file, 'utf8'), label: file }
  }
}

/** One fact for the runner. */
export function report(event: string, facts: Readonly<Record<string, unknown>> = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

/** The value below which `share` of the values lie; 0 without values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.round((sorted.length - 1) * share)] ?? 0
}

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000))
}

/** The runner reads the memory of a server that has collected its garbage. */
export function collectOnSignal(): void {
  process.on('SIGUSR2', () => {
    ;(globalThis as { gc?: () => void }).gc?.()
    report('collected')
  })
}

/** Head of a request: how many bytes to answer with, or `ECHO`; `extra` bytes follow. */
export function head(count: number, extra = 0): Uint8Array {
  const bytes = new Uint8Array(8 + extra)
  if (count === ECHO) return bytes.fill(255, 0, 8)
  for (let at = 7, left = count; left > 0; at--, left = Math.floor(left / 256)) bytes[at] = left % 256
  return bytes
}
