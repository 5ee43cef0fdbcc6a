/**
 * `npm run docs`: the API reference of the library as HTML, from the doc comments. Options: --out DIR (default
 * results/api), --check writes nothing and only fails on warnings.
 */
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { Application, LogLevel } from 'typedoc'

const root = path.resolve(import.meta.dirname, '..')

/** What programs import; the router is configured, not programmed: docs/router.md. */
const entries = ['packages/cli/src/index.ts', 'packages/cli/src/lab.ts']

const { values } = parseArgs({ options: { out: { type: 'string' }, check: { type: 'boolean' } } })
const out = path.resolve(values.out ?? path.join(root, 'results', 'api'))

const app = await Application.bootstrap({
  name: 'QuicEther',
  entryPoints: entries.map((entry) => path.join(root, entry)),
  tsconfig: path.join(root, 'tsconfig.json'),
  readme: 'none',
  excludeExternals: true,
  excludeInternal: true,
  excludePrivate: true,
  // Types are checked by `npm run check`; here they would be a second time.
  skipErrorChecking: true,
  disableSources: true,
  includeVersion: false,
  // Types behind the signatures (descriptors of the native part, views of the engine) are not all exported.
  validation: { notExported: false, invalidLink: true, notDocumented: false },
  logLevel: LogLevel.Warn,
})
const project = await app.convert()
if (project === undefined) {
  process.stderr.write('the API reference could not be made; see above\n')
  process.exit(1)
}
app.validate(project)
if (app.logger.hasWarnings() || app.logger.hasErrors()) process.exit(1)
const count = Object.keys(project.reflections).length
if (values.check === true) process.stdout.write(`API reference: ${count} names, no warning\n`)
else {
  await app.generateDocs(project, out)
  process.stdout.write(
    `API reference of ${count} names: ${path.join(path.relative(process.cwd(), out), 'index.html')}\n`,
  )
}
