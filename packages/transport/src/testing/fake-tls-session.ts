/** What both sides of the fake TLS share: message reassembly, transcript, key schedule, the queue of steps. */
import { Level, type TlsFailure, type TlsSession, type TlsStep } from '../ports/crypto.ts'
import type { FakeCrypto } from './fake-crypto.ts'
import { Alert, frameMessage, MESSAGE_BYTES_MAX, MessageType, TlsAlert, textBytes } from './fake-tls-messages.ts'
import { equalBytes } from '../bytes.ts'
import { ToyHash, toyDigest } from './toy-hash.ts'

/** A step whose keys are derived when it is taken, so that `setVersion` still counts. */
type PendingStep =
  | { readonly kind: 'crypto'; readonly level: Level; readonly data: Uint8Array }
  | {
      readonly kind: 'keys'
      readonly level: Level
      readonly clientSecret: Uint8Array
      readonly serverSecret: Uint8Array | undefined
      readonly version: number | undefined
    }

export interface FakeSecrets {
  readonly client: Uint8Array
  readonly server: Uint8Array
}

export abstract class FakeTlsSession implements TlsSession {
  readonly #crypto: FakeCrypto
  readonly #isClient: boolean
  readonly #steps: PendingStep[] = []
  readonly #inputs: Uint8Array[] = [new Uint8Array(0), new Uint8Array(0), new Uint8Array(0), new Uint8Array(0)]
  readonly #transcript = new ToyHash()
  #version: number
  #failure: TlsFailure | undefined
  #isClosed = false
  protected isFinished = false
  protected peerParameters: Uint8Array | undefined
  protected protocol: string | undefined
  protected name: string | undefined
  protected isEarlyDataAccepted = false
  protected isResumed = false
  protected certificates: readonly Uint8Array[] = []
  protected handshakeSecrets: FakeSecrets | undefined
  #exporterSecret: Uint8Array | undefined

  constructor(crypto: FakeCrypto, isClient: boolean, version: number) {
    this.#crypto = crypto
    this.#isClient = isClient
    this.#version = version
  }

  /** Level at which the next message must arrive; undefined = none is welcome. */
  protected abstract expectedLevel(): Level | undefined
  /** Takes one whole message; throws `TlsAlert`. `before` is the transcript digest before it. */
  protected abstract onMessage(type: number, body: Uint8Array, before: Uint8Array): void

