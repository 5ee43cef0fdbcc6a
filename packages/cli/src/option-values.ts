/** Values of flags: numbers within bounds, sizes with units. Errors say what was expected. */
import { InvalidArgumentError } from 'commander'

/** A parser of whole numbers from `min` to `max`. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/u.test(text) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`)
  }
}

export const portNumber = wholeNumber(0, 65_535)

const units: Readonly<Record<string, number>> = { '': 1, k: 1_000, m: 1_000_000, ki: 1_024, mi: 1_048_576 }

/** Bytes: `4096`, `64k`, `64Ki`, `2M`, `2Mi`; at most 256 Mi. */
export function byteSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ki|mi|k|m)?b?$/iu.exec(text)
  const bytes =
    match === null ? Number.NaN : Math.round(Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? Number.NaN))
  if (bytes >= 1 && bytes <= 268_435_456) return bytes
  throw new InvalidArgumentError('Expected a size from 1 to 256Mi, e.g. 4096, 64k, 256Ki or 2M.')
}

/** Values separated by commas. */
export function list(text: string): readonly string[] {
  const values = text.split(',').map((value) => value.trim())
  if (values.every((value) => value !== '')) return values
  throw new InvalidArgumentError('Expected values separated by commas, none of them empty.')
}

/** Bytes of a window given in KiB, 1 to 1048576. */
export function windowKiB(text: string): number {
  return 1_024 * wholeNumber(1, 1_048_576)(text)
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

/** A pino level. */
export function logLevel(text: string): string {
  if (levels.includes(text)) return text
  throw new InvalidArgumentError(`Expected one of ${levels.join(', ')}.`)
}
