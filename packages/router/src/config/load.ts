/** Reads the router's TOML file; every error names the file, the line and what was expected there. */
import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import * as v from 'valibot'
import { codeOf, messageOf, UserError } from '../user-error.ts'
import { type KeyStep, locateKey } from './locate.ts'
import { configSchema, type RouterConfig, type ServiceConfig } from './schema.ts'
import { upstreamsOf } from './service-schema.ts'

/** The configuration used without a file: three demo services, port 4433, self-made certificate. */
export function defaultConfig(): RouterConfig {
  return v.parse(configSchema, {})
}

/**
 * Reads and checks a configuration file. File names inside are relative to the file's own directory.
 * Throws `UserError` (`ERR_CONFIG_READ`, `ERR_CONFIG_SYNTAX`, `ERR_CONFIG_VALUE`).
 */
export function loadConfig(file: string): RouterConfig {
  return resolveFiles(parseConfig(readSource(file), file), dirname(file))
}

/** Checks configuration text; `file` is the name used in errors. */
export function parseConfig(source: string, file: string): RouterConfig {
  const document = parseToml(source, file)
  const result = v.safeParse(configSchema, document)
  if (!result.success) throw valueError(result.issues[0], source, file)
  checkServices(result.output, source, file)
  return result.output
}

function readSource(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const missing = codeOf(error) === 'ENOENT'
    throw new UserError('ERR_CONFIG_READ', {
      what: missing
        ? 'the configuration file does not exist'
        : `the configuration file cannot be read: ${messageOf(error)}`,
      where: file,
      remedy: 'Give an existing TOML file to --config, or leave the flag out to use the demo services.',
      cause: error,
    })
  }
}

function parseToml(source: string, file: string): unknown {
  try {
    return parse(source)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const reason = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /u, '')
    const text = (source.split('\n')[error.line - 1] ?? '').trim()
    throw new UserError('ERR_CONFIG_SYNTAX', {
      what: `not valid TOML: ${reason}`,
      where: `${file}:${error.line}:${error.column}`,
      remedy: `Line ${error.line} reads \`${text}\`; expected a [table], a [[service]] or \`key = value\` with text in quotes.`,
      cause: error,
    })
  }
}

function valueError(issue: v.BaseIssue<unknown>, source: string, file: string): UserError {
  const path: KeyStep[] = (issue.path ?? []).map((item) => item.key as KeyStep)
  const name = path.map((step, at) => (typeof step === 'number' ? `[${step}]` : at === 0 ? step : `.${step}`)).join('')
  const where = `${file}:${locateKey(source, path)}`
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    return new UserError('ERR_CONFIG_VALUE', {
      what: `there is no setting \`${name}\``,
      where,
      remedy: `Known here: ${knownKeys(path.slice(0, -1)).join(', ')}.`,
    })
  }
  const isMissing = issue.type === 'strict_object' && issue.received === 'undefined'
  return new UserError('ERR_CONFIG_VALUE', {
    what: isMissing ? `\`${name}\` is missing` : `\`${name}\` is ${describe(issue.input)}`,
    where,
    remedy: isMissing ? `Add \`${String(path.at(-1))} = …\` to this table.` : `Expected ${expectation(issue)}.`,
  })
}

function expectation(issue: v.BaseIssue<unknown>): string {
  if (issue.type === 'strict_object') return 'a table with settings, e.g. [router]'
  return issue.message
}

