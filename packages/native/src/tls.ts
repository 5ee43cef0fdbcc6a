/** TLS contexts for clients and servers over the native crate. */
import type { TlsClientContext, TlsServerContext } from '@quicether/transport'
import type { AddonIdentity, AddonTrust } from './addon.ts'
import { addon } from './addon.ts'
import { assertValidNow, readCertificate } from './certificates.ts'
import { guarded, NativeError } from './native-error.ts'
import { NativeTlsSession } from './tls-session.ts'

/** A PEM text and what to call it in errors: a file name or an option. */
export interface Pem {
  readonly pem: string
  readonly label: string
}

/** A certificate chain with its key. */
export interface CertificateIdentity {
  readonly certificate: Pem
  readonly privateKey: Pem
  /** Server names it answers to; the certificate's own names when absent. `*.example.org` stands for one label. */
  readonly names?: readonly string[]
}

/** A bare key, shown as a raw public key (RFC 7250). */
export interface RawKeyIdentity {
  readonly privateKey: Pem
}

export type Identity = CertificateIdentity | RawKeyIdentity

/** Whom a side believes. Possession of the private key is proved in every case. */
export type Trust =
  /** Chains to one of these authorities; a client also checks the server's name. */
  | { readonly kind: 'ca'; readonly ca: readonly Pem[] }
  /** The peer's certificate or its public key has one of these SHA-256 hashes (hex or base64, 32 bytes). */
  | { readonly kind: 'pinned'; readonly sha256: readonly string[] }
  /** The peer shows one of these raw public keys (SPKI, DER). */
  | { readonly kind: 'rawKeys'; readonly keys: readonly Uint8Array[] }
  /** The peer shows any raw public key: the caller must judge `peerCertificates()[0]`. */
  | { readonly kind: 'anyRawKey' }
  /** Any certificate at all. For tests. */
  | { readonly kind: 'insecure' }

/** Takes one NSS key log line, without line feed. */
export type KeyLog = (line: string) => void

export interface ClientContextOptions {
  readonly trust: Trust
  readonly identity?: Identity
  /** Servers whose sessions are remembered for resumption; 0 = none, 256 when absent. */
  readonly sessionsMax?: number
  /** TLS names in order of preference; all when absent. */
  readonly cipherSuites?: readonly string[]
  readonly keyLog?: KeyLog
}

export interface ServerContextOptions {
  /** The first one also answers to unknown and absent names. */
  readonly identities: readonly Identity[]
  readonly alpn: readonly string[]
  /** Ask clients for a certificate or raw key. */
  readonly clientAuthentication?: { readonly trust: Trust; readonly required: boolean }
  /** Sessions kept for resumption; 0 = none, 4096 when absent. */
  readonly sessionsMax?: number
  /** Keep sessions in a store of `createSessionStore`, which several threads share, instead of an own one. */
  readonly sessionStore?: number
  /** Accept 0-RTT of resumed sessions. Each session opens 0-RTT once. */
  readonly earlyData?: boolean
  readonly cipherSuites?: readonly string[]
  readonly keyLog?: KeyLog
}

export interface NativeClientContext extends TlsClientContext {
  close(): void
}

export interface NativeServerContext extends TlsServerContext {
  /**
   * New handshakes use these certificates; running connections are not touched.
   * @throws NativeError as `createServerContext`; the old certificates then stay.
   */
  replaceIdentities(identities: readonly CertificateIdentity[]): void
  close(): void
}

/** @throws NativeError naming the file at fault: `ERR_CA`, `ERR_CERTIFICATE…`, `ERR_PRIVATE_KEY`, `ERR_KEY_MISMATCH`. */
export function createClientContext(options: ClientContextOptions): NativeClientContext {
  const { identity, sessionsMax = 256, cipherSuites = [], keyLog } = options
  const context = guarded(
    () =>
      new addon.NativeClientContext({
        trust: toTrust(options.trust),
        ...(identity === undefined ? {} : { identity: toIdentity(identity) }),
        sessionsMax,
        cipherSuites,
      }),
  )
  return {
    createSession({ version, serverName, alpn, transportParameters, earlyData }) {
      const session = guarded(() =>
        context.createSession(version, serverName, alpn, transportParameters, earlyData && sessionsMax > 0),
      )
      return new NativeTlsSession(session, keyLog)
    },
    close: () => context.close(),
  }
}

/** @throws NativeError naming the file at fault: `ERR_CERTIFICATE…`, `ERR_PRIVATE_KEY`, `ERR_KEY_MISMATCH`, `ERR_CA`. */
export function createServerContext(options: ServerContextOptions): NativeServerContext {
  const { alpn, clientAuthentication, sessionsMax = 4096, earlyData = false, cipherSuites = [], keyLog } = options
  const { sessionStore } = options
  const clientTrust = clientAuthentication === undefined ? {} : { clientTrust: toTrust(clientAuthentication.trust) }
  const context = guarded(
    () =>
      new addon.NativeServerContext({
        identities: options.identities.map(toIdentity),
        alpn,
        ...clientTrust,
        clientRequired: clientAuthentication?.required ?? false,
        sessionsMax,
        ...(sessionStore === undefined ? {} : { sessionStore }),
        earlyData,
        cipherSuites,
      }),
  )
  return {
    createSession: ({ version, transportParameters }) =>
      new NativeTlsSession(
        guarded(() => context.createSession(version, transportParameters)),
        keyLog,
      ),
    replaceIdentities: (identities) => guarded(() => context.replaceIdentities(identities.map(toIdentity))),
    close: () => context.close(),
  }
}

/**
 * A store for the TLS sessions of several server contexts, in any thread of this process, `sessionsMax` for each QUIC
 * version. Each session opens 0-RTT once, whichever context is asked. Returns its number, for `closeSessionStore`.
 */
export function createSessionStore(sessionsMax: number): number {
  return guarded(() => addon.createSessionStore(sessionsMax))
}

/** There are no new contexts with this store; those that have it keep it. */
export function closeSessionStore(store: number): void {
  addon.closeSessionStore(store)
}

function toIdentity(identity: Identity): AddonIdentity {
  const { privateKey } = identity
  const key = { privateKeyPem: privateKey.pem, privateKeyLabel: privateKey.label }
  if (!('certificate' in identity)) return { ...key, certificateLabel: privateKey.label, names: [] }
  const { certificate } = identity
  const facts = readCertificate(certificate.pem, certificate.label)
  assertValidNow(facts, certificate.label, new Date())
  return {
    ...key,
    certificatePem: certificate.pem,
    certificateLabel: certificate.label,
    names: identity.names ?? facts.names,
  }
}

function toTrust(trust: Trust): AddonTrust {
  return {
    kind: trust.kind,
    ca: trust.kind === 'ca' ? trust.ca : [],
    pins: trust.kind === 'pinned' ? trust.sha256.map(parsePin) : [],
    rawKeys: trust.kind === 'rawKeys' ? trust.keys : [],
  }
}

function parsePin(pin: string): Uint8Array {
  const bare = pin.replace(/^sha256[/:]/i, '')
  const hex = bare.replaceAll(':', '')
  const bytes = /^[0-9a-f]{64}$/i.test(hex) ? Buffer.from(hex, 'hex') : Buffer.from(bare, 'base64')
  if (bytes.length !== 32) {
    throw new NativeError('ERR_PIN', `pin '${pin}' is not a SHA-256 hash; give 64 hex digits or 44 base64 characters`)
  }
  return bytes
}
