/** Static files over a real connection: ranges, tags, HEAD, and nothing outside the directory. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type HeaderList, Http3Client, headerValue, serveHttp3 } from '@quicether/http3'
import { connect, generateCertificate, listen } from '@quicether/net'
import { servedDirectory } from './file-answers.ts'
import { staticFiles } from './static-files.ts'

type Get = (
  path: string,
  headers?: HeaderList,
  method?: string,
) => Promise<{ readonly status: number; readonly body: string; header(name: string): string | undefined }>

async function start(t: TestContext): Promise<Get> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'quicether-files-')))
  const www = join(directory, 'www')
  mkdirSync(join(www, 'a b'), { recursive: true })
  writeFileSync(join(directory, 'secret.txt'), 'secret')
  writeFileSync(join(directory, 'www-secret.txt'), 'secret')
  writeFileSync(join(www, 'digits.txt'), '0123456789')
  writeFileSync(join(www, 'empty'), '')
  writeFileSync(join(www, 'a b', 'index.html'), '<p>')
  symlinkSync('../secret.txt', join(www, 'out.txt'))
  symlinkSync('digits.txt', join(www, 'within.txt'))
  const made = generateCertificate({ names: ['127.0.0.1'] })
  const certificate = { pem: made.certificatePem, label: 'cert.pem' }
  const identities = [{ certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }]
  const files = staticFiles(servedDirectory(www), () => {})
  const listener = await listen({ addresses: ['127.0.0.1'], port: 0, identities, alpn: ['h3'] }, (connection) => {
    serveHttp3(connection, files)
  })
  const connection = await connect({ host: '127.0.0.1', port: listener.port, alpn: ['h3'], ca: [certificate] })
  const client = new Http3Client(connection)
  t.after(async () => {
    await client.close()
    await listener.close()
    rmSync(directory, { recursive: true })
  })
  return async (path, headers = [], method = 'GET') => {
    const response = await client.request({ method, authority: 'files.test', path, headers })
    const body = await response.body.text()
    return { status: response.status, body, header: (name) => headerValue(response.headers, name) }
  }
}

test('a file comes whole with its length and tag, and HEAD brings the same without it', async (t) => {
  const get = await start(t)
  const whole = await get('/digits.txt?v=1')
  assert.deepEqual([whole.status, whole.body, whole.header('content-length')], [200, '0123456789', '10'])
  const head = await get('/digits.txt', [], 'HEAD')
  assert.deepEqual([head.status, head.body, head.header('content-length')], [200, '', '10'])
  assert.equal(head.header('etag'), whole.header('etag'))
  assert.deepEqual([(await get('/empty')).status, (await get('/empty')).body], [200, ''])
  assert.equal((await get('/a%20b/')).body, '<p>')
  assert.equal((await get('/within.txt')).body, '0123456789')
  const post = await get('/digits.txt', [], 'POST')
  assert.deepEqual([post.status, post.header('allow')], [405, 'GET, HEAD'])
})

test('ranges are answered, impossible ones refused, malformed and several ones ignored', async (t) => {
  const get = await start(t)
  for (const [range, status, body, contentRange] of [
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=-99', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=5-99', 206, '56789', 'bytes 5-9/10'],
    ['bytes=10-', 416, '416\n', 'bytes */10'],
    ['bytes=-0', 416, '416\n', 'bytes */10'],
    ['bytes=4-2', 200, '0123456789', undefined],
    ['bytes=0-1,3-4', 200, '0123456789', undefined],
    ['bytes=-', 200, '0123456789', undefined],
    ['lines=1-2', 200, '0123456789', undefined],
  ] as const) {
    const got = await get('/digits.txt', [['range', range]])
    assert.deepEqual([got.status, got.body, got.header('content-range')], [status, body, contentRange], range)
  }
  const tag = (await get('/digits.txt')).header('etag') ?? ''
  const range: readonly [string, string] = ['range', 'bytes=0-0']
  assert.equal((await get('/digits.txt', [range, ['if-range', tag]])).body, '0')
  assert.equal((await get('/digits.txt', [range, ['if-range', '"old"']])).body, '0123456789')
})

test('nothing outside the directory can be had, however the path is written', async (t) => {
  const get = await start(t)
  for (const path of [
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/a%20b/..%2f..%2f..%2fsecret.txt',
    '/..%5csecret.txt',
    '/../www-secret.txt',
    '/out.txt',
    '/digits.txt%00',
    '/%zz',
    '/none',
    '/digits.txt/x',
    '/',
    `/${'x'.repeat(4000)}`,
  ]) {
    const got = await get(path)
    assert.equal(got.status, 404, path.slice(0, 40))
  }
})

test('a directory to serve that is none is named', () => {
  assert.throws(() => servedDirectory('/none/at/all'), /no such directory \(--www \/none\/at\/all\)/u)
  assert.throws(() => servedDirectory(import.meta.filename), /no such directory/u)
})
