/** The key log: NSS lines, appended, private. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { KeylogFile, keylogPath } from './keylog-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'quicether-keylog-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const line = (label: string) => `${label} ${'ab'.repeat(32)} ${'cd'.repeat(32)}`

test('each secret becomes one line, and only its owner can read the file', async () => {
  const path = join(directory, 'keys')
  const log = new KeylogFile({ path })
  log.line(line('CLIENT_HANDSHAKE_TRAFFIC_SECRET'))
  log.line(`${line('CLIENT_TRAFFIC_SECRET_0')}\n`)
  log.line('this is no secret')
  await log.close()
  const want = `${line('CLIENT_HANDSHAKE_TRAFFIC_SECRET')}\n${line('CLIENT_TRAFFIC_SECRET_0')}\n`
  assert.equal(readFileSync(path, 'utf8'), want)
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('an existing key log is continued', async () => {
  const path = join(directory, 'shared')
  writeFileSync(path, `${line('EXPORTER_SECRET')}\n`)
  const log = new KeylogFile({ path })
  log.line(line('CLIENT_TRAFFIC_SECRET_0'))
  await log.close()
  assert.equal(readFileSync(path, 'utf8').split('\n').length, 3)
})

test('--keylog wins over SSLKEYLOGFILE, and an empty variable means none', () => {
  assert.equal(keylogPath('/a', { SSLKEYLOGFILE: '/b' }), '/a')
  assert.equal(keylogPath(undefined, { SSLKEYLOGFILE: '/b' }), '/b')
  assert.equal(keylogPath(undefined, { SSLKEYLOGFILE: '' }), undefined)
  assert.equal(keylogPath(undefined, {}), undefined)
})
