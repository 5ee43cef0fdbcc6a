/** One TLS handshake of the native crate in the shape of the transport's port. */
import type { Level, TlsFailure, TlsSession, TlsStep } from '@quicether/transport'
import type { AddonTlsSession } from './addon.ts'
import { guarded } from './native-error.ts'

export class NativeTlsSession implements TlsSession {
  readonly #session: AddonTlsSession
  readonly #keyLog: ((line: string) => void) | undefined

  /** @param keyLog takes NSS lines as soon as their secrets exist. */
  constructor(session: AddonTlsSession, keyLog: ((line: string) => void) | undefined) {
    this.#session = session
    this.#keyLog = keyLog
    this.#log()
  }

  read(level: Level, data: Uint8Array): TlsFailure | undefined {
    const failure = this.#session.read(level, data)
    this.#log()
    return failure ?? undefined
  }

  next(): TlsStep | undefined {
    const step = this.#session.next()
    if (step === null) return undefined
    const level = step.level as Level
    if (step.data !== undefined) return { kind: 'crypto', level, data: step.data }
    return { kind: 'keys', level, keys: { rx: step.rx, tx: step.tx } }
  }

  isHandshaking(): boolean {
    return this.#session.isHandshaking()
  }

  peerTransportParameters(): Uint8Array | undefined {
    return this.#session.peerTransportParameters() ?? undefined
  }

  alpn(): string | undefined {
    return this.#session.alpn() ?? undefined
  }

  serverName(): string | undefined {
    return this.#session.serverName() ?? undefined
  }

  earlyDataAccepted(): boolean {
    return this.#session.earlyDataAccepted()
  }

  resumed(): boolean {
    return this.#session.resumed()
  }

  peerCertificates(): readonly Uint8Array[] {
    return this.#session.peerCertificates()
  }

  setVersion(version: number): void {
    this.#session.setVersion(version)
  }

  /** @throws NativeError `ERR_HANDSHAKE_PENDING` before the end of the handshake. */
  exportKeyingMaterial(label: string, context: Uint8Array, lengthBytes: number): Uint8Array {
    return guarded(() => this.#session.exportKeyingMaterial(label, context, lengthBytes))
  }

  close(): void {
    this.#session.close()
  }

  #log(): void {
    // Drained in any case, so that secrets do not pile up in the session.
    const lines = this.#session.drainKeyLog()
    if (this.#keyLog === undefined || lines === '') return
    for (const line of lines.trimEnd().split('\n')) this.#keyLog(line)
  }
}
