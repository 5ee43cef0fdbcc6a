/** A certificate of our own making, for runs in which only our programs take part: no other tool is needed. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateCertificate } from '@quicether/net'

/** Writes `plain.pem`, `plain.key` and `root.pem`, as the certificate maker of the interop runner does. */
export function makeOwnCertificates(folder: string): void {
  const { certificatePem, privateKeyPem } = generateCertificate({ names: ['localhost'] })
  writeFileSync(join(folder, 'plain.pem'), certificatePem)
  writeFileSync(join(folder, 'plain.key'), privateKeyPem)
  writeFileSync(join(folder, 'root.pem'), certificatePem)
}
