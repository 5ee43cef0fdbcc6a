/** A deterministic TLS 1.3 look-alike: the real flights and sizes, keys agreed through the bytes exchanged. */
import {
  type ClientTlsOptions,
  Level,
  type ServerTlsOptions,
  type TlsClientContext,
  type TlsServerContext,
  type TlsSession,
} from '../ports/crypto.ts'
import type { FakeCrypto } from './fake-crypto.ts'
import {
  Alert,
  ByteReader,
  ByteWriter,
  bytesText,
  decodeAlpn,
  decodeClientHello,
  decodeExtensions,
  decodeServerHello,
  decodeServerName,
  encodeAlpn,
  encodeClientHello,
  encodeExtensions,
  encodeServerHello,
  encodeServerName,
  ExtensionType,
  type Extensions,
  frameMessage,
  MessageType,
  TlsAlert,
  textBytes,
} from './fake-tls-messages.ts'
import { type FakeSecrets, FakeTlsSession } from './fake-tls-session.ts'
import { createSeededRandom, type SeededRandom } from './random.ts'
import { equalBytes } from '../bytes.ts'
import { toyDigest } from './toy-hash.ts'

export interface FakeTlsOptions {
  /** Where keys are installed and tickets sealed: the same instance that the endpoint gets. */
  readonly crypto: FakeCrypto
  readonly seed: number
  /** Server: protocols in order of preference. Default `['test']`. */
  readonly alpn?: readonly string[]
  /** Server: size of its Certificate message. Default 2500. */
  readonly certificateBytes?: number
  /** Client: pads the ClientHello to at least this; above 1200 it spans two Initial packets. Default 0. */
  readonly clientHelloBytesMin?: number
  /** Server: resumption tickets sent after the handshake. Default 1, 0 = no resumption. */
  readonly tickets?: number
  /** Server: `off` makes tickets without 0-RTT; `reject` lets clients try and refuses. Default `accept`. */
  readonly earlyData?: 'accept' | 'reject' | 'off'
}

export interface FakeTls {
  readonly client: TlsClientContext
  readonly server: TlsServerContext
}

/** Tickets a client remembers per server, and servers it remembers. */
const TICKETS_MAX = 4
const SERVERS_MAX = 256

export function createFakeTls(options: FakeTlsOptions): FakeTls {
  const settings: Settings = {
    crypto: options.crypto,
    random: createSeededRandom(options.seed).fork('fake-tls'),
    alpn: options.alpn ?? ['test'],
    certificateBytes: options.certificateBytes ?? 2_500,
    clientHelloBytesMin: options.clientHelloBytesMin ?? 0,
    tickets: options.tickets ?? 1,
    earlyData: options.earlyData ?? 'accept',
  }
  const memory = new SessionMemory()
  return {
    client: { createSession: (session: ClientTlsOptions): TlsSession => new ClientSession(settings, memory, session) },
    server: { createSession: (session: ServerTlsOptions): TlsSession => new ServerSession(settings, session) },
  }
}

interface Settings {
  readonly crypto: FakeCrypto
  readonly random: SeededRandom
  readonly alpn: readonly string[]
  readonly certificateBytes: number
  readonly clientHelloBytesMin: number
  readonly tickets: number
  readonly earlyData: 'accept' | 'reject' | 'off'
}

/** A session the client may resume. */
interface Remembered {
  readonly ticket: Uint8Array
  readonly secret: Uint8Array
  readonly alpn: string
  readonly parameters: Uint8Array
  readonly allowsEarlyData: boolean
}

class SessionMemory {
  readonly #byServer = new Map<string, Remembered[]>()

  add(serverName: string, session: Remembered): void {
    const sessions = this.#byServer.get(serverName) ?? []
    sessions.push(session)
    if (sessions.length > TICKETS_MAX) sessions.shift()
    this.#byServer.set(serverName, sessions)
    if (this.#byServer.size > SERVERS_MAX) {
      for (const oldest of this.#byServer.keys()) {
        this.#byServer.delete(oldest)
        break
      }
    }
  }

  /** RFC 8446 §C.4: a ticket is used once. */
  take(serverName: string): Remembered | undefined {
    return this.#byServer.get(serverName)?.pop()
  }
}

class ClientSession extends FakeTlsSession {
  readonly #options: ClientTlsOptions
  readonly #memory: SessionMemory
  readonly #shared: Uint8Array
  readonly #offered: Remembered | undefined
  #expected: number = MessageType.ServerHello
  #resumptionSecret: Uint8Array = new Uint8Array(0)

