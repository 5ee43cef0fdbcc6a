/** Whether the certificate names the hosts that the services are routed by. */
import { X509Certificate } from 'node:crypto'
import type { CertificatePair } from '../ports.ts'
import { UserError } from '../user-error.ts'
import type { RouterConfig } from './schema.ts'

/** Throws `UserError` (`ERR_CERTIFICATE`): clients that ask for a host which it does not name would refuse the connection. */
export function checkCertificateNames(config: RouterConfig, pair: CertificatePair): void {
  const certificate = new X509Certificate(pair.certificatePem)
  for (const { name, hosts } of config.service) {
    for (const host of hosts) {
      if (isNamed(certificate, host)) continue
      const names = certificate.subjectAltName?.replaceAll(/DNS:|IP Address:/gu, '') ?? 'nothing'
      throw new UserError('ERR_CERTIFICATE', {
        what: `the certificate names ${names.slice(0, 200)}, but service "${name}" is for ${host}`,
        where: pair.certificateLabel,
        remedy: `Use a certificate for ${host}, e.g. \`quicether certs --names ${host}\` for a test, or change \`hosts\`.`,
      })
    }
  }
}

function isNamed(certificate: X509Certificate, host: string): boolean {
  if (host.startsWith('[')) return certificate.checkIP(host.slice(1, -1)) !== undefined
  if (/^[0-9.]+$/u.test(host)) return certificate.checkIP(host) !== undefined
  return certificate.checkHost(host.replace('*', 'any-label')) !== undefined
}
