/** What is wrong with a capture file, and where. */
import { QuicError } from '@quicether/transport'

/** `offset` counts bytes from the start of the file. Code `ERR_CAPTURE`. */
export class CaptureError extends QuicError {
  readonly offset: number

  constructor(offset: number, message: string) {
    super('ERR_CAPTURE', `${message} (at byte ${offset})`)
    this.offset = offset
  }
}
