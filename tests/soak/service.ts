/** A service behind the router under soak: `/bytes/N`, `/upload` and `/echo` over HTTP/1.1, on the port given. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { bodyChunks } from '../interop/body.ts'

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, , what = '', size = '0'] = (request.url ?? '').split('/')
  if (what === 'bytes') {
    response.writeHead(200, { 'content-length': size })
    await pipeline(Readable.from(bodyChunks(Number(size))), response)
  } else if (what === 'echo') {
    response.writeHead(200)
    await pipeline(request, response)
  } else {
    const hash = createHash('sha256')
    for await (const chunk of request) hash.update(chunk as Uint8Array)
    response.end(hash.digest('hex'))
  }
}

const server = createServer((request, response) => {
  // A client that goes away in the middle is part of the load.
  answer(request, response).catch(() => response.destroy())
})
// Idle connections are closed by a kill only: closing one just as a request arrives is Node's doing, not the router's.
server.keepAliveTimeout = 3_600_000
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const address = server.address()
  process.send?.({ kind: 'listening', port: typeof address === 'object' ? address?.port : 0 })
})
process.on('disconnect', () => process.exit(0))
