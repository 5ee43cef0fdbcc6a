/**
 * WebTransport server that sends streams and datagrams back, for browsers, too. Arguments: port. In a browser:
 * `new WebTransport('https://127.0.0.1:4433/', { serverCertificateHashes: [{ algorithm: 'sha-256', value }] })`.
 */
import { generateCertificate, serve, type WebTransportSession } from 'quicether'

// Browsers take a certificate by its hash only when it is valid for less than two weeks.
const made = generateCertificate({ names: ['localhost', '127.0.0.1'], days: 10 })
const certificate = { pem: made.certificatePem, label: 'generated' }
const privateKey = { pem: made.privateKeyPem, label: 'generated' }

const server = await serve({
  addresses: ['127.0.0.1'],
  port: Number(process.argv[2] ?? 4433),
  identities: [{ certificate, privateKey }],
  http3: { webTransportSessions: 100 },
  fetch: (_request, { request, response }) => {
    if (request.protocol !== 'webtransport') return new Response('WebTransport only\n', { status: 404 })
    void echo(response.acceptWebTransport())
    return undefined
  },
})
console.log(`port ${server.port} pin ${made.certificateSha256Hex}`)
process.once('SIGTERM', () => void server.close())

async function echo(session: WebTransportSession): Promise<void> {
  void (async () => {
    for await (const data of session.datagrams) session.datagrams.send(data)
  })()
  for await (const stream of session.incomingBidirectionalStreams) {
    void stream.readable.pipeTo(stream.writable).catch((error: Error) => console.log(error.message))
  }
  const { code, reason, by } = await session.closed
  console.log(`session closed by ${by}: ${code} ${reason}`)
}
