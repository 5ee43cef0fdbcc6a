/** Each pitfall of docs/pitfalls.md has a test that names it, and tests name no others. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { readSources, root } from './source.ts'

const PITFALLS = 31

interface Row {
  readonly number: number
  readonly what: string
  readonly where: string
  readonly files: readonly string[]
}

/** Rows of the table, files as paths in the repository. */
function rowsOf(markdown: string): Row[] {
  const rows: Row[] = []
  for (const line of markdown.split('\n')) {
    const match = /^\| (\d+) \| (.+) \| (.+) \| (.+) \|$/.exec(line)
    if (match === null) continue
    const [, number = '', what = '', where = '', tests = ''] = match
    const files = [...tests.matchAll(/`([^`]+)`/g)].map(([, file]) => `packages/${file}`)
    rows.push({ number: Number(number), what, where, files })
  }
  return rows
}

/** Numbers of the pitfalls that stand in a comment right above a test, or above the loop that makes several. */
function namedIn(text: string): number[] {
  const lines = text.split('\n')
  const numbers: number[] = []
  for (const [index, line] of lines.entries()) {
    const match = /^ *\/\/ pitfall (\d+): \S/.exec(line)
    if (match === null) continue
    let next = index + 1
    while (/^ *\/\//.test(lines[next] ?? '')) next++
    if (/^ *(test\(|for \()/.test(lines[next] ?? '')) numbers.push(Number(match[1]))
  }
  return numbers
}

const rows = rowsOf(readFileSync(path.join(root, 'docs/pitfalls.md'), 'utf8'))
const named = new Map(
  readSources()
    .filter(({ file }) => file.startsWith('packages/') && file.endsWith('.test.ts'))
    .map(({ file, text }) => [file, namedIn(text)] as const),
)

test(`the table of pitfalls has the numbers 1 to ${PITFALLS}, each with a public reference`, () => {
  assert.deepEqual(
    rows.map(({ number }) => number),
    Array.from({ length: PITFALLS }, (_, index) => index + 1),
  )
  for (const { number, where } of rows) assert.match(where, /^[A-Za-z]\S+ #\d+|report of/, `pitfall ${number}`)
})

test('every pitfall has a test that names it, in the files that its row names', () => {
  for (const { number, files } of rows) {
    assert.ok(files.length > 0, `pitfall ${number} names no test`)
    for (const file of files) assert.ok(named.get(file)?.includes(number), `${file} has no test of pitfall ${number}`)
  }
})

test('a test names no pitfall that the table does not have', () => {
  for (const [file, numbers] of named) {
    for (const number of numbers) {
      const isKnown = rows.some((row) => row.number === number)
      assert.ok(isKnown, `${file} names pitfall ${number}, which docs/pitfalls.md does not have`)
    }
  }
})

test('a pitfall named away from any test does not count', () => {
  assert.deepEqual(namedIn("// pitfall 3: x\n// spec: y\ntest('a', () => {})\n// pitfall 4: z\nconst a = 1"), [3])
  assert.deepEqual(rowsOf('| 3 | a | noq #1 | `x.test.ts` |')[0]?.files, ['packages/x.test.ts'])
})
