/** Directories are made with their parents, and what stands in the way is named at once. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { makeDirectory } from './make-directory.ts'

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-directory-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

test('a directory is made with all its parents and with its mode, and making it again does no harm', (t) => {
  const path = join(scratch(t), 'a', 'b', 'c')
  makeDirectory(path, 0o700)
  makeDirectory(`${path}/`, 0o755)
  assert.equal(statSync(path).mode & 0o777, 0o700)
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
})

test('a file in the way is named', (t) => {
  const file = join(scratch(t), 'file')
  writeFileSync(file, '')
  for (const path of [file, join(file, 'a', 'b')]) {
    assert.throws(
      () => makeDirectory(path),
      (error: NodeJS.ErrnoException) => error.code === 'ENOTDIR' && error.message.startsWith(`${file} is a file`),
    )
  }
})

test('a link that leads nowhere is refused', (t) => {
  const directory = scratch(t)
  symlinkSync(join(directory, 'nowhere'), join(directory, 'link'))
  assert.throws(() => makeDirectory(join(directory, 'link')), { code: 'EEXIST' })
})

test('a link to a directory counts as the directory', (t) => {
  const directory = scratch(t)
  mkdirSync(join(directory, 'real'))
  symlinkSync(join(directory, 'real'), join(directory, 'link'))
  makeDirectory(join(directory, 'link', 'a'))
  assert.ok(statSync(join(directory, 'real', 'a')).isDirectory())
})

test('a file system that takes no directories is named instead of tried for ever', {
  skip: process.platform === 'linux' ? false : '/proc is a Linux file system',
}, () => {
  assert.throws(() => makeDirectory('/proc/quicether/a'), {
    code: 'ENOENT',
    message: '/proc takes no new directories (ENOENT)',
  })
})
