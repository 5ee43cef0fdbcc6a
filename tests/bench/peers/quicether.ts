/** HTTP/3 server and client on this engine for the benchmark, with its default settings. */
import { readFileSync } from 'node:fs'
import { Http3Client, type ServerRequest, type ServerResponse, serveHttp3 } from '@quicether/http3'
import { connect, listen } from '@quicether/net'
import { type ClientSpec, report, type ServerSpec, specification, type Work } from './protocol.ts'

const CHUNK = new Uint8Array(256 * 1024)
const H3_NO_ERROR = 0x100
const AUTHORITY = 'localhost'

const spec = specification()
if (spec.role === 'server') await serve(spec)
else await request(spec)

async function serve({ certificate, privateKey }: ServerSpec): Promise<void> {
  const listener = await listen(
    {
      addresses: ['127.0.0.1'],
      port: 0,
      identities: [{ certificate: pemOf(certificate), privateKey: pemOf(privateKey) }],
      alpn: ['h3'],
    },
    (connection) => void serveHttp3(connection, answer),
  )
  process.on('SIGTERM', () => void listener.close().then(() => process.exit(0)))
  report('listening', { port: listener.port })
}

async function answer(request: ServerRequest, response: ServerResponse): Promise<void> {
  const path = request.path ?? '/'
  if (path.startsWith('/bytes/')) return response.send(200, [], chunks(Number(path.slice('/bytes/'.length))))
  let received = 0
  for await (const piece of request.body) received += piece.length
  return response.send(200, [], new TextEncoder().encode(String(received)))
}

async function request({ port, ca, work }: ClientSpec): Promise<void> {
  const connection = await connect({ host: '127.0.0.1', port, serverName: AUTHORITY, alpn: ['h3'], ca: [pemOf(ca)] })
  const client = new Http3Client(connection)
  await small(client)
  const startedAt = performance.now()
  const units = await perform(client, work, startedAt)
  report('result', { units, seconds: (performance.now() - startedAt) / 1000 })
  await connection.close(H3_NO_ERROR, '')
}

async function perform(client: Http3Client, work: Work, startedAt: number): Promise<number> {
  if (work.kind === 'download') {
    const response = await client.request({ method: 'GET', authority: AUTHORITY, path: `/bytes/${work.bytes}` })
    let received = 0
    for await (const piece of response.body) received += piece.length
    return received
  }
  if (work.kind === 'upload') {
    const body = chunks(work.bytes)
    const response = await client.request({ method: 'POST', authority: AUTHORITY, path: '/upload', body })
    return Number(await response.body.text())
  }
  if (work.kind === 'raw') throw new Error('raw work is for raw-udp.ts')
  const endAt = startedAt + work.seconds * 1000
  let count = 0
  const worker = async () => {
    while (performance.now() < endAt) {
      await small(client)
      count++
    }
  }
  await Promise.all(Array.from({ length: work.concurrency }, worker))
  return count
}

async function small(client: Http3Client): Promise<void> {
  const response = await client.request({ method: 'GET', authority: AUTHORITY, path: '/small' })
  await response.body.bytes()
}

async function* chunks(total: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  // The engine keeps what it is given until it is acknowledged; these bytes never change, so they may be shared.
  for (let left = total; left > 0; left -= CHUNK.length) yield left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left)
}

function pemOf(file: string): { readonly pem: string; readonly label: string } {
  return { pem: readFileSync(file, 'utf8'), label: file }
}