  read(level: Level, data: Uint8Array): TlsFailure | undefined {
    if (this.#isClosed) throw new Error('read() on a closed TLS session')
    if (this.#failure !== undefined) return this.#failure
    try {
      this.#take(level, data)
    } catch (error) {
      if (!(error instanceof TlsAlert)) throw error
      this.#failure = { alert: error.alert, message: error.message }
    }
    return this.#failure
  }

  #take(level: Level, data: Uint8Array): void {
    if (data.length === 0) return
    const held = this.#inputs[level] as Uint8Array
    let input = new Uint8Array(held.length + data.length)
    input.set(held)
    input.set(data, held.length)
    for (;;) {
      if (input.length > 0 && level !== this.expectedLevel()) {
        throw new TlsAlert(Alert.UnexpectedMessage, `handshake bytes at level ${level} are not expected now`)
      }
      if (input.length < 4) break
      const length = ((input[1] as number) << 16) | ((input[2] as number) << 8) | (input[3] as number)
      if (length > MESSAGE_BYTES_MAX)
        throw new TlsAlert(Alert.DecodeError, `a handshake message of ${length} bytes is too long`)
      if (input.length < 4 + length) break
      const message = input.slice(0, 4 + length)
      input = input.slice(4 + length)
      const before = this.transcriptDigest()
      this.#transcript.bytes(message)
      this.onMessage(message[0] as number, message.subarray(4), before)
    }
    this.#inputs[level] = input
  }

  next(): TlsStep | undefined {
    if (this.#isClosed) throw new Error('next() on a closed TLS session')
    const step = this.#steps.shift()
    if (step === undefined || step.kind === 'crypto') return step
    const version = step.version ?? this.#version
    const fromClient = versioned(step.clientSecret, version)
    const fromServer = step.serverSecret === undefined ? undefined : versioned(step.serverSecret, version)
    const rx = this.#isClient ? fromServer : fromClient
    const tx = this.#isClient ? fromClient : fromServer
    return { kind: 'keys', level: step.level, keys: this.#crypto.installKeys(step.level, rx, tx) }
  }

  /** Queues a message and adds it to the transcript. */
  protected send(level: Level, message: Uint8Array): void {
    this.#transcript.bytes(message)
    const last = this.#steps.at(-1)
    if (last?.kind === 'crypto' && last.level === level) {
      const data = new Uint8Array(last.data.length + message.length)
      data.set(last.data)
      data.set(message, last.data.length)
      this.#steps[this.#steps.length - 1] = { kind: 'crypto', level, data }
    } else {
      this.#steps.push({ kind: 'crypto', level, data: message })
    }
  }

  protected installKeys(level: Level, secrets: FakeSecrets): void {
    this.#steps.push({
      kind: 'keys',
      level,
      clientSecret: secrets.client,
      serverSecret: secrets.server,
      version: undefined,
    })
  }

  /** RFC 9001 §4.1: 0-RTT keys exist in one direction only. */
  protected installEarlyKeys(secret: Uint8Array): void {
    // RFC 9369 §4.1: 0-RTT packets use the original version, whatever is negotiated later.
    this.#steps.push({
      kind: 'keys',
      level: Level.ZeroRtt,
      clientSecret: secret,
      serverSecret: undefined,
      version: this.#version,
    })
  }

  protected transcriptDigest(): Uint8Array {
    return this.#transcript.digest()
  }

  /** Both traffic secrets of a stage, from everything exchanged so far. */
  protected deriveSecrets(stage: string, shared: Uint8Array): FakeSecrets {
    const transcript = this.transcriptDigest()
    return {
      client: toyDigest(`c ${stage}`, shared, transcript),
      server: toyDigest(`s ${stage}`, shared, transcript),
    }
  }

  protected setExporterSecret(shared: Uint8Array): void {
    this.#exporterSecret = toyDigest('exp master', shared, this.transcriptDigest())
  }

  protected finishedMessage(secret: Uint8Array): Uint8Array {
    return frameMessage(MessageType.Finished, toyDigest('finished', secret, this.transcriptDigest()))
  }

  protected checkFinished(secret: Uint8Array, body: Uint8Array, before: Uint8Array): void {
    if (!equalBytes(body, toyDigest('finished', secret, before))) {
      throw new TlsAlert(Alert.DecryptError, 'the Finished message does not match the transcript')
    }
  }

  isHandshaking(): boolean {
    return !this.isFinished
  }

  peerTransportParameters(): Uint8Array | undefined {
    return this.peerParameters
  }

  alpn(): string | undefined {
    return this.protocol
  }

  serverName(): string | undefined {
    return this.name
  }

  earlyDataAccepted(): boolean {
    return this.isEarlyDataAccepted
  }

  resumed(): boolean {
    return this.isResumed
  }

  peerCertificates(): readonly Uint8Array[] {
    return this.certificates
  }

  setVersion(version: number): void {
    this.#version = version
  }

  exportKeyingMaterial(label: string, context: Uint8Array, lengthBytes: number): Uint8Array {
    if (this.#exporterSecret === undefined) throw new Error('exportKeyingMaterial() needs a finished handshake')
    return new ToyHash()
      .text('exporter')
      .bytes(this.#exporterSecret)
      .bytes(textBytes(label))
      .bytes(context)
      .digest(lengthBytes)
  }

  /** Keys of steps that nobody took were never installed, so an early close leaks nothing. */
  close(): void {
    this.#isClosed = true
    this.#steps.length = 0
  }
}

function versioned(secret: Uint8Array, version: number): Uint8Array {
  return new ToyHash()
    .text('version')
    .word(version | 0)
    .bytes(secret)
    .digest()
}
