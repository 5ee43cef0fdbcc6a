/** Real cryptography for simulations: rustls and the native packet protection, in virtual time. Not repeatable byte for byte. */
import {
  createClientContext,
  createNativeCrypto,
  createServerContext,
  generateCertificate,
  systemRandom,
} from '@quicether/native'
import type { PartyCryptoFactory } from '../src/parties.ts'

/** One certificate serves all parties of the process; tickets are stateful in each server. */
export function nativePartyCrypto(): PartyCryptoFactory {
  const { certificatePem, privateKeyPem } = generateCertificate({ names: ['server.test'], days: 2 })
  const identity = {
    certificate: { pem: certificatePem, label: 'the certificate of the simulation' },
    privateKey: { pem: privateKeyPem, label: 'the key of the simulation' },
  }
  return () => {
    const crypto = createNativeCrypto()
    return {
      crypto,
      random: systemRandom(),
      client: createClientContext({ trust: { kind: 'ca', ca: [identity.certificate] } }),
      server: createServerContext({ identities: [identity], alpn: ['test'], earlyData: true }),
    }
  }
}
