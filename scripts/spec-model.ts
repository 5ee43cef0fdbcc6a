/** The requirement index in specs/*.json, the citations in the code, and what follows from both. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'

export interface Section {
  readonly number: string
  readonly title: string
  /** Name of the section in the working group's source, where that is what the code cites. */
  readonly anchor?: string
}

export interface Requirement {
  readonly section: string
  /** Ordinal in the section, from 1: `RFC 9000 §8.1#2`. */
  readonly n: number
  readonly level: string
  /** A few words around the key word, so that a human finds the sentence. */
  readonly locator: string
}

export interface SpecIndex {
  readonly rfc: number
  readonly title: string
  readonly sections: readonly Section[]
  readonly requirements: readonly Requirement[]
}

export interface Citation {
  readonly file: string
  readonly line: number
  readonly rfc: number
  readonly section: string
  readonly n: number | undefined
  readonly isTest: boolean
}

export interface Exception {
  readonly line: number
  readonly rfc: number
  /** A section, `22.*` for a section with all below it, or `8.1#2` for one requirement. */
  readonly section: string
  readonly reason: string
}

const must = new Set(['MUST', 'MUST NOT', 'SHALL', 'SHALL NOT', 'REQUIRED'])

/** Binding for every implementation: MUST, SHALL, REQUIRED and their negations. */
export function isMust(requirement: Requirement): boolean {
  return must.has(requirement.level)
}

/** All indexes in specs/, by number. */
export function readIndexes(root: string): SpecIndex[] {
  const indexes = globSync('specs/rfc*.json', { cwd: root }).map(
    (file) => JSON.parse(readFileSync(path.join(root, file), 'utf8')) as SpecIndex,
  )
  return indexes.sort((a, b) => a.rfc - b.rfc)
}

const cite =
  /\bRFC ?(\d{4,5}),? (?:§|section )((?:[A-Z]|\d+)(?:\.\d+)*)(?:#(\d+))?((?:(?:,? and |, )§(?:[A-Z]|\d+)(?:\.\d+)*(?:#\d+)?)*)/gi
const citeMore = /§((?:[A-Z]|\d+)(?:\.\d+)*)(?:#(\d+))?/g
const citeAnchor = /\bMPQUIC #([\w-]+)/g
const multipathRfc = 10069

/** Citations in one file, in the order of the text. `MPQUIC #anchor` cites RFC 10069 by anchor. */
export function citationsIn(file: string, text: string, indexes: readonly SpecIndex[]): Citation[] {
  const isTest = /\.test\.ts$|\/testing\/|\/attacks\/|conformance\.ts$|^tests\/|\/tests\//.test(file)
  const found: Citation[] = []
  const lines = text.split('\n')
  for (let index = 0; index < lines.length; index += 1) {
    const line = index + 1
    const add = (rfc: number, section: string, n: string | undefined) =>
      found.push({
        file,
        line,
        rfc,
        section: section.toUpperCase(),
        n: n === undefined ? undefined : Number(n),
        isTest,
      })
    for (const match of (lines[index] ?? '').matchAll(cite)) {
      const rfc = Number(match[1])
      add(rfc, match[2] ?? '', match[3])
      for (const more of (match[4] ?? '').matchAll(citeMore)) add(rfc, more[1] ?? '', more[2])
    }
    for (const match of (lines[index] ?? '').matchAll(citeAnchor)) {
      const sections = indexes.find(({ rfc }) => rfc === multipathRfc)?.sections ?? []
      add(multipathRfc, sections.find(({ anchor }) => anchor === match[1])?.number ?? `#${match[1]}`, undefined)
    }
  }
  return found
}

/** All citations of the sources: TypeScript and Rust below packages/, tests and examples. */
export function readCitations(root: string, indexes: readonly SpecIndex[]): Citation[] {
  const patterns = ['packages/*/src/**/*.{ts,rs}', 'packages/*/bin/**/*.ts', 'tests/**/*.{ts,py,go}']
  const files = globSync(patterns, {
    cwd: root,
    exclude: (entry) => entry === 'node_modules' || entry === 'target',
  }).sort()
  return files
    .map((file) => file.replaceAll(path.sep, '/'))
    .filter((file) => !file.startsWith('tests/tidy/') && !/(^|\/)spec[-\w]*\.test\.ts$/.test(file))
    .flatMap((file) => citationsIn(file, readFileSync(path.join(root, file), 'utf8'), indexes))
}

/** Rows `| RFC 9000 | 17.4 | reason |` of docs/spec-exceptions.md. */
export function exceptionsIn(markdown: string): Exception[] {
  const rows: Exception[] = []
  const lines = markdown.split('\n')
  for (let index = 0; index < lines.length; index += 1) {
    const match = /^\|\s*(?:RFC )?(\d{4,5})\s*\|\s*§?([A-Z\d][\w.#*]*)\s*\|\s*(.*?)\s*\|\s*$/.exec(lines[index] ?? '')
    if (match === null) continue
    rows.push({ line: index + 1, rfc: Number(match[1]), section: match[2] ?? '', reason: match[3] ?? '' })
  }
  return rows
}

/** The exceptions of this repository; none when the file is absent. */
export function readExceptions(root: string): Exception[] {
  const file = path.join(root, 'docs/spec-exceptions.md')
  return existsSync(file) ? exceptionsIn(readFileSync(file, 'utf8')) : []
}

/** Does the exception cover this requirement? */
export function covers(exception: Exception, rfc: number, requirement: Requirement): boolean {
  if (exception.rfc !== rfc) return false
  if (exception.section.endsWith('.*')) {
    const stem = exception.section.slice(0, -2)
    return requirement.section === stem || requirement.section.startsWith(`${stem}.`)
  }
  return exception.section === requirement.section || exception.section === `${requirement.section}#${requirement.n}`
}

export type State = 'tested' | 'cited' | 'excepted' | 'missing'

/**
 * What is known about a requirement. A citation of its section counts for it, unless all citations of the section name
 * other requirements by ordinal.
 */
export function stateOf(
  rfc: number,
  requirement: Requirement,
  citations: readonly Citation[],
  exceptions: readonly Exception[],
): State {
  const own = citations.filter(
    (citation) =>
      citation.rfc === rfc &&
      citation.section === requirement.section &&
      (citation.n === undefined || citation.n === requirement.n),
  )
  if (own.some(({ isTest }) => isTest)) return 'tested'
  if (own.length > 0) return 'cited'
  return exceptions.some((exception) => covers(exception, rfc, requirement)) ? 'excepted' : 'missing'
}
