/** Who may import whom, and which layers never touch clocks, randomness and the platform. */
import path from 'node:path'
import ts from 'typescript'
import { at, importsOf, type Source, type Violation, walk } from './source.ts'

/** Packages below each package; an arrow of ARCHITECTURE.md read backwards. */
const below: Readonly<Record<string, readonly string[]>> = {
  wire: [],
  transport: ['wire'],
  native: ['wire', 'transport'],
  net: ['wire', 'transport', 'native'],
  http3: ['wire', 'transport', 'net'],
  router: ['wire', 'transport', 'native', 'net', 'http3'],
  lab: ['wire', 'transport'],
  cli: ['wire', 'transport', 'native', 'net', 'http3', 'router', 'lab'],
}

/** Files outside the core that may reach one package further, with the reason. */
const further: readonly { readonly file: RegExp; readonly packages: readonly string[]; readonly why: string }[] = [
  {
    file: /^packages\/lab\/bin\//,
    packages: ['native'],
    why: 'the command line can run the lab with the real cryptography',
  },
  {
    file: /^packages\/[^/]+\/src\/.*\.test\.ts$/,
    packages: ['lab', 'native'],
    why: 'tests drive the real engine in virtual time',
  },
]

/** Sources that must run anywhere and give the same result twice: no platform, no clock, no randomness. */
export function isPure(source: Source): boolean {
  // The fake TLS of transport is held to the rule as well: the lab runs it in virtual time.
  if (source.isTest && !/^packages\/transport\/src\/testing\/(?!.*\.test\.ts$)/.test(source.file)) return false
  if (/^packages\/(wire|transport|lab)\/src\//.test(source.file)) return true
  return (
    /^packages\/http3\/src\//.test(source.file) &&
    !/^packages\/http3\/src\/(client|server|connection|testing)[^/]*(\.ts|\/)/.test(source.file)
  )
}

const impureGlobals = new Set([
  'Buffer',
  'Date',
  'clearImmediate',
  'clearInterval',
  'clearTimeout',
  'crypto',
  'fetch',
  'global',
  'performance',
  'process',
  'queueMicrotask',
  'require',
  'setImmediate',
  'setInterval',
  'setTimeout',
])

/** Imports that the layering of the packages forbids. */
export function layerViolations(source: Source): Violation[] {
  const { packageName } = source
  if (packageName === undefined) return []
  const allowed = [
    ...(below[packageName] ?? []),
    ...further.filter(({ file }) => file.test(source.file)).flatMap(({ packages }) => packages),
  ]
  const violations: Violation[] = []
  if (below[packageName] === undefined)
    violations.push(at(source, source.tree, `package "${packageName}" has no layer in tests/tidy/layers.ts`))
  for (const { specifier, node } of importsOf(source)) {
    const scoped = /^@quicether\/([^/]+)(\/.*)?$/.exec(specifier)
    const target = scoped?.[1] ?? (specifier === 'quicether' ? 'cli' : undefined)
    if (target !== undefined && target !== packageName && !allowed.includes(target)) {
      violations.push(
        at(source, node, `${packageName} may not import ${target}; allowed: ${allowed.join(', ') || 'nothing'}`),
      )
    }
    if (scoped?.[2] === '/testing' && !source.isTest && packageName !== 'lab' && !/\/bin\//.test(source.file)) {
      violations.push(at(source, node, 'testing/ is for tests and the lab'))
    }
    if (specifier.startsWith('.') && !staysInside(source.file, specifier, packageName)) {
      violations.push(at(source, node, `"${specifier}" leaves the package; import it by its package name`))
    }
    if (specifier.startsWith('.') && !/\.(ts|json|mjs|node)$/.test(specifier)) {
      violations.push(at(source, node, `"${specifier}" needs its .ts ending`))
    }
  }
  return violations
}

function staysInside(file: string, specifier: string, packageName: string): boolean {
  const target = path.posix.join(path.posix.dirname(file), specifier)
  return target.startsWith(`packages/${packageName}/`)
}

/** Clocks, randomness, timers and node:* in the pure layers. */
export function purityViolations(source: Source): Violation[] {
  if (!isPure(source)) return []
  const violations: Violation[] = []
  for (const { specifier, node } of importsOf(source)) {
    if (!specifier.startsWith('.') && !specifier.startsWith('@quicether/')) {
      violations.push(at(source, node, `"${specifier}" in a pure layer: time, randomness and I/O come from outside`))
    }
  }
  const declared = declaredNames(source)
  walk(source.tree, (node) => {
    if (!ts.isIdentifier(node)) return
    const parent = node.parent
    if (
      node.text === 'random' &&
      ts.isPropertyAccessExpression(parent) &&
      parent.expression.getText(source.tree) === 'Math'
    ) {
      violations.push(at(source, node, 'Math.random in a pure layer: take a RandomSource'))
    }
    if (!impureGlobals.has(node.text) || declared.has(node.text) || isMemberName(node)) return
    violations.push(at(source, node, `${node.text} in a pure layer: time, randomness and I/O come from outside`))
  })
  return violations
}

function isMemberName(node: ts.Identifier): boolean {
  const parent = node.parent
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node
  if (ts.isQualifiedName(parent)) return parent.right === node
  return (
    (ts.isPropertyAssignment(parent) ||
      ts.isPropertySignature(parent) ||
      ts.isPropertyDeclaration(parent) ||
      ts.isMethodDeclaration(parent) ||
      ts.isMethodSignature(parent) ||
      ts.isGetAccessorDeclaration(parent) ||
      ts.isBindingElement(parent)) &&
    (parent.name === node || (ts.isBindingElement(parent) && parent.propertyName === node))
  )
}

/** Names that the file declares itself (parameters, variables, imports): `process` may be a parameter. */
function declaredNames(source: Source): Set<string> {
  const names = new Set<string>()
  walk(source.tree, (node) => {
    const isDeclaration =
      ts.isParameter(node) ||
      ts.isVariableDeclaration(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isClassDeclaration(node) ||
      ts.isImportSpecifier(node) ||
      ts.isBindingElement(node)
    if (isDeclaration && node.name !== undefined && ts.isIdentifier(node.name)) names.add(node.name.text)
  })
  return names
}
