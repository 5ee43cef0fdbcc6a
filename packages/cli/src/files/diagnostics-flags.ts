/** Flags of `serve` and `get` for key log, qlog and capture. */
import type { Diagnostics } from '@quicether/net'
import { messageOf, UserError } from '@quicether/router'
import type { Command } from 'commander'
import { environmentKeylog } from '../commands/router.ts'

export interface DiagnosticsFlags {
  readonly keylog?: string
  readonly qlog?: string
  readonly capture?: string
}

/** Adds the flags to a command. */
export function addDiagnosticsOptions(command: Command): Command {
  return command
    .option('--keylog <file>', 'append TLS secrets for Wireshark (default: $SSLKEYLOGFILE)')
    .option('--qlog <directory>', 'write a qlog file for each connection')
    .option('--capture <file>', 'write a pcapng capture with the secrets inside')
}

/** Opens the files named. Throws `UserError` (`ERR_RESULTS`) when one cannot be opened. */
export async function diagnosticsOf(
  { keylog, qlog, capture }: DiagnosticsFlags,
  application: string,
): Promise<Diagnostics> {
  const { openDiagnostics } = await import('@quicether/net')
  const keylogFile = keylog ?? environmentKeylog()
  const onWarning = (message: string): void => void process.stderr.write(`quicether: ${message}\n`)
  try {
    return openDiagnostics({ keylogFile, qlogDirectory: qlog, captureFile: capture, application, onWarning })
  } catch (error) {
    throw new UserError('ERR_RESULTS', {
      what: messageOf(error).replace(/\.$/u, ''),
      where: '--keylog, --qlog or --capture',
      remedy: 'Name a file in a directory that exists and is writable.',
      cause: error,
    })
  }
}
