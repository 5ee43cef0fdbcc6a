/** docs/errors.md names every error code of the source, and none that is gone. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'

const root = path.resolve(import.meta.dirname, '../..')

/** Codes of Node and of other people's libraries, which we only read. */
const foreign = new Set([
  'ERR_DLOPEN_FAILED',
  'ERR_MODULE_NOT_FOUND',
  'ERR_SSL',
  'ERR_SSL_',
  'ERR_TLS_',
  'ERR_SQLITE_ERROR',
])
const isForeign = (code: string) => foreign.has(code) || code.startsWith('ERR_HTTP2_')

function codesOfSource(): Set<string> {
  const files = [
    ...globSync('packages/*/src/**/*.ts', { cwd: root }).filter(
      (file) => !file.endsWith('.test.ts') && !file.includes(`${path.sep}testing${path.sep}`),
    ),
    ...globSync('packages/native/src/**/*.rs', { cwd: root }),
  ]
  const codes = new Set<string>()
  for (const file of files) {
    for (const [code] of readFileSync(path.join(root, file), 'utf8').matchAll(/\bERR_[A-Z0-9_]+\b/g)) {
      if (!isForeign(code)) codes.add(code)
    }
  }
  return codes
}

test('every error code of the source is explained in docs/errors.md, and each once', () => {
  const rows = readFileSync(path.join(root, 'docs/errors.md'), 'utf8').matchAll(
    /^\| `(ERR_[A-Z0-9_]+)` \| (.+) \| (.+) \|$/gm,
  )
  const explained = [...rows].map(([, code = '']) => code)
  const used = codesOfSource()
  assert.deepEqual(
    {
      twice: explained.filter((code, n) => explained.indexOf(code) !== n),
      missing: [...used].filter((code) => !explained.includes(code)),
      gone: explained.filter((code) => !used.has(code)),
    },
    { twice: [], missing: [], gone: [] },
  )
})
