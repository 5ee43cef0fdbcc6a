/** The requirement index, the citation grammar and the rules that make `npm run spec` fail. */
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { problems, rowOf } from './spec.ts'
import { indexOf } from './spec-index.ts'
import { citationsIn, exceptionsIn, readIndexes, type SpecIndex } from './spec-model.ts'

const index: SpecIndex = {
  rfc: 9000,
  title: 'x',
  sections: [
    { number: '8', title: 'Validation' },
    { number: '8.1', title: 'During the handshake' },
    { number: '9', title: 'Migration' },
  ],
  requirements: [
    { section: '8.1', n: 1, level: 'MUST NOT', locator: 'a' },
    { section: '8.1', n: 2, level: 'MUST', locator: 'b' },
    { section: '8.1', n: 3, level: 'SHOULD', locator: 'c' },
    { section: '9', n: 1, level: 'MUST', locator: 'd' },
  ],
}
const cited = (text: string, file = 'packages/wire/src/a.ts') => citationsIn(file, text, [index])

test('a plain text RFC becomes sections and requirements, without its table of contents and key word paragraph', () => {
  const text = [
    '   1.  Intro  . . . . 2',
    '1.  Intro',
    '',
    '   The key words "MUST", "SHOULD" in this document are to be interpreted.',
    '1.1.  Rules',
    '   2.  a list item',
    '',
    '   An endpoint of this kind MUST NOT',
    '   send. It SHOULD wait.',
    '2.  End',
    '   Nothing is required here, it must be said.',
    'Appendix A.  More',
    '   Readers MUST read.',
  ].join('\n')
  const result = indexOf(1, 'x', text)
  assert.deepEqual(
    result.sections.map(({ number }) => number),
    ['1', '1.1', '2', 'A'],
  )
  assert.deepEqual(result.requirements, [
    { section: '1.1', n: 1, level: 'MUST NOT', locator: 'endpoint of this kind MUST NOT send. It SHOULD wait.' },
    { section: '1.1', n: 2, level: 'SHOULD', locator: 'MUST NOT send. It SHOULD wait.' },
    { section: 'A', n: 1, level: 'MUST', locator: 'Readers MUST read.' },
  ])
})

test('a kramdown source becomes the same, with anchors and without code', () => {
  const text =
    '---\ntitle: x\n--- middle\n# One {#one}\nA `x_y_z` *MUST* be.\n~~~\nMUST NOT count\n~~~\n## Two\n# Ack\n{:numbered="false"}\nMUST go\n--- back\n# App {#app}\nSHOULD\n'
  const result = indexOf(1, 'x', text)
  assert.deepEqual(result.sections, [
    { number: '1', title: 'One', anchor: 'one' },
    { number: '1.1', title: 'Two' },
    { number: 'A', title: 'App', anchor: 'app' },
  ])
  assert.deepEqual(result.requirements, [
    { section: '1', n: 1, level: 'MUST', locator: 'A x_y_z MUST be.' },
    { section: 'A', n: 1, level: 'SHOULD', locator: 'SHOULD' },
  ])
})

test('citations are found in comments and names of tests, several in one line too', () => {
  const found = cited('// RFC 9000 §8.1#2, §9 and RFC 9000 §8: "quoted"')
  assert.deepEqual(
    found.map(({ section, n }) => [section, n]),
    [
      ['8.1', 2],
      ['9', undefined],
      ['8', undefined],
    ],
  )
  assert.equal(cited(`test("spec('RFC 9000 §8.1')")`, 'packages/wire/src/a.test.ts')[0]?.isTest, true)
})

test('a citation or exception that points nowhere is a problem', () => {
  assert.deepEqual(problems([index], cited('// RFC 9000 §8.1: fine, RFC 9110 §5 is not indexed'), []), [])
  assert.match(problems([index], cited('// RFC 9000 §8.7'), [])[0] ?? '', /no such section/)
  assert.match(problems([index], cited('// RFC 9000 §8.1#4'), [])[0] ?? '', /no such requirement/)
  assert.match(
    problems([index], [], exceptionsIn('| RFC 9000 | 12 | long enough a reason |'))[0] ?? '',
    /covers no requirement/,
  )
  assert.match(problems([index], [], exceptionsIn('| RFC 9000 | 9 | no |'))[0] ?? '', /reason is missing/)
})

test('requirements are tested, cited, excepted or missing, and SHOULD is not counted as MUST', () => {
  const citations = [...cited('// RFC 9000 §8.1'), ...cited('// RFC 9000 §8.1#2', 'packages/wire/src/a.test.ts')]
  const row = rowOf(index, citations, [])
  assert.deepEqual([row.musts, row.cited, row.tested, row.missing.length], [3, 2, 1, 1])
  const excepted = rowOf(index, citations, exceptionsIn('| RFC 9000 | 9.* | we do not migrate yet |'))
  assert.deepEqual([excepted.excepted, excepted.missing.length], [1, 0])
})

test('the committed indexes are complete', () => {
  const indexes = readIndexes(path.resolve(import.meta.dirname, '..'))
  assert.deepEqual(
    indexes.map(({ rfc }) => rfc),
    [8899, 8999, 9000, 9001, 9002, 9114, 9204, 9218, 9220, 9221, 9287, 9297, 9368, 9369, 9406, 9438, 10069],
  )
  const transport = indexes.find(({ rfc }) => rfc === 9000)
  assert.ok(transport?.requirements.some(({ section, level }) => section === '8.1' && level === 'MUST NOT'))
  assert.equal(transport?.sections.find(({ number }) => number === '19.15')?.title, 'NEW_CONNECTION_ID Frames')
  assert.equal(
    indexes.find(({ rfc }) => rfc === 9114)?.sections.find(({ number }) => number === '7.2.4')?.title,
    'SETTINGS',
  )
  for (const { rfc, requirements } of indexes) {
    for (const { locator } of requirements)
      assert.ok(locator.split(' ').length <= 12, `RFC ${rfc}: "${locator}" is longer than a locator`)
  }
})
