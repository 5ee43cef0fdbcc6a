/** What an aborted download leaves, and what another run makes of it. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { PartFile } from './part-file.ts'

const url = 'https://files.test/a'
const beginning = { etag: '"t"', size: 10 }

function place(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-part-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return join(directory, 'a')
}

async function aborted(file: string, bytes: string): Promise<boolean> {
  const part = await PartFile.at(file, url, true)
  await part.begin(beginning)
  await part.write(Buffer.from(bytes))
  return part.abandon()
}

test('an aborted download goes on after its last byte and appears whole under its name', async (t) => {
  const file = place(t)
  assert.equal(await aborted(file, '0123'), true)
  assert.ok(!existsSync(file))
  const part = await PartFile.at(file, url, true)
  assert.deepEqual(part.continuation, { offset: 4, etag: '"t"', size: 10 })
  await part.continue()
  await part.write(Buffer.from('456789'))
  await part.finish()
  assert.equal(readFileSync(file, 'utf8'), '0123456789')
  assert.ok(!existsSync(`${file}.part`) && !existsSync(`${file}.part.json`))
})

test('when all bytes were there, the last one is asked for again', async (t) => {
  const file = place(t)
  await aborted(file, '0123456789')
  const part = await PartFile.at(file, url, true)
  assert.equal(part.continuation?.offset, 9)
  await part.continue()
  await part.write(Buffer.from('9'))
  await part.finish()
  assert.equal(readFileSync(file, 'utf8'), '0123456789')
})

test('another address, another wish and no tag mean another beginning', async (t) => {
  const file = place(t)
  await aborted(file, '0123')
  assert.equal((await PartFile.at(file, `${url}?b`, true)).continuation, undefined)
  const part = await PartFile.at(file, url, false)
  assert.equal(part.continuation, undefined)
  await part.begin({ etag: undefined, size: 10 })
  await part.write(Buffer.from('x'))
  assert.equal(await part.abandon(), false)
  assert.ok(!existsSync(`${file}.part`) && !existsSync(`${file}.part.json`))
})

test('a part file that is not ours, or being written by another process, is left alone', async (t) => {
  const file = place(t)
  writeFileSync(`${file}.part`, 'precious')
  await assert.rejects(PartFile.at(file, url, true), /a\.part is there already, and not known to be ours: remove it/u)
  writeFileSync(`${file}.part.json`, '{"url":1}')
  await assert.rejects(PartFile.at(file, url, true), /not known to be ours/u)
  writeFileSync(`${file}.part.json`, JSON.stringify({ url, etag: '"t"', size: 10, pid: process.ppid }))
  await assert.rejects(PartFile.at(file, url, true), /process \d+ is downloading .*a already: wait for it/u)
  assert.equal(readFileSync(`${file}.part`, 'utf8'), 'precious')
})

test('a directory that is not there is named', async (t) => {
  const part = await PartFile.at(join(place(t), 'none', 'b'), url, true)
  await assert.rejects(part.begin(beginning), /cannot write .*b\.part: its directory does not exist/u)
  assert.equal(await part.abandon(), false)
})
