/** Native errors become the engine's kind of error, code and message unchanged. */
import { NativeError } from '@quicether/native'
import { QuicError } from '@quicether/transport'

/** @throws QuicError in place of a NativeError. */
export function nativeCall<T>(call: () => T): T {
  try {
    return call()
  } catch (cause) {
    if (cause instanceof NativeError) throw new QuicError(cause.code, cause.message, { cause })
    throw cause
  }
}
