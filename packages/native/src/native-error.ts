/** The error of everything that the native part refuses: a stable code and a sentence with thing, place and remedy. */
export class NativeError extends Error {
  override readonly name = 'NativeError'
  /** Stable, e.g. `ERR_PORT_IN_USE`, `ERR_KEY_MISMATCH`, `ERR_CERTIFICATE`. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Runs a native call; what it throws becomes a `NativeError`. */
export function guarded<T>(call: () => T): T {
  try {
    return call()
  } catch (cause) {
    if (cause instanceof NativeError || !(cause instanceof Error)) throw cause
    const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : 'ERR_NATIVE'
    throw new NativeError(code, cause.message, { cause })
  }
}
