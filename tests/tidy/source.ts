/** The files that the tidy rules look at: parsed sources with their package, and the plain text of everything else. */
import { execFileSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'

export const root = path.resolve(import.meta.dirname, '..', '..')

export interface Source {
  /** Path in the repository, with forward slashes. */
  readonly file: string
  readonly text: string
  readonly tree: ts.SourceFile
  /** Folder below packages/, or undefined for scripts and tests. */
  readonly packageName: string | undefined
  readonly isTest: boolean
}

export interface Violation {
  readonly file: string
  readonly line: number
  readonly message: string
}

export function parse(file: string, text: string): Source {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const packageName = /^packages\/([^/]+)\//.exec(file)?.[1]
  // Conformance suites, attack scenes and testing/ folders are test code that several tests share.
  const isShared =
    /\/src\/(.*\/)?(testing\/|conformance\.ts$)/.test(file) || file.startsWith('packages/lab/src/attacks/')
  const isTest = /\.test\.ts$/.test(file) || file.startsWith('tests/') || isShared
  return { file, text, tree, packageName, isTest }
}

/** Every TypeScript file of the repository, also those that are not committed yet. */
export function readSources(): Source[] {
  const patterns = [
    'packages/*/src/**/*.ts',
    'packages/*/bin/**/*.ts',
    'scripts/**/*.ts',
    'tests/**/*.ts',
    'examples/**/*.ts',
  ]
  return globSync(patterns, { cwd: root, exclude: (entry) => entry === 'node_modules' })
    .sort()
    .map((file) => parse(file.replaceAll(path.sep, '/'), readFileSync(path.join(root, file), 'utf8')))
}

/** Every text file that git would commit. */
export function repositoryFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  return listed.split('\0').filter((file) => file !== '' && existsSync(path.join(root, file)))
}

export function at(source: Source, node: ts.Node, message: string): Violation {
  const { line } = source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree))
  return { file: source.file, line: line + 1, message }
}

/** Visits every node below `node`, parents first. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node)
  node.forEachChild((child) => walk(child, visit))
}

export interface Import {
  readonly specifier: string
  readonly node: ts.Node
  readonly isType: boolean
}

/** Static and dynamic imports, re-exports and worker files named by `new URL('./x.ts', import.meta.url)`. */
export function importsOf(source: Source): Import[] {
  const found: Import[] = []
  walk(source.tree, (node) => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      const isType = ts.isImportDeclaration(node) ? node.importClause?.isTypeOnly === true : node.isTypeOnly
      found.push({ specifier: node.moduleSpecifier.text, node, isType })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const argument = node.arguments[0]
      if (argument !== undefined && ts.isStringLiteral(argument))
        found.push({ specifier: argument.text, node, isType: false })
    } else if (
      ts.isImportTypeNode(node) &&
      ts.isLiteralTypeNode(node.argument) &&
      ts.isStringLiteral(node.argument.literal)
    ) {
      found.push({ specifier: node.argument.literal.text, node, isType: true })
    } else if (ts.isNewExpression(node) && node.expression.getText(source.tree) === 'URL') {
      const argument = node.arguments?.[0]
      if (argument !== undefined && ts.isStringLiteral(argument) && /^\.\.?\/.*\.ts$/.test(argument.text)) {
        found.push({ specifier: argument.text, node, isType: false })
      }
    }
  })
  return found
}
