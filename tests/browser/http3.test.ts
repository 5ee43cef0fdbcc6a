/** Headless Chromium as a stranger: a page over HTTP/3, 10 MB up through the router, WebTransport both ways. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { startStand } from '../process/router-stand.ts'
import { startChromium } from './chromium.ts'

const UPLOAD_BYTES = 10 * 1024 * 1024
const PICTURES = 40

const picture = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'
const pictures = Array.from({ length: PICTURES }, (_, index) => `<img src="/picture/${index}.svg">`).join('')
const page = `<!doctype html><title>shop</title><script src="/script.js"></script>${pictures}`

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? ''
  if (path === '/upload') {
    const hash = createHash('sha256')
    for await (const chunk of request) hash.update(chunk as Uint8Array)
    response.end(hash.digest('hex'))
  } else if (path.startsWith('/picture/')) response.setHeader('content-type', 'image/svg+xml').end(picture)
  else if (path === '/script.js') response.setHeader('content-type', 'text/javascript').end('window.isScripted = true')
  else response.setHeader('content-type', 'text/html').end(page)
}

async function startShop(t: TestContext): Promise<number> {
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

/** The example as a process: its port and the SHA-256 of its certificate. */
async function startWebTransport(t: TestContext): Promise<{ port: number; pin: string; said: () => string }> {
  const file = join(import.meta.dirname, '../../examples/webtransport-server.ts')
  const child: ChildProcess = spawn(process.execPath, [file, '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  let text = ''
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the WebTransport server ended with ${code}: ${text}`)))
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const [, port = '', pin = ''] = /port (\d+) pin ([0-9a-f]+)/u.exec(text) ?? []
      if (pin !== '') resolve({ port: Number(port), pin, said: () => text })
    })
  })
}

/** In the page: bidirectional streams of several sizes and datagrams come back, then the session is closed with a reason. */
const webTransportEcho = (port: number, pin: string): string => `(async () => {
  const value = Uint8Array.from('${pin}'.match(/../g), (pair) => parseInt(pair, 16))
  const session = new WebTransport('https://127.0.0.1:${port}/', {
    serverCertificateHashes: [{ algorithm: 'sha-256', value }],
  })
  await session.ready
  const sizes = [1, 5000, 1000000]
  const echoed = await Promise.all(sizes.map(async (size) => {
    const { readable, writable } = await session.createBidirectionalStream()
    const data = new Uint8Array(size).map((_, index) => (index * 31) & 255)
    const writer = writable.getWriter()
    const sent = writer.write(data).then(() => writer.close())
    const back = new Uint8Array(await new Response(readable).arrayBuffer())
    await sent
    return back.length === size && back.every((byte, index) => byte === data[index])
  }))
  const writer = session.datagrams.writable.getWriter()
  const reader = session.datagrams.readable.getReader()
  let datagram
  const again = setInterval(() => writer.write(Uint8Array.of(4, 2)), 50)
  datagram = (await reader.read()).value
  clearInterval(again)
  session.close({ closeCode: 7, reason: 'seen enough' })
  return JSON.stringify({ echoed, datagram: [...datagram] })
})()`

test('Chromium loads a page over HTTP/3, sends 10 MB through the router and echoes over WebTransport', async (t) => {
  const shop = await startShop(t)
  const stand = await startStand(t, `[[service]]\nname = "shop"\nprefix = "/"\nurl = "http://127.0.0.1:${shop}"\n`)
  const browser = await startChromium(t, [
    `--origin-to-force-quic-on=127.0.0.1:${stand.port}`,
    `--ignore-certificate-errors-spki-list=${stand.certificate.spkiSha256Base64}`,
  ])
  await browser.goTo(`https://127.0.0.1:${stand.port}/`)
  await browser.until(`document.readyState === 'complete' && document.title === 'shop'`)

  await t.test('the page and everything on it came over h3 and is whole', async () => {
    const protocols = `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
      .map(({ nextHopProtocol }) => nextHopProtocol)`
    assert.deepEqual(await browser.evaluate(`[...new Set(${protocols})]`), ['h3'])
    assert.equal(await browser.evaluate('window.isScripted'), true)
    const whole = `[...document.images].filter((image) => image.complete && image.naturalWidth === 8).length`
    assert.equal(await browser.evaluate(whole), PICTURES)
    assert.deepEqual(
      browser.complaints.filter((text) => !text.includes('favicon')),
      [],
    )
  })

  await t.test('10 MB arrive at the service as they were sent', async () => {
    const data = new Uint8Array(UPLOAD_BYTES).map((_, index) => (index * 7) & 255)
    const expected = createHash('sha256').update(data).digest('hex')
    const sent = await browser.evaluate(`fetch('/upload', {
      method: 'POST',
      body: new Uint8Array(${UPLOAD_BYTES}).map((_, index) => (index * 7) & 255),
    }).then((response) => response.text())`)
    assert.equal(sent, expected)
  })

  await t.test('streams and datagrams of a WebTransport session come back, and its end is told', async () => {
    const { port, pin, said } = await startWebTransport(t)
    const found = JSON.parse(String(await browser.evaluate(webTransportEcho(port, pin)))) as unknown
    assert.deepEqual(found, { echoed: [true, true, true], datagram: [4, 2] })
    await browser.until('true')
    const deadline = performance.now() + 60_000
    while (!said().includes('session closed') && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    assert.match(said(), /session closed by peer: 7 seen enough/u)
  })
})
