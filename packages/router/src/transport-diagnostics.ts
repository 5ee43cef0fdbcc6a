/** Key log, qlog and capture of a router or a client, with what goes wrong in the user's words. */
import { type Diagnostics, openDiagnostics } from '@quicether/net'
import type { ClientConnectOptions, ServerListenOptions } from './ports.ts'
import { messageOf, UserError } from './user-error.ts'

/** Opens the files that `options` name. Throws `UserError` (`ERR_RESULTS`) when one cannot be opened. */
export function diagnosticsOf(options: ClientConnectOptions | ServerListenOptions, application: string): Diagnostics {
  const { keylogFile, qlogDirectory, captureFile, onTrouble } = options
  try {
    return openDiagnostics({ keylogFile, qlogDirectory, captureFile, application, onWarning: onTrouble })
  } catch (error) {
    throw new UserError('ERR_RESULTS', {
      what: messageOf(error),
      where: '--keylog, --qlog or --capture',
      remedy: 'Name a file in a directory that exists and is writable.',
      cause: error,
    })
  }
}
