/** The files over TCP: bounded in connections, honest about answers that break off, quick to end. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { generateCertificate } from '@quicether/net'
import { serveTcp } from './tcp-server.ts'

/** A port that is free now; somebody may take it, as any. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function start(t: TestContext, connectionsMax: number) {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'quicether-tcp-')))
  writeFileSync(join(root, 'digits'), '0123456789')
  const { certificatePem, privateKeyPem } = generateCertificate({ names: ['127.0.0.1'] })
  const port = await freePort()
  const addresses = [{ address: '127.0.0.1', port }]
  const options = { root, addresses, certificatePem, privateKeyPem, onServed: () => {}, connectionsMax }
  const servers = await serveTcp(options)
  t.after(async () => {
    await servers.close(0)
    rmSync(root, { recursive: true })
  })
  const dial = (): TLSSocket => {
    const socket = connect({ port, host: '127.0.0.1', ca: certificatePem, ALPNProtocols: ['http/1.1'] })
    t.after(() => socket.destroy())
    return socket
  }
  return { servers, dial }
}

async function get(socket: TLSSocket): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  socket.write('GET /digits HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  await once(socket, 'end')
  return text
}

test('connections beyond the limit are closed, those within it are served, and room is made by those that end', async (t) => {
  const { dial } = await start(t, 2)
  const held = [dial(), dial()]
  await Promise.all(held.map((socket) => once(socket, 'secureConnect')))
  const third = dial()
  await assert.rejects(once(third, 'secureConnect'))
  assert.match(await get(held[0] as TLSSocket), /^HTTP\/1\.1 200 OK[\s\S]*\r\n\r\n0123456789$/u)
  const fourth = dial()
  await once(fourth, 'secureConnect')
  assert.match(await get(fourth), /0123456789$/u)
})

test('closing ends idle connections at once', async (t) => {
  const { servers, dial } = await start(t, 8)
  const socket = dial()
  await once(socket, 'secureConnect')
  socket.resume()
  const ended = once(socket, 'close')
  await servers.close(0)
  await ended
})
