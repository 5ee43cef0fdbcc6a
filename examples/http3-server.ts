/** HTTP/3 server shaped like the web: Request in, Response out. Arguments: port. */
import { generateCertificate, serve } from 'quicether'

const { certificatePem, privateKeyPem, certificateSha256Hex } = generateCertificate({ names: ['localhost'] })
const certificate = { pem: certificatePem, label: 'generated' }
const privateKey = { pem: privateKeyPem, label: 'generated' }

const server = await serve({
  addresses: ['127.0.0.1'],
  port: Number(process.argv[2] ?? 4433),
  identities: [{ certificate, privateKey }],
  earlyData: 'safe',
  bodyBytesMax: 1_000_000,
  fetch: async (request, context) => {
    const { pathname } = new URL(request.url)
    if (pathname === '/early-hints') context.sendInformational(103, { link: '</style.css>; rel=preload' })
    if (request.method === 'POST') return new Response((await request.text()).toUpperCase())
    return Response.json({ path: pathname, protocol: 'h3' })
  },
})
console.log(`port ${server.port} pin ${certificateSha256Hex}`)
process.once('SIGTERM', () => void server.close())
