/**
 * `npm run spec`: the requirements of the RFCs against the citations in code and tests.
 * Options: --missing lists what has neither, --rfc N limits to one document, --json, --check only verifies the citations.
 */
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import {
  type Citation,
  covers,
  type Exception,
  isMust,
  readCitations,
  readExceptions,
  readIndexes,
  type Requirement,
  type SpecIndex,
  type State,
  stateOf,
} from './spec-model.ts'

const root = path.resolve(import.meta.dirname, '..')

interface Row {
  readonly rfc: number
  readonly title: string
  readonly musts: number
  readonly tested: number
  readonly cited: number
  readonly excepted: number
  readonly missing: readonly Requirement[]
  readonly sectionsCited: number
}

/** Citations and exceptions that point nowhere, one line each. */
export function problems(
  indexes: readonly SpecIndex[],
  citations: readonly Citation[],
  exceptions: readonly Exception[],
): string[] {
  const found: string[] = []
  for (const { file, line, rfc, section, n } of citations) {
    const index = indexes.find((candidate) => candidate.rfc === rfc)
    if (index === undefined) continue
    const where = `${file}:${line}: RFC ${rfc} §${section}`
    if (!index.sections.some(({ number }) => number === section)) found.push(`${where}: there is no such section`)
    else if (
      n !== undefined &&
      !index.requirements.some((requirement) => requirement.section === section && requirement.n === n)
    ) {
      found.push(`${where}#${n}: the section has no such requirement`)
    }
  }
  for (const exception of exceptions) {
    const where = `docs/spec-exceptions.md:${exception.line}: RFC ${exception.rfc} §${exception.section}`
    const index = indexes.find(({ rfc }) => rfc === exception.rfc)
    if (!index?.requirements.some((requirement) => covers(exception, exception.rfc, requirement)))
      found.push(`${where}: covers no requirement`)
    if (exception.reason.length < 10) found.push(`${where}: the reason is missing`)
  }
  return found
}

/** The requirements of one document on MUST level, sorted by what is known about them. */
export function rowOf(index: SpecIndex, citations: readonly Citation[], exceptions: readonly Exception[]): Row {
  const own = citations.filter(({ rfc }) => rfc === index.rfc)
  const musts = index.requirements.filter(isMust)
  const states = musts.map((requirement): State => stateOf(index.rfc, requirement, own, exceptions))
  const count = (state: State) => states.filter((candidate) => candidate === state).length
  return {
    rfc: index.rfc,
    title: index.title,
    musts: musts.length,
    tested: count('tested'),
    cited: count('tested') + count('cited'),
    excepted: count('excepted'),
    missing: musts.filter((_, position) => states[position] === 'missing'),
    sectionsCited: new Set(own.map(({ section }) => section)).size,
  }
}

function table(rows: readonly Row[]): string {
  const head = ['RFC', 'MUST', 'cited', 'tested', 'excepted', 'missing', 'sections', 'title']
  const sum = (pick: (row: Row) => number) => rows.reduce((total, row) => total + pick(row), 0)
  const total = [
    'all',
    sum((r) => r.musts),
    sum((r) => r.cited),
    sum((r) => r.tested),
    sum((r) => r.excepted),
    sum((r) => r.missing.length),
    sum((r) => r.sectionsCited),
    '',
  ]
  const body = rows.map((r) => [
    r.rfc,
    r.musts,
    r.cited,
    r.tested,
    r.excepted,
    r.missing.length,
    r.sectionsCited,
    r.title,
  ])
  return [head, ...body, total]
    .map((cells) =>
      cells
        .map((cell, column) => (column === 7 ? String(cell) : String(cell).padStart(8)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function main(): number {
  const { values } = parseArgs({
    options: {
      missing: { type: 'boolean' },
      json: { type: 'boolean' },
      check: { type: 'boolean' },
      rfc: { type: 'string' },
    },
  })
  const all = readIndexes(root)
  if (all.length === 0) {
    process.stderr.write('specs/ holds no index: the checkout is incomplete\n')
    return 1
  }
  const citations = readCitations(root, all)
  const exceptions = readExceptions(root)
  const wrong = problems(all, citations, exceptions)
  for (const line of wrong) process.stderr.write(`${line}\n`)
  if (values.check === true) {
    process.stdout.write(`${citations.length} citations, ${wrong.length} of them or of the exceptions point nowhere\n`)
    return wrong.length > 0 ? 1 : 0
  }
  const chosen = values.rfc === undefined ? all : all.filter(({ rfc }) => String(rfc) === values.rfc)
  if (chosen.length === 0) {
    process.stderr.write(`no index of RFC ${values.rfc}; there are: ${all.map(({ rfc }) => rfc).join(', ')}\n`)
    return 2
  }
  const rows = chosen.map((index) => rowOf(index, citations, exceptions))
  if (values.json === true) process.stdout.write(`${JSON.stringify({ rows, problems: wrong }, null, 2)}\n`)
  else process.stdout.write(`${table(rows)}\n${explanation(citations, all)}`)
  if (values.missing === true && values.json !== true) listMissing(rows)
  return wrong.length > 0 ? 1 : 0
}

function explanation(citations: readonly Citation[], indexes: readonly SpecIndex[]): string {
  const others = new Set(
    citations.filter(({ rfc }) => !indexes.some((index) => index.rfc === rfc)).map(({ rfc }) => rfc),
  )
  const also =
    others.size === 0 ? '' : `Also cited, not counted: RFC ${[...others].sort((a, b) => a - b).join(', ')}.\n`
  return (
    'A requirement counts as cited or tested when code or tests cite its section (or it alone: RFC 9000 §8.1#2);\n' +
    `cited includes tested. Exceptions with their reasons: docs/spec-exceptions.md. --missing lists the rest.\n${also}`
  )
}

function listMissing(rows: readonly Row[]): void {
  for (const { rfc, missing } of rows) {
    for (const { section, n, level, locator } of missing)
      process.stdout.write(`RFC ${rfc} §${section}#${n}  ${level}: … ${locator} …\n`)
  }
}

if (import.meta.main) process.exitCode = main()
