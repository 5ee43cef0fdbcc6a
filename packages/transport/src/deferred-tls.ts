/** A server's TLS session that begins once the ClientHello is complete, so that the version can be chosen from it. */
import { TransportError, type TransportParameters, decodeTransportParameters } from '@quicether/wire'
import { firstMessageLength, lacksTransportParameters, transportParametersOf } from './client-hello.ts'
import type { Level, TlsFailure, TlsSession, TlsStep } from './ports/crypto.ts'

/** TLS alert missing_extension (RFC 8446 §6.2). */
const MISSING_EXTENSION = 109

/** Given the client's parameters (undefined when unreadable), creates the session for the version chosen. */
export type TlsStarter = (peer: TransportParameters | undefined) => TlsSession

export class DeferredTls implements TlsSession {
  readonly #start: TlsStarter
  #inner: TlsSession | undefined
  #buffered: Uint8Array = new Uint8Array(0)

  constructor(start: TlsStarter) {
    this.#start = start
  }

  read(level: Level, data: Uint8Array): TlsFailure | undefined {
    if (this.#inner !== undefined) return this.#inner.read(level, data)
    const bytes = new Uint8Array(this.#buffered.length + data.length)
    bytes.set(this.#buffered)
    bytes.set(data, this.#buffered.length)
    this.#buffered = bytes
    const length = firstMessageLength(bytes)
    if (length === undefined || bytes.length < length) return undefined
    this.#buffered = new Uint8Array(0)
    // RFC 9001 §8.2: "endpoints that receive ClientHello or EncryptedExtensions messages without the quic_transport_parameters extension MUST close the connection with an error of type 0x016d"
    if (lacksTransportParameters(bytes.subarray(0, length))) {
      return { alert: MISSING_EXTENSION, message: 'the ClientHello has no quic_transport_parameters extension' }
    }
    this.#inner = this.#start(peerParameters(bytes.subarray(0, length)))
    return this.#inner.read(level, bytes)
  }

  next(): TlsStep | undefined {
    return this.#inner?.next()
  }

  isHandshaking(): boolean {
    return this.#inner?.isHandshaking() ?? true
  }

  peerTransportParameters(): Uint8Array | undefined {
    return this.#inner?.peerTransportParameters()
  }

  alpn(): string | undefined {
    return this.#inner?.alpn()
  }

  serverName(): string | undefined {
    return this.#inner?.serverName()
  }

  earlyDataAccepted(): boolean {
    return this.#inner?.earlyDataAccepted() ?? false
  }

  resumed(): boolean {
    return this.#inner?.resumed() ?? false
  }

  peerCertificates(): readonly Uint8Array[] {
    return this.#inner?.peerCertificates() ?? []
  }

  setVersion(version: number): void {
    this.#inner?.setVersion(version)
  }

  exportKeyingMaterial(label: string, context: Uint8Array, lengthBytes: number): Uint8Array {
    if (this.#inner === undefined) throw new Error('the handshake has not begun')
    return this.#inner.exportKeyingMaterial(label, context, lengthBytes)
  }

  close(): void {
    this.#inner?.close()
  }
}

/** Parameters for the choice of version only; TLS and the real decoder judge them later. */
function peerParameters(clientHello: Uint8Array): TransportParameters | undefined {
  const raw = transportParametersOf(clientHello)
  if (raw === undefined) return undefined
  try {
    return decodeTransportParameters(raw, 'client')
  } catch (error) {
    if (error instanceof TransportError) return undefined
    throw error
  }
}
