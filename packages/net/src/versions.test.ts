/** Sessions are resumed only in the QUIC version that provided them, over real TLS and sockets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientContext } from './client-context.ts'
import { connect, generateCertificate, listen } from './index.ts'

const VERSION_1 = 0x0000_0001
const VERSION_2 = 0x6b33_43cf
const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const certificate = { pem: made.certificatePem, label: 'cert.pem' }

// spec: RFC 9369 §5
test('a session ticket of version 1 is not used in version 2, and each version resumes its own', async () => {
  const config = { versions: [VERSION_1, VERSION_2] }
  const identities = [{ certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }]
  const server = await listen({ addresses: ['127.0.0.1'], port: 0, alpn: ['t'], identities, config }, () => {})
  const context = new ClientContext({ trust: { kind: 'ca', ca: [certificate] } })
  /** Connects in `version`, stays until the ticket has come, and tells whether the session was resumed. */
  const resumes = async (version: number): Promise<boolean> => {
    // The server speaks the version it is asked in first: no compatible upgrade blurs the picture.
    const connection = await connect({
      host: '127.0.0.1',
      port: server.port,
      alpn: ['t'],
      context,
      version,
      config: { versions: [version] },
    })
    const { resumed } = await connection.connected
    await new Promise((resolve) => setTimeout(resolve, 100))
    await connection.close(0, 'seen')
    return resumed
  }
  try {
    assert.equal(await resumes(VERSION_1), false)
    assert.equal(await resumes(VERSION_2), false, 'the ticket of version 1 stays with version 1')
    assert.equal(await resumes(VERSION_1), true)
    assert.equal(await resumes(VERSION_2), true)
  } finally {
    await server.close()
    context.close()
  }
})
