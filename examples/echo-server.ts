/** Raw QUIC server: sends every stream and every datagram back. Arguments: port. */
import { generateCertificate, listen } from 'quicether'

const { certificatePem, privateKeyPem, certificateSha256Hex } = generateCertificate({ names: ['localhost'] })
const certificate = { pem: certificatePem, label: 'generated' }
const privateKey = { pem: privateKeyPem, label: 'generated' }

const server = await listen(
  {
    addresses: ['127.0.0.1'],
    port: Number(process.argv[2] ?? 4433),
    alpn: ['echo'],
    identities: [{ certificate, privateKey }],
    config: { maxPaths: 4 },
  },
  async (connection) => {
    void (async () => {
      for await (const data of connection.datagrams) connection.datagrams.send(data)
    })()
    for await (const stream of connection.incomingStreams) {
      // A client that goes away ends its own streams only.
      void stream.readable.pipeTo(stream.writable).catch((error: Error) => console.log(error.message))
    }
  },
)
console.log(`port ${server.port} pin ${certificateSha256Hex}`)
