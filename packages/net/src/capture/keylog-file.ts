/** Writes TLS secrets in the NSS key log format (SSLKEYLOGFILE), which Wireshark and other tools read. */
import { BoundedFile } from './bounded-file.ts'

export interface KeylogFileOptions {
  readonly path: string
  readonly onWarning?: (message: string) => void
}

/**
 * Appends, since several processes commonly share one SSLKEYLOGFILE. A new file is readable by its owner only; the
 * permissions of an existing one are left as its owner set them.
 */
export class KeylogFile {
  readonly #file: BoundedFile

  /** Throws when the file cannot be opened. */
  constructor(options: KeylogFileOptions) {
    this.#file = new BoundedFile({
      ...options,
      what: 'key log',
      append: true,
      mode: 0o600,
      bufferBytesMax: 1024 * 1024,
    })
  }

  get path(): string {
    return this.#file.path
  }

  /** Takes one line, with or without its end, and hands it to the disk at once. Malformed lines are ignored. */
  line(line: string): void {
    const trimmed = normalizeKeylogLine(line)
    if (trimmed === undefined) return
    this.#file.appendText(`${trimmed}\n`)
    this.#file.flush()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** The key log file to use: the option if given, else the environment's SSLKEYLOGFILE; undefined = none. */
export function keylogPath(option: string | undefined, environment: NodeJS.ProcessEnv): string | undefined {
  if (option !== undefined && option !== '') return option
  const fromEnvironment = environment['SSLKEYLOGFILE']
  return fromEnvironment === undefined || fromEnvironment === '' ? undefined : fromEnvironment
}

/** `LABEL client-random secret`, without a line end; undefined when the text is not such a line. */
export function normalizeKeylogLine(line: string): string | undefined {
  const trimmed = line.trimEnd()
  return /^[A-Z0-9_]+ [0-9a-fA-F]{64} [0-9a-fA-F]{2,256}$/.test(trimmed) ? trimmed : undefined
}
