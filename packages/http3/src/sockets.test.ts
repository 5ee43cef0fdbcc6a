/** HTTP/3 over real loopback sockets and real TLS. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { ClientContext, connect, generateCertificate, listen, type Pem, type QuicConnection } from '@quicether/net'
import { Http3Client } from './client.ts'
import { type Http3Handler, serveHttp3 } from './server.ts'

const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const pem = (text: string, label: string): Pem => ({ pem: text, label })
const identity = { certificate: pem(made.certificatePem, 'cert.pem'), privateKey: pem(made.privateKeyPem, 'key.pem') }
const ca = [pem(made.certificatePem, 'ca.pem')]
const authority = 'localhost'

interface Service extends AsyncDisposable {
  readonly port: number
}

async function service(handler: Http3Handler): Promise<Service> {
  const listener = await listen(
    { addresses: ['127.0.0.1'], port: 0, alpn: ['h3'], identities: [identity], earlyData: true },
    (connection) => serveHttp3(connection, handler),
  )
  return { port: listener.port, [Symbol.asyncDispose]: async () => void (await listener.close()) }
}

const dial = (port: number): Promise<QuicConnection> => connect({ host: '127.0.0.1', port, alpn: ['h3'], ca })

test('a download and an upload of many megabytes arrive whole over real sockets', async () => {
  const piece = new Uint8Array(256 * 1024).map((_, n) => (n * 7) & 0xff)
  const pieces = 128
  const want = createHash('sha256')
  for (let n = 0; n < pieces; n++) want.update(piece)
  const digest = want.digest('hex')
  await using server = await service(async (request, response) => {
    if (request.method === 'PUT') {
      const got = createHash('sha256')
      for await (const part of request.body) got.update(part)
      await response.send(200, [], got.digest('hex'))
      return
    }
    response.writeHead(200)
    for (let n = 0; n < pieces; n++) await response.write(piece)
  })
  const connection = await dial(server.port)
  const client = new Http3Client(connection)
  const download = await client.request({ method: 'GET', authority, path: '/' })
  const got = createHash('sha256')
  for await (const part of download.body) got.update(part)
  assert.equal(got.digest('hex'), digest)
  async function* parts(): AsyncGenerator<Uint8Array> {
    for (let n = 0; n < pieces; n++) yield piece
  }
  const upload = await client.request({ method: 'PUT', authority, path: '/', body: parts() })
  assert.equal(await upload.body.text(), digest)
  await client.close()
})

test('a thousand requests share one connection, more than may be open together', async () => {
  await using server = await service(async (request, response) =>
    response.send(200, [['content-type', 'text/plain']], `${request.path}`),
  )
  const connection = await dial(server.port)
  const client = new Http3Client(connection)
  const texts = await Promise.all(
    Array.from({ length: 1_000 }, async (_, n) => {
      const response = await client.request({ method: 'GET', authority, path: `/${n}` })
      return response.body.text()
    }),
  )
  texts.forEach((text, n) => assert.equal(text, `/${n}`))
  const reason = await client.close()
  assert.equal(reason.kind === 'application' && reason.code, 0x100)
})

test('a returning client sends its request in the first flight (0-RTT) and is answered', async () => {
  await using server = await service(async (request, response) => response.send(200, [], `${request.path}`))
  const context = new ClientContext({ trust: { kind: 'ca', ca } })
  const options = { host: '127.0.0.1', port: server.port, alpn: ['h3'], context, earlyData: true }
  for (const want of ['none', 'accepted'] as const) {
    const connection = await connect(options)
    const client = new Http3Client(connection)
    const response = await client.request({ method: 'GET', authority, path: '/early' })
    assert.equal(await response.body.text(), '/early')
    assert.equal((await connection.connected).earlyData, want)
    await client.close()
  }
  context.close()
})
