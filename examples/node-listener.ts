/** A listener written for Node's `http`, served over HTTP/3. Arguments: port. */
import { generateCertificate, serve } from 'quicether'

const { certificatePem, privateKeyPem, certificateSha256Hex } = generateCertificate({ names: ['localhost'] })
const certificate = { pem: certificatePem, label: 'generated' }
const privateKey = { pem: privateKeyPem, label: 'generated' }

const server = await serve({
  addresses: ['127.0.0.1'],
  port: Number(process.argv[2] ?? 4433),
  identities: [{ certificate, privateKey }],
  node: (request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain' })
    response.end(`${request.method} ${request.url} HTTP/${request.httpVersion}\n`)
  },
})
console.log(`port ${server.port} pin ${certificateSha256Hex}`)
process.once('SIGTERM', () => void server.close())