  constructor(settings: Settings, memory: SessionMemory, options: ClientTlsOptions) {
    super(settings.crypto, true, options.version)
    this.#options = options
    this.#memory = memory
    this.#shared = randomBytes(settings.random, 32)
    this.name = options.serverName
    this.#offered = memory.take(options.serverName)
    const early =
      options.earlyData && this.#offered?.allowsEarlyData === true && options.alpn.includes(this.#offered.alpn)
    if (early) this.peerParameters = this.#offered?.parameters
    this.send(Level.Initial, this.#hello(settings, early))
    if (early && this.#offered !== undefined)
      this.installEarlyKeys(earlySecret(this.#offered.secret, this.transcriptDigest()))
  }

  #hello(settings: Settings, early: boolean): Uint8Array {
    const random = randomBytes(settings.random, 32)
    const sessionId = randomBytes(settings.random, 32)
    const extensions = new Map<number, Uint8Array>([
      [ExtensionType.ServerName, encodeServerName(this.#options.serverName)],
      [ExtensionType.Alpn, encodeAlpn(this.#options.alpn)],
      [ExtensionType.SupportedVersions, Uint8Array.of(2, 3, 4)],
      [ExtensionType.KeyShare, this.#shared],
      [ExtensionType.TransportParameters, this.#options.transportParameters],
    ])
    // No QUIC endpoint has empty parameters: they stand for an endpoint that leaves the extension out.
    if (this.#options.transportParameters.length === 0) extensions.delete(ExtensionType.TransportParameters)
    if (early) extensions.set(ExtensionType.EarlyData, new Uint8Array(0))
    const binder = (): void => {
      if (this.#offered === undefined) return
      const body = new ByteWriter().vector(this.#offered.ticket, 2)
      extensions.set(
        ExtensionType.PreSharedKey,
        body.vector(toyDigest('binder', this.#offered.secret, random), 1).end(),
      )
    }
    binder()
    const missing = settings.clientHelloBytesMin - encodeClientHello(random, sessionId, extensions).length
    if (missing > 0) {
      extensions.delete(ExtensionType.PreSharedKey)
      extensions.set(ExtensionType.Padding, new Uint8Array(Math.max(0, missing - 4)))
      binder() // RFC 8446 §4.2.11: pre_shared_key is the last extension.
    }
    return encodeClientHello(random, sessionId, extensions)
  }

  protected override expectedLevel(): Level {
    if (this.#expected === MessageType.ServerHello) return Level.Initial
    return this.#expected === MessageType.NewSessionTicket ? Level.OneRtt : Level.Handshake
  }

  protected override onMessage(type: number, body: Uint8Array, before: Uint8Array): void {
    if (type !== this.#expected) {
      throw new TlsAlert(
        Alert.UnexpectedMessage,
        `the server sent handshake message ${type} where ${this.#expected} was due`,
      )
    }
    if (type === MessageType.ServerHello) this.#onServerHello(body)
    else if (type === MessageType.EncryptedExtensions) this.#onEncryptedExtensions(body)
    else if (type === MessageType.Certificate) this.#onCertificate(body)
    else if (type === MessageType.CertificateVerify) this.#onCertificateVerify(body, before)
    else if (type === MessageType.Finished) this.#onFinished(body, before)
    else this.#onTicket(body)
  }

  #onServerHello(body: Uint8Array): void {
    const { extensions } = decodeServerHello(body)
    const share = requireExtension(extensions, ExtensionType.KeyShare, 'key_share')
    this.isResumed = extensions.has(ExtensionType.PreSharedKey)
    if (this.isResumed && this.#offered === undefined) {
      throw new TlsAlert(Alert.UnexpectedMessage, 'the server resumes a session that was not offered')
    }
    const psk = this.isResumed && this.#offered !== undefined ? this.#offered.secret : new Uint8Array(0)
    this.handshakeSecrets = this.deriveSecrets('hs traffic', toyDigest('shared', this.#shared, share, psk))
    this.installKeys(Level.Handshake, this.handshakeSecrets)
    this.#expected = MessageType.EncryptedExtensions
  }

  #onEncryptedExtensions(body: Uint8Array): void {
    const extensions = decodeExtensions(new ByteReader(body).vector(2))
    this.peerParameters = requireExtension(extensions, ExtensionType.TransportParameters, 'quic_transport_parameters')
    const chosen = decodeAlpn(requireExtension(extensions, ExtensionType.Alpn, 'ALPN'))[0]
    if (chosen === undefined || !this.#options.alpn.includes(chosen)) {
      throw new TlsAlert(Alert.NoApplicationProtocol, `the server chose ALPN "${chosen}", which was not offered`)
    }
    this.protocol = chosen
    this.isEarlyDataAccepted = extensions.has(ExtensionType.EarlyData)
    this.#expected = this.isResumed ? MessageType.Finished : MessageType.Certificate
  }

  #onCertificate(body: Uint8Array): void {
    const reader = new ByteReader(body)
    reader.vector(1)
    this.certificates = [new ByteReader(reader.vector(3)).vector(3)]
    this.#expected = MessageType.CertificateVerify
  }

  #onCertificateVerify(body: Uint8Array, before: Uint8Array): void {
    if (!equalBytes(body, certificateVerify(this.certificates[0] as Uint8Array, before))) {
      throw new TlsAlert(Alert.DecryptError, 'the CertificateVerify signature does not match')
    }
    this.#expected = MessageType.Finished
  }

  #onFinished(body: Uint8Array, before: Uint8Array): void {
    const handshake = this.handshakeSecrets as FakeSecrets
    this.checkFinished(handshake.server, body, before)
    const application = this.deriveSecrets('ap traffic', handshake.client)
    this.setExporterSecret(handshake.client)
    this.#resumptionSecret = toyDigest('res master', handshake.client, this.transcriptDigest())
    this.send(Level.Handshake, this.finishedMessage(handshake.client))
    this.installKeys(Level.OneRtt, application)
    this.isFinished = true
    this.#expected = MessageType.NewSessionTicket
  }

  #onTicket(body: Uint8Array): void {
    const reader = new ByteReader(body)
    const nonce = reader.vector(1)
    const allowsEarlyData = reader.uint(1) === 1
    this.#memory.add(this.#options.serverName, {
      ticket: reader.vector(2),
      secret: toyDigest('resumption', this.#resumptionSecret, nonce),
      alpn: this.protocol as string,
      parameters: this.peerParameters as Uint8Array,
      allowsEarlyData,
    })
  }
}

class ServerSession extends FakeTlsSession {
  readonly #settings: Settings
  readonly #options: ServerTlsOptions
  #expected: number | undefined = MessageType.ClientHello

  constructor(settings: Settings, options: ServerTlsOptions) {
    super(settings.crypto, false, options.version)
    this.#settings = settings
    this.#options = options
  }

  protected override expectedLevel(): Level | undefined {
    if (this.#expected === undefined) return undefined
    return this.#expected === MessageType.ClientHello ? Level.Initial : Level.Handshake
  }

  protected override onMessage(type: number, body: Uint8Array, before: Uint8Array): void {
    if (type !== this.#expected) {
      throw new TlsAlert(
        Alert.UnexpectedMessage,
        `the client sent handshake message ${type} where ${this.#expected} was due`,
      )
    }
    if (type === MessageType.ClientHello) this.#onClientHello(body)
    else this.#onFinished(body, before)
  }

  #onClientHello(body: Uint8Array): void {
    const { random, extensions } = decodeClientHello(body)
    const share = requireExtension(extensions, ExtensionType.KeyShare, 'key_share')
    // RFC 9001 §8.2: "endpoints MUST send this extension" - missing_extension otherwise.
    this.peerParameters = requireExtension(extensions, ExtensionType.TransportParameters, 'quic_transport_parameters')
    const offered = decodeAlpn(extensions.get(ExtensionType.Alpn) ?? encodeAlpn([]))
    const protocol = this.#settings.alpn.find((candidate) => offered.includes(candidate))
    if (protocol === undefined) {
      throw new TlsAlert(
        Alert.NoApplicationProtocol,
        `the client offers ALPN [${offered.join(', ')}], this server speaks [${this.#settings.alpn.join(', ')}]`,
      )
    }
    this.protocol = protocol
    const name = extensions.get(ExtensionType.ServerName)
    if (name !== undefined) this.name = decodeServerName(name)
    const psk = this.#acceptTicket(random, extensions, protocol)
    this.isResumed = psk !== undefined
    this.isEarlyDataAccepted =
      psk !== undefined &&
      psk.allowsEarlyData &&
      this.#settings.earlyData === 'accept' &&
      extensions.has(ExtensionType.EarlyData)
    if (this.isEarlyDataAccepted && psk !== undefined)
      this.installEarlyKeys(earlySecret(psk.secret, this.transcriptDigest()))
    this.#sendFlight(share, psk?.secret ?? new Uint8Array(0), protocol)
  }

  #acceptTicket(
    random: Uint8Array,
    extensions: Extensions,
    protocol: string,
  ): Pick<Remembered, 'secret' | 'allowsEarlyData'> | undefined {
    const offer = extensions.get(ExtensionType.PreSharedKey)
    if (offer === undefined) return undefined
    const reader = new ByteReader(offer)
    const ticket = this.#settings.crypto.openToken(reader.vector(2), textBytes('fake-tls ticket'))
    if (ticket === undefined) return undefined
    const fields = new ByteReader(ticket)
    const secret = fields.vector(1)
    const allowsEarlyData = fields.uint(1) === 1 && bytesText(fields.vector(1)) === protocol
    if (!equalBytes(reader.vector(1), toyDigest('binder', secret, random))) {
      throw new TlsAlert(Alert.DecryptError, 'the binder of the offered ticket does not match')
    }
    return { secret, allowsEarlyData }
  }

  #sendFlight(share: Uint8Array, psk: Uint8Array, protocol: string): void {
    const shared = randomBytes(this.#settings.random, 32)
    const hello = new Map<number, Uint8Array>([
      [ExtensionType.SupportedVersions, Uint8Array.of(3, 4)],
      [ExtensionType.KeyShare, shared],
    ])
    if (this.isResumed) hello.set(ExtensionType.PreSharedKey, new Uint8Array(2))
    this.send(Level.Initial, encodeServerHello(randomBytes(this.#settings.random, 32), hello))
    this.handshakeSecrets = this.deriveSecrets('hs traffic', toyDigest('shared', share, shared, psk))
    this.installKeys(Level.Handshake, this.handshakeSecrets)

    const encrypted = new Map<number, Uint8Array>([
      [ExtensionType.Alpn, encodeAlpn([protocol])],
      [ExtensionType.TransportParameters, this.#options.transportParameters],
    ])
    if (this.#options.transportParameters.length === 0) encrypted.delete(ExtensionType.TransportParameters)
    if (this.isEarlyDataAccepted) encrypted.set(ExtensionType.EarlyData, new Uint8Array(0))
    const body = new ByteWriter().vector(encodeExtensions(encrypted), 2).end()
    this.send(Level.Handshake, frameMessage(MessageType.EncryptedExtensions, body))
    if (!this.isResumed) this.#sendCertificate()
    this.send(Level.Handshake, this.finishedMessage(this.handshakeSecrets.server))
    this.installKeys(Level.OneRtt, this.deriveSecrets('ap traffic', this.handshakeSecrets.client))
    this.setExporterSecret(this.handshakeSecrets.client)
    this.#expected = MessageType.Finished
  }

  #sendCertificate(): void {
    const certificate = new Uint8Array(Math.max(16, this.#settings.certificateBytes - 11))
    createSeededRandom(0xce47).fill(certificate)
    const list = new ByteWriter().vector(certificate, 3).end()
    this.send(Level.Handshake, frameMessage(MessageType.Certificate, new ByteWriter().uint(0, 1).vector(list, 3).end()))
    this.send(
      Level.Handshake,
      frameMessage(MessageType.CertificateVerify, certificateVerify(certificate, this.transcriptDigest())),
    )
  }

  #onFinished(body: Uint8Array, before: Uint8Array): void {
    const handshake = this.handshakeSecrets as FakeSecrets
    this.checkFinished(handshake.client, body, before)
    this.isFinished = true
    this.#expected = undefined
    // The client computes this before it adds its Finished: `before` is that transcript.
    const resumption = toyDigest('res master', handshake.client, before)
    for (let i = 0; i < this.#settings.tickets; i++) this.#sendTicket(resumption)
  }

  #sendTicket(resumption: Uint8Array): void {
    const nonce = randomBytes(this.#settings.random, 8)
    const early = this.#settings.earlyData === 'off' ? 0 : 1
    const content = new ByteWriter().vector(toyDigest('resumption', resumption, nonce), 1).uint(early, 1)
    content.vector(textBytes(this.protocol as string), 1)
    const sealed = this.#settings.crypto.sealToken(
      content.end(),
      textBytes('fake-tls ticket'),
      randomBytes(this.#settings.random, 12),
    )
    const body = new ByteWriter().vector(nonce, 1).uint(early, 1).vector(sealed, 2).end()
    this.send(Level.OneRtt, frameMessage(MessageType.NewSessionTicket, body))
  }
}

function earlySecret(psk: Uint8Array, clientHello: Uint8Array): Uint8Array {
  return toyDigest('c e traffic', psk, clientHello)
}

/** A signature padded to the size of a real ECDSA one. */
function certificateVerify(certificate: Uint8Array, transcript: Uint8Array): Uint8Array {
  const signature = new Uint8Array(76)
  signature.set(toyDigest('certificate verify', certificate, transcript), 4)
  return signature
}

function requireExtension(extensions: Extensions, type: number, name: string): Uint8Array {
  const body = extensions.get(type)
  if (body === undefined) throw new TlsAlert(Alert.MissingExtension, `the ${name} extension is missing`)
  return body
}

function randomBytes(random: SeededRandom, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  random.fill(bytes)
  return bytes
}
