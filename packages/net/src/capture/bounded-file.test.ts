/** Files of the recorder: nothing blocks, nothing grows without bound, a bad disk costs one warning. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { BoundedFile } from './bounded-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'quicether-file-'))
after(() => rmSync(directory, { recursive: true, force: true }))

test('everything appended is in the file after close, in order', async () => {
  const path = join(directory, 'ordered')
  const file = new BoundedFile({ path, what: 'test' })
  const lines: string[] = []
  for (let at = 0; at < 20_000; at++) lines.push(`line ${at} ${'x'.repeat(at % 97)}\n`)
  for (const line of lines) assert.ok(file.appendText(line))
  await file.close()
  assert.equal(readFileSync(path, 'utf8'), lines.join(''))
  assert.equal(file.bytesWritten, lines.join('').length)
  assert.equal(file.bufferedBytes, 0)
  assert.equal(file.bytesDropped, 0)
})

test('one piece larger than a chunk is written whole', async () => {
  const path = join(directory, 'large')
  const file = new BoundedFile({ path, what: 'test' })
  const large = Buffer.alloc(300_000, 'abcdefg')
  file.appendText('head')
  assert.ok(file.append(large))
  file.appendText('tail')
  await file.close()
  assert.equal(readFileSync(path).equals(Buffer.concat([Buffer.from('head'), large, Buffer.from('tail')])), true)
})

test('bytes beyond the buffer limit are refused and counted, and the file stays readable', async () => {
  const path = join(directory, 'bounded')
  const file = new BoundedFile({ path, what: 'test', bufferBytesMax: 200_000 })
  let taken = 0
  let refused = 0
  // No await: the disk gets no turn of the loop, as with a disk that is too slow.
  for (let at = 0; at < 1_000; at++) {
    if (file.append(Buffer.alloc(1_000, 'y'))) taken++
    else refused++
    assert.ok(file.bufferedBytes <= 200_000)
  }
  assert.equal(taken, 200)
  assert.equal(file.bytesDropped, refused * 1_000)
  await file.close()
  assert.equal(statSync(path).size, taken * 1_000)
})

test('what was flushed reaches the disk without a close', async () => {
  const path = join(directory, 'flushed')
  const file = new BoundedFile({ path, what: 'test', flushDelayMs: 3_600_000 })
  file.appendText('early\n')
  file.flush()
  while (file.bytesWritten === 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(readFileSync(path, 'utf8'), 'early\n')
  await file.close()
})

test('a full disk is reported once and the program goes on', {
  skip: !existsSync('/dev/full') && 'no /dev/full here',
}, async () => {
  const warnings: string[] = []
  const file = new BoundedFile({ path: '/dev/full', what: 'capture', onWarning: (text) => warnings.push(text) })
  file.append(Buffer.alloc(200_000))
  while (!file.isFailed) await new Promise((resolve) => setImmediate(resolve))
  for (let at = 0; at < 100; at++) assert.equal(file.append(Buffer.alloc(1_000)), false)
  assert.equal(file.bufferedBytes, 0)
  await file.close()
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', /^capture stopped: cannot write \/dev\/full: no space left on the device/)
})

test('a path in a missing directory is refused at once, with the path and the remedy', () => {
  const path = join(directory, 'missing', 'file')
  assert.throws(
    () => new BoundedFile({ path, what: 'capture' }),
    (error: Error) => {
      assert.ok(error.message.includes(path))
      assert.match(error.message, /directory does not exist \(ENOENT\); choose a writable path/)
      return true
    },
  )
})

test('a process that crashes leaves what it had buffered', () => {
  const path = join(directory, 'crashed')
  const module = fileURLToPath(new URL('./bounded-file.ts', import.meta.url))
  const script = `import { BoundedFile } from ${JSON.stringify(module)}
    const file = new BoundedFile({ path: ${JSON.stringify(path)}, what: 'test' })
    for (let at = 0; at < 10000; at++) file.appendText('0123456789')
    throw new Error('crash')`
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.notEqual(run.status, 0)
  assert.match(run.stderr, /crash/)
  assert.equal(readFileSync(path, 'utf8'), '0123456789'.repeat(10_000))
})