function describe(input: unknown): string {
  const text = JSON.stringify(input) ?? String(input)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** Names of the settings in the table at `path`, read off the schema. */
/** Names of the settings in the table at `path`. */
function knownKeys(path: readonly KeyStep[]): string[] {
  let schema: unknown = configSchema
  for (const step of path) {
    schema = unwrap(schema)
    const inner = typeof step === 'number' ? field(schema, 'item') : field(field(schema, 'entries'), step)
    schema = inner ?? field(schema, 'value')
  }
  return Object.keys((field(unwrap(schema), 'entries') as object | undefined) ?? {})
}

/** What stands inside `optional`. */
function unwrap(schema: unknown): unknown {
  const wrapped = field(schema, 'wrapped')
  return wrapped === undefined ? schema : unwrap(wrapped)
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function checkServices(config: RouterConfig, source: string, file: string): void {
  const fail = (index: number, key: string, what: string, remedy: string): never => {
    throw new UserError('ERR_CONFIG_VALUE', {
      what,
      where: `${file}:${locateKey(source, ['service', index, key])}`,
      remedy,
    })
  }
  if (config.service.length === 0) {
    fail(0, 'name', 'there is no service to route to', 'Add at least one [[service]] table with name, prefix and url.')
  }
  const names = new Set<string>()
  const routes = new Set<string>()
  for (const [index, service] of config.service.entries()) {
    if (names.has(service.name))
      fail(index, 'name', `two services are named "${service.name}"`, 'Give each service a name of its own.')
    const canonical = service.prefix.replace(/(?<=.)\/+$/u, '')
    const route = JSON.stringify([canonical, service.hosts.toSorted(), service.methods.toSorted(), service.headers])
    if (routes.has(route)) {
      const remedy = 'Give each service a prefix of its own, or tell them apart by hosts, methods or headers.'
      fail(index, 'prefix', `two services have the prefix "${canonical}"`, remedy)
    }
    names.add(service.name)
    routes.add(route)
    checkUpstreams(service, (key, what, remedy) => fail(index, key, what, remedy))
  }
  if ((config.router.certificate === undefined) === (config.router.private_key === undefined)) return
  const present = config.router.certificate === undefined ? 'private_key' : 'certificate'
  const missing = present === 'certificate' ? 'private_key' : 'certificate'
  throw new UserError('ERR_CONFIG_VALUE', {
    what: `\`router.${present}\` is given without \`router.${missing}\``,
    where: `${file}:${locateKey(source, ['router', present])}`,
    remedy: `Give both files, or neither to use a self-made certificate.`,
  })
}

function checkUpstreams(service: ServiceConfig, fail: (key: string, what: string, remedy: string) => never): void {
  const upstreams = upstreamsOf(service)
  if (upstreams.length === 0) {
    const remedy = 'Add `url = "http://…"`, or `upstreams = [{ url = "…" }, …]` for several addresses.'
    fail('url', `\`service.url\` is missing in service "${service.name}"`, remedy)
  }
  const seen = new Set<string>()
  for (const { url } of upstreams) {
    const key = service.upstreams.length === 0 ? 'url' : 'upstreams'
    if (seen.has(url)) fail(key, `the address ${url} is listed twice`, 'List it once, with a `weight`.')
    seen.add(url)
    if (service.protocol === 'http3' && !url.startsWith('https:')) {
      fail('protocol', `HTTP/3 to ${url}, which is without TLS`, 'Write https:// in the address of an HTTP/3 service.')
    }
  }
  if (new Set(upstreams.map(({ url }) => new URL(url).pathname.replace(/\/+$/u, ''))).size > 1) {
    fail('upstreams', 'the addresses have different paths', 'Give all addresses of a service the same path.')
  }
  if (service.health !== undefined && service.health.status_min > service.health.status_max) {
    fail('health', '`status_min` is above `status_max`', 'Give a range of good statuses, e.g. 200 to 399.')
  }
}

function resolveFiles(config: RouterConfig, directory: string): RouterConfig {
  const at = (name: string): string => (isAbsolute(name) ? name : join(directory, name))
  const { certificate, private_key: privateKey } = config.router
  const { keylog, qlog, capture } = config.diagnostics
  const { file: accessLog } = config.access_log
  return {
    ...config,
    router: {
      ...config.router,
      ...(certificate === undefined ? {} : { certificate: at(certificate) }),
      ...(privateKey === undefined ? {} : { private_key: at(privateKey) }),
    },
    service: config.service.map((service) => (service.ca === undefined ? service : { ...service, ca: at(service.ca) })),
    results: { ...config.results, directory: at(config.results.directory) },
    access_log: {
      ...config.access_log,
      ...(accessLog === undefined || accessLog === '-' ? {} : { file: at(accessLog) }),
    },
    diagnostics: {
      ...(keylog === undefined ? {} : { keylog: at(keylog) }),
      ...(qlog === undefined ? {} : { qlog: at(qlog) }),
      ...(capture === undefined ? {} : { capture: at(capture) }),
    },
  }
}
