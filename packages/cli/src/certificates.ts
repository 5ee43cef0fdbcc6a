/** Certificates from files, with every mistake named, and the self-made one that is kept between runs. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { makeDirectory } from '@quicether/net/files'
import { codeOf, messageOf, UserError } from '@quicether/router'

/** A chain and its key, with the names used in errors. */
export interface CertificateFiles {
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly certificateLabel: string
  readonly privateKeyLabel: string
}

const selfMadeNames = ['localhost', '127.0.0.1', '::1']
const selfMadeDays = 365
const renewBeforeMs = 86_400_000

/** Reads and checks a certificate chain and its key. Throws `UserError` (`ERR_CERTIFICATE`). */
export function loadCertificate(certificateFile: string, keyFile: string): CertificateFiles {
  const certificatePem = readPem(certificateFile, 'certificate', '--cert')
  const certificate = parseCertificate(certificatePem, certificateFile)
  checkDates(certificate, certificateFile, new Date())
  const privateKeyPem = readPem(keyFile, 'private key', '--key')
  const key = parseKey(privateKeyPem, keyFile)
  if (!certificate.checkPrivateKey(key)) {
    throw new UserError('ERR_CERTIFICATE', {
      what: 'the private key does not belong to the certificate',
      where: `${keyFile} and ${certificateFile}`,
      remedy: 'Give the key that the certificate was made for, or make a pair with `quicether certs`.',
    })
  }
  return { certificatePem, privateKeyPem, certificateLabel: certificateFile, privateKeyLabel: keyFile }
}

/** Reads the certificates a client shall trust. Throws `UserError` (`ERR_CERTIFICATE`). */
export function loadAuthorities(file: string): string {
  const pem = readPem(file, 'certificate', '--ca')
  parseCertificate(pem, file)
  return pem
}

/** Where the self-made pair is kept. */
export function selfMadeFiles(): { readonly directory: string; readonly certificate: string; readonly key: string } {
  const cache = process.env['XDG_CACHE_HOME']
  const directory = join(cache === undefined || cache === '' ? join(homedir(), '.cache') : cache, 'quicether')
  return { directory, certificate: join(directory, 'selfmade-cert.pem'), key: join(directory, 'selfmade-key.pem') }
}

/** The self-made pair: the kept one while it is good, else a new one. */
export async function selfMadeCertificate(): Promise<CertificateFiles> {
  const files = selfMadeFiles()
  const kept = keptPair(files.certificate, files.key)
  if (kept !== undefined) return kept
  const made = await makeCertificate(selfMadeNames, selfMadeDays)
  try {
    makeDirectory(files.directory, 0o700)
    writePair(files.certificate, files.key, made)
  } catch (error) {
    throw new UserError('ERR_CERTIFICATE', {
      what: `the self-made certificate cannot be kept: ${messageOf(error)}`,
      where: files.directory,
      remedy: 'Set XDG_CACHE_HOME to a writable directory, or give --cert and --key.',
      cause: error,
    })
  }
  return { ...made, certificateLabel: files.certificate, privateKeyLabel: files.key }
}

/** The kept self-made certificate, for clients on the same machine. */
export function selfMadeAuthority(): string | undefined {
  const files = selfMadeFiles()
  return keptPair(files.certificate, files.key)?.certificatePem
}

/** A new self-signed certificate. Throws `UserError` (`ERR_CERTIFICATE`) for unusable names. */
export async function makeCertificate(
  names: readonly string[],
  days: number,
): Promise<{ readonly certificatePem: string; readonly privateKeyPem: string }> {
  const { generateCertificate } = await import('@quicether/native')
  try {
    return generateCertificate({ names, days })
  } catch (error) {
    throw new UserError('ERR_CERTIFICATE', {
      what: `a certificate cannot be made: ${messageOf(error)}`,
      where: `--names ${names.join(',')}`,
      remedy: 'Give host names and IP addresses separated by commas.',
      cause: error,
    })
  }
}

/** Writes both files, the key readable by its owner only; each appears whole or not at all. */
export function writePair(
  certificateFile: string,
  keyFile: string,
  pair: { readonly certificatePem: string; readonly privateKeyPem: string },
): void {
  for (const [file, text, mode] of [
    [keyFile, pair.privateKeyPem, 0o600],
    [certificateFile, pair.certificatePem, 0o644],
  ] as const) {
    const temporary = `${file}.${process.pid}.tmp`
    writeFileSync(temporary, text, { mode })
    chmodSync(temporary, mode)
    renameSync(temporary, file)
  }
}

function keptPair(certificateFile: string, keyFile: string): CertificateFiles | undefined {
  if (!existsSync(certificateFile) || !existsSync(keyFile)) return undefined
  try {
    const pair = loadCertificate(certificateFile, keyFile)
    const endsAt = new Date(new X509Certificate(pair.certificatePem).validTo).getTime()
    return endsAt - Date.now() > renewBeforeMs ? pair : undefined
  } catch {
    // Damaged or expired: a new pair replaces it.
    return undefined
  }
}

function readPem(file: string, what: string, flag: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const missing = codeOf(error) === 'ENOENT'
    throw new UserError('ERR_CERTIFICATE', {
      what: missing ? `the ${what} file does not exist` : `the ${what} file cannot be read: ${messageOf(error)}`,
      where: file,
      remedy: `Give an existing PEM file to ${flag}, or make a pair with \`quicether certs\`.`,
      cause: error,
    })
  }
}

function parseCertificate(pem: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw new UserError('ERR_CERTIFICATE', {
      what: 'there is no readable certificate in the file',
      where: file,
      remedy: 'Expected PEM text with a BEGIN CERTIFICATE line.',
      cause: error,
    })
  }
}

function parseKey(pem: string, file: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new UserError('ERR_CERTIFICATE', {
      what: 'there is no readable private key in the file',
      where: file,
      remedy: 'Expected PEM text with a BEGIN PRIVATE KEY line and no password.',
      cause: error,
    })
  }
}

function checkDates(certificate: X509Certificate, file: string, now: Date): void {
  const validTo = new Date(certificate.validTo)
  const validFrom = new Date(certificate.validFrom)
  if (now > validTo) {
    throw new UserError('ERR_CERTIFICATE', {
      what: `the certificate expired on ${validTo.toISOString()}`,
      where: file,
      remedy: 'Renew it, or make one with `quicether certs`.',
    })
  }
  if (now < validFrom) {
    throw new UserError('ERR_CERTIFICATE', {
      what: `the certificate is valid only from ${validFrom.toISOString()}`,
      where: file,
      remedy: "Wait, or set this machine's clock.",
    })
  }
}
