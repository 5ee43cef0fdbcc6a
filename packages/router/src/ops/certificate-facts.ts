/** What may be shown of a certificate: names, dates and fingerprint, never its key. */
import { X509Certificate } from 'node:crypto'
import type { CertificateFacts } from './feed-document.ts'

const namesMax = 100

/** Undefined when the text holds no certificate that can be read. */
export function certificateFacts(pem: string): CertificateFacts | undefined {
  try {
    const certificate = new X509Certificate(pem)
    return {
      subject: oneLine(certificate.subject),
      names: (certificate.subjectAltName ?? '')
        .split(', ')
        .filter((name) => name !== '')
        .slice(0, namesMax),
      issuer: oneLine(certificate.issuer),
      validFrom: new Date(certificate.validFrom).toISOString(),
      validTo: new Date(certificate.validTo).toISOString(),
      fingerprint: certificate.fingerprint256,
    }
  } catch {
    return undefined
  }
}

/** One line for a diff: enough to tell two certificates apart. */
export function certificateLine(facts: CertificateFacts | undefined): string {
  if (facts === undefined) return 'unreadable'
  return `${facts.names.join(' ') || facts.subject}, until ${facts.validTo.slice(0, 10)}, SHA-256 ${facts.fingerprint.slice(0, 17)}…`
}

function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ')
}
