/** Self-made certificates, and what a PEM certificate says about itself. */
import { X509Certificate } from 'node:crypto'
import { addon } from './addon.ts'
import { guarded, NativeError } from './native-error.ts'

export interface GenerateCertificateOptions {
  /** Host names and IP addresses; the first one becomes the common name. */
  readonly names: readonly string[]
  /** Days of validity from `notBefore`, 1 to 36,500. 365 when absent. */
  readonly days?: number
  /** Five minutes ago when absent, for peers whose clock is late. */
  readonly notBefore?: Date
  readonly keyType?: 'ecdsa-p256' | 'ed25519'
}

export interface GeneratedCertificate {
  readonly certificatePem: string
  readonly privateKeyPem: string
  /** SPKI in DER: the raw public key of RFC 7250. */
  readonly publicKey: Uint8Array
  /** For pins, and for Chromium's `--ignore-certificate-errors-spki-list`. */
  readonly spkiSha256Base64: string
  readonly certificateSha256Hex: string
}

/** @throws NativeError `ERR_CERTIFICATE` when a name or the validity is not usable. */
export function generateCertificate(options: GenerateCertificateOptions): GeneratedCertificate {
  const { names, days = 365, keyType = 'ecdsa-p256', notBefore } = options
  const seconds = notBefore === undefined ? undefined : Math.floor(notBefore.getTime() / 1000)
  const made = guarded(() => addon.generateCertificate(names, days, keyType, seconds))
  return {
    certificatePem: made.certificatePem,
    privateKeyPem: made.privateKeyPem,
    publicKey: made.publicKey,
    spkiSha256Base64: Buffer.from(made.publicKeySha256).toString('base64'),
    certificateSha256Hex: Buffer.from(made.certificateSha256).toString('hex'),
  }
}

/** What a certificate claims. */
export interface CertificateFacts {
  /** Names of the subject alternative name extension, DNS names and IP addresses. */
  readonly names: readonly string[]
  readonly validFrom: Date
  readonly validTo: Date
}

/** @throws NativeError `ERR_CERTIFICATE`, naming `label`, when the first certificate of `pem` cannot be read. */
export function readCertificate(pem: string, label: string): CertificateFacts {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(pem)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `${label}: no readable certificate (${reason}); it needs a BEGIN CERTIFICATE section`
    throw new NativeError('ERR_CERTIFICATE', message, { cause })
  }
  const names = (certificate.subjectAltName ?? '')
    .split(', ')
    .map((entry) => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1])
    .filter((name) => name !== undefined)
  return { names, validFrom: new Date(certificate.validFrom), validTo: new Date(certificate.validTo) }
}

/** @throws NativeError `ERR_CERTIFICATE_EXPIRED` or `ERR_CERTIFICATE_NOT_YET_VALID`. */
export function assertValidNow(facts: CertificateFacts, label: string, now: Date): void {
  if (now > facts.validTo) {
    const when = facts.validTo.toISOString()
    throw new NativeError('ERR_CERTIFICATE_EXPIRED', `${label}: the certificate expired on ${when}; renew it`)
  }
  if (now < facts.validFrom) {
    const when = facts.validFrom.toISOString()
    const message = `${label}: the certificate is valid only from ${when}; set this machine's clock or wait`
    throw new NativeError('ERR_CERTIFICATE_NOT_YET_VALID', message)
  }
}
