/** Loads the compiled crate and says what it exports. Hand-written; kept in step with the `#[napi]` items in Rust. */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { NativeError } from './native-error.ts'

export interface AddonKeyPair {
  readonly rx: number
  readonly tx: number
}

export interface AddonKeyLimits {
  readonly confidentialityPackets: number
  readonly integrityPackets: number
  readonly cipherSuite: string
}

export interface AddonTlsStep {
  readonly level: number
  readonly data?: Uint8Array
  readonly rx: number
  readonly tx: number
}

export interface AddonTlsFailure {
  readonly alert: number
  readonly message: string
}

export interface AddonTlsSession {
  read(level: number, data: Uint8Array): AddonTlsFailure | null
  next(): AddonTlsStep | null
  isHandshaking(): boolean
  peerTransportParameters(): Uint8Array | null
  alpn(): string | null
  serverName(): string | null
  earlyDataAccepted(): boolean
  resumed(): boolean
  peerCertificates(): Uint8Array[]
  setVersion(version: number): void
  exportKeyingMaterial(label: string, context: Uint8Array, length: number): Uint8Array
  drainKeyLog(): string
  close(): void
}

export interface AddonIdentity {
  readonly certificatePem?: string
  readonly privateKeyPem: string
  readonly certificateLabel: string
  readonly privateKeyLabel: string
  readonly names: readonly string[]
}

export interface AddonTrust {
  readonly kind: 'ca' | 'pinned' | 'rawKeys' | 'anyRawKey' | 'insecure'
  readonly ca: readonly { readonly pem: string; readonly label: string }[]
  readonly pins: readonly Uint8Array[]
  readonly rawKeys: readonly Uint8Array[]
}

export interface AddonClientContext {
  createSession(
    version: number,
    serverName: string,
    alpn: readonly string[],
    transportParameters: Uint8Array,
    earlyData: boolean,
  ): AddonTlsSession
  close(): void
}

export interface AddonServerContext {
  createSession(version: number, transportParameters: Uint8Array): AddonTlsSession
  replaceIdentities(identities: readonly AddonIdentity[]): void
  close(): void
}

export interface AddonTokenKeys {
  sealToken(plaintext: Uint8Array, associated: Uint8Array, nonce: Uint8Array): Uint8Array
  openToken(token: Uint8Array, associated: Uint8Array): Uint8Array | null
  statelessResetToken(cid: Uint8Array): Uint8Array
  close(): void
}

export interface AddonSocketInfo {
  readonly address: string
  readonly port: number
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  readonly gro: boolean
  readonly mayFragment: boolean
  readonly boundBy: string
}

export interface AddonUdpSocket {
  info(): AddonSocketInfo
  receive(slab: Uint8Array, meta: Int32Array): number
  takeError(): number
  send(slab: Uint8Array, offset: number, length: number, segmentSize: number, ecn: number, address: Int32Array): number
  segmentsMax(): number
  offloadFailed(): boolean
  start(callback: (writable: boolean) => void): void
  setWritableWanted(wanted: boolean): void
  setReadableWanted(wanted: boolean): void
  descriptor(): number
  attachSteering(program: Int32Array): number
  close(): void
}

export interface AddonCertificate {
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly publicKey: Uint8Array
  readonly certificateSha256: Uint8Array
  readonly publicKeySha256: Uint8Array
}

export interface Addon {
  sealPackets(bytes: Uint8Array, descriptors: Int32Array, count: number): void
  openPackets(bytes: Uint8Array, descriptors: Int32Array, count: number): void
  initialKeys(version: number, destinationCid: Uint8Array, isClient: boolean): AddonKeyPair
  keyFromSecret(version: number, cipherSuite: string, secret: Uint8Array, receives: boolean): number
  keyLimits(key: number): AddonKeyLimits
  rotateKeys(rx: number, tx: number): void
  dropPreviousKey(rx: number): void
  closeKey(key: number): void
  createSpace(): number
  closeSpace(space: number): void
  packetNonce(iv: Uint8Array, path: number, pnLow: number, pnHigh: number): Uint8Array
  retryIntegrityTag(version: number, pseudoPacket: Uint8Array): Uint8Array
  scopeId(zone: string): number | null
  localAddressFor(address: string, port: number): string | null
  createSessionStore(sessionsMax: number): number
  closeSessionStore(store: number): void
  generateCertificate(names: readonly string[], days: number, keyType: string, notBefore?: number): AddonCertificate
  readonly NativeTokenKeys: new (tokenKey: Uint8Array, resetKey: Uint8Array) => AddonTokenKeys
  readonly NativeClientContext: new (options: {
    readonly trust: AddonTrust
    readonly identity?: AddonIdentity
    readonly sessionsMax: number
    readonly cipherSuites: readonly string[]
  }) => AddonClientContext
  readonly NativeServerContext: new (options: {
    readonly identities: readonly AddonIdentity[]
    readonly alpn: readonly string[]
    readonly clientTrust?: AddonTrust
    readonly clientRequired: boolean
    readonly sessionsMax: number
    readonly sessionStore?: number
    readonly earlyData: boolean
    readonly cipherSuites: readonly string[]
  }) => AddonServerContext
  readonly NativeUdpSocket: new (options: {
    readonly address: string
    readonly port: number
    readonly interfaceName?: string
    readonly reuseAddress: boolean
    readonly reportErrors: boolean
    readonly reusePort: boolean
    readonly descriptor?: number
  }) => AddonUdpSocket
}

const file = fileURLToPath(new URL('../quicether.node', import.meta.url))

function load(): Addon {
  try {
    return createRequire(import.meta.url)(file) as Addon
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `the native part of QuicEther cannot be loaded from ${file}: ${reason}; run \`npm run bootstrap\``
    throw new NativeError('ERR_NATIVE_MISSING', message, { cause })
  }
}

export const addon: Addon = load()
