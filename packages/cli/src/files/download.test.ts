/** Downloads from servers that answer as they please: what is continued, what begins anew, what is kept. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type HeaderList, Http3Client, type Http3Handler, headerValue, serveHttp3 } from '@quicether/http3'
import { connect, generateCertificate, listen } from '@quicether/net'
import { type DownloadResult, download, downloadTargets, parseUrls } from './download.ts'
import { DownloadProgress } from './download-progress.ts'

interface Place {
  readonly file: string
  /** Leaves what an aborted run would. */
  abort(bytes: string, etag?: string): void
  fetch(): Promise<{ readonly result: DownloadResult; readonly notes: readonly string[] }>
}

const url = new URL('https://files.test/digits')
const digits = '0123456789'

async function start(t: TestContext, handler: Http3Handler): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-download-'))
  const file = join(directory, 'digits')
  const made = generateCertificate({ names: ['127.0.0.1'] })
  const certificate = { pem: made.certificatePem, label: 'cert.pem' }
  const identities = [{ certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }]
  const listener = await listen({ addresses: ['127.0.0.1'], port: 0, identities, alpn: ['h3'] }, (connection) => {
    serveHttp3(connection, handler)
  })
  const client = new Http3Client(
    await connect({ host: '127.0.0.1', port: listener.port, alpn: ['h3'], ca: [certificate] }),
  )
  t.after(async () => {
    await client.close()
    await listener.close()
    rmSync(directory, { recursive: true })
  })
  return {
    file,
    abort(bytes, etag = '"a"') {
      writeFileSync(`${file}.part`, bytes)
      writeFileSync(`${file}.part.json`, JSON.stringify({ url: url.href, etag, size: 10, pid: null }))
    },
    async fetch() {
      const notes: string[] = []
      const { signal } = new AbortController()
      const onNote = (note: string): void => void notes.push(note)
      const options = { range: undefined, mayContinue: true, signal, onNote }
      return { result: await download(client, { url, file }, new DownloadProgress(), options), notes }
    },
  }
}

/** Whether nothing but the whole file is left. */
function assertWhole(file: string, text = digits): void {
  assert.equal(readFileSync(file, 'utf8'), text)
  assert.ok(!existsSync(`${file}.part`) && !existsSync(`${file}.part.json`))
}

test('the rest is asked for with the tag, and put behind what was there', async (t) => {
  let asked: HeaderList = []
  const place = await start(t, async ({ headers }, response) => {
    asked = headers
    const head: HeaderList = [
      ['content-range', 'bytes 4-9/10'],
      ['etag', '"a"'],
    ]
    await response.send(206, head, '456789')
  })
  place.abort('0123')
  const { result, notes } = await place.fetch()
  assert.deepEqual([result.error, result.status, result.continuedAt, result.bytes], [null, 206, 4, 6])
  assert.deepEqual([headerValue(asked, 'range'), headerValue(asked, 'if-range')], ['bytes=4-', '"a"'])
  assert.match(notes[0] ?? '', /goes on after 4 B of 10 B/u)
  assertWhole(place.file)
})

for (const [what, head] of [
  ['another tag', { 'content-range': 'bytes 4-9/10', etag: '"b"' }],
  ['no tag', { 'content-range': 'bytes 4-9/10' }],
  ['another range', { 'content-range': 'bytes 3-9/10', etag: '"a"' }],
  ['another size', { 'content-range': 'bytes 4-9/11', etag: '"a"' }],
] as const) {
  test(`a server that answers with ${what} does not get its bytes into the file`, async (t) => {
    const place = await start(t, async ({ headers }, response) => {
      if (headerValue(headers, 'range') === undefined) return response.send(200, [['content-length', '10']], digits)
      await response.send(206, Object.entries(head), 'xxxxxx')
    })
    place.abort('0123')
    const { result, notes } = await place.fetch()
    assert.deepEqual([result.error, result.continuedAt], [null, 0])
    assert.match(notes[0] ?? '', /has changed on the server/u)
    assertWhole(place.file)
  })
}

test('a range that the file no longer has means another beginning', async (t) => {
  const place = await start(t, async ({ headers }, response) => {
    if (headerValue(headers, 'range') !== undefined) return response.send(416, [['content-range', 'bytes */3']], '')
    await response.send(200, [['content-length', '3']], 'new')
  })
  place.abort('0123')
  assert.equal((await place.fetch()).result.error, null)
  assertWhole(place.file, 'new')
})

for (const [what, headers, isKept] of [
  ['a strong tag and a length: kept', { etag: '"a"', 'content-length': '10' }, true],
  ['a weak tag: not kept', { etag: 'W/"a"', 'content-length': '10' }, false],
  ['no tag: not kept', { 'content-length': '10' }, false],
  ['no length: not kept', { etag: '"a"' }, false],
] as const) {
  test(`what came of an answer that breaks off, with ${what}`, async (t) => {
    const place = await start(t, async (_request, response) => {
      await response.send(
        200,
        Object.entries(headers),
        (async function* () {
          yield Buffer.from('0123')
          await new Promise((resolve) => setTimeout(resolve, 50))
          throw new Error('broken')
        })(),
      )
    })
    const { result } = await place.fetch()
    assert.match(result.error ?? '', /reset/u)
    assert.deepEqual([result.isKept, existsSync(`${place.file}.part`)], [isKept, isKept])
    assert.ok(!existsSync(place.file))
    if (isKept) assert.equal(readFileSync(`${place.file}.part`, 'utf8'), '0123')
  })
}

test('a file that is gone from the server leaves what was there untouched', async (t) => {
  const place = await start(t, (_request, response) => response.send(404, [], ''))
  place.abort('0123')
  assert.equal((await place.fetch()).result.error, 'the server answers 404')
  assert.equal(readFileSync(`${place.file}.part`, 'utf8'), '0123')
})

test('addresses and names of files that cannot be are named', () => {
  assert.throws(() => parseUrls(['ftp://x/']), /"ftp:\/\/x\/" is not an https address/u)
  assert.throws(() => parseUrls(['https://a/', 'https://b/']), /b is another server than a/u)
  const [a, b] = [new URL('https://x/d/f'), new URL('https://x/e/f')]
  assert.throws(() => downloadTargets([a, b], undefined), /two URLs would be written to f/u)
  assert.deepEqual(
    downloadTargets([new URL('https://x/%2e%2e%2fetc')], undefined).map(({ file }) => file),
    ['%2e%2e%2fetc'],
  )
})
