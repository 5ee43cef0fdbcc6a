/** Rules on the repository as a whole: dead files, exports of packages, declared dependencies, words from build machines. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { importsOf, root, type Source, type Violation } from './source.ts'

export interface Manifest {
  readonly folder: string
  readonly name: string
  /** Files named by exports, bin and main, relative to the repository. */
  readonly entries: readonly string[]
  readonly dependencies: readonly string[]
}

export function readManifest(folder: string): Manifest {
  const json = JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8')) as Record<string, unknown>
  const entries = [json['exports'], json['bin'], json['main'], json['types']].flatMap(stringsIn)
  return {
    folder,
    name: String(json['name']),
    entries: entries.map((entry) => path.posix.join(folder, entry)),
    dependencies: ['dependencies', 'optionalDependencies', 'peerDependencies', 'devDependencies'].flatMap((key) =>
      Object.keys((json[key] ?? {}) as object),
    ),
  }
}

function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(stringsIn)
  return []
}

export function exportViolations(manifest: Manifest): Violation[] {
  return manifest.entries
    .filter((entry) => !existsSync(path.join(root, entry)))
    .map((entry) => ({
      file: `${manifest.folder}/package.json`,
      line: 1,
      message: `names ${entry}, which does not exist`,
    }))
}

/** Every imported package must be declared by the importing package: what is not declared is missing after publishing. */
export function dependencyViolations(
  sources: readonly Source[],
  manifests: readonly Manifest[],
  shared: readonly string[],
): Violation[] {
  const violations: Violation[] = []
  for (const source of sources) {
    const manifest = manifests.find(({ folder }) => source.file.startsWith(`${folder}/`))
    if (manifest === undefined) continue
    for (const { specifier } of importsOf(source)) {
      if (specifier.startsWith('.') || specifier.startsWith('node:')) continue
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
      const isKnown = name === manifest.name || manifest.dependencies.includes(name)
      const isTool = source.isTest && (shared.includes(name) || manifests.some((other) => other.name === name))
      if (!isKnown && !isTool)
        violations.push({
          file: source.file,
          line: 1,
          message: `imports ${name}, which ${manifest.folder}/package.json does not declare`,
        })
    }
  }
  return violations
}

/** Sources that nothing reaches from an entry. Tests keep nothing alive but other test code. */
export function deadFiles(
  sources: readonly Source[],
  entries: readonly string[],
  manifests: readonly Manifest[],
): Violation[] {
  const byFile = new Map(sources.map((source) => [source.file, source]))
  const product = reach(entries, byFile, manifests)
  const tests = reach(
    sources.filter(({ file }) => /\.test\.ts$/.test(file)).map(({ file }) => file),
    byFile,
    manifests,
  )
  const violations: Violation[] = []
  for (const source of sources) {
    if (/\.(test|d)\.ts$/.test(source.file) || product.has(source.file)) continue
    if (source.isTest && tests.has(source.file)) continue
    const message = tests.has(source.file)
      ? 'is used by tests only: wire it in, move it to testing/ or delete it'
      : 'is imported by nothing: wire it in or delete it'
    violations.push({ file: source.file, line: 1, message })
  }
  return violations
}

function reach(
  entries: readonly string[],
  byFile: ReadonlyMap<string, Source>,
  manifests: readonly Manifest[],
): Set<string> {
  const reached = new Set<string>()
  const queue = entries.filter((file) => byFile.has(file))
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file)) continue
    reached.add(file)
    const source = byFile.get(file)
    if (source === undefined) continue
    queue.push(...spawnedFiles(source, byFile))
    for (const { specifier } of importsOf(source)) {
      if (specifier.startsWith('.')) queue.push(path.posix.join(path.posix.dirname(file), specifier))
      else
        queue.push(
          ...(manifests.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`))?.entries ?? []),
        )
    }
  }
  return reached
}

/** Files started as processes are named by a string: by path, or by their bare name somewhere below the naming file. */
function spawnedFiles(source: Source, byFile: ReadonlyMap<string, Source>): string[] {
  const folder = path.posix.dirname(source.file)
  const named = [...source.text.matchAll(/['"`](?:\$\{\w+\}\/)?((?:[\w.-]+\/)*[\w.-]+\.ts)['"`]/g)].map(
    (match) => match[1] ?? '',
  )
  return [...byFile.keys()].filter((file) =>
    named.some((name) => file === name || (file.startsWith(`${folder}/`) && file.endsWith(`/${name}`))),
  )
}

const slash = '/'
/** Paths and hosts of the machines on which the project is built; spelled in parts so that this file passes. */
const machineWords: readonly RegExp[] = [
  new RegExp(`(?<![\\w.~*)\\]}-])${slash}(work|root)${slash}[\\w.-]`),
  new RegExp(`${slash}home${slash}(?!user\\b|you\\b)[a-z]`),
  new RegExp(`\\.\\.${slash}shared\\b`),
  /\btmp\/[b]rief/,
  /registry\.np[m]js\.org|registry\.yarnp[k]g/,
]

export function wordViolations(file: string, text: string): Violation[] {
  const violations: Violation[] = []
  const lines = text.split('\n')
  for (let index = 0; index < lines.length; index += 1) {
    const found = machineWords.map((word) => word.exec(lines[index] ?? '')?.[0]).find((match) => match !== undefined)
    if (found !== undefined)
      violations.push({
        file,
        line: index + 1,
        message: `"${found}" belongs to a build machine, not into the repository`,
      })
  }
  return violations
}
