/** The error a user sees: what went wrong, where, and what to do about it; never a stack trace. */

/** Stable names of the things a user can get wrong. */
export type UserErrorCode =
  | 'ERR_CONFIG_READ'
  | 'ERR_CONFIG_SYNTAX'
  | 'ERR_CONFIG_VALUE'
  | 'ERR_OPTION'
  | 'ERR_CERTIFICATE'
  | 'ERR_PORT_IN_USE'
  | 'ERR_LISTEN'
  | 'ERR_CONNECT'
  | 'ERR_RESULTS'
  | 'ERR_HISTORY'
  | 'ERR_DEMO'
  | 'ERR_CAPTURE'

export interface UserErrorParts {
  /** One clause without a full stop, e.g. `port 4433 is already in use`. */
  readonly what: string
  /** The thing or place, e.g. `router.toml:3` or `--port`. */
  readonly where: string
  /** One or two full sentences that tell how to go on. */
  readonly remedy: string
  readonly cause?: unknown
}

/** Printed as `quicether: <what> (<where>). <remedy>`. */
export class UserError extends Error {
  readonly code: UserErrorCode
  readonly what: string
  readonly where: string
  readonly remedy: string

  constructor(code: UserErrorCode, parts: UserErrorParts) {
    super(`${parts.what} (${parts.where}). ${parts.remedy}`, { cause: parts.cause })
    this.name = 'UserError'
    this.code = code
    this.what = parts.what
    this.where = parts.where
    this.remedy = parts.remedy
  }
}

/** The message of anything thrown, for use inside a sentence. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message
  return String(error)
}

/** The `code` property that Node and undici errors carry, or an empty string. */
export function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return ''
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' ? code : ''
}
