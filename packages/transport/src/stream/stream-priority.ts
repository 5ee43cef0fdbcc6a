/** Order and share of a stream among those that have something to send: values, bounds, defaults. */
import { QuicError } from '../errors.ts'

/** For the stream schedulers `prio` and `rfc9218` (`priority`) and `sprio` (`weight`); what is left out stays as it is. */
export interface StreamPriority {
  /** 0 = most urgent to 7 = least; the range of urgencies in RFC 9218 §4.1. */
  readonly priority?: number
  /** Share of a stream in relation to others, 1 to 256. */
  readonly weight?: number
  /** Useful before it is whole: takes turns with others of its urgency (RFC 9218 §4.2). For `rfc9218`. */
  readonly isIncremental?: boolean
}

export const PRIORITIES = 8
/** RFC 9218 §4.1: the default urgency is 3 */
export const DEFAULT_PRIORITY = 3
export const WEIGHT_MAX = 256
export const DEFAULT_WEIGHT = 16

/** Throws QuicError ERR_PRIORITY naming the field and its range. */
export function checkPriority({ priority, weight }: StreamPriority): void {
  check('priority', priority, 0, PRIORITIES - 1)
  check('weight', weight, 1, WEIGHT_MAX)
}

function check(name: string, value: number | undefined, min: number, max: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return
  throw new QuicError('ERR_PRIORITY', `${name} is ${value}; allowed: whole numbers from ${min} to ${max}`)
}
