/** Key log, qlog and packet capture of one process, opened and closed together. */
import type { KeyLog } from '@quicether/native'
import type { ConnectionObserver } from '@quicether/transport'
import { QuicError } from '@quicether/transport'
import { KeylogFile, PcapngWriter } from './capture/index.ts'
import type { DatagramTap } from './capture/tap.ts'
import { epochOffsetUs } from './driver.ts'
import { QlogDirectory } from './qlog/index.ts'

export interface DiagnosticsOptions {
  /** NSS key log (SSLKEYLOGFILE); lines are appended. */
  readonly keylogFile?: string | undefined
  /** Directory for one qlog file per connection. */
  readonly qlogDirectory?: string | undefined
  /** pcapng with the secrets inside. */
  readonly captureFile?: string | undefined
  /** Shown inside the files, e.g. `QuicEther router`. */
  readonly application?: string
  /** Told once about each file that fails later on, e.g. on a full disk. */
  readonly onWarning?: (message: string) => void
}

/** Pass its fields to `listen` and `connect`; one set may serve many endpoints. */
export interface Diagnostics {
  readonly keyLog?: KeyLog
  readonly tap?: DatagramTap
  readonly observe?: () => ConnectionObserver | null
  /** Writes out everything and closes the files. Never rejects. */
  close(): Promise<void>
}

/** @throws QuicError `ERR_DIAGNOSTICS` when a file or directory cannot be opened. */
export function openDiagnostics(options: DiagnosticsOptions): Diagnostics {
  const { keylogFile, qlogDirectory, captureFile, application, onWarning } = options
  const common = {
    epochOffsetUs: epochOffsetUs(),
    ...(application === undefined ? {} : { application }),
    ...(onWarning === undefined ? {} : { onWarning }),
  }
  const opened: { close(): Promise<void> }[] = []
  try {
    const keylog = keylogFile === undefined ? undefined : keep(opened, new KeylogFile({ path: keylogFile, ...common }))
    const qlog =
      qlogDirectory === undefined ? undefined : keep(opened, new QlogDirectory({ path: qlogDirectory, ...common }))
    const tap = captureFile === undefined ? undefined : keep(opened, new PcapngWriter({ path: captureFile, ...common }))
    return {
      ...(keylog === undefined ? {} : { keyLog: (line: string) => keylog.line(line) }),
      ...(tap === undefined ? {} : { tap }),
      ...(qlog === undefined ? {} : { observe: () => qlog.observe() ?? null }),
      async close() {
        await Promise.all(opened.map((file) => file.close()))
      },
    }
  } catch (cause) {
    for (const file of opened) void file.close()
    throw new QuicError('ERR_DIAGNOSTICS', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function keep<T extends { close(): Promise<void> }>(opened: { close(): Promise<void> }[], file: T): T {
  opened.push(file)
  return file
}
