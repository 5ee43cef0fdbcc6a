/** Errors for the caller of the engine: wrong use of the API, never a peer's doing. */

export class QuicError extends Error {
  /** Stable identifier, e.g. `ERR_STREAM_FINISHED`. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'QuicError'
    this.code = code
  }
}
