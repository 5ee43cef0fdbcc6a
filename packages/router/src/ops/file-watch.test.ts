/** Tests of the watch over files: told once per change, and never while a file is still being written. */
import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { FileWatch } from './file-watch.ts'

function watched(t: TestContext, name: string): { directory: string; watch: FileWatch; changes: () => number } {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-watch-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  let changes = 0
  const watch = new FileWatch(
    () => [join(directory, name)],
    () => changes++,
  )
  return { directory, watch, changes: () => changes }
}

test('a file that grows from look to look is told of once it stays, and then only once', (t) => {
  const { directory, watch, changes } = watched(t, 'a')
  const write = (text: string): void => writeFileSync(join(directory, 'a'), text)
  write('1')
  watch.settle()
  for (const text of ['', '12', '123']) {
    write(text)
    watch.look()
  }
  assert.equal(changes(), 0)
  for (let at = 0; at < 3; at++) watch.look()
  assert.equal(changes(), 1)
})

test('a link that is pointed elsewhere is a change, a file that is gone and comes back as it was is none', (t) => {
  const { directory, watch, changes } = watched(t, 'link')
  for (const name of ['one', 'two']) writeFileSync(join(directory, name), name)
  symlinkSync(join(directory, 'one'), join(directory, 'link'))
  watch.settle()
  renameSync(join(directory, 'one'), join(directory, 'away'))
  watch.look()
  renameSync(join(directory, 'away'), join(directory, 'one'))
  for (let at = 0; at < 3; at++) watch.look()
  assert.equal(changes(), 0)
  symlinkSync(join(directory, 'two'), join(directory, 'next'))
  renameSync(join(directory, 'next'), join(directory, 'link'))
  for (let at = 0; at < 3; at++) watch.look()
  assert.equal(changes(), 1)
})
