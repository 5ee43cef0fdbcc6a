/** Holds outgoing messages to the rules for incoming ones, before anything is sent. */
import type { StreamId } from '@quicether/transport'
import { H3StreamError, Http3Error } from './errors.ts'
import type { HeaderList } from './headers.ts'
import { parseRequestHead, type RequestHead } from './validate.ts'

/** Runs the checks for incoming messages on an outgoing one. Throws Http3Error(ERR_HTTP3_INVALID_ARGUMENT). */
export function checkOutgoing<T>(parse: () => T, streamId: StreamId | undefined): T {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof H3StreamError)) throw error
    const details = streamId === undefined ? { by: 'local' as const } : { by: 'local' as const, streamId }
    throw new Http3Error('ERR_HTTP3_INVALID_ARGUMENT', `message cannot be sent: ${error.message}`, details)
  }
}

/** Checks a request before a stream is opened for it. Throws Http3Error(ERR_HTTP3_INVALID_ARGUMENT). */
export function checkOutgoingRequest(lines: HeaderList): RequestHead {
  return checkOutgoing(() => parseRequestHead(lines, true), undefined)
}
