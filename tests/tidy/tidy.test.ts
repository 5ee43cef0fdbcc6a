/** Style as a test: the rules hold in this repository, and each of them can fail. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { layerViolations, purityViolations } from './layers.ts'
import { deadFiles, dependencyViolations, exportViolations, readManifest, wordViolations } from './repository.ts'
import { parse, readSources, repositoryFiles, root, type Violation } from './source.ts'
import { docViolations, functionViolations, type Ratchet, sizeViolations, syntaxViolations } from './style.ts'

const sources = readSources()
const manifests = readdirSync(path.join(root, 'packages')).map((name) => readManifest(`packages/${name}`))
const workspace = readManifest('.')
const ratchet = JSON.parse(readFileSync(path.join(root, 'tests/tidy/ratchet.json'), 'utf8')) as Ratchet

/** Started by a command rather than imported. */
const entries = [
  ...manifests.flatMap((manifest) => manifest.entries),
  ...sources
    .map(({ file }) => file)
    .filter((file) =>
      /^(scripts\/(check|test|spec|spec-index|reporter)|packages\/[^/]+\/bin\/[^/]+|packages\/cli\/src\/main|tests\/([^/]+\/)+main|examples\/.+)\.ts$/.test(
        file,
      ),
    ),
]

function none(violations: readonly Violation[]): void {
  const lines = violations.map(({ file, line, message }) => `${file}:${line}: ${message}`)
  assert.equal(lines.length, 0, `${lines.length} violations\n${lines.join('\n')}`)
}

function some(violations: readonly Violation[], pattern: RegExp): void {
  assert.ok(
    violations.some(({ message }) => pattern.test(message)),
    `expected ${pattern}, got ${JSON.stringify(violations)}`,
  )
}

test('packages import only the layers below them', () => none(sources.flatMap(layerViolations)))
test('wire, transport, the lab core and the HTTP/3 session read no clock, no randomness and no platform', () =>
  none(sources.flatMap(purityViolations)))
test('no file is over its size', () => none(sources.flatMap((source) => sizeViolations(source, ratchet))))
test('no function is over its size', () => none(sources.flatMap(functionViolations)))
test('no any, default export, enum, namespace or private keyword', () => none(sources.flatMap(syntaxViolations)))
test('every file has a header sentence and every exported function and class a doc comment', () =>
  none(sources.flatMap(docViolations)))
test('no file is dead', () => none(deadFiles(sources, entries, manifests)))
test('every file that a package names exists', () => none(manifests.flatMap(exportViolations)))
test('every imported package is declared', () => none(dependencyViolations(sources, manifests, workspace.dependencies)))
test('nothing from a build machine is in the repository', () => {
  const texts = repositoryFiles().filter(
    (file) => !/(^|\/)(corpus|package-lock\.json|Cargo\.lock|go\.sum)|\.(png|pcapng|bin|sqlite|node)$/.test(file),
  )
  none(texts.flatMap((file) => wordViolations(file, readFileSync(path.join(root, file), 'utf8'))))
})
test('the ratchet names only files that exist', () => {
  for (const file of Object.keys(ratchet))
    assert.ok(
      sources.some((source) => source.file === file),
      `${file} is gone: take it off tests/tidy/ratchet.json`,
    )
})

test('a forbidden import is found, however it is written', () => {
  const file = 'packages/wire/src/bad.ts'
  some(layerViolations(parse(file, `import { Endpoint } from '@quicether/transport'`)), /wire may not import transport/)
  some(layerViolations(parse(file, `export * from '@quicether/net'`)), /wire may not import net/)
  some(
    layerViolations(parse('packages/net/src/bad.ts', `const h = await import('@quicether/http3')`)),
    /net may not import http3/,
  )
  some(
    layerViolations(parse('packages/net/src/bad.ts', `type T = import('@quicether/router').Router`)),
    /net may not import router/,
  )
  some(layerViolations(parse(file, `import { x } from '../../transport/src/x.ts'`)), /leaves the package/)
  some(layerViolations(parse(file, `import { x } from './x'`)), /\.ts ending/)
  some(layerViolations(parse('packages/new/src/bad.ts', '')), /has no layer/)
  some(
    layerViolations(parse('packages/net/src/bad.ts', `import { x } from '@quicether/transport/testing'`)),
    /for tests/,
  )
})

