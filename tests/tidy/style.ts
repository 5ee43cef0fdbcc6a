/** Style as rules on one file: sizes, forbidden syntax, doc comments. */
import ts from 'typescript'
import { at, type Source, type Violation, walk } from './source.ts'

export const fileLinesMax = 600
export const functionLinesMax = 70

/** Files over the limit from before the rule: the number may only go down. */
export type Ratchet = Readonly<Record<string, number>>

export function sizeViolations(source: Source, ratchet: Ratchet): Violation[] {
  const lines = source.text.split('\n').length - 1
  const limit = ratchet[source.file] ?? fileLinesMax
  const violations: Violation[] = []
  if (lines > limit)
    violations.push({ file: source.file, line: lines, message: `${lines} lines, at most ${limit}; split it` })
  if (ratchet[source.file] !== undefined && lines <= fileLinesMax) {
    violations.push({ file: source.file, line: lines, message: 'is small enough now: take it off the ratchet' })
  }
  return violations
}

export function functionViolations(source: Source): Violation[] {
  if (source.isTest) return []
  const violations: Violation[] = []
  walk(source.tree, (node) => {
    if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return
    const first = source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree)).line
    const last = source.tree.getLineAndCharacterOfPosition(node.end).line
    const lines = last - first + 1
    if (lines > functionLinesMax)
      violations.push(at(source, node, `${nameOf(node, source)} has ${lines} lines, at most ${functionLinesMax}`))
  })
  return violations
}

function nameOf(node: ts.Node, source: Source): string {
  const name = (node as { name?: ts.Node }).name
  return name === undefined ? 'a function' : name.getText(source.tree)
}

/** any, default exports, enums, namespaces, `private`, parameter properties, TODO without an owner. */
export function syntaxViolations(source: Source): Violation[] {
  const violations: Violation[] = []
  const report = (node: ts.Node, message: string) => violations.push(at(source, node, message))
  walk(source.tree, (node) => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) report(node, 'any: name the type, or unknown')
    if (ts.isExportAssignment(node)) report(node, 'default export: export it by name')
    if (ts.isExportSpecifier(node) && node.name.text === 'default' && !mayExportDefault(source))
      report(node, 'default export: export it by name')
    if (node.kind === ts.SyntaxKind.DefaultKeyword && ts.canHaveModifiers(node.parent))
      report(node, 'default export: export it by name')
    if (ts.isEnumDeclaration(node)) report(node, 'enum: use a const object and a union type')
    if (ts.isModuleDeclaration(node) && !source.file.endsWith('.d.ts') && !ts.isStringLiteral(node.name))
      report(node, 'namespace: use a module')
    if (node.kind === ts.SyntaxKind.PrivateKeyword) report(node, 'private: use #names')
  })
  for (const match of source.text.matchAll(/@ts-(ignore|nocheck)/g)) {
    const line = source.text.slice(0, match.index).split('\n').length
    violations.push({
      file: source.file,
      line,
      message: `@ts-${match[1]}: fix the type, or @ts-expect-error with the reason`,
    })
  }
  return violations
}

/** Plug-ins that a foreign tool loads by their default export. */
function mayExportDefault(source: Source): boolean {
  return source.file === 'scripts/reporter.ts'
}

/** A header sentence on each file, a doc comment on each exported function and class. */
export function docViolations(source: Source): Violation[] {
  const violations: Violation[] = []
  if (/\.test\.ts$/.test(source.file)) return violations
  const head = source.text.replace(/^#!.*\n/, '').trimStart()
  if (!head.startsWith('/**')) {
    violations.push({
      file: source.file,
      line: 1,
      message: 'no doc comment at the head: say in one sentence what the file is for',
    })
  }
  if (source.isTest) return violations
  const exported = source.tree.statements.filter(isExportedCode)
  const classes = exported.filter(ts.isClassDeclaration)
  for (const statement of exported) {
    if (ts.getJSDocCommentsAndTags(statement).length > 0) continue
    // The header sentence documents the one class, or the one function, that the file is about.
    if (exported.length === 1 || (classes.length === 1 && classes[0] === statement)) continue
    violations.push(at(source, statement, `exported ${nameOf(statement, source)} has no doc comment`))
  }
  return violations
}

function isExportedCode(statement: ts.Statement): statement is ts.FunctionDeclaration | ts.ClassDeclaration {
  if (!ts.isFunctionDeclaration(statement) && !ts.isClassDeclaration(statement)) return false
  const isOverload = ts.isFunctionDeclaration(statement) && statement.body === undefined
  return !isOverload && ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true
}
