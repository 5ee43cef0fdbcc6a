/** The kept inputs of a target: small files under corpus/, committed and replayed by the tests. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Most files kept per target; findings are always kept. */
export const KEPT_FILES_MAX = 60
/** Larger inputs are used in a run and not kept. */
export const KEPT_BYTES_MAX = 2_048

const root = fileURLToPath(new URL('./corpus/', import.meta.url))

export interface CorpusFile {
  readonly path: string
  readonly input: Uint8Array
}

/** Kept inputs in the order of their names. */
export function loadCorpus(target: string): CorpusFile[] {
  const directory = join(root, target)
  if (!existsSync(directory)) return []
  const names = readdirSync(directory).filter((name) => name.endsWith('.bin'))
  return names
    .sort()
    .map((name) => ({ path: join(directory, name), input: Uint8Array.from(readFileSync(join(directory, name))) }))
}

/** Keeps inputs, short and long ones alike, as far as the corpus has room; returns how many. */
export function keep(target: string, inputs: readonly Uint8Array[]): number {
  const directory = join(root, target)
  const kept = existsSync(directory) ? readdirSync(directory).length : 0
  const small = inputs.filter((input) => input.length <= KEPT_BYTES_MAX).sort((a, b) => a.length - b.length)
  const count = Math.min(small.length, Math.max(0, KEPT_FILES_MAX - kept))
  for (let index = 0; index < count; index++) {
    write(directory, '', small[Math.floor((index * small.length) / count)] as Uint8Array)
  }
  return count
}

/** Keeps an input that broke a promise; it is replayed until the fix and for ever after. */
export function keepFinding(target: string, input: Uint8Array): string {
  return write(join(root, target), 'finding-', input)
}

function write(directory: string, prefix: string, input: Uint8Array): string {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, `${prefix}${createHash('sha256').update(input).digest('hex').slice(0, 16)}.bin`)
  writeFileSync(path, input)
  return path
}