test('a clock, a timer, randomness or a node module in a pure layer is found', () => {
  const file = 'packages/transport/src/bad.ts'
  for (const text of [
    'const t = Date.now()',
    'setTimeout(() => {}, 1)',
    'performance.now()',
    `import fs from 'node:fs'`,
    'process.exit(1)',
    'Math.random()',
    'new Date()',
  ]) {
    assert.equal(purityViolations(parse(file, text)).length > 0, true, text)
  }
  assert.deepEqual(
    purityViolations(parse(file, 'function f(process: () => void) { process(); connection.setTimeout(1) }')),
    [],
  )
  assert.deepEqual(purityViolations(parse('packages/net/src/fine.ts', 'performance.now()')), [])
})

test('a long file and a long function are found, and a ratchet entry that is no longer needed', () => {
  const long = `/** x */\n${'\n'.repeat(700)}`
  some(sizeViolations(parse('scripts/bad.ts', long), {}), /lines, at most 600/)
  assert.deepEqual(sizeViolations(parse('scripts/bad.ts', long), { 'scripts/bad.ts': 701 }), [])
  some(sizeViolations(parse('scripts/bad.ts', 'x\n'), { 'scripts/bad.ts': 701 }), /off the ratchet/)
  some(functionViolations(parse('scripts/bad.ts', `function big() {${'\n'.repeat(71)}}`)), /big has 72 lines/)
})

test('forbidden syntax is found', () => {
  const cases: [string, RegExp][] = [
    ['let x: any', /any/],
    ['export default 1', /default/],
    ['export default function f() {}', /default/],
    ['const a = 1; export { a as default }', /default/],
    ['enum E { A }', /enum/],
    ['namespace N { export const a = 1 }', /namespace/],
    ['class C { private x = 1 }', /private/],
    [`// @ts-${'ignore'}\nf()`, /ts-ignore/],
  ]
  for (const [text, pattern] of cases) some(syntaxViolations(parse('scripts/bad.ts', text)), pattern)
  assert.deepEqual(
    syntaxViolations(parse('scripts/fine.ts', `const any = 'default' // any enum\nswitch (any) { default: break }`)),
    [],
  )
})

test('missing doc comments are found', () => {
  some(docViolations(parse('scripts/bad.ts', 'const a = 1')), /head/)
  some(
    docViolations(parse('scripts/bad.ts', '/** Head. */\nimport "a"\nexport function f() {}\nexport function g() {}')),
    /exported f/,
  )
  some(
    docViolations(parse('scripts/bad.ts', '/** Head. */\nimport "a"\nexport class C {}\nexport class D {}')),
    /exported D/,
  )
  assert.deepEqual(
    docViolations(
      parse('scripts/fine.ts', '/** Head. */\nimport "a"\nexport class C {}\n/** Does f. */\nexport function f() {}'),
    ),
    [],
  )
})

test('dead files, missing exports, undeclared packages and machine paths are found', () => {
  const entry = parse('packages/wire/src/index.ts', `export * from './used.ts'`)
  const used = parse('packages/wire/src/used.ts', `import { x } from 'left-pad'`)
  const dead = parse('packages/wire/src/dead.ts', '')
  const testOnly = parse('packages/wire/src/dead.test.ts', `import './dead.ts'`)
  const manifest = { folder: 'packages/wire', name: '@quicether/wire', entries: [entry.file], dependencies: [] }
  assert.deepEqual(
    deadFiles([entry, used, dead], [entry.file], [manifest]).map(({ file }) => file),
    [dead.file],
  )
  some(deadFiles([entry, used, dead, testOnly], [entry.file], [manifest]), /used by tests only/)
  some(exportViolations({ ...manifest, entries: ['packages/wire/src/nowhere.ts'] }), /does not exist/)
  some(dependencyViolations([used], [manifest], []), /left-pad/)
  for (const part of ['work', 'root'])
    some(wordViolations('README.md', `see ${['', part, 'main'].join('/')}`), /build machine/)
  some(wordViolations('README.md', `see ${['..', 'shared', 'x.md'].join('/')}`), /build machine/)
  assert.deepEqual(wordViolations('README.md', 'https://example.org/work/main and a/root/b'), [])
})
